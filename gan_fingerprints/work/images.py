"""The images that a command's flags name, and what the decoder reads from them."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.format import printable
from dnnlib.tflib.machine import resolve_execution
from fingerprints.detection.alike import picture_hashes
from fingerprints.image_files import find_images, read_batches, read_list
from gan_fingerprints.work.output import write_line
from training.models.functions import make_decoder
from training.models.hashes import hashes_of
from training.models.snapshot import build_network, read_snapshot
from training.networks.decoder import Decoder


def load_decoder(name: str) -> tuple[Decoder, str | None, str]:
    """The decoder of a snapshot.

    Returns:
        The network, the hash of the model (None if there is no generator beside it), and that of
        the decoder.

    Raises:
        UserError: there is no such file, or no decoder in it.
    """
    networks, position = read_snapshot(name)
    model_hash, decoder_hash = hashes_of(networks, name, position)
    if decoder_hash is None:
        raise UserError(f"{name} holds no decoder; name a snapshot that does")
    decoder = build_network(networks["E"], f"{name}: E")
    assert isinstance(decoder, Decoder)
    return decoder, model_hash, decoder_hash


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


class Decoded(NamedTuple):
    """An image file that was read."""

    path: Path
    logits: np.ndarray  # [B]
    hash: np.ndarray  # `picture_hashes`, of what was decoded


class Reader:
    """Decodes image files; those that cannot be read are reported and passed over.

    Attributes:
        num_bad: how many could not be read so far.
    """

    def __init__(self, args: argparse.Namespace, network: Decoder, num_images: int) -> None:

        execution = resolve_execution(args.ops, args.precision)
        self.num_bits = network.fingerprint_size
        self.num_bad = 0
        self._args = args
        self._network = network
        self._decode = make_decoder(network, min(args.minibatch, max(num_images, 1)), execution)

    def read(self, paths: Sequence[Path]) -> Iterator[Decoded]:
        """Yields every image that can be read, with a progress bar.

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
                rows = zip(logits, picture_hashes(images), strict=True)
                for outcome in outcomes:
                    if isinstance(outcome, UserError):
                        self._report(paths[done], outcome)
                    else:
                        yield Decoded(outcome, *next(rows))
                    done += 1
                    progress.update()

    def _report(self, path: Path, error: UserError) -> None:
        self.num_bad += 1
        if self._args.json:
            write_line(json.dumps({"file": str(path), "error": str(error)}))
        else:
            tqdm.write(f"error: {printable(error)}", file=sys.stderr)

    def finish(self, num_images: int) -> None:
        """Ends the command with status 2 when an image could not be read.

        Raises:
            UserError: how many; their lines have been printed.
        """
        if self.num_bad:
            raise UserError(
                f"{self.num_bad} of {num_images} images could not be read, see their lines"
            )
