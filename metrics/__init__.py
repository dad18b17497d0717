"""Quality and bit accuracy of fingerprinted generators."""
