"""Decoder: image -> latent, fingerprint logits, and label where there are classes."""

import math
from typing import NamedTuple

import tensorflow as tf

from training.networks.configs import DecoderConfig
from training.networks.discriminator import Trunk
from training.networks.layers import Dense, Network, VariableFactory


class Recovered(NamedTuple):
    """What an image was made from, as far as the decoder can tell."""

    latents: tf.Tensor  # [N,Z]
    labels: tf.Tensor  # [N,C]; C is 0 without classes
    logits: tf.Tensor  # [N,B], of the fingerprint; above 0: the bit is 1


class Readout(tf.Module):
    """One linear layer from the pixels of the picture, made small, to the bits.

    A fingerprint that adds much the same to every picture can be read so (docs/training.md).
    """

    def __init__(
        self, variables: VariableFactory, size: int, num_channels: int, num_bits: int
    ) -> None:
        super().__init__()
        self.size = size
        fan_in = size * size * num_channels
        self.scale = 1 / math.sqrt(fan_in)
        self.weight = variables.zeros("Readout/weight", [fan_in, num_bits])
        self.bias = variables.zeros("Readout/bias", [num_bits])

    def small(self, images: tf.Tensor) -> tf.Tensor:
        """[N,H,W,C] -> means of squares of pixels, [N,size*size*C]."""
        *_, height, width, channels = images.shape
        shape = [-1, self.size, height // self.size, self.size, width // self.size, channels]
        means = tf.reduce_mean(tf.reshape(images, shape), axis=[2, 4])
        return tf.reshape(means, [-1, self.size * self.size * channels])

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """[N,H,W,C] in [-1,1] -> [N,B]; 0 at the start."""
        return tf.matmul(self.small(images), self.weight * self.scale) + self.bias


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
        self.readout = None
        if size := config.readout_size:
            if config.resolution % size:
                raise ValueError(f"readout_size={size} does not divide {config.resolution} pixels")
            self.readout = Readout(
                self._factory, size, config.num_channels, config.fingerprint_size
            )

    def recover(self, images: tf.Tensor) -> Recovered:
        """[N,H,W,C] in [-1,1] -> all that it recovers."""
        y = self.output(self.trunk(images))  # [N,Z+C+B]
        begin, end = self.latent_size, self.latent_size + self.label_size
        logits = y[:, end:]
        if self.readout is not None:
            logits += self.readout(images)
        return Recovered(y[:, :begin], y[:, begin:end], logits)

    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """[N,H,W,C] in [-1,1] -> latents [N,Z], fingerprint logits [N,B] (above 0: bit is 1)."""
        recovered = self.recover(images)
        return recovered.latents, recovered.logits
