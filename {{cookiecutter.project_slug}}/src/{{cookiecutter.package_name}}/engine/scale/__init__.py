"""Several devices and machines for one run."""
