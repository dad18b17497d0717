"""Synthesis: latent and styles -> image."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from dnnlib.tflib.shapes import check_shape
from training.networks.configs import GeneratorConfig, PlainGeneratorConfig
from training.networks.layers import (
    RESAMPLE_FILTER,
    Conv,
    Dense,
    ModulatedConv,
    VariableFactory,
    check_architecture,
    resolution_log2,
)
from training.networks.offsets import ConstantMap, StyleBias, StyleMaps


class Block(NamedTuple):
    """The layers of one resolution; absent ones are None."""

    log2: int
    conv0_up: ModulatedConv | None
    conv1: ModulatedConv
    skip: Conv | None
    to_rgb: ModulatedConv | None


class Synthesis(tf.Module):
    """StyleGAN2's synthesis network with the latent in place of the learned constant.

    The latent enters through a dense layer at 4x4; the styles carry the fingerprint (paper,
    section 3.2 and figure 2). In that of a plain generator no layer is modulated, and there are no
    styles.
    """

    def __init__(
        self, variables: VariableFactory, config: GeneratorConfig | PlainGeneratorConfig
    ) -> None:
        super().__init__()
        self._shared = variables
        check_architecture(config.architecture)
        last = resolution_log2(config.resolution)
        self.latent_size = config.latent_size
        self.dlatent_size = config.dlatent_size if isinstance(config, GeneratorConfig) else None
        self.num_slots = 2 * last - 2
        # One noise map per 3x3 convolution, numbered by its style slot.
        self.noise_sizes = [2 ** ((slot + 5) // 2) for slot in range(self.num_slots - 1)]
        self.noise = [
            variables.normal(f"G_synthesis/noise{slot}", [1, 1, size, size], trainable=False)
            for slot, size in enumerate(self.noise_sizes)
        ]
        self.latent_channels = config.nf(1)
        self.latent = Dense(
            variables, "G_synthesis/4x4/Latent", config.latent_size, self.latent_channels * 16
        )
        self._blocks = tuple(
            _make_block(variables, config, log2, is_last=log2 == last)
            for log2 in range(2, last + 1)
        )

    def stored_noise(self) -> list[tf.Tensor]:
        """The noise maps kept in the network, [1,h,w,1] each."""
        return [tf.transpose(noise, [0, 2, 3, 1]) for noise in self.noise]

    def style_layers(self) -> Iterator[tuple[int, ModulatedConv]]:
        """The layers that a style modulates or adds to, each with its slot."""
        for block in self._blocks:
            slot = 2 * block.log2 - 4  # of Conv1
            layers = ((slot - 1, block.conv0_up), (slot, block.conv1), (slot + 1, block.to_rgb))
            for number, layer in layers:
                if layer is not None and (layer.affine is not None or layer.offsets):
                    yield number, layer

    def __call__(
        self,
        latents: tf.Tensor,
        styles: tf.Tensor | None,
        noise: Sequence[tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """[N,Z], [N,L,D], noise maps [N or 1,h,w,1] (None: the stored ones) -> [N,H,W,C].

        `styles` may be None where nothing is modulated.
        """
        check_shape(latents, [None, self.latent_size], "latents")
        if self.dlatent_size is not None:
            check_shape(styles, [None, self.num_slots, self.dlatent_size], "styles")
        noise = self.stored_noise() if noise is None else noise
        if len(noise) != len(self.noise_sizes):
            raise ValueError(f"noise: expected {len(self.noise_sizes)} maps, got {len(noise)}")

        def style(slot: int) -> tf.Tensor | None:
            return None if styles is None else styles[:, slot]

        x = self.latent(latents)
        x = tf.reshape(x, [-1, self.latent_channels, 4, 4])  # published weights: channels first
        x = tf.transpose(x, [0, 2, 3, 1])  # [N,4,4,C]
        image = None
        for block in self._blocks:
            slot = 2 * block.log2 - 4  # of Conv1
            shortcut = x
            if block.conv0_up is not None:
                x = block.conv0_up(x, style(slot - 1), noise[slot - 1])
            x = block.conv1(x, style(slot), noise[slot])
            if block.skip is not None:
                x = (x + block.skip(shortcut)) * (1 / math.sqrt(2))
            if block.to_rgb is not None:
                rgb = block.to_rgb(x, style(slot + 1))
                if image is not None:
                    rgb += upsample_2d(image, RESAMPLE_FILTER, impl=self._shared.impl)
                image = rgb
        return image


def _make_block(
    variables: VariableFactory,
    config: GeneratorConfig | PlainGeneratorConfig,
    log2: int,
    *,
    is_last: bool,
) -> Block:
    """The layers at 2**log2 x 2**log2 pixels, whose variables are made in this order."""
    scope, channels = f"G_synthesis/{2**log2}x{2**log2}", config.nf(log2 - 1)
    before = config.nf(1) if log2 == 2 else config.nf(log2 - 2)
    style = _style_width(config, log2)
    conv0_up = skip = to_rgb = None

    def offsets(scope: str) -> list[Any]:
        return _make_offsets(variables, config, scope, log2, channels)

    if log2 > 2:
        conv0_up = ModulatedConv(
            variables,
            f"{scope}/Conv0_up",
            before,
            channels,
            3,
            style_width=style,
            up=True,
            offsets=offsets(f"{scope}/Conv0_up"),
        )
    name = f"{scope}/{'Conv' if log2 == 2 else 'Conv1'}"
    conv1 = ModulatedConv(
        variables, name, channels, channels, 3, style_width=style, offsets=offsets(name)
    )
    if log2 > 2 and config.architecture == "resnet":
        skip = Conv(variables, f"{scope}/Skip", before, channels, 1, up=True, plain=True)
    if config.architecture == "skip" or is_last:
        to_rgb = ModulatedConv(
            variables,
            f"{scope}/ToRGB",
            channels,
            config.num_channels,
            1,
            style_width=style,
            demodulate=False,
            noise=False,
            act="linear",
        )
    return Block(log2, conv0_up, conv1, skip, to_rgb)


def _make_offsets(
    variables: VariableFactory,
    config: GeneratorConfig | PlainGeneratorConfig,
    scope: str,
    log2: int,
    channels: int,
) -> list[Any]:
    """What a 3x3 layer at 2**log2 x 2**log2 pixels adds before its activation."""
    has_map = config.map_min_log2 > 0 and config.map_min_log2 <= log2 <= config.map_max_log2
    if not isinstance(config, GeneratorConfig):
        return [ConstantMap(variables, scope, 2**log2, channels)] if has_map else []
    found: list[Any] = []
    width = config.dlatent_size
    if config.style_biases and _style_width(config, log2) is not None:
        found.append(StyleBias(variables, scope, width, channels))
    if has_map:
        found.append(StyleMaps(variables, scope, width, 2**log2, config.num_maps, channels))
    return found


def _style_width(config: GeneratorConfig | PlainGeneratorConfig, log2: int) -> int | None:
    """Width of the styles that modulate the layers of this resolution; None if none do."""
    if not isinstance(config, GeneratorConfig):
        return None
    is_modulated = config.modulated_min_log2 <= log2 <= config.modulated_max_log2
    return config.dlatent_size if is_modulated else None
