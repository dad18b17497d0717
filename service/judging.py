"""The detector of a service: a network, and a judge that is replaced when the registry changes."""

import argparse
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from dnnlib.errors import UserError
from dnnlib.tflib.machine import resolve_execution
from fingerprints.detection.detector import Finding
from fingerprints.detection.views import expand
from fingerprints.handles import handle_of
from gan_fingerprints.work.images import load_decoder
from gan_fingerprints.work.judges import RegistryJudge
from gan_fingerprints.work.registry import open_registry
from service.pictures import Picture, Pictures
from service.settings import Limits
from training.models.decoder_export import decoder_onnx
from training.models.functions import make_decoder

_SIZES = (1, 4, 16, 64, 256)  # of batches for which XLA compiles a program each


class UnavailableError(Exception):
    """No verdict can be given now; the text says why, for the log."""


@dataclass(frozen=True)
class Basis:
    """What verdicts of one moment follow from, beside the pictures."""

    model_hash: str
    model_name: str
    decoder_hash: str
    num_bits: int
    resolution: int
    num_channels: int
    registered: int  # fingerprints that pictures are compared with
    calibrated: str | None  # when, UTC; None: not
    calibration: str | None  # its hash
    registry_head: str  # hash of the log's last event
    level: float  # rate of false verdicts, per picture
    search: str  # which edits are tried
    registry_id: str  # which is not public

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, of what may be public."""
        return {key: value for key, value in vars(self).items() if key != "registry_id"}

    def handle_of(self, fingerprint_id: int) -> str:
        """The public handle of a fingerprint of the registry."""
        return handle_of(self.registry_id, self.model_hash, fingerprint_id)


class Judging:
    """Verdicts on pixels. `judge` is for one thread, `refresh` for another.

    Attributes:
        pictures: reads what was sent.
    """

    def __init__(self, args: argparse.Namespace, limits: Limits) -> None:
        """Loads the network, opens the registry and compiles what will run.

        Args:
            args: flags `network`, `registry`, `registry_key`, `fpr`, `decision`, `search`, `ops`,
                `precision`.
            limits: how many pictures are judged at once, and how large they may be.

        Raises:
            UserError: as `verify`: there is no such network, registry, model or fingerprint.
        """
        self._args = argparse.Namespace(
            **vars(args) | {"top": 0, "licensee": None, "payload_key": None}
        )
        network, *hashes = load_decoder(args.network)
        self._hashes: tuple[str | None, str] = (hashes[0], str(hashes[1]))
        self._shape = (network.resolution, network.resolution, network.num_channels)
        self.pictures = Pictures(network.resolution, network.num_channels, limits.max_pixels)
        self._network = network
        execution = resolve_execution(args.ops, args.precision)
        sizes = [size for size in _SIZES if size <= limits.max_batch]
        self._decoders = {size: make_decoder(network, size, execution) for size in sizes}
        self._problem: str | None = None
        self._file = _file_of(args.registry)
        self._judge, self._basis = self._make_judge(quiet=False)
        self._old: list[RegistryJudge] = []  # to be closed by the thread that used them
        self._lock = threading.Lock()
        self._threads = ThreadpoolController()  # to find the libraries takes a millisecond

    @property
    def basis(self) -> Basis:
        """Of the verdicts that are given now."""
        return self._basis

    @property
    def registry(self) -> Any:
        """The open registry."""
        return self._judge.registry

    @property
    def problem(self) -> str | None:
        """Why no verdict can be given; None: all is well."""
        return self._problem

    def warm_up(self) -> None:
        """Runs every program once, so that no request waits for a compiler."""
        for size in self._decoders:
            self._logits(np.zeros([size, *self._shape], np.uint8))

    def judge(self, items: Sequence[Picture | np.ndarray]) -> list[tuple[Finding, Basis] | str]:
        """A finding on each of some pictures, and what it follows from; or why it cannot be read.

        Args:
            items: pictures; or float [B], logits that were read elsewhere, without views.

        Raises:
            UnavailableError: the registry cannot be read, or the decoder gives no finite values.
        """
        self._close_old()
        if self._problem is not None:
            raise UnavailableError(self._problem)
        judge, basis = self._current()
        if _file_of(self._args.registry) != self._file:
            # SQLite takes the journals beside a file for those of the file that it has open, and
            # must not look at them where that is another one by now.
            raise UnavailableError("the registry's file is gone or another one")
        with self._threads.limit(limits=1, user_api="blas"):
            read = self._read([one for one in items if isinstance(one, Picture)])
            rows = [next(read) if isinstance(one, Picture) else one for one in items]
            good = [row for row in rows if isinstance(row, np.ndarray)]
            if not good:
                return [row for row in rows if isinstance(row, str)]
            logits = np.stack(good)
            if not np.isfinite(logits).all():
                raise UnavailableError("the decoder gives values that are not finite")
            try:
                findings = judge.findings(logits)
            except UserError as error:
                raise UnavailableError(str(error)) from error
        found = iter(findings)
        return [row if isinstance(row, str) else (next(found), basis) for row in rows]

    def _read(self, pictures: Sequence[Picture]) -> Iterator[np.ndarray | str]:
        """Logits of each picture, [B] or [K,B] of views; or why there are none."""
        pixels = self.pictures.pixels(pictures)
        good = [one for one in pixels if isinstance(one, np.ndarray)]
        logits = iter(self._logits(np.stack(good)) if good else ())
        return (one if isinstance(one, str) else next(logits) for one in pixels)

    def public_decoder(self) -> bytes:
        """The decoder for browsers, ONNX.

        Raises:
            UserError: what converts it is not installed.
        """
        return decoder_onnx(self._network)

    def refresh(self) -> bool:
        """Looks at the registry; judges by its new state if there is one.

        Returns:
            Whether the state is another than before.
        """
        try:
            # Opened anew, since a file that was replaced lives on for those who have it open.
            with open_registry(self._args) as registry:
                head = (registry.id, registry.head())
            is_new = head != (self._judge.registry.id, self._basis.registry_head)
            if is_new or self._file != _file_of(self._args.registry):
                file = _file_of(self._args.registry)
                found = self._make_judge(quiet=True)
                with self._lock:
                    self._old.append(self._judge)
                    self._judge, self._basis = found
                    self._file = file
        except UserError as error:
            self._problem = str(error)
            return False
        self._problem = None
        return is_new

    def close(self) -> None:
        """Closes the registry."""
        self._close_old()
        self._judge.registry.close()

    def _current(self) -> tuple[RegistryJudge, Basis]:
        with self._lock:
            return self._judge, self._basis

    def _close_old(self) -> None:
        with self._lock:
            old, self._old = self._old, []
        for judge in old:
            judge.registry.close()

    def _make_judge(self, *, quiet: bool) -> tuple[RegistryJudge, Basis]:
        # The head is read before what follows from it: what comes in between is seen next time.
        with open_registry(self._args) as registry:
            head = registry.head()
        judge = RegistryJudge(self._args, self._hashes, self._args.fpr, quiet=quiet)
        model = judge.model
        entries = judge.registry.decoders(model)
        dates = [e.calibrated for e in entries if e.model.decoder_hash == model.decoder_hash]
        basis = Basis(
            model_hash=model.model_hash,
            model_name=model.name,
            decoder_hash=model.decoder_hash,
            num_bits=model.num_bits,
            resolution=self._shape[0],
            num_channels=self._shape[2],
            registered=judge.num_keys,  # not what the registry has by now
            calibrated=dates[0] if dates else None,
            calibration=judge.about["the calibration"],
            registry_head=head,
            level=self._args.fpr,
            search=self._args.search,
            registry_id=judge.registry.id,
        )
        return judge, basis

    def _logits(self, images: np.ndarray) -> np.ndarray:
        """Logits [N,B], or [N,K,B] of K views."""
        if self._args.search == "none":
            return self._decode(images)
        views = expand(images, search=self._args.search)  # [N,K,H,W,C]
        flat = views.reshape(-1, *views.shape[2:])
        return self._decode(flat).reshape(*views.shape[:2], -1)

    def _decode(self, images: np.ndarray) -> np.ndarray:
        """Logits [N,B] by programs of several sizes, so that few places of them stay empty."""
        parts = []
        for start, stop, size in divide(len(images), self._decoders):
            parts.append(self._decoders[size](images[start:stop]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _file_of(place: str) -> tuple[int, int] | None:
    """Which file a registry is; None: there is none, or it is behind a server."""
    try:
        found = os.stat(place)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def divide(count: int, sizes: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """How pictures are shared out among programs, each of which always takes as many.

    A program that would be filled by less than half is left for smaller ones.

    Args:
        count: pictures, at least 1.
        sizes: of the programs; 1 is among them.

    Yields:
        First picture, the one behind the last, and the size of the program.
    """
    sizes = sorted(sizes)
    start = 0
    while start < count:
        left = count - start
        size = max((size for size in sizes if 2 * left > size), default=sizes[0])
        stop = min(start + size, count)
        yield start, stop, size
        start = stop
