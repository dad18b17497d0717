"""Flags of `decode`."""

from dnnlib import cli
from fingerprints.image_manifest import FILE_NAME
from gan_fingerprints.commands.common import (
    Commands,
    add_command,
    add_images,
    add_json,
    add_network,
    add_results,
)

HELP = "print the fingerprints that images carry"
DESCRIPTION = """\
Prints the fingerprint that each image carries, and how sure the decoder is of its bits (the
probability of the bit that it chose: 0.5 is a guess, 1 is certain; mean and worst bit). Where the
true fingerprint is known, from --expect, --manifest or the fingerprints.jsonl beside the images,
it also prints the number of bits that match, the probability p of matching that many by chance,
and at the end the bit accuracy over these images. An image that cannot be read is reported, the
others are decoded, and the exit status is 2.
"""
EXAMPLES = """examples:
  {command} --network=network-final.pkl results/00000-generate-images
  {command} --network=network-final.pkl --expect=cafe1234 picture.jpg
"""

WORK = cli.deferred("gan_fingerprints.work.decode:decode")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `decode`."""
    parser = add_command(commands, "decode", HELP, WORK, DESCRIPTION, EXAMPLES)
    add_network(parser)
    add_images(parser)
    add_results(parser)
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        "--expect", metavar="HEX|BITS", help="the fingerprint that every image should carry"
    )
    truth.add_argument(
        "--manifest",
        metavar="JSONL",
        help="the file that says which fingerprint each image should carry; images are found by "
        f"name (default: {FILE_NAME} beside the images, if every image has one there)",
    )
    add_json(parser)
