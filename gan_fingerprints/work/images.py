"""The images that a command's flags name, and what the decoder reads from them."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dnnlib.ahead import map_ahead
from dnnlib.errors import UserError
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.png import make_png_decoder
from fingerprints.detection.alike import picture_hashes
from fingerprints.detection.views import expand
from fingerprints.image_files import ImageBatch, find_images, read_batches, read_list
from gan_fingerprints.work.output import Line
from training.models.functions import make_decoder
from training.models.hashes import hashes_of
from training.models.snapshot import build_network, read_snapshot
from training.networks.decoder import Decoder

_MANY = 500  # files from which on a faster way to read them is made
# Batches that the network reads ahead, and pixels of them: enough for it to go on while hundreds of
# pictures are judged.
_AHEAD = (2, 32)
_AHEAD_PIXELS = 1 << 22


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
    return find_images(image_arguments(args), recursive=args.recursive)


# uint8 images [N,H,W,C] -> the K views of each that the decoder is to see, uint8 [N,K,H,W,C]
Expand = Callable[[np.ndarray], np.ndarray]


def views_of(search: str) -> Expand | None:
    """What a `Reader` shows the decoder where edits are tried, see `views`; None: the image."""
    return None if search == "none" else partial(expand, search=search)


class Decoded(NamedTuple):
    """An image file that was read."""

    path: Path
    logits: np.ndarray  # [B]; [K,B] if each image has K views
    hash: np.ndarray | None  # `picture_hashes`, of what was decoded; None: not asked for


class Batch(NamedTuple):
    """Image files, those that could not be read included."""

    paths: list[Path]
    errors: list[UserError | None]  # of each path
    logits: np.ndarray  # float32 [M,B] or [M,K,B], of the M paths without an error
    hashes: np.ndarray | None  # uint8 [M,HASH_BYTES]; None: not asked for

    def decoded(self) -> Iterator[Decoded | tuple[Path, UserError]]:
        """Each file in order, with what was decoded or the error."""
        row = 0
        for path, error in zip(self.paths, self.errors, strict=True):
            if error is not None:
                yield path, error
                continue
            yield Decoded(path, self.logits[row], None if self.hashes is None else self.hashes[row])
            row += 1


class Reader:
    """Decodes image files; those that cannot be read are reported and passed over.

    Files are read ahead in threads, and the network runs ahead in one more, so that whoever judges
    what comes out waits for neither; how far ahead is bounded, and with it the memory.

    Attributes:
        num_bad: how many `read` has passed over so far.
        ahead: batches that wait for the network, or for whoever asks, behind the one that is asked
            for.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        network: Decoder,
        num_images: int,
        *,
        expand: Expand | None = None,
        hashes: bool = False,
    ) -> None:
        """Takes the flags of `add_images`.

        Args:
            args: the flags.
            network: the decoder.
            num_images: that will be read, at most.
            expand: what the decoder sees in place of each image; None: the image.
            hashes: whether `picture_hashes` are wanted, as pools do.
        """
        execution = resolve_execution(args.ops, args.precision)
        self.num_bits = network.fingerprint_size
        self.num_bad = 0
        self._args = args
        self._network = network
        self._expand = expand
        self._hashes = hashes
        self._minibatch = min(args.minibatch, max(num_images, 1))
        self._decode = make_decoder(network, self._minibatch, execution)
        pixels = self._minibatch * network.resolution**2
        self.ahead = int(np.clip(_AHEAD_PIXELS // pixels, *_AHEAD))
        self._decode_many = None
        if num_images >= _MANY:  # to make it takes as long as Pillow for some hundred
            self._decode_many = make_png_decoder(network.resolution, network.num_channels)

    def batches(
        self, paths: Sequence[str | os.PathLike[str]], num_done: int = 0
    ) -> Generator[Batch, None, None]:
        """Yields all files in order, with a progress bar.

        Args:
            paths: the files.
            num_done: files before these that the bar counts as well.

        Raises:
            UserError: the decoder gives values that are not finite.
        """
        found = read_batches(
            paths,
            self._network.resolution,
            self._network.num_channels,
            resize=self._args.resize,
            minibatch=self._minibatch,
            decode_many=self._decode_many,
        )
        total = num_done + len(paths)
        with (
            ThreadPoolExecutor(1, "decode") as pool,
            contextlib.closing(found),
            tqdm(
                total=total, initial=num_done, unit="image", file=sys.stderr, disable=None
            ) as progress,
        ):
            start = 0
            for outcomes, logits, hashes in map_ahead(self._decode_batch, found, pool, self.ahead):
                part = [Path(path) for path in paths[start : start + len(outcomes)]]
                start += len(outcomes)
                errors = [one if isinstance(one, UserError) else None for one in outcomes]
                yield Batch(part, errors, logits, hashes)
                progress.update(len(outcomes))

    def _decode_batch(
        self, batch: ImageBatch
    ) -> tuple[list[Path | UserError], np.ndarray, np.ndarray | None]:
        outcomes, images = batch
        if self._expand is None:
            logits = self._decode(images)  # [M,B]
        else:
            views = self._expand(images)  # [M,K,H,W,C]
            flat = self._decode(views.reshape(-1, *views.shape[2:]))
            logits = flat.reshape(*views.shape[:2], -1)  # [M,K,B]
        if not np.isfinite(logits).all():
            raise UserError(
                f"--network={self._args.network}: its decoder gives values that are not "
                "finite; use another snapshot"
            )
        return outcomes, logits, picture_hashes(images) if self._hashes else None

    def read(self, paths: Sequence[str | os.PathLike[str]]) -> Iterator[Decoded]:
        """Yields every image that can be read, in order.

        For one that cannot, its line goes to stdout as JSON (`file`, `error`) with `--json`, and
        to stderr otherwise.
        """
        with contextlib.closing(self.batches(paths)) as batches:
            for batch in batches:
                for one in batch.decoded():
                    if isinstance(one, Decoded):
                        yield one
                    else:
                        self.num_bad += 1
                        Line.of_error(*one).print(self._args)

    def finish(self, num_images: int) -> None:
        """Ends the command with status 2 when an image could not be read.

        Raises:
            UserError: how many; their lines have been printed.
        """
        check_all_read(self.num_bad, num_images)


def check_all_read(num_bad: int, num_images: int, where: str = "their lines") -> None:
    """Ends the command with status 2 when an image could not be read.

    Args:
        num_bad: images that could not be read.
        num_images: those that could included.
        where: what tells about each.

    Raises:
        UserError: how many.
    """
    if num_bad:
        raise UserError(f"{num_bad} of {num_images} images could not be read, see {where}")
