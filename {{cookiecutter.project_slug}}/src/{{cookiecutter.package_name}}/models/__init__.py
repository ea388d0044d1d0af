"""Model families. Each has its config here and its twins in one file a framework, with the same attribute names."""
