"""Layers that generator, discriminator and decoder share (StyleGAN2, arXiv 1912.04958).

Legend: N batch, H W space, I O C channels, Z latent, B bits, D style width, L slots, k kernel.
Every weight is stored with unit variance and scaled when used (equalised learning rate, Karras et
al., arXiv 1710.10196, section 4.1): `weight * lrmul / sqrt(fan_in)`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.resample_conv import (
    RESAMPLE_FILTER,
    conv_2d,
    conv_downsample_2d,
    upsample_conv_2d,
)


class VariableFactory:
    """Creates a network's variables under their published names and keeps them in order.

    Initial values come from NumPy, so that they depend on the seed alone.
    """

    def __init__(self, seed: int | None) -> None:
        self.variables: dict[str, tf.Variable] = {}
        self.rng = np.random.default_rng(seed)

    def normal(self, name: str, shape: Sequence[int], stddev: float = 1.0) -> tf.Variable:
        """A trainable variable with values ~ N(0, stddev^2)."""
        values = self.rng.standard_normal(shape, np.float32) * np.float32(stddev)
        return self.constant(name, values)

    def zeros(self, name: str, shape: Sequence[int]) -> tf.Variable:
        """A trainable variable that starts at 0."""
        return self.constant(name, np.zeros(shape, np.float32))

    def constant(self, name: str, values: np.ndarray, trainable: bool = True) -> tf.Variable:
        """A variable with the given float32 values."""
        assert name not in self.variables, name
        variable = tf.Variable(values, trainable=trainable, name=name, dtype=tf.float32)
        self.variables[name] = variable
        return variable


class Network(tf.Module):
    """A network with named variables that can be built again from `kwargs`."""

    def __init__(self, kwargs: dict[str, Any], seed: int | None) -> None:
        super().__init__()
        self._kwargs = tuple(kwargs.items())  # a tuple, since tf.Module would wrap a dictionary
        self._factory = VariableFactory(seed)

    @property
    def kwargs(self) -> dict[str, Any]:
        """All keyword arguments of the constructor but the seed, as plain values."""
        return dict(self._kwargs)

    def named_variables(self) -> dict[str, tf.Variable]:
        """All variables by their published names, in order of creation."""
        return dict(self._factory.variables)

    def named_trainables(self) -> dict[str, tf.Variable]:
        """The variables that training changes, by name."""
        return {name: v for name, v in self._factory.variables.items() if v.trainable}

    def copy_from(self, other: "Network") -> None:
        """Takes over all values of a network of the same class and arguments."""
        theirs = other.named_variables()
        for name, variable in self.named_variables().items():
            variable.assign(theirs[name])


def feature_maps(
    stage: int, fmap_base: int, fmap_decay: float, fmap_min: int, fmap_max: int
) -> int:
    """Number of channels nf(stage) of StyleGAN2: fmap_base halved per stage, then clipped."""
    return int(np.clip(int(fmap_base / 2.0 ** (stage * fmap_decay)), fmap_min, fmap_max))


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
    ) -> None:
        super().__init__()
        self.act = act
        self.lrmul = lrmul
        self.scale = lrmul / math.sqrt(fan_in)
        self.weight = variables.normal(f"{scope}/{weight_name}", [fan_in, units], 1 / lrmul)
        self.bias = variables.zeros(f"{scope}/{bias_name}", [units])

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """[N,I] -> [N,O]."""
        y = tf.matmul(x, self.weight * self.scale)
        return fused_bias_act(y, self.bias * self.lrmul, act=self.act)


class Conv(tf.Module):
    """Convolution, with bias and leaky ReLU unless `plain`: [N,H,W,I] -> [N,H',W',O].

    `down` halves the resolution, `up` doubles it, both through the FIR filter [1,3,3,1].
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
    ) -> None:
        super().__init__()
        self.up = up
        self.down = down
        self.scale = 1 / math.sqrt(kernel * kernel * fan_in)
        self.weight = variables.normal(f"{scope}/weight", [kernel, kernel, fan_in, fan_out])
        self.bias = None if plain else variables.zeros(f"{scope}/bias", [fan_out])

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """[N,H,W,I] -> [N,H',W',O]."""
        y = resampling_conv(x, self.weight * self.scale, up=self.up, down=self.down)
        return y if self.bias is None else fused_bias_act(y, self.bias, act="lrelu")


def resampling_conv(
    x: tf.Tensor, w: tf.Tensor, *, up: bool = False, down: bool = False
) -> tf.Tensor:
    """Convolves [N,H,W,I] with [k,k,I,O], doubling or halving the resolution on request."""
    if up:
        return upsample_conv_2d(x, w, RESAMPLE_FILTER)
    if down:
        return conv_downsample_2d(x, w, RESAMPLE_FILTER)
    return conv_2d(x, w)


class ModulatedConv(tf.Module):
    """Convolution whose input channels are scaled by a style, optionally demodulated.

    StyleGAN2, section 2.2. Activations are modulated before and demodulated after one shared
    convolution, which equals per-sample weights and is faster. With `style_width` None the layer is
    a plain convolution of the same shape. Then noise, bias and activation.
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
    ) -> None:
        super().__init__()
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

    def __call__(self, x: tf.Tensor, style: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """[N,H,W,I], style [N,D], noise [N or 1,H',W',1] -> [N,H',W',O]."""
        w = self.weight * self.scale  # [k,k,I,O]
        if self.affine is not None:
            s = self.affine(style) + 1  # [N,I]
            x = x * s[:, None, None, :]
        y = resampling_conv(x, w, up=self.up)
        if self.affine is not None and self.demodulate:
            # Equation 3: 1/sqrt(sum over k,k,I of (w*s)^2 + eps), for all O at once.
            power = tf.matmul(tf.square(s), tf.reduce_sum(tf.square(w), axis=[0, 1]))  # [N,O]
            y = y * tf.math.rsqrt(power + 1e-8)[:, None, None, :]
        if self.noise_strength is not None:
            y = y + noise * self.noise_strength
        return fused_bias_act(y, self.bias, act=self.act)


def minibatch_stddev(x: tf.Tensor, group_size: int) -> tf.Tensor:
    """Appends the mean standard deviation within groups of images as one more channel.

    Karras et al., arXiv 1710.10196, section 3. Groups are strided: with M = N/G groups, image i
    goes with i+M, i+2M, ... Fewer than `group_size` images form one group.

    Args:
        x: [N,H,W,C]; N is a multiple of min(group_size, N).
        group_size: G.

    Returns:
        [N,H,W,C+1].
    """
    _, height, width, channels = x.shape
    batch = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    group = tf.minimum(group_size, batch) if x.shape[0] is None else min(group_size, batch)
    y = tf.reshape(x, [group, -1, height, width, channels])  # [G,M,H,W,C]
    y = y - tf.reduce_mean(y, axis=0, keepdims=True)
    y = tf.sqrt(tf.reduce_mean(tf.square(y), axis=0) + 1e-8)  # [M,H,W,C]
    y = tf.reduce_mean(y, axis=[1, 2, 3], keepdims=True)  # [M,1,1,1]
    y = tf.tile(y, [group, height, width, 1])  # [N,H,W,1]
    return tf.concat([x, y], axis=3)
