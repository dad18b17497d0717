"""Flags, help and examples of the commands; light, so that `--help` answers at once."""
