"""Gives licensees fingerprints of their own, reads fingerprints from images, and says whose."""

from dnnlib import cli
from gan_fingerprints.commands.fingerprints import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    cli.run(main)
