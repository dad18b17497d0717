"""Synthesis: latent and styles -> image."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from dnnlib.tflib.shapes import check_shape
from training.networks.configs import (
    DenseMapping,
    GeneratorConfig,
    PlainGeneratorConfig,
    StyleGAN2GeneratorConfig,
)
from training.networks.layers import (
    RESAMPLE_FILTER,
    Conv,
    Dense,
    LabelEmbedding,
    ModulatedConv,
    Network,
    Shift,
    VariableFactory,
    check_architecture,
    resolution_log2,
)
from training.networks.offsets import ConstantMap, StyleBias, StyleMaps

AnyConfig = GeneratorConfig | PlainGeneratorConfig | StyleGAN2GeneratorConfig
_NO_SHIFT = Shift()


class Block(NamedTuple):
    """The layers of one resolution; absent ones are None."""

    log2: int
    conv0_up: ModulatedConv | None
    conv1: ModulatedConv
    skip: Conv | None
    to_rgb: ModulatedConv | None


class Synthesis(tf.Module):
    """StyleGAN2's synthesis network, or that with the latent in place of the learned constant.

    In StyleGAN2's the styles carry the latent. In the others it enters through a dense layer at
    4x4, beside it the embedded label where there are classes, and the styles carry the fingerprint
    (paper, section 3.2 and figure 2); in that of a plain generator no layer is modulated, and there
    are no styles.
    """

    def __init__(self, variables: VariableFactory, config: AnyConfig) -> None:
        super().__init__()
        self._shared = variables
        check_architecture(config.architecture)
        last = resolution_log2(config.resolution)
        self.latent_size = config.latent_size
        self.dlatent_size = config.dlatent_size if isinstance(config, DenseMapping) else None
        self.num_slots = 2 * last - 2
        # One noise map per 3x3 convolution, numbered by its style slot.
        self.noise_sizes = [2 ** ((slot + 5) // 2) for slot in range(self.num_slots - 1)]
        self.noise = [
            variables.normal(f"G_synthesis/noise{slot}", [1, 1, size, size], trainable=False)
            for slot, size in enumerate(self.noise_sizes)
        ]
        channels = config.nf(1)
        self.const = self.latent = self.embed = None
        if isinstance(config, StyleGAN2GeneratorConfig):
            self.const = variables.normal("G_synthesis/4x4/Const/const", [1, channels, 4, 4])
        else:
            width = config.latent_size
            if config.label_size:
                self.embed = LabelEmbedding(
                    variables, "G_synthesis/4x4/LabelEmbed", config.label_size, config.label_fmaps
                )
                width += config.label_fmaps
            self.latent = Dense(variables, "G_synthesis/4x4/Latent", width, channels * 16)
        self._first_channels = channels
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
        latents: tf.Tensor | None,
        styles: tf.Tensor | None,
        noise: Sequence[tf.Tensor] | None = None,
        shifts: Mapping[str, Shift] | None = None,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """[N,Z], [N,L,D], noise maps [N or 1,h,w,1] (None: the stored ones) -> [N,H,W,C].

        `latents` are None where the first layer is a constant, `styles` may be where nothing is
        modulated. `shifts` are those of layers by their `scope`. `labels`, one-hot floats, are
        those that stand beside latents.
        """
        if self.dlatent_size is not None:
            check_shape(styles, [None, self.num_slots, self.dlatent_size], "styles")
        noise = self.stored_noise() if noise is None else noise
        if len(noise) != len(self.noise_sizes):
            raise ValueError(f"noise: expected {len(self.noise_sizes)} maps, got {len(noise)}")

        def style(slot: int) -> tf.Tensor | None:
            return None if styles is None else styles[:, slot]

        def run(
            layer: ModulatedConv, x: tf.Tensor, slot: int, noise: tf.Tensor | None = None
        ) -> tf.Tensor:
            shift = _NO_SHIFT if shifts is None else shifts.get(layer.scope, _NO_SHIFT)
            return layer(x, style(slot), noise, shift)

        x = self._first(latents, styles, labels)
        image = None
        for block in self._blocks:
            slot = 2 * block.log2 - 4  # of Conv1
            shortcut = x
            if block.conv0_up is not None:
                x = run(block.conv0_up, x, slot - 1, noise[slot - 1])
            x = run(block.conv1, x, slot, noise[slot])
            if block.skip is not None:
                x = (x + block.skip(shortcut)) * (1 / math.sqrt(2))
            if block.to_rgb is not None:
                rgb = run(block.to_rgb, x, slot + 1)
                if image is not None:
                    rgb += upsample_2d(image, RESAMPLE_FILTER, impl=self._shared.impl)
                image = rgb
        return image

    def _first(
        self, latents: tf.Tensor | None, styles: tf.Tensor | None, labels: tf.Tensor | None
    ) -> tf.Tensor:
        """What enters the first layer, [N,4,4,C]; published weights are channels first."""
        if self.latent is None:
            return tf.tile(tf.transpose(self.const, [0, 2, 3, 1]), [tf.shape(styles)[0], 1, 1, 1])
        check_shape(latents, [None, self.latent_size], "latents")
        if self.embed is not None:
            latents = tf.concat([latents, self.embed(labels)], axis=1)
        elif labels is not None:
            raise ValueError("labels: this network knows no classes")
        x = tf.reshape(self.latent(latents), [-1, self._first_channels, 4, 4])
        return tf.transpose(x, [0, 2, 3, 1])


class Synthesizer(Network):
    """A network whose images come from a `Synthesis`."""

    synthesis: Synthesis

    @property
    def noise_shapes(self) -> list[tuple[int, int]]:
        """Height and width of every noise map, in order of the layers."""
        return [(size, size) for size in self.synthesis.noise_sizes]

    def split_noise(self, flat: tf.Tensor) -> list[tf.Tensor]:
        """Cuts values [N, sum of h*w] into noise maps [N,h,w,1]."""
        maps, begin = [], 0
        for h, w in self.noise_shapes:
            maps.append(tf.reshape(flat[:, begin : begin + h * w], [-1, h, w, 1]))
            begin += h * w
        return maps


def _make_block(
    variables: VariableFactory,
    config: AnyConfig,
    log2: int,
    *,
    is_last: bool,
) -> Block:
    """The layers at 2**log2 x 2**log2 pixels, whose variables are made in this order."""
    scope, channels = f"G_synthesis/{2**log2}x{2**log2}", config.nf(log2 - 1)
    before = config.nf(1) if log2 == 2 else config.nf(log2 - 2)
    style = _style_width(config, log2)
    clamp = config.conv_clamp or None if isinstance(config, StyleGAN2GeneratorConfig) else None
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
            clamp=clamp,
        )
    name = f"{scope}/{'Conv' if log2 == 2 else 'Conv1'}"
    conv1 = ModulatedConv(
        variables,
        name,
        channels,
        channels,
        3,
        style_width=style,
        offsets=offsets(name),
        clamp=clamp,
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
            clamp=clamp,
        )
    return Block(log2, conv0_up, conv1, skip, to_rgb)


def _make_offsets(
    variables: VariableFactory,
    config: AnyConfig,
    scope: str,
    log2: int,
    channels: int,
) -> list[Any]:
    """What a 3x3 layer at 2**log2 x 2**log2 pixels adds before its activation."""
    if isinstance(config, StyleGAN2GeneratorConfig):
        return []
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


def _style_width(config: AnyConfig, log2: int) -> int | None:
    """Width of the styles that modulate the layers of this resolution; None if none do."""
    if isinstance(config, StyleGAN2GeneratorConfig):
        return config.dlatent_size
    if not isinstance(config, GeneratorConfig):
        return None
    is_modulated = config.modulated_min_log2 <= log2 <= config.modulated_max_log2
    return config.dlatent_size if is_modulated else None
