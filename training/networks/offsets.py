"""What a fingerprint adds to a layer, before its activation: room for bits beside the modulation.

A modulated layer has one factor per channel, the same everywhere in the picture. An offset is
linear in the style: a number per channel, or maps over the picture. With one fingerprint both are
constants, so that they fold into a baked instance (`training.models.baking`).
"""

import math

import tensorflow as tf

from training.networks.layers import VariableFactory


class StyleBias(tf.Module):
    """A bias per channel that follows the style: [N,D] -> [N,1,1,O]."""

    def __init__(
        self, variables: VariableFactory, scope: str, style_width: int, channels: int
    ) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(style_width)
        self.weight = variables.normal(f"{scope}/style_bias_weight", [style_width, channels])

    def __call__(self, style: tf.Tensor) -> tf.Tensor:
        """[N,D] -> [N,1,1,O], float32."""
        return tf.matmul(style, self.weight * self.scale)[:, None, None, :]


class ConstantMap(tf.Module):
    """What is left of all maps of a layer when the fingerprint is fixed: [1,H,W,O]."""

    def __init__(self, variables: VariableFactory, scope: str, size: int, channels: int) -> None:
        super().__init__()
        self.map = variables.zeros(f"{scope}/map", [1, size, size, channels])

    def __call__(self, style: tf.Tensor | None) -> tf.Tensor:
        """[1,H,W,O], whatever the style."""
        return tf.convert_to_tensor(self.map)


class StyleMaps(tf.Module):
    """K maps that follow the style, mixed into the layer's channels: [N,D] -> [N,H,W,O].

    The maps are what a fingerprint draws in the picture's plane; a 1x1 convolution gives each
    channel its share of them.
    """

    def __init__(
        self,
        variables: VariableFactory,
        scope: str,
        style_width: int,
        size: int,
        num_maps: int,
        channels: int,
    ) -> None:
        super().__init__()
        self.shape = (size, size, num_maps)
        self.scale = 1 / math.sqrt(style_width)
        self.mix_scale = 1 / math.sqrt(num_maps)
        self.weight = variables.normal(f"{scope}/map_weight", [style_width, size * size * num_maps])
        self.mix = variables.normal(f"{scope}/map_mix", [num_maps, channels])

    def __call__(self, style: tf.Tensor) -> tf.Tensor:
        """[N,D] -> [N,H,W,O]."""
        maps = tf.reshape(tf.matmul(style, self.weight * self.scale), [-1, *self.shape])
        return tf.einsum("nhwk,ko->nhwo", maps, self.mix * self.mix_scale)
