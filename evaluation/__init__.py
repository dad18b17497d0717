"""Studies of a trained model: what its fingerprints bear, who can attack them, and the report."""
