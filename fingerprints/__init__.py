"""Fingerprints: bits, codes, detection. No TensorFlow here."""
