"""Files, sources and batches: the data as NumPy, the same for every framework."""
