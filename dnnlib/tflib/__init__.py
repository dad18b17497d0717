"""TensorFlow helpers that know nothing about GANs."""
