"""Layers that generator, discriminator and decoder share (StyleGAN2, arXiv 1912.04958).

Legend: N batch, H W space, I O C channels, Z latent, B bits, D style width, L slots, k kernel.
Every weight is stored with unit variance and scaled when used (equalised learning rate, Karras et
al., arXiv 1710.10196, section 4.1): `weight * lrmul / sqrt(fan_in)`.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.tflib.impl import check_impl
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.resample_conv import (
    RESAMPLE_FILTER,
    conv_2d,
    conv_downsample_2d,
    upsample_conv_2d,
)
from dnnlib.tflib.shapes import check_shape
from training.networks.configs import Codes, Latents


class VariableFactory:
    """Creates a network's variables under their published names and keeps them in order.

    Initial values come from NumPy, so that they depend on the seed alone; without one, weights
    are 0, for a network that takes all its values from a file. `impl` is what the
    network's operations run on, see `dnnlib.tflib.impl`, and `bf16` whether its convolutions
    compute in bfloat16. While `is_frozen`, variables are made that training leaves alone.
    """

    def __init__(self, seed: int | None) -> None:
        self.impl = "auto"
        self.bf16 = False
        self.is_frozen = False
        self.variables: dict[str, tf.Variable] = {}
        self._rng = None if seed is None else np.random.default_rng(seed)

    def normal(
        self, name: str, shape: Sequence[int], stddev: float = 1.0, trainable: bool = True
    ) -> tf.Variable:
        """A variable with values ~ N(0, stddev^2); 0 where there is no seed."""
        values = np.zeros(shape, np.float32)
        if self._rng is not None:
            values = self._rng.standard_normal(shape, np.float32) * np.float32(stddev)
        return self.constant(name, values, trainable)

    def zeros(self, name: str, shape: Sequence[int]) -> tf.Variable:
        """A trainable variable that starts at 0."""
        return self.constant(name, np.zeros(shape, np.float32))

    def constant(self, name: str, values: np.ndarray, trainable: bool = True) -> tf.Variable:
        """A variable with the given float32 values."""
        assert name not in self.variables, name
        trainable = trainable and not self.is_frozen
        variable = tf.Variable(values, trainable=trainable, name=name, dtype=tf.float32)
        self.variables[name] = variable
        return variable


class Network(tf.Module):
    """A network with named variables that can be built again from its `config`.

    Args:
        config: sizes and architecture, of the class `Config`.
        seed: of the initial values; None: weights of 0, for one that is filled from elsewhere.

    Attributes:
        Config: a dataclass of `training.networks.configs`.
        config: what the network was made from; its sizes are attributes as well.
    """

    Config: ClassVar[type]

    def __init__(self, config: Any, *, seed: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.resolution: int = config.resolution
        self.num_channels: int = config.num_channels
        if isinstance(config, Latents):
            self.latent_size: int = config.latent_size
        # Bits of the fingerprint; 0 for networks that know of none.
        self.fingerprint_size = config.fingerprint_size if isinstance(config, Codes) else 0
        # Numbers per label; 0 for networks that know no classes.
        self.label_size: int = getattr(config, "label_size", 0)
        self._factory = VariableFactory(seed)

    @property
    def kwargs(self) -> dict[str, Any]:
        """All fields of the configuration, as plain values, in the order that files have."""
        return dataclasses.asdict(self.config)

    def named_variables(self) -> dict[str, tf.Variable]:
        """All variables by their published names, in order of creation."""
        return dict(self._factory.variables)

    def named_trainables(self) -> dict[str, tf.Variable]:
        """The variables that training changes, by name."""
        return {name: v for name, v in self._factory.variables.items() if v.trainable}

    def run_with(self, impl: str, precision: str = "fp32") -> None:
        """Chooses what the operations run on, in calls and traces to come.

        Args:
            impl: see `dnnlib.tflib.impl`.
            precision: see `dnnlib.tflib.execution`; `bf16` shortens what enters a convolution,
                everything else stays single precision.
        """
        check_impl(impl)
        self._factory.impl = impl
        self._factory.bf16 = precision == "bf16"

    @contextlib.contextmanager
    def running_with(self, impl: str, precision: str = "fp32") -> Iterator[None]:
        """`run_with` for the calls and traces within."""
        before = self._factory.impl, self._factory.bf16
        self.run_with(impl, precision)
        try:
            yield
        finally:
            self._factory.impl, self._factory.bf16 = before

    def copy_from(self, other: "Network") -> None:
        """Takes over all values of a network of the same class and arguments."""
        theirs = other.named_variables()
        for name, variable in self.named_variables().items():
            variable.assign(theirs[name])


def resolution_log2(resolution: int) -> int:
    """log2 of a resolution; ValueError unless it is a power of two of at least 4."""
    log2 = int(resolution).bit_length() - 1
    if resolution != 2**log2 or log2 < 2:
        raise ValueError(f"resolution {resolution}: expected a power of two of at least 4")
    return log2


def check_architecture(name: str, allowed: Sequence[str] = ("skip", "resnet", "orig")) -> str:
    """Returns `name`; ValueError when it is none of `allowed`."""
    if name not in allowed:
        raise ValueError(f"architecture={name!r}: expected one of {', '.join(allowed)}")
    return name


def flatten_chw(x: tf.Tensor) -> tf.Tensor:
    """[N,H,W,C] -> [N,C*H*W] in the order channel, row, column that published weights expect."""
    _, height, width, channels = x.shape
    return tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, channels * height * width])


class Dense(tf.Module):
    """Fully connected layer with bias: [N,I] -> [N,O]."""

    def __init__(
        self,
        variables: VariableFactory,
        scope: str,
        fan_in: int,
        units: int,
        *,
        act: str = "lrelu",
        lrmul: float = 1.0,
        weight_name: str = "weight",
        bias_name: str = "bias",
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self._shared = variables
        self.act = act
        self.lrmul = lrmul
        self.scale = lrmul / math.sqrt(fan_in)
        self.weight = variables.normal(
            f"{scope}/{weight_name}", [fan_in, units], 1 / lrmul, trainable
        )
        self.bias = variables.zeros(f"{scope}/{bias_name}", [units])

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """[N,I] -> [N,O]."""
        y = tf.matmul(x, self.weight * self.scale)
        return fused_bias_act(y, self.bias * self.lrmul, act=self.act, impl=self._shared.impl)


def unit_second_moment(x: tf.Tensor) -> tf.Tensor:
    """Pixel norm (Karras et al., arXiv 1710.10196, section 4.2) of vectors [N,I]."""
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=1, keepdims=True) + 1e-8)


class LabelEmbedding(tf.Module):
    """A label as a vector of unit second moment, so that it weighs as much as a latent beside it.

    StyleGAN2 (arXiv 1912.04958) and StyleGAN2-ADA (arXiv 2006.06676) take labels so.
    """

    def __init__(self, variables: VariableFactory, scope: str, label_size: int, units: int) -> None:
        super().__init__()
        self.label_size = label_size
        self.embed = Dense(variables, scope, label_size, units, act="linear")

    def __call__(self, labels: tf.Tensor | None) -> tf.Tensor:
        """Labels, one-hot or attributes, float32 [N,C] -> [N,O]."""
        if labels is None:
            raise ValueError("labels: expected those of a network with classes, got None")
        check_shape(labels, [None, self.label_size], "labels")
        return unit_second_moment(self.embed(labels))


class Conv(tf.Module):
    """Convolution, with bias and leaky ReLU unless `plain`: [N,H,W,I] -> [N,H',W',O].

    `down` halves the resolution, `up` doubles it, both through the FIR filter [1,3,3,1]. Behind the
    activation `clamp` is the largest magnitude.
    """

    def __init__(
        self,
        variables: VariableFactory,
        scope: str,
        fan_in: int,
        fan_out: int,
        kernel: int,
        *,
        up: bool = False,
        down: bool = False,
        plain: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self._shared = variables
        self.up = up
        self.down = down
        self.clamp = clamp
        self.scale = 1 / math.sqrt(kernel * kernel * fan_in)
        self.weight = variables.normal(f"{scope}/weight", [kernel, kernel, fan_in, fan_out])
        self.bias = None if plain else variables.zeros(f"{scope}/bias", [fan_out])

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """[N,H,W,I] -> [N,H',W',O]."""
        y = resampling_conv(x, self.weight * self.scale, self._shared, up=self.up, down=self.down)
        if self.bias is None:
            return y
        return fused_bias_act(y, self.bias, act="lrelu", clamp=self.clamp, impl=self._shared.impl)


def resampling_conv(
    x: tf.Tensor,
    w: tf.Tensor,
    shared: VariableFactory,
    *,
    up: bool = False,
    down: bool = False,
) -> tf.Tensor:
    """Convolves [N,H,W,I] with [k,k,I,O], doubling or halving the resolution on request."""
    dtype = x.dtype
    if shared.bf16:
        x, w = tf.cast(x, tf.bfloat16), tf.cast(w, tf.bfloat16)
    if up:
        y = upsample_conv_2d(x, w, RESAMPLE_FILTER, impl=shared.impl)
    elif down:
        y = conv_downsample_2d(x, w, RESAMPLE_FILTER, impl=shared.impl)
    else:
        y = conv_2d(x, w, impl=shared.impl)
    return tf.cast(y, dtype)


class Shift(NamedTuple):
    """What is added to the style and to the bias of a modulated layer, image by image.

    With the same values for all images it is the same as other values of `mod_bias` and `bias`.
    """

    style: tf.Tensor | None = None  # [N,I]
    bias: tf.Tensor | None = None  # [N,O]


class ModulatedConv(tf.Module):
    """Convolution whose input channels are scaled by a style, optionally demodulated.

    StyleGAN2, section 2.2. Activations are modulated before and demodulated after one shared
    convolution, which equals per-sample weights and is faster. With `style_width` None the layer is
    a plain convolution of the same shape. Then noise, `offsets` (functions of the style, see
    `training.networks.offsets`), bias and activation.
    """

    def __init__(
        self,
        variables: VariableFactory,
        scope: str,
        fan_in: int,
        fan_out: int,
        kernel: int,
        *,
        style_width: int | None,
        up: bool = False,
        demodulate: bool = True,
        noise: bool = True,
        act: str = "lrelu",
        offsets: Sequence[Callable[[tf.Tensor | None], tf.Tensor]] = (),
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self._shared = variables
        self.scope = scope
        self.clamp = clamp
        self.offsets = tuple(offsets)
        self.up = up
        self.demodulate = demodulate
        self.act = act
        self.scale = 1 / math.sqrt(kernel * kernel * fan_in)
        self.weight = variables.normal(f"{scope}/weight", [kernel, kernel, fan_in, fan_out])
        self.affine = None
        if style_width is not None:
            self.affine = Dense(
                variables,
                scope,
                style_width,
                fan_in,
                act="linear",
                weight_name="mod_weight",
                bias_name="mod_bias",
            )
        self.noise_strength = variables.zeros(f"{scope}/noise_strength", []) if noise else None
        self.bias = variables.zeros(f"{scope}/bias", [fan_out])

    def __call__(
        self,
        x: tf.Tensor,
        style: tf.Tensor | None,
        noise: tf.Tensor | None = None,
        shift: Shift = Shift(),  # noqa: B008 - immutable
    ) -> tf.Tensor:
        """[N,H,W,I], style [N,D], noise [N or 1,H',W',1] -> [N,H',W',O].

        `style` may be None where the layer is a plain convolution.
        """
        w = self.weight * self.scale  # [k,k,I,O]
        if self.affine is not None:
            s = self.affine(style) + 1  # [N,I]
            if shift.style is not None:
                s = s + shift.style
            x = x * s[:, None, None, :]
        y = resampling_conv(x, w, self._shared, up=self.up)
        if self.affine is not None and self.demodulate:
            # Equation 3: 1/sqrt(sum over k,k,I of (w*s)^2 + eps), for all O at once.
            power = tf.matmul(tf.square(s), tf.reduce_sum(tf.square(w), axis=[0, 1]))  # [N,O]
            y = y * tf.math.rsqrt(power + 1e-8)[:, None, None, :]
        if self.noise_strength is not None:
            y = y + noise * self.noise_strength
        for offset in self.offsets:
            y = y + offset(style)
        if shift.bias is not None:
            y = y + shift.bias[:, None, None, :]
        return fused_bias_act(y, self.bias, act=self.act, clamp=self.clamp, impl=self._shared.impl)


def minibatch_stddev(x: tf.Tensor, group_size: int, minibatches: int = 1) -> tf.Tensor:
    """Appends the mean standard deviation within groups of images as one more channel.

    Karras et al., arXiv 1710.10196, section 3. Groups are strided: with M = N/G groups, image i
    goes with i+M, i+2M, ... Fewer than `group_size` images form one group.

    Args:
        x: [N,H,W,C]; the images per minibatch are a multiple of min(group_size, that number).
        group_size: G.
        minibatches: how many minibatches x holds, one behind the other; no group crosses them.

    Returns:
        [N,H,W,C+1].
    """
    _, height, width, channels = x.shape
    batch = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    batch = batch // minibatches
    group = tf.minimum(group_size, batch) if x.shape[0] is None else min(group_size, batch)
    y = tf.reshape(x, [minibatches, group, -1, height, width, channels])  # [K,G,M,H,W,C]
    y = y - tf.reduce_mean(y, axis=1, keepdims=True)
    y = tf.sqrt(tf.reduce_mean(tf.square(y), axis=1) + 1e-8)  # [K,M,H,W,C]
    y = tf.reduce_mean(y, axis=[2, 3, 4], keepdims=True)  # [K,M,1,1,1]
    y = tf.tile(y, [1, group, height, width, 1])  # [K,G*M,H,W,1]
    y = tf.reshape(y, [-1, height, width, 1])  # [N,H,W,1]
    return tf.concat([x, y], axis=3)
