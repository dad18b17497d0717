"""The image grids that a run writes."""

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
        labels: float32 [M,C], of all real images, in place of bits; None: there are none.
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
        if labels is not None:
            bits = labels[rnd.randint(0, len(labels), count)]
        same_latents = np.repeat(latents[:1], count, axis=0)
        same_bits = np.repeat(bits[:1], count, axis=0)
        self._inputs = {"fakes-arbitrary": (latents, bits)}
        if generator.fingerprint_size:
            self._inputs["fakes-watermarks-same"] = (latents, same_bits)
            self._inputs["fakes-latents-same"] = (same_latents, bits)
        self._noise = [
            rnd.randn(count, h, w, 1).astype(np.float32) for h, w in generator.noise_shapes
        ]
        widths = (generator.latent_size, bits.shape[1])
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
        count = min(_LOOKED_AT, len(self._noise[0]))
        latents, bits = (values[:count] for values in self._inputs["fakes-arbitrary"])
        images = self._in_8_bits(latents, bits)
        others = self._in_8_bits(latents, np.roll(bits, 1, axis=0))
        alike = self._in_8_bits(latents, np.repeat(bits[:1], count, axis=0))
        fingerprints, between = MeanSquaredError(), MeanSquaredError()
        fingerprints.add(images, others)
        between.add(alike, np.roll(alike, 1, axis=0))
        return Appearance(fingerprints.psnr, between.psnr, images, bits)

    def _in_8_bits(self, latents: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Pictures as files hold them: uint8 [N,H,W,C]."""
        return to_uint8(tf.constant(self._pictures(latents, bits))).numpy()

    def _pictures(self, latents: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Any number of pictures, with the first noise maps: float32 [N,H,W,C]."""
        images = []
        for begin in range(0, len(latents), self._batch):
            end = min(begin + self._batch, len(latents))
            noise = [maps[begin:end] for maps in self._noise]
            images.append(self._run(latents[begin:end], bits[begin:end], noise))
        return np.concatenate(images)

    def _run(self, latents: np.ndarray, bits: np.ndarray, noise: list[np.ndarray]) -> np.ndarray:
        """At most a batch of images: float32 [N,H,W,C]."""
        count = len(latents)
        filled = [
            tf.constant(fill_batch(values, self._batch, self._execution))
            for values in (latents, bits, *noise)
        ]
        return self._images(filled[0], filled[1], filled[2:]).numpy()[:count]

    def save(self, run_dir: Path, suffix: str) -> None:
        """Writes the grids as `<kind>-<suffix>.png`; without fingerprints there is one kind."""
        for kind, (latents, bits) in self._inputs.items():
            made = self._pictures(latents, bits)
            if self._devices.is_chief:
                save_grid(made, run_dir / f"{kind}-{suffix}.png", self._size)

    def save_reals(self, dataset: Dataset, run_dir: Path) -> None:
        """Writes `reals.png`: the first images of the data set."""
        if not self._devices.is_chief:
            return
        images = np.stack(list(dataset.images(limit=self._size[0] * self._size[1])))
        save_grid(images, run_dir / "reals.png", self._size)
