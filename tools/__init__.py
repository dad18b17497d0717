"""Helpers that `make` runs; no command of the project needs them."""
