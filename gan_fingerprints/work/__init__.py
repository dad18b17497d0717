"""What the commands do; TensorFlow and all that is slow to load may stand here."""
