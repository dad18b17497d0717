"""The command lines, and the console command `gan-fingerprints`."""

__version__ = "0.2.0"
