"""VGG16 as a network for features, and the perceptual distance that is made of it.

The network is that of Simonyan and Zisserman 2015 (arXiv 1409.1556) with the weights that PyTorch's
torchvision publishes, in a file that is read as plain data. The distance is LPIPS, version 0.1
(Zhang et al. 2018, arXiv 1801.03924, eq. 1), which was made with these weights; those of its layers
are in `lpips_vgg16.npz`.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib import torch_pickle
from dnnlib.cache import default_cache_dir
from dnnlib.download import cached_path, open_url_or_path
from dnnlib.errors import UserError
from dnnlib.tflib.devices import Devices
from metrics.features import rgb_of, rgb_of_files
from metrics.table import needs_vgg16

URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
VARIABLE = "GAN_FINGERPRINTS_VGG16"
SIZE = 224  # pixels that the network was trained for
# Convolutions by their numbers in the file; behind each group its values are taken for the
# distance, and halved in size.
_GROUPS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
# Of RGB from 0 to 1, as the weights were trained; and of [-1,1], as LPIPS has them.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LPIPS_MEAN, _LPIPS_SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_LPIPS_FILE = Path(__file__).with_name("lpips_vgg16.npz")
_EPSILON = 1e-10  # LPIPS's, added to a length
_LARGEST = 256  # pixels: larger images are averaged down to it


class Vgg16Extractor:
    """Images -> 4096 features, those of the second dense layer, or distances of images.

    Args:
        path: torchvision's file.
        devices: those of this process share every batch of features; None: one device.
        weights: of the distance, a vector per group of convolutions; None: LPIPS's.

    Raises:
        UserError: the file is not that network.
    """

    def __init__(
        self,
        path: Path,
        devices: Devices | None = None,
        weights: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.path = path
        variables = torch_pickle.load_variables(path)
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if weights is None:
            with np.load(_LPIPS_FILE) as file:
                weights = [file[f"layer{number}"] for number in range(len(_GROUPS))]
        try:
            groups, dense = _network(variables, weights)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path} is not torchvision's VGG16 ({error}); get it again from {URL}"
            ) from error
        self.num_features = int(dense[-1][1].shape[0])
        signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]

        @tf.function(input_signature=signature)
        def features_of(images: tf.Tensor) -> tf.Tensor:
            x = tf.image.resize(images, [SIZE, SIZE], antialias=True)
            x = _taps((x / 255 - _MEAN) / _SPREAD, groups)[-1]
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            x = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, dense[0][0].shape[0]])
            for weight, bias in dense:
                x = tf.nn.relu(x @ weight + bias)
            return x

        @tf.function(input_signature=signature * 2)
        def distances_of(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
            found = _taps((tf.concat([one, other], 0) - _LPIPS_MEAN) / _LPIPS_SPREAD, groups)
            total = 0.0
            for x, layer in zip(found, weights, strict=True):
                x /= tf.sqrt(tf.reduce_sum(x**2, axis=3, keepdims=True)) + _EPSILON
                first, second = tf.split(x, 2)
                squared = tf.reduce_sum((first - second) ** 2 * layer, axis=3)
                total += tf.reduce_mean(squared, axis=[1, 2])
            return total

        self._run = features_of
        self._distances = distances_of
        if devices is not None and devices.num_workers == 1:
            self._run = devices.spread(features_of, signature)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 images [N,H,W,C], RGB or grey -> float32 [N,4096]; grey is repeated.

        Images are resized to 224x224 (bilinear, half-pixel centres, antialiased where that makes
        them smaller).

        Raises:
            ValueError: another type or number of channels.
        """
        return self._run(tf.constant(rgb_of_files(images), tf.float32)).numpy()

    def distances(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """LPIPS of pairs: images [N,H,W,C] in [-1,1] -> float32 [N].

        Images of more than 256 pixels are averaged down to that, as for the path length of
        StyleGAN; others are taken at their size, of at least 16 pixels.
        """
        pair = [average_down(tf.constant(rgb_of(x), tf.float32), _LARGEST) for x in (one, other)]
        return self._distances(*pair).numpy()


def average_down(images: tf.Tensor, largest: int) -> tf.Tensor:
    """Means of squares of pixels of [N,H,W,C], where there are more than `largest` in a row."""
    factor = images.shape[1] // largest
    return tf.nn.avg_pool2d(images, factor, factor, "VALID") if factor > 1 else images


def check_vgg16(
    names: Sequence[str],
    cache_dir: str | os.PathLike[str] | None = None,
    devices: Devices | None = None,
) -> Vgg16Extractor | None:
    """Finds and loads the network, if one of the metrics needs it; None if none does.

    The environment variable GAN_FINGERPRINTS_VGG16 names path or URL of the file; without it the
    cache folder counts, and at last it is downloaded into that folder.

    Raises:
        UserError: it cannot be had, or the file is another one.
    """
    wanting = needs_vgg16(names)
    if not wanting:
        return None
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    kept = next(
        (path for path in (folder / Path(URL).name, cached_path(URL, folder)) if path.is_file()),
        None,
    )
    name = os.environ.get(VARIABLE) or kept or URL
    try:
        path = open_url_or_path(str(name), folder)
    except UserError as error:
        reason = str(error).partition(";")[0]
        raise UserError(
            f"{reason}; {', '.join(wanting)} needs torchvision's VGG16: get {URL} (528 MB) and name"
            f" it with ${VARIABLE}, or put it into {folder}; metrics called lite0 need no download"
        ) from error
    return Vgg16Extractor(path, devices)


def _taps(x: tf.Tensor, groups: Sequence[Sequence[tuple[tf.Tensor, tf.Tensor]]]) -> list[tf.Tensor]:
    """What comes out of each group of convolutions."""
    found = []
    for number, group in enumerate(groups):
        if number:
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        for weight, bias in group:
            x = tf.nn.relu(tf.nn.conv2d(x, weight, 1, "SAME") + bias)
        found.append(x)
    return found


def _network(
    variables: Mapping[str, np.ndarray], weights: Sequence[np.ndarray]
) -> tuple[list[list[tuple[tf.Tensor, tf.Tensor]]], list[tuple[tf.Tensor, tf.Tensor]]]:
    """Weights and biases of the groups, and of the first two dense layers."""
    groups, width = [], 3
    for numbers, layer in zip(_GROUPS, weights, strict=True):
        group = []
        for number in numbers:
            weight = variables[f"features.{number}.weight"].transpose(2, 3, 1, 0)  # of [O,I,k,k]
            if weight.shape[:3] != (3, 3, width):
                raise ValueError(f"features.{number} takes {weight.shape[:3]}, not (3, 3, {width})")
            width = weight.shape[3]
            group.append((_constant(weight), _constant(variables[f"features.{number}.bias"])))
        if width != len(layer):
            raise ValueError(f"features.{numbers[-1]} has {width} channels, not {len(layer)}")
        groups.append(group)
    dense = []
    width *= (SIZE // 32) ** 2
    for number in (0, 3):
        weight = variables[f"classifier.{number}.weight"].T  # of [O,I]
        if weight.shape[0] != width:
            raise ValueError(f"classifier.{number} takes {weight.shape[0]} values, not {width}")
        width = weight.shape[1]
        dense.append((_constant(weight), _constant(variables[f"classifier.{number}.bias"])))
    return groups, dense


def _constant(values: np.ndarray) -> tf.Tensor:
    return tf.constant(values, tf.float32)
