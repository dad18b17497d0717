"""Flags that several commands have."""

import argparse
from collections.abc import Callable
from typing import Any

from dnnlib import cli
from dnnlib.growing import SUFFIXES
from dnnlib.tflib.start import add_execution
from fingerprints.detection.views import DECISIONS, SEARCHES
from fingerprints.handles import SOFT_BINDING
from fingerprints.image_manifest import FILE_NAME

Commands = argparse._SubParsersAction  # of cli.ArgumentParser
DEFAULT_REGISTRY = "fingerprints.db"


def add_command(
    commands: "Commands[cli.ArgumentParser]",
    name: str,
    help: str,
    work: Callable[..., Any],
    description: str | None = None,
    epilog: str | None = None,
) -> cli.ArgumentParser:
    """Adds a command of run_fingerprints.py; `work` is what it does, from `cli.deferred`."""
    parser: cli.ArgumentParser = commands.add_parser(
        name, help=help, description=description or help, epilog=epilog
    )
    parser.set_defaults(function=work, needs_tensorflow=False)
    parser.add_verbose()
    return parser


def add_json(parser: cli.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def add_registry(parser: cli.ArgumentParser) -> None:
    """Adds `--registry` and `--registry-key`."""
    parser.add_argument(
        "--registry",
        default=DEFAULT_REGISTRY,
        metavar="FILE|URL",
        help="SQLite file, or postgresql://user@host/database (default: %(default)s)",
    )
    parser.add_argument(
        "--registry-key",
        metavar="FILE",
        help="key of a registry whose fingerprints are encrypted (keygen --kind=registry)",
    )


def add_network(parser: cli.ArgumentParser, what: str = "snapshot with the decoder") -> None:
    """Adds `--network`, which takes TensorFlow to read."""
    parser.set_defaults(needs_tensorflow=True)
    parser.add_argument(
        "--network", required=True, metavar="PKL", help=f"{what}: a file or an https URL"
    )


def add_dataset(parser: cli.ArgumentParser) -> None:
    """Adds `--data-dir`, `--dataset` and what is done with damaged records."""
    parser.add_argument("--data-dir", default="datasets", metavar="DIR", help="folder of data sets")
    parser.add_argument(
        "--dataset", metavar="NAME", help="data set below --data-dir; not for watermark_accuracy"
    )
    cli.add_boolean(
        parser, "--skip-bad-records", default=False, help="leave damaged records of a data set out"
    )


def add_result_dir(parser: cli.ArgumentParser, what: str, default: str = "results") -> None:
    """Adds `--result-dir`."""
    parser.add_argument(
        "--result-dir", default=default, metavar="DIR", help=f"{what} (default: {default})"
    )


def add_num_gpus(parser: cli.ArgumentParser) -> None:
    """Adds `--num-gpus`."""
    parser.add_argument(
        "--num-gpus",
        type=int,
        metavar="N",
        help="GPUs to use, which share each minibatch (default: all there are)",
    )


def add_minibatch(parser: cli.ArgumentParser, default: int, what: str) -> None:
    """Adds `--minibatch`."""
    parser.add_argument(
        "--minibatch",
        type=cli.positive_int,
        default=default,
        metavar="N",
        help=f"{what} (default: {default})",
    )


def add_fpr(parser: argparse._ActionsContainer) -> None:
    """Adds `--fpr`."""
    parser.add_argument(
        "--fpr",
        type=cli.probability,
        default=1e-6,
        metavar="F",
        help="highest probability with which one image of another origin is called ours "
        "(default: 1e-6)",
    )


def add_decision(parser: cli.ArgumentParser) -> None:
    """Adds `--decision`."""
    parser.add_argument(
        "--decision",
        choices=DECISIONS,
        default="soft",
        help="soft: bits count by how clearly they are read; bits: all count alike (default: soft)",
    )


def add_search(parser: cli.ArgumentParser) -> None:
    """Adds `--search`."""
    parser.add_argument(
        "--search",
        choices=tuple(SEARCHES),
        default="none",
        help="edits that are tried, each undone, on every picture (default: none)",
    )


def add_c2pa(parser: cli.ArgumentParser) -> None:
    """Adds `--c2pa` and what goes with it, of commands that read pictures."""
    parser.add_argument(
        "--c2pa",
        action="store_true",
        default=None,  # as results of earlier versions have it
        help="also read C2PA manifests, and say whether they agree with the fingerprint; needs "
        "requirements/c2pa.txt",
    )
    parser.add_argument(
        "--c2pa-alg",
        metavar="NAME",
        help=f"what manifests call our soft bindings (default: {SOFT_BINDING})",
    )
    parser.add_argument("--c2pa-anchors", metavar="FILE", help="certificates to trust, PEM")


def add_images(parser: cli.ArgumentParser) -> None:
    """Adds the images and how they are read and decoded."""
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGES",
        help="image files, patterns such as 'out/*.png', or folders: the images that the folder's "
        f"{FILE_NAME} lists, or every image of a folder that has none",
    )
    parser.add_argument(
        "--list", metavar="FILE", help="more of them, one a line; - reads standard input"
    )
    parser.add_argument(
        "--recursive", action="store_true", help="look into the folders below folders, too"
    )
    parser.add_argument(
        "--resize", action="store_true", help="bring images to the network's size (Lanczos)"
    )
    add_minibatch(parser, 16, "images per step")
    add_execution(parser)


def add_results(parser: cli.ArgumentParser) -> None:
    """Adds `--out`, where results go, and `--shard`."""
    parser.add_argument(
        "--out",
        type=_results_name,
        metavar="FILE",
        help="write results to NAME.jsonl, or to a folder of Parquet files NAME.parquet, and print "
        "the summary only; the same command given again goes on where it was stopped",
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="only the I-th of N parts of the images, 0/N to N-1/N, each by its name; with --pool, "
        "of the sources",
    )


def _results_name(text: str) -> str:
    if not text.endswith(SUFFIXES):
        raise argparse.ArgumentTypeError(f"{text!r} ends with neither {' nor '.join(SUFFIXES)}")
    return text


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: use I/N, such as 0/4 to 3/4")
    return int(number), int(count)
