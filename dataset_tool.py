"""Makes TFRecord data sets from images, shows them, extracts and compares them."""

from dnnlib import cli
from gan_fingerprints.commands.dataset import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    cli.run(main)
