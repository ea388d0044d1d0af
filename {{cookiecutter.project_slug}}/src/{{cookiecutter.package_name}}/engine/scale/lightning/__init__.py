"""Several devices and machines in PyTorch Lightning."""
