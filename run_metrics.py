"""Measures quality and bit accuracy of a snapshot."""

from dnnlib import cli
from gan_fingerprints.commands.evaluate import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    cli.run(main)
