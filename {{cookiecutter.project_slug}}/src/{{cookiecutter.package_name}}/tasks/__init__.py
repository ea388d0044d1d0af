"""Tasks: a folder each, found by their names."""
