"""StyleGAN2 itself (arXiv 1912.04958), without fingerprints: generator and discriminator."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from training.networks.configs import StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from training.networks.discriminator import Trunk
from training.networks.layers import Dense, Network, Shift, VariableFactory
from training.networks.mapping import LatentMapping
from training.networks.running import OutputTransform, run_in_batches
from training.networks.synthesis import Synthesis, Synthesizer


def make_mapping(variables: VariableFactory, config: StyleGAN2GeneratorConfig) -> LatentMapping:
    """The mapping of a generator: latents and labels -> styles."""
    scopes = ("G_mapping/LabelEmbed", "G_mapping/Dense")
    return LatentMapping(variables, config, scopes=scopes, latent_size=config.latent_size)


class LatentSynthesizer(Synthesizer):
    """Latent, and label where there are classes -> styles -> image: the networks of StyleGAN2.

    `dlatent_avg` is the mean style, which truncation draws styles to.
    """

    config: StyleGAN2GeneratorConfig

    def __init__(
        self, config: StyleGAN2GeneratorConfig, *, seed: int | None = None, frozen: bool = False
    ) -> None:
        super().__init__(config, seed=seed)
        self._factory.is_frozen = frozen
        self.synthesis = Synthesis(self._factory, config)
        self.mapping = make_mapping(self._factory, config)
        zeros = np.zeros([config.dlatent_size], np.float32)
        self.dlatent_avg = self._factory.constant("dlatent_avg", zeros, trainable=False)

    def map_latents(
        self,
        latents: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> tf.Tensor:
        """[N,Z], one-hot floats [N,C] (None without classes) -> styles [N,L,D].

        Args:
            latents: ~ N(0,1), float32.
            labels: one-hot; None where the network has no classes.
            truncation_psi: how far styles lie from their mean, as a share of how far they would
                (StyleGAN, arXiv 1812.04948, appendix B); 1: as they are.
            truncation_cutoff: so many slots alone, from the first on; None: all.
        """
        styles = self.mapping(latents, labels)[:, None, :]  # [N,1,D]
        styles = tf.tile(styles, [1, self.synthesis.num_slots, 1])
        if truncation_psi == 1.0:
            return styles
        slots = self.synthesis.num_slots
        cutoff = slots if truncation_cutoff is None else truncation_cutoff
        psi = np.where(np.arange(slots) < cutoff, np.float32(truncation_psi), np.float32(1))
        return self.dlatent_avg + psi[None, :, None] * (styles - self.dlatent_avg)

    def synthesize(
        self,
        styles: tf.Tensor,
        noise: Sequence[tf.Tensor] | None = None,
        shifts: Mapping[str, Shift] | None = None,
    ) -> tf.Tensor:
        """[N,L,D] -> images [N,H,W,C] around [-1,1]; noise None takes the stored maps.

        `shifts`: what is added to style and bias of layers, by the layer's `scope`.
        """
        return self.synthesis(None, styles, noise, shifts)


class StyleGAN2Generator(LatentSynthesizer):
    """The generator of StyleGAN2."""

    Config = StyleGAN2GeneratorConfig

    def __call__(
        self,
        latents: tf.Tensor,
        labels: tf.Tensor | None = None,
        noise: Sequence[tf.Tensor] | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> tf.Tensor:
        """Latents [N,Z], labels [N,C] -> images [N,H,W,C], around [-1,1], not clipped.

        `noise`: maps [N or 1,h,w,1] in order of the layers; None takes the stored maps.
        """
        styles = self.map_latents(
            latents, labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
        )
        return self.synthesize(styles, noise)

    def run(
        self,
        latents: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        minibatch_size: int | None = None,
        output_transform: OutputTransform | None = None,
        randomize_noise: bool = True,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
    ) -> np.ndarray:
        """`Generator.run` with labels [N,C] in place of fingerprints, and with truncation."""
        psi = 1.0 if truncation_psi is None else truncation_psi

        def images(latents: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
            labels, noise = others if self.label_size else (None, *others)
            return self(
                latents, labels, noise, truncation_psi=psi, truncation_cutoff=truncation_cutoff
            )

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
            truncation_psi=None,
        )


class StyleGAN2Discriminator(Network):
    """Image, and label where there are classes -> realness score.

    With classes the score is the product of two vectors, one of the image and one of the label
    (Miyato and Koyama, arXiv 1802.05637; in this form StyleGAN2-ADA).
    """

    Config = StyleGAN2DiscriminatorConfig
    config: StyleGAN2DiscriminatorConfig

    def __init__(self, config: StyleGAN2DiscriminatorConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self.trunk = Trunk(
            self._factory,
            config,
            mbstd_group_size=config.mbstd_group_size,
            clamp=config.conv_clamp or None,
        )
        self.mapping = None
        if config.label_size:
            self.mapping = LatentMapping(
                self._factory, config, scopes=("LabelEmbed", "Mapping"), latent_size=0
            )
        self._width = config.dlatent_size if config.label_size else 1
        self.output = Dense(
            self._factory, "Output", self.trunk.num_features, self._width, act="linear"
        )

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor | None = None, minibatches: int = 1
    ) -> tf.Tensor:
        """[N,H,W,C] in [-1,1], one-hot floats [N,C] -> [N,1], larger is more real.

        `minibatches`: as in `Discriminator`.
        """
        y = self.output(self.trunk(images, minibatches))
        if self.mapping is None:
            return y
        projected = tf.reduce_sum(y * self.mapping(None, labels), axis=1, keepdims=True)
        return projected / math.sqrt(self._width)
