"""Makes images that carry fingerprints, as PNG files with a list of what each of them carries."""

from dnnlib import cli
from gan_fingerprints.commands.generate import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    cli.run(main)
