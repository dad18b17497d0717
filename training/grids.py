"""The image grids that a run writes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.image_grid import grid_size, save_grid
from dnnlib.tflib.devices import Devices
from dnnlib.tflib.execution import Execution
from metrics.image_difference import MeanSquaredError
from training.data.dataset import Dataset
from training.models.functions import fill_batch, make_function, make_images, to_uint8
from training.networks.table import AnyGenerator

_BATCH = 32
_LOOKED_AT = 32  # pictures that a tick looks at


@dataclass(frozen=True)
class Appearance:
    """What the fingerprint does to the pictures, and what the latent does: see `Grids.look`."""

    # dB, between two fingerprints of one latent: large is invisible; infinite without fingerprints
    psnr_fingerprints: float
    psnr_latents: float  # dB, between two latents of one fingerprint: small is varied
    images: np.ndarray  # uint8 [N,H,W,C], of latents and fingerprints of their own
    bits: np.ndarray  # [N,B], which they carry

    @property
    def ignores_latent(self) -> bool:
        """Whether the latent changes the pictures less than twice as much as the fingerprint."""
        return self.psnr_latents > self.psnr_fingerprints - 6.0


class Grids:
    """The image grids: fixed latents, fingerprints and noise, so that they can be compared.

    At most `minibatch_gpu` images are made at a time on a device: grids shall fit where training
    does.

    Args:
        generator: the average Gs; it is read at every call.
        seed: of latents, fingerprints and noise.
        minibatch_gpu: of training.
        execution: how the network runs.
        devices: where; all workers have to make the grids at once, and the chief writes them.
        labels: float32 [M,C], of all real images; None: there are none. Each row of a grid has one:
            the classes one after the other, or where labels are not one-hot, that of some image.
    """

    def __init__(
        self,
        generator: AnyGenerator,
        seed: int,
        minibatch_gpu: int,
        execution: Execution,
        devices: Devices | None = None,
        labels: np.ndarray | None = None,
    ) -> None:
        self._devices = devices or Devices()
        self._batch = min(minibatch_gpu, _BATCH) * self._devices.num_replicas
        self._size = grid_size(generator.resolution)
        count = self._size[0] * self._size[1]
        rnd = np.random.RandomState(seed % 2**32)
        latents = rnd.randn(count, generator.latent_size).astype(np.float32)
        bits = rnd.randint(0, 2, [count, generator.fingerprint_size]).astype(np.float32)
        self._num_bits = generator.fingerprint_size
        self._of_rows = None if labels is None else _labels_of_rows(labels, self._size[1], rnd)
        shown = np.zeros([count, 0], np.float32)
        if self._of_rows is not None:
            shown = np.repeat(self._of_rows, self._size[0], axis=0)
        codes = np.concatenate([bits, shown], axis=1)
        same_latents = np.repeat(latents[:1], count, axis=0)
        self._inputs = {"fakes-arbitrary": (latents, codes)}
        if generator.fingerprint_size:
            same_bits = np.repeat(bits[:1], count, axis=0)
            same_bits = np.concatenate([same_bits, shown], axis=1)
            self._inputs["fakes-watermarks-same"] = (latents, same_bits)
            self._inputs["fakes-latents-same"] = (same_latents, codes)
        self._noise = [
            rnd.randn(count, h, w, 1).astype(np.float32) for h, w in generator.noise_shapes
        ]
        widths = (generator.latent_size, codes.shape[1])
        self._signature = [
            *(tf.TensorSpec([None, width], tf.float32) for width in widths),
            [tf.TensorSpec([None, h, w, 1], tf.float32) for h, w in generator.noise_shapes],
        ]
        self._execution = execution
        self._images: Any = make_function(
            partial(make_images, generator), generator, execution, self._signature, self._devices
        )

    def trace(self) -> None:
        """Traces the network for the batches of the grids."""
        specs = tf.nest.map_structure(
            lambda spec: tf.TensorSpec([self._batch, *spec.shape[1:]], spec.dtype), self._signature
        )
        self._images.get_concrete_function(*specs)

    def look(self) -> Appearance:
        """Compares 8-bit pictures of the same latents and noise under other fingerprints.

        A few pictures, always the same, so that a tick can afford it; the metric
        `fingerprint_visibility<n>k` is the exact one.
        """
        total = len(self._noise[0])
        count = min(_LOOKED_AT, total)
        chosen = np.arange(count)
        if self._of_rows is not None:  # of all rows, and so of all classes
            chosen = np.arange(count) * total // count
        latents, codes = (values[chosen] for values in self._inputs["fakes-arbitrary"])
        bits, labels = np.split(codes, [self._num_bits], axis=1)
        images = self._in_8_bits(latents, codes)
        rolled = np.concatenate([np.roll(bits, 1, axis=0), labels], axis=1)
        others = self._in_8_bits(latents, rolled)
        alike = self._in_8_bits(latents, np.repeat(codes[:1], count, axis=0))
        fingerprints, between = MeanSquaredError(), MeanSquaredError()
        fingerprints.add(images, others)
        between.add(alike, np.roll(alike, 1, axis=0))
        return Appearance(fingerprints.psnr, between.psnr, images, bits)

    def _in_8_bits(self, latents: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Pictures as files hold them: uint8 [N,H,W,C]."""
        return to_uint8(tf.constant(self._pictures(latents, codes))).numpy()

    def _pictures(self, latents: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Any number of pictures, with the first noise maps: float32 [N,H,W,C]."""
        images = []
        for begin in range(0, len(latents), self._batch):
            end = min(begin + self._batch, len(latents))
            noise = [maps[begin:end] for maps in self._noise]
            images.append(self._run(latents[begin:end], codes[begin:end], noise))
        return np.concatenate(images)

    def _run(self, latents: np.ndarray, codes: np.ndarray, noise: list[np.ndarray]) -> np.ndarray:
        """At most a batch of images: float32 [N,H,W,C]."""
        count = len(latents)
        filled = [
            tf.constant(fill_batch(values, self._batch, self._execution))
            for values in (latents, codes, *noise)
        ]
        return self._images(filled[0], filled[1], filled[2:]).numpy()[:count]

    def save(self, run_dir: Path, suffix: str) -> None:
        """Writes the grids as `<kind>-<suffix>.png`; without fingerprints there is one kind."""
        for kind, (latents, codes) in self._inputs.items():
            made = self._pictures(latents, codes)
            if self._devices.is_chief:
                save_grid(made, run_dir / f"{kind}-{suffix}.png", self._size)

    def save_reals(self, dataset: Dataset, run_dir: Path) -> None:
        """Writes `reals.png`: the first images of the data set, or of each row's label."""
        if not self._devices.is_chief:
            return
        columns, rows = self._size
        if self._of_rows is None:
            images = list(dataset.images(limit=columns * rows))
        else:
            images = [dataset.image(i) for i in self._first_by_row(dataset.labels)]
        save_grid(np.stack(images), run_dir / "reals.png", self._size)

    def _first_by_row(self, labels: np.ndarray) -> Iterator[int]:
        """Numbers of real images in order of the grid: the next ones that have a row's label.

        Where there are too few of a label they begin again.
        """
        assert self._of_rows is not None
        shown: dict[bytes, int] = {}  # by label, how many are taken
        for label in self._of_rows:
            found = np.flatnonzero((labels == label).all(axis=1))
            begin = shown.get(label.tobytes(), 0)
            shown[label.tobytes()] = begin + self._size[0]
            yield from (int(found[(begin + i) % len(found)]) for i in range(self._size[0]))


def _labels_of_rows(labels: np.ndarray, rows: int, rnd: np.random.RandomState) -> np.ndarray:
    """One label for each row of a grid, [rows,C]: every class has the same number of rows, or one
    less; where there are more classes than rows, every so many-th has one."""
    are_classes = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
    if not are_classes:
        return labels[rnd.randint(0, len(labels), rows)]
    present = np.flatnonzero(labels.any(axis=0))
    shown = present[np.arange(rows) * len(present) // rows]
    return np.eye(labels.shape[1], dtype=np.float32)[shown]
