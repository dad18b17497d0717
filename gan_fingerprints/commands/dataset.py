"""Makes TFRecord data sets from images, shows, checks, converts, extracts and compares them."""

import argparse
from collections.abc import Callable, Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow

DESCRIPTION = """\
Makes TFRecord data sets from images, shows, checks, converts, extracts and compares them.

Source images: a folder (by default without its subfolders), a .zip or a .tar file, taken in the
order of their names. Grey images become RGB (--grey: all become grey), transparent parts white,
16 bits per channel 8; palettes and CMYK are converted, EXIF orientation is applied, and of an
animation the first frame is taken. 32-bit and floating-point images are refused.

Every image that cannot be used is counted by kind and listed in a report. Without --skip-bad it
ends the command with status 2 when all are looked at, and no data set is made; with it, the data
set is made of the others, with status 0. Images smaller than --resolution cannot be used, unless
--allow-upscale.

Images are stored at one resolution, compressed without loss, in files of 256 MiB with a
dataset.json; with --lods as the published code reads them. Both are read everywhere.

A folder gets its name when it is complete. Until then it is called NAME.incomplete-XXXXXXXX; after
Ctrl-C, SIGTERM (status 75), a kill or a full disk the same create_* or convert command goes on with
it.
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
    _add_shuffle(p, "permute the images, the same way every time")
    _add_creation_flags(p)

    p = add_command("create_from_images", "Make a data set of any images.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("image_dir", metavar="IMAGE_DIR", help="folder, .zip or .tar file of images")
    p.add_argument(
        "--resolution",
        type=cli.positive_int,
        metavar="R",
        help="crop the centre and resize (Lanczos) to RxR pixels, R a power of two (default: the"
        " images must have such a size already)",
    )
    p.add_argument(
        "--labels",
        choices=["folders"],
        help="folders: look into subfolders; the folder that an image lies in is its class",
    )
    p.add_argument("--recursive", action="store_true", help="look into subfolders")
    _add_shuffle(p, "shuffle the images, the same way every time")
    _add_upscale(p)
    _add_creation_flags(p)

    _add_known_sets(add_command)

    p = add_command("display", "Write a sheet of images as a PNG file; show it on a display.")
    _add_tfrecord_dir(p)
    p.add_argument("--out", metavar="PNG", help="file to write (default: TFRECORD_DIR-sheet.png)")
    p.add_argument("--count", type=cli.positive_int, default=64, help="images (default: 64)")
    _add_level_flag(p)

    p = add_command("extract", "Write the images of a data set as img00000000.png, ...")
    _add_tfrecord_dir(p)
    p.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder to make")
    _add_level_flag(p)

    p = add_command("info", "Print what a data set holds.")
    _add_tfrecord_dir(p)
    cli.add_boolean(
        p, "--hash", default=True, help="read all images for a hash of pixels and labels"
    )

    p = add_command("verify", "Read every record; status 1 if one is damaged. Name duplicates.")
    _add_tfrecord_dir(p)

    p = add_command("convert", "Write a data set in the published layout or in the compressed one.")
    _add_tfrecord_dir(p)
    p.add_argument("output_dir", metavar="OUTPUT_DIR", help="data set to make")
    p.add_argument(
        "--layout",
        choices=["published", "compressed"],
        required=True,
        help="published: every resolution, uncompressed, as the published code reads it",
    )
    _add_workers(p)
    _add_level_flag(p)

    p = add_command("stats", "Compute what FID needs of the real images, ahead of time.")
    _add_tfrecord_dir(p)
    p.add_argument(
        "--num_images", type=cli.non_negative_int, metavar="N",
        help="the first N, as fidNk takes them (default and 0: all)",
    )  # fmt: skip
    p.add_argument("--inception", metavar="FILE", help="as in run_metrics.py")
    cli.add_boolean(p, "--mirror-augment", default=False, help="as in run_metrics.py")
    cli.add_boolean(p, "--skip-bad-records", default=False, help="leave damaged records out")

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


def _add_known_sets(add_command: Callable[[str, str], cli.ArgumentParser]) -> None:
    """The commands for files of known data sets, with the arguments of the published tool."""
    p = add_command("create_mnist", "Make a data set of MNIST or Fashion-MNIST, with labels.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("mnist_dir", metavar="MNIST_DIR", help="folder of train-images-idx3-ubyte.gz")
    _add_creation_flags(p, grey=False)

    p = add_command("create_mnistrgb", "Make a data set of three MNIST digits in one image.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("mnist_dir", metavar="MNIST_DIR", help="folder of train-images-idx3-ubyte.gz")
    p.add_argument("--random_seed", type=cli.non_negative_int, default=123, help="(default: 123)")
    _add_creation_flags(p, grey=False, count="N of the images to make (default: 1000000)")

    for name, size, what in (("cifar10", 10, "data_batch_1 to 5"), ("cifar100", 100, "train")):
        p = add_command(f"create_{name}", f"Make a data set of CIFAR-{size}, with labels.")
        _add_tfrecord_dir(p, "data set to make")
        p.add_argument(f"{name}_dir", metavar=f"{name.upper()}_DIR", help=f"folder of {what}")
        _add_creation_flags(p)

    p = add_command("create_svhn", "Make a data set of SVHN, with labels.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("svhn_dir", metavar="SVHN_DIR", help="folder of train_32x32.mat")
    _add_creation_flags(p)

    p = add_command("create_lsun", "Make a data set of square images of an LMDB database.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("lmdb_dir", metavar="LMDB_DIR", help="folder of data.mdb")
    _add_resolution(p, 256)
    _add_upscale(p)
    _add_creation_flags(p)

    p = add_command("create_lsun_wide", "Make a data set of wide images of an LMDB database.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("lmdb_dir", metavar="LMDB_DIR", help="folder of data.mdb")
    p.add_argument("--width", type=cli.positive_int, default=512, help="pixels (default: 512)")
    p.add_argument(
        "--height", type=cli.positive_int, default=384, help="pixels that are used (default: 384)"
    )
    _add_creation_flags(p)

    p = add_command("create_celebahq", "Make a data set of finished images of CelebA-HQ.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument("celeba_dir", metavar="CELEBAHQ_DIR", help="folder or archive of the images")
    p.add_argument("delta_dir", metavar="DELTA_DIR", nargs="?", help="refused: not supported")
    _add_resolution(p, 1024)
    _add_upscale(p)
    _add_creation_flags(p)

    p = add_command("create_from_hdf5", "Make a data set of an HDF5 file of images.")
    _add_tfrecord_dir(p, "data set to make")
    p.add_argument(
        "hdf5_filename", metavar="HDF5", help="file with data* of shape [N,C,H,W], uint8"
    )
    _add_shuffle(p, "permute the images, the same way every time")
    _add_creation_flags(p, grey=False)


def _add_shuffle(p: argparse.ArgumentParser, help: str) -> None:
    cli.add_boolean(p, "--shuffle", default=True, help=help)


def _add_upscale(p: argparse.ArgumentParser) -> None:
    p.add_argument("--allow-upscale", action="store_true", help="enlarge images that are too small")


def _add_resolution(p: argparse.ArgumentParser, default: int) -> None:
    p.add_argument(
        "--resolution",
        type=cli.positive_int,
        default=default,
        metavar="R",
        help=f"crop the centre and resize (Lanczos) to RxR pixels (default: {default})",
    )


def _add_creation_flags(
    p: argparse.ArgumentParser,
    *,
    grey: bool = True,
    count: str = "use only N of the images (default and 0: all)",
) -> None:
    p.add_argument(
        "--num_images", "--max_images", type=cli.non_negative_int, metavar="N", help=count
    )
    if grey:
        p.add_argument("--grey", action="store_true", help="one channel instead of RGB")
    p.add_argument(
        "--lods",
        action="store_true",
        help="the published layout: every resolution down to 4x4, uncompressed",
    )
    p.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be used")
    p.add_argument(
        "--report",
        metavar="JSONL",
        help="list images that are bad or were changed there (default: TFRECORD_DIR-report.jsonl,"
        " if there are any)",
    )
    _add_workers(p)
    p.add_argument("--num_shifts", type=int, default=0, help="accepted, but has no effect")


def _add_workers(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--workers",
        type=cli.non_negative_int,
        default=0,
        metavar="N",
        help="at a time; the result is the same with any number (default and 0: one per core)",
    )


def _add_level_flag(p: argparse.ArgumentParser) -> None:
    cli.add_boolean(p, "--skip-bad-records", default=False, help="leave damaged records out")
    p.add_argument(
        "--resolution",
        type=cli.positive_int,
        metavar="R",
        help="which resolution to take where there are several (default: the largest)",
    )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs one command; `compare` and `verify` end with status 1 if there is something to tell."""
    args = build_parser(prog).parse_args(argv)
    if args.command == "stats":
        quiet_tensorflow(args.verbose)
        cli.deferred("gan_fingerprints.work.dataset_stats:stats")(args)
    else:
        cli.deferred("gan_fingerprints.work.dataset:run")(args)
