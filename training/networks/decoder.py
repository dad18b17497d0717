"""Decoder: image -> latent and fingerprint logits."""

import tensorflow as tf

from training.networks.configs import DecoderConfig
from training.networks.discriminator import Trunk
from training.networks.layers import Dense, Network


class Decoder(Network):
    """Recovers latent and fingerprint from an image (paper, section 3.2).

    The discriminator's body without minibatch standard deviation.
    """

    Config = DecoderConfig
    config: DecoderConfig

    def __init__(self, config: DecoderConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self.trunk = Trunk(self._factory, config, mbstd_group_size=None)
        size = config.latent_size + config.fingerprint_size
        self.output = Dense(self._factory, "Output", self.trunk.num_features, size, act="linear")

    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """[N,H,W,C] in [-1,1] -> latents [N,Z], fingerprint logits [N,B] (above 0: bit is 1)."""
        y = self.output(self.trunk(images))  # [N,Z+B]
        return y[:, : self.latent_size], y[:, self.latent_size :]
