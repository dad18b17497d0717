"""Training of fingerprinted generators."""
