"""What the commands of run_fingerprints.py share: flags, images, output.

Commands import what is slow to load (TensorFlow, SciPy, SQLAlchemy) when they run, so that `--help`
answers at once.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import add_execution
from fingerprints.image_files import find_images, read_batches, read_list
from fingerprints.image_manifest import FILE_NAME

if TYPE_CHECKING:
    from fingerprints.registry.facade import Registry
    from training.networks.decoder import Decoder

Commands = argparse._SubParsersAction  # of cli.ArgumentParser
DEFAULT_REGISTRY = "fingerprints.db"


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


def open_registry(args: argparse.Namespace, *, create: bool = False) -> "Registry":
    """Opens the registry that the flags of `add_registry` name."""
    from fingerprints.keys import load_secret
    from fingerprints.registry.facade import Registry

    key = None if args.registry_key is None else load_secret(args.registry_key, "registry")
    if create:
        return Registry.create(args.registry, key, exist_ok=True)
    return Registry.open(args.registry, key)


def add_network(parser: cli.ArgumentParser, what: str = "snapshot with the decoder") -> None:
    """Adds `--network`."""
    parser.add_argument(
        "--network", required=True, metavar="PKL", help=f"{what}: a file or an https URL"
    )


def load_decoder(name: str) -> tuple["Decoder", str | None, str]:
    """The decoder of a snapshot.

    Returns:
        The network, the hash of the model (None if there is no generator beside it), and that of
        the decoder.

    Raises:
        UserError: there is no such file, or no decoder in it.
    """
    from training.models.hashes import hashes_of
    from training.models.snapshot import build_network, read_snapshot
    from training.networks.decoder import Decoder

    networks, _ = read_snapshot(name)
    model_hash, decoder_hash = hashes_of(networks, name)
    if decoder_hash is None:
        raise UserError(f"{name} holds no decoder; name a snapshot that does")
    decoder = build_network(networks["E"], f"{name}: E")
    assert isinstance(decoder, Decoder)
    return decoder, model_hash, decoder_hash


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
        "--resize", action="store_true", help="bring images to the network's size (Lanczos)"
    )
    parser.add_argument(
        "--minibatch",
        type=cli.positive_int,
        default=16,
        metavar="N",
        help="images per step (default: 16)",
    )
    add_execution(parser)


def image_arguments(args: argparse.Namespace) -> list[str]:
    """What the user named as images, `--list` included.

    Raises:
        UserError: nothing.
    """
    arguments = [*args.images, *([] if args.list is None else read_list(args.list))]
    if not arguments:
        raise UserError("no images given; name image files, patterns or folders, or a --list")
    return arguments


def image_paths(args: argparse.Namespace) -> list[Path]:
    """The image files that the flags of `add_images` name."""
    return find_images(image_arguments(args))


class Reader:
    """Decodes image files; those that cannot be read are reported and passed over.

    Attributes:
        num_bad: how many could not be read so far.
    """

    def __init__(self, args: argparse.Namespace, network: "Decoder", num_images: int) -> None:
        from dnnlib.tflib.machine import resolve_execution
        from training.models.functions import make_decoder

        execution = resolve_execution(args.ops, args.precision)
        self.num_bits = network.fingerprint_size
        self.num_bad = 0
        self._args = args
        self._network = network
        self._decode = make_decoder(network, min(args.minibatch, max(num_images, 1)), execution)

    def read(self, paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray]]:
        """Yields path and logits [B] of every image that can be read, with a progress bar.

        For one that cannot, its line goes to stdout as JSON (`file`, `error`) with `--json`, and
        to stderr otherwise.
        """
        network = self._network
        batches = read_batches(
            paths,
            network.resolution,
            network.num_channels,
            resize=self._args.resize,
            minibatch=self._args.minibatch,
        )
        done = 0
        with tqdm(total=len(paths), unit="image", file=sys.stderr, disable=None) as progress:
            for outcomes, images in batches:
                logits = self._decode(images)  # [M,B]
                if not np.isfinite(logits).all():
                    raise UserError(
                        f"--network={self._args.network}: its decoder gives values that are not "
                        "finite; use another snapshot"
                    )
                rows = iter(logits)
                for outcome in outcomes:
                    if isinstance(outcome, UserError):
                        self._report(paths[done], outcome)
                    else:
                        yield outcome, next(rows)
                    done += 1
                    progress.update()

    def _report(self, path: Path, error: UserError) -> None:
        self.num_bad += 1
        if self._args.json:
            write_line(json.dumps({"file": str(path), "error": str(error)}))
        else:
            tqdm.write(f"error: {error}", file=sys.stderr)

    def finish(self, num_images: int) -> None:
        """Ends the command with status 2 when an image could not be read.

        Raises:
            UserError: how many; their lines have been printed.
        """
        if self.num_bad:
            raise UserError(
                f"{self.num_bad} of {num_images} images could not be read, see their lines"
            )


def write_line(text: str) -> None:
    """Prints a line of results, past the progress bar."""
    tqdm.write(text, file=sys.stdout)


def emit(args: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Prints a result: as JSON with `--json`, else the text."""
    write_line(json.dumps(values) if args.json else text)
