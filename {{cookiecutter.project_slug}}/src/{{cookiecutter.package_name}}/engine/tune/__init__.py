"""Searches over settings: the command `tune`."""
