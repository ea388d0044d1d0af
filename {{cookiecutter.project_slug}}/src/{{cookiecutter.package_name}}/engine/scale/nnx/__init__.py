"""Several devices and processes of JAX."""
