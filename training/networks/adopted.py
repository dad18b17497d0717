"""A trained StyleGAN2 that learns to carry fingerprints: its own weights stay as they are."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.shapes import check_shape
from training.networks.configs import AdoptedGeneratorConfig
from training.networks.layers import Shift, VariableFactory
from training.networks.running import OutputTransform, run_in_batches
from training.networks.stylegan2 import LatentSynthesizer


class FingerprintShift(tf.Module):
    """What a fingerprint adds to a layer: F(c) = (2c - 1) W, 0 at the start.

    With one fingerprint it is a constant, and so a part of the layer's biases.
    """

    def __init__(
        self, variables: VariableFactory, scope: str, fingerprint_size: int, channels: int
    ) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(fingerprint_size)
        self.weight = variables.zeros(scope, [fingerprint_size, channels])

    def __call__(self, fingerprints: tf.Tensor) -> tf.Tensor:
        """Bits as 0/1 floats [N,B] -> [N,I], float32."""
        return tf.matmul(fingerprints * 2 - 1, self.weight * self.scale)


class AdoptedGenerator(LatentSynthesizer):
    """Latent, fingerprint, and label where there are classes -> image.

    The generator that was adopted, frozen, with the fingerprint added to the style of every
    modulated layer, `s = A(w) + b + F(c)`, and if so configured to its bias. Trainable is F alone.
    As F starts at 0, pictures are the original's, bit for bit, until it is trained.

    Attributes:
        original_file: bytes of the file that the generator came in, uint8 [M], of which instances
            are made; None: there is none, and instances have this project's layout. Snapshots
            keep it.
    """

    Config = AdoptedGeneratorConfig
    config: AdoptedGeneratorConfig

    def __init__(self, config: AdoptedGeneratorConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed, frozen=True)
        self.original_file: np.ndarray | None = None
        self._factory.is_frozen = False
        size = config.fingerprint_size
        self.style_shifts: dict[str, FingerprintShift] = {}  # by the layer's scope
        self.bias_shifts: dict[str, FingerprintShift] = {}
        for _, layer in self.synthesis.style_layers():
            name = f"G_fingerprint/{layer.scope.removeprefix('G_synthesis/')}"
            *_, fan_in, fan_out = layer.weight.shape
            self.style_shifts[layer.scope] = FingerprintShift(
                self._factory, f"{name}/style_weight", size, fan_in
            )
            if config.fingerprint_biases:
                self.bias_shifts[layer.scope] = FingerprintShift(
                    self._factory, f"{name}/bias_weight", size, fan_out
                )

    def shifts(self, fingerprints: tf.Tensor) -> dict[str, Shift]:
        """Bits as 0/1 floats [N,B] -> what `synthesize` adds, by the layer's scope."""
        check_shape(fingerprints, [None, self.fingerprint_size], "fingerprints")
        biases = {scope: shift(fingerprints) for scope, shift in self.bias_shifts.items()}
        return {
            scope: Shift(style=shift(fingerprints), bias=biases.get(scope))
            for scope, shift in self.style_shifts.items()
        }

    def __call__(
        self,
        latents: tf.Tensor,
        fingerprints: tf.Tensor,
        labels: tf.Tensor | None = None,
        noise: Sequence[tf.Tensor] | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> tf.Tensor:
        """[N,Z], bits as 0/1 floats [N,B], labels [N,C] -> images [N,H,W,C] around [-1,1].

        Args:
            latents: ~ N(0,1), float32.
            fingerprints: 0 or 1, float32.
            labels: one-hot; None where the network has no classes.
            noise: maps [N or 1,h,w,1] in order of the layers; None takes the stored maps.
            truncation_psi, truncation_cutoff: see `map_latents`.
        """
        styles = self.map_latents(
            latents, labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
        )
        return self.synthesize(styles, noise, self.shifts(fingerprints))

    def original(
        self,
        latents: tf.Tensor,
        labels: tf.Tensor | None = None,
        noise: Sequence[tf.Tensor] | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> tf.Tensor:
        """The pictures of the generator that was adopted, as `StyleGAN2Generator` makes them."""
        styles = self.map_latents(
            latents, labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
        )
        return self.synthesize(styles, noise)

    def run(
        self,
        latents: np.ndarray,
        fingerprints: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        minibatch_size: int | None = None,
        output_transform: OutputTransform | None = None,
        randomize_noise: bool = True,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
    ) -> np.ndarray:
        """`Generator.run` with labels [N,C] as well, where there are classes, and truncation."""
        truncation: dict[str, Any] = {"truncation_cutoff": truncation_cutoff}
        truncation["truncation_psi"] = 1.0 if truncation_psi is None else truncation_psi

        def images(latents: tf.Tensor, bits: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
            labels, noise = others if self.label_size else (None, *others)
            return self(latents, bits, labels, noise, **truncation)

        inputs: Mapping[str, tuple[Any, int]] = {
            "latents": (latents, self.latent_size),
            "fingerprints": (fingerprints, self.fingerprint_size),
        }
        if self.label_size:
            inputs = {**inputs, "labels": (labels, self.label_size)}
        return run_in_batches(
            images,
            inputs,
            self.noise_shapes,
            minibatch_size=minibatch_size,
            output_transform=output_transform,
            randomize_noise=randomize_noise,
            truncation_psi=None,
        )
