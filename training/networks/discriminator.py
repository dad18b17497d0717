"""Discriminator: image -> score; its body serves the decoder as well."""

import math
from typing import NamedTuple

import tensorflow as tf

from dnnlib.tflib.ops.upfirdn_2d import downsample_2d
from dnnlib.tflib.shapes import check_shape
from training.networks.configs import DecoderConfig, DiscriminatorConfig
from training.networks.layers import (
    RESAMPLE_FILTER,
    Conv,
    Dense,
    Network,
    VariableFactory,
    check_architecture,
    flatten_chw,
    minibatch_stddev,
    resolution_log2,
)


class Block(NamedTuple):
    """The layers of one resolution above 4x4; absent ones are None."""

    from_rgb: Conv | None
    conv0: Conv
    conv1_down: Conv
    skip: Conv | None


class Trunk(tf.Module):
    """StyleGAN2's discriminator up to its output layer: [N,H,W,C] -> [N,nf(0)].

    `mbstd_group_size` None leaves out the minibatch standard deviation, as the decoder wants;
    `clamp` is the largest magnitude behind a convolution.
    """

    def __init__(
        self,
        variables: VariableFactory,
        config: DiscriminatorConfig | DecoderConfig,
        *,
        mbstd_group_size: int | None,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        architecture = check_architecture(config.architecture)
        self._shared = variables
        last = resolution_log2(config.resolution)
        self.resolution = config.resolution
        self.num_channels = config.num_channels
        self.mbstd_group_size = mbstd_group_size
        nf = config.nf

        def from_rgb(log2: int) -> Conv | None:
            if log2 != last and architecture != "skip":
                return None
            scope = f"{2**log2}x{2**log2}/FromRGB"
            # StyleGAN2-ADA does not clamp this layer at 4x4, nor the skip connections.
            limit = clamp if log2 > 2 else None
            return Conv(variables, scope, config.num_channels, nf(log2 - 1), 1, clamp=limit)

        blocks = []
        for log2 in range(last, 2, -1):
            scope, wide, narrow = f"{2**log2}x{2**log2}", nf(log2 - 1), nf(log2 - 2)
            rgb = from_rgb(log2)
            conv0 = Conv(variables, f"{scope}/Conv0", wide, wide, 3, clamp=clamp)
            conv1 = Conv(variables, f"{scope}/Conv1_down", wide, narrow, 3, down=True, clamp=clamp)
            skip = None
            if architecture == "resnet":
                skip = Conv(variables, f"{scope}/Skip", wide, narrow, 1, down=True, plain=True)
            blocks.append(Block(rgb, conv0, conv1, skip))
        self._blocks = tuple(blocks)
        self.final_from_rgb = from_rgb(2)
        extra = 0 if mbstd_group_size is None else 1
        self.conv = Conv(variables, "4x4/Conv", nf(1) + extra, nf(1), 3, clamp=clamp)
        self.dense = Dense(variables, "4x4/Dense0", nf(1) * 16, nf(0))
        self.num_features = nf(0)
        self.keeps_image = architecture == "skip"

    def __call__(self, images: tf.Tensor, minibatches: int = 1) -> tf.Tensor:
        """[N,H,W,C] in [-1,1] -> features [N,nf(0)]; `minibatches`: see `minibatch_stddev`."""
        check_shape(images, [None, self.resolution, self.resolution, self.num_channels], "images")
        x, y = None, images
        for block in self._blocks:
            x = _add_image(x, y, block.from_rgb)
            shortcut = x
            x = block.conv1_down(block.conv0(x))
            if block.skip is not None:
                x = (x + block.skip(shortcut)) * (1 / math.sqrt(2))
            if self.keeps_image:
                y = downsample_2d(y, RESAMPLE_FILTER, impl=self._shared.impl)
        x = _add_image(x, y, self.final_from_rgb)
        if self.mbstd_group_size is not None:
            x = minibatch_stddev(x, self.mbstd_group_size, minibatches)
        return self.dense(flatten_chw(self.conv(x)))


def _add_image(x: tf.Tensor | None, image: tf.Tensor, from_rgb: Conv | None) -> tf.Tensor:
    if from_rgb is None:
        return x
    features = from_rgb(image)
    return features if x is None else x + features


class Discriminator(Network):
    """Image -> realness score (StyleGAN2, section 4)."""

    Config = DiscriminatorConfig
    config: DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig, *, seed: int | None = None) -> None:
        super().__init__(config, seed=seed)
        self.trunk = Trunk(self._factory, config, mbstd_group_size=config.mbstd_group_size)
        self.output = Dense(self._factory, "Output", self.trunk.num_features, 1, act="linear")

    def __call__(self, images: tf.Tensor, minibatches: int = 1) -> tf.Tensor:
        """Scores images: [N,H,W,C] in [-1,1] -> [N,1], larger is more real.

        Several minibatches in one call, one behind the other, are scored each for itself: none
        enters the minibatch standard deviation of another.
        """
        return self.output(self.trunk(images, minibatches))
