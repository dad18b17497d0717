"""Flags of `calibrate`."""

from dnnlib import cli
from fingerprints.detection.views import SEARCHES
from gan_fingerprints.commands.common import (
    Commands,
    add_command,
    add_images,
    add_json,
    add_network,
    add_registry,
)

HELP = "measure false matches on foreign images"
DESCRIPTION = """\
Reads foreign images, which the model did not make, and keeps the decoder's answers in the
registry. From then on `verify` reports the larger of the exact p-value and the one that these
images give, and whether an image is read more surely than they are, and `issue` leaves out
fingerprints that they lean to. Take images of the kind that will be judged, several thousand if you
can. Crops of one picture are called NAME-crop00.png, NAME-crop01.png, ... and count as one. A new
calibration takes the place of the one before.
"""
EXAMPLES = """examples:
  {command} --network=network-final.pkl --resize foreign/*/
"""

WORK = cli.deferred("gan_fingerprints.work.calibrate:calibrate")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `calibrate`."""
    parser = add_command(commands, "calibrate", HELP, WORK, DESCRIPTION, EXAMPLES)
    add_network(parser, "snapshot with generator and decoder")
    add_registry(parser)
    add_images(parser)
    parser.add_argument(
        "--search",
        choices=tuple(SEARCHES),
        default="light",
        help="edits that verdicts may try: verify and attribute take a --search that is no longer "
        "(default: light)",
    )
    add_json(parser)
