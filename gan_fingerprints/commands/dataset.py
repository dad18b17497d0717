"""Makes TFRecord data sets from images, shows them, extracts and compares them."""

import argparse
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow

DESCRIPTION = """\
Makes TFRecord data sets from images, shows them, extracts and compares them.

Source images: a folder (without its subfolders) or a .zip file, taken in the order of their
names. Grey images become RGB (--grey: all become grey), transparent parts white, 16 bits per
channel 8; palettes and CMYK are converted, EXIF orientation is applied, and of an animation the
first frame is taken. 32-bit and floating-point images are refused.

A folder gets its name when it is complete. Until then it is called NAME.incomplete-XXXXXXXX; what
a killed command leaves of it is removed when the command is run again.
"""


def build_parser(prog: str | None = None) -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog=prog, description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add_command(name: str, help: str) -> cli.ArgumentParser:
        command: cli.ArgumentParser = commands.add_parser(name, help=help, description=help)
        command.add_verbose()
        return command

    p = add_command("create_celeba", "Make a data set of 128x128 crops of CelebA.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("celeba_dir", metavar="CELEBA_DIR", help="aligned CelebA images (178x218)")
    p.add_argument("--cx", type=int, default=89, help="centre of the crop, x (default: 89)")
    p.add_argument("--cy", type=int, default=121, help="centre of the crop, y (default: 121)")
    p.add_argument(
        "--export_attr",
        type=cli.boolean,
        metavar="BOOL",
        help="write the attributes of list_attr_celeba.txt as labels; it is looked for in"
        " CELEBA_DIR and in the two folders above it and their Anno/ (default: if it is there)",
    )
    _add_creation_flags(p, "permute the images, the same way every time")

    p = add_command("create_from_images", "Make a data set of any images.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("image_dir", metavar="IMAGE_DIR", help="folder or .zip file of images")
    p.add_argument(
        "--resolution",
        type=cli.positive_int,
        metavar="R",
        help="crop the centre and resize (Lanczos) to RxR pixels, R a power of two (default: the"
        " images must have such a size already)",
    )
    _add_creation_flags(p, "shuffle the images, the same way every time")

    p = add_command("display", "Write a sheet of images as a PNG file; show it on a display.")
    _add_tfrecord_dir(p)
    p.add_argument("--out", metavar="PNG", help="file to write (default: TFRECORD_DIR-sheet.png)")
    p.add_argument("--count", type=cli.positive_int, default=64, help="images (default: 64)")
    _add_level_flag(p)

    p = add_command("extract", "Write the images of a data set as img00000000.png, ...")
    _add_tfrecord_dir(p)
    p.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder to make")
    _add_level_flag(p)

    p = add_command("compare", "Count the images that differ; like diff, status 0 if none, else 1.")
    p.add_argument("tfrecord_dir_a", metavar="DIR_A", help="data set")
    p.add_argument("tfrecord_dir_b", metavar="DIR_B", help="data set")
    _add_level_flag(p)
    cli.add_boolean(
        p, "--ignore_labels", default=False, help="do not compare the labels, if there are any"
    )
    return parser


def _add_tfrecord_dir(p: argparse.ArgumentParser, what: str = "data set") -> None:
    p.add_argument("tfrecord_dir", metavar="TFRECORD_DIR", help=what)


def _add_creation_flags(p: argparse.ArgumentParser, shuffle: str) -> None:
    cli.add_boolean(p, "--shuffle", default=True, help=shuffle)
    p.add_argument(
        "--num_images",
        type=cli.non_negative_int,
        metavar="N",
        help="use only N of the images (default and 0: all)",
    )
    p.add_argument("--grey", action="store_true", help="one channel instead of RGB")
    p.add_argument("--lods", action="store_true", help="write every resolution down to 4x4")
    p.add_argument("--skip-bad", action="store_true", help="leave out files that are unreadable")
    p.add_argument("--num_shifts", type=int, default=0, help="accepted, but has no effect")


def _add_level_flag(p: argparse.ArgumentParser) -> None:
    cli.add_boolean(p, "--skip-bad-records", default=False, help="leave damaged records out")
    p.add_argument(
        "--resolution",
        type=cli.positive_int,
        metavar="R",
        help="which resolution to take where there are several (default: the largest)",
    )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs one command; `compare` ends the process with status 1 if the data sets differ."""
    args = build_parser(prog).parse_args(argv)
    quiet_tensorflow(args.verbose)
    cli.deferred("gan_fingerprints.work.dataset:run")(args)
