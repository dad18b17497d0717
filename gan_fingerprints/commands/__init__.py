"""The commands of run_fingerprints.py, a file per group; TensorFlow is imported when they run."""
