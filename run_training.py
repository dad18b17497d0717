"""Trains a fingerprinted generator with its decoder."""

from dnnlib import cli
from gan_fingerprints.commands.train import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    cli.run(main)
