"""Decoder: image -> latent, fingerprint logits, and label where there are classes."""

from typing import NamedTuple

import tensorflow as tf

from training.networks.configs import DecoderConfig
from training.networks.discriminator import Trunk
from training.networks.layers import Dense, Network


class Recovered(NamedTuple):
    """What an image was made from, as far as the decoder can tell."""

    latents: tf.Tensor  # [N,Z]
    labels: tf.Tensor  # [N,C]; C is 0 without classes
    logits: tf.Tensor  # [N,B], of the fingerprint; above 0: the bit is 1


class Decoder(Network):
    """Recovers latent and fingerprint from an image (paper, section 3.2), and its class.

    The discriminator's body without minibatch standard deviation. It is told no label: who reads a
    fingerprint has nothing but the picture.
    """

    Config = DecoderConfig
    config: DecoderConfig

    def __init__(self, config: DecoderConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self.trunk = Trunk(self._factory, config, mbstd_group_size=None)
        width = config.latent_size + config.label_size + config.fingerprint_size
        self.output = Dense(self._factory, "Output", self.trunk.num_features, width, act="linear")

    def recover(self, images: tf.Tensor) -> Recovered:
        """[N,H,W,C] in [-1,1] -> all that it recovers."""
        y = self.output(self.trunk(images))  # [N,Z+C+B]
        begin, end = self.latent_size, self.latent_size + self.label_size
        return Recovered(y[:, :begin], y[:, begin:end], y[:, end:])

    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """[N,H,W,C] in [-1,1] -> latents [N,Z], fingerprint logits [N,B] (above 0: bit is 1)."""
        recovered = self.recover(images)
        return recovered.latents, recovered.logits
