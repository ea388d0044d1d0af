"""The training engine, which the template renews; see README.md."""
