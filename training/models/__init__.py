"""What a model is: its files, its hashes, and its networks as functions on arrays."""
