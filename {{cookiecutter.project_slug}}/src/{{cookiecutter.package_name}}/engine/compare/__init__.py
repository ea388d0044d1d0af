"""Runs side by side: the command `compare` and its report."""
