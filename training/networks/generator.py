"""Generator: latent, label and fingerprint -> image that carries the fingerprint."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from training.networks.configs import GeneratorConfig
from training.networks.mapping import FingerprintMapping
from training.networks.running import OutputTransform, run_in_batches
from training.networks.synthesis import Synthesis, Synthesizer

_OF_BITS = ("/mod_weight", "/style_bias_weight", "/map_weight", "/map_mix")


class Generator(Synthesizer):
    """Fingerprint mapping and synthesis in one network (paper, section 3.2).

    A label says what to show, as the latent does, so it goes the latent's way: an instance, whose
    fingerprint is a constant, takes both.
    """

    Config = GeneratorConfig
    config: GeneratorConfig

    def __init__(self, config: GeneratorConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self.synthesis = Synthesis(self._factory, config)
        self.mapping = FingerprintMapping(self._factory, config, num_slots=self.synthesis.num_slots)

    def map_fingerprints(self, fingerprints: tf.Tensor) -> tf.Tensor:
        """Bits as 0/1 floats [N,B] -> styles [N,L,D]."""
        return self.mapping(fingerprints)

    def fingerprint_trainables(self) -> dict[str, tf.Variable]:
        """Those of `named_trainables` that say what bits do, and nothing without them."""
        return {
            name: variable
            for name, variable in self.named_trainables().items()
            if name.endswith(_OF_BITS) or (name.startswith("G_mapping/") and "bias" not in name)
        }

    def synthesize(
        self,
        latents: tf.Tensor,
        styles: tf.Tensor,
        noise: Sequence[tf.Tensor] | None = None,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """[N,Z], [N,L,D] -> images [N,H,W,C] around [-1,1]; noise None takes the stored maps.

        `labels`: one-hot floats [N,C]; None without classes.
        """
        return self.synthesis(latents, styles, noise, labels=labels)

    def __call__(
        self,
        latents: tf.Tensor,
        fingerprints: tf.Tensor,
        noise: Sequence[tf.Tensor] | None = None,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """[N,Z], bits as 0/1 floats [N,B] -> images [N,H,W,C], around [-1,1], not clipped.

        Args:
            latents: ~ N(0,1), float32.
            fingerprints: 0 or 1, float32.
            noise: maps [N or 1,h,w,1] in order of the slots; None takes the stored maps.
            labels: one-hot floats [N,C]; None where the network has no classes.
        """
        return self.synthesize(latents, self.map_fingerprints(fingerprints), noise, labels)

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
    ) -> np.ndarray:
        """The published `Gs.run`: arrays to arrays, images channels first.

        Args:
            latents: [N,Z], N at least 1.
            fingerprints: [N,B], 0 or 1, of any numeric type.
            labels: [N,C], one-hot; None where the network has no classes.
            minibatch_size: images at a time; None: all.
            output_transform: of each minibatch of images, a float32 tensor [n,C,H,W]; a function,
                or a dict with one as "func" and its keywords, such as
                `dict(func=convert_images_to_uint8, nchw_to_nhwc=True)`.
            randomize_noise: new noise in every call, not to be drawn again; False: the stored maps.
            truncation_psi: accepted, but without effect, which a warning says.

        Returns:
            float32 [N,C,H,W], around [-1,1], not clipped; or what `output_transform` makes of it.

        Raises:
            ValueError: other shapes, or no function to transform with.
        """

        def images(latents: tf.Tensor, bits: tf.Tensor, *others: Any) -> tf.Tensor:
            labels, noise = others if self.label_size else (None, *others)
            return self(latents, bits, noise, labels)

        inputs: dict[str, tuple[Any, int]] = {
            "latents": (latents, self.latent_size),
            "fingerprints": (fingerprints, self.fingerprint_size),
        }
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
