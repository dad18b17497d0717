"""Generator with one fingerprint in its weights: latent -> image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from training.networks.configs import PlainGeneratorConfig
from training.networks.running import OutputTransform, run_in_batches
from training.networks.synthesis import Synthesis, Synthesizer


class PlainGenerator(Synthesizer):
    """The synthesis network with plain convolutions: no mapping, no modulation, no fingerprint.

    Its variables have the names and shapes of a `Generator`'s; `training.models.baking` makes their
    values.
    """

    Config = PlainGeneratorConfig
    config: PlainGeneratorConfig

    def __init__(self, config: PlainGeneratorConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self.synthesis = Synthesis(self._factory, config)

    def __call__(
        self,
        latents: tf.Tensor,
        noise: Sequence[tf.Tensor] | None = None,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Latents ~ N(0,1) [N,Z] -> images [N,H,W,C], around [-1,1], not clipped.

        Args:
            latents: float32.
            noise: maps [N or 1,h,w,1] in order of the layers; None takes the stored maps.
            labels: one-hot floats [N,C]; None where the network has no classes.
        """
        return self.synthesis(latents, None, noise, labels=labels)

    def run(
        self,
        latents: np.ndarray,
        *,
        labels: np.ndarray | None = None,
        minibatch_size: int | None = None,
        output_transform: OutputTransform | None = None,
        randomize_noise: bool = True,
        truncation_psi: float | None = None,
    ) -> np.ndarray:
        """`Generator.run` without fingerprints: this one has its own."""

        def images(latents: tf.Tensor, *others: Any) -> tf.Tensor:
            labels, noise = others if self.label_size else (None, *others)
            return self(latents, noise, labels)

        inputs: dict[str, tuple[Any, int]] = {"latents": (latents, self.latent_size)}
        if self.label_size:
            inputs["labels"] = (labels, self.label_size)
        return run_in_batches(
            images,
            inputs,
            self.noise_shapes,
            minibatch_size=minibatch_size,
            output_transform=output_transform,
            randomize_noise=randomize_noise,
            truncation_psi=truncation_psi,
        )
