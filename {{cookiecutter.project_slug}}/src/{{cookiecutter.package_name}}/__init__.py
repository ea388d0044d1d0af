"""Training code: see README.md."""
