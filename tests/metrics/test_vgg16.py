"""VGG16: features and LPIPS against sums in NumPy, narrow; where its file comes from."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from dnnlib.errors import UserError
from metrics import vgg16
from metrics.vgg16 import URL, VARIABLE, Vgg16Extractor, average_down, check_vgg16

WIDTHS = (3, 4, 5, 6, 4)
RNG = np.random.default_rng(0)
LAYERS = [RNG.random(width).astype(np.float32) for width in WIDTHS]
GROUPS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def variables() -> dict[str, np.ndarray]:
    found, width = {}, 3
    for group, out in zip(GROUPS, WIDTHS, strict=True):
        for number in group:
            found[f"features.{number}.weight"] = RNG.normal(0, 0.4, [out, width, 3, 3])
            found[f"features.{number}.bias"] = RNG.normal(0, 0.1, [out])
            width = out
    width *= 49
    for number, out in ((0, 8), (3, 7), (6, 10)):
        found[f"classifier.{number}.weight"] = RNG.normal(0, 0.1, [out, width])
        found[f"classifier.{number}.bias"] = RNG.normal(0, 0.1, [out])
        width = out
    return {name: value.astype(np.float32) for name, value in found.items()}


VARIABLES = variables()


@pytest.fixture
def extract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vgg16Extractor:
    path = tmp_path / "vgg16.pth"
    path.write_bytes(b"")
    monkeypatch.setattr(vgg16.torch_pickle, "load_variables", lambda _: VARIABLES)
    return Vgg16Extractor(path, weights=LAYERS)


def expected_taps(x: np.ndarray) -> list[np.ndarray]:
    """[3,H,W] -> what comes out of each group, [C,h,w]."""
    taps = []
    for number, group in enumerate(GROUPS):
        if number:
            height, width = (size // 2 * 2 for size in x.shape[1:])
            x = x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2).max((2, 4))
        for layer in group:
            weight = VARIABLES[f"features.{layer}.weight"].astype(np.float64)
            bias = VARIABLES[f"features.{layer}.bias"]
            x = np.stack(
                [
                    sum(
                        scipy.signal.correlate(plane, kernel, "same")
                        for plane, kernel in zip(x, row, strict=True)
                    )
                    + offset
                    for row, offset in zip(weight, bias, strict=True)
                ]
            )
            x = np.maximum(x, 0)
        taps.append(x)
    return taps


def test_distances(extract: Vgg16Extractor) -> None:
    one, other = RNG.uniform(-1, 1, [2, 3, 18, 18, 3]).astype(np.float32)
    found = extract.distances(one, other)
    for number in range(3):
        total = 0.0
        taps = []
        for image in (one[number], other[number]):
            scaled = (image - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
            taps.append(expected_taps(scaled.transpose(2, 0, 1)))
        for first, second, weights in zip(*taps, LAYERS, strict=True):
            units = [x / (np.sqrt((x**2).sum(0)) + 1e-10) for x in (first, second)]
            total += (((units[0] - units[1]) ** 2) * weights[:, None, None]).sum(0).mean()
        assert found[number] == pytest.approx(total, rel=1e-4)
    np.testing.assert_array_equal(extract.distances(one, one), 0)


def test_features(extract: Vgg16Extractor) -> None:
    image = RNG.integers(0, 256, [224, 224, 3]).astype(np.uint8)
    scaled = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = expected_taps(scaled.transpose(2, 0, 1))[-1]
    x = x.reshape(len(x), 7, 2, 7, 2).max((2, 4)).reshape(-1)
    for number in (0, 3):
        weight, bias = (VARIABLES[f"classifier.{number}.{name}"] for name in ("weight", "bias"))
        x = np.maximum(weight @ x + bias, 0)
    found = extract(image[None])
    assert found.shape == (1, extract.num_features) == (1, 7)
    np.testing.assert_allclose(found[0], x, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="expected uint8"):
        extract(image[None].astype(np.float32))


def test_grey_is_repeated(extract: Vgg16Extractor) -> None:
    grey = RNG.integers(0, 256, [2, 16, 16, 1]).astype(np.uint8)
    np.testing.assert_array_equal(extract(grey), extract(np.repeat(grey, 3, axis=3)))


def test_large_images_are_averaged() -> None:
    images = RNG.random([1, 16, 16, 3]).astype(np.float32)
    found = average_down(images, 4).numpy()
    np.testing.assert_allclose(found, images.reshape(1, 4, 4, 4, 4, 3).mean((2, 4)), rtol=1e-5)
    assert average_down(images, 16) is images


def test_published_weights_of_the_distance() -> None:
    with np.load(vgg16._LPIPS_FILE) as file:
        layers = [file[f"layer{number}"] for number in range(5)]
    assert [len(layer) for layer in layers] == [64, 128, 256, 512, 512]
    assert all((layer > 0).all() for layer in layers)


def test_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(b"")
    for change, reason in (
        ({"features.7.weight": np.zeros([4, 9, 3, 3])}, "features.7 takes"),
        ({"classifier.3.weight": np.zeros([4, 9])}, "classifier.3 takes 9 values, not 8"),
    ):
        found = VARIABLES | change
        monkeypatch.setattr(vgg16.torch_pickle, "load_variables", lambda _, found=found: found)
        with pytest.raises(UserError, match=f"is not torchvision's VGG16 .{reason}"):
            Vgg16Extractor(path, weights=LAYERS)
    with pytest.raises(UserError, match="features.2 has 3 channels, not 64"):
        Vgg16Extractor(path)


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    seen = []
    monkeypatch.setattr(vgg16, "Vgg16Extractor", lambda path, devices: seen.append(path))
    assert check_vgg16(["fid1k", "ppl_lite0_wend_1k"]) is None
    assert not seen

    def refuse(name: str, folder: Path) -> Path:
        if name == URL:
            raise UserError("no way; try again")
        return Path(name)

    monkeypatch.setattr(vgg16, "open_url_or_path", refuse)
    with pytest.raises(UserError, match=r"^no way; pr50k3, ppl_wend needs torchvision's VGG16"):
        check_vgg16(["pr50k3", "swd1k", "ppl_wend"], tmp_path)
    (tmp_path / "vgg16-397923af.pth").write_bytes(b"")
    check_vgg16(["pr50k3"], tmp_path)
    monkeypatch.setenv(VARIABLE, "/elsewhere.pth")
    check_vgg16(["pr50k3"], tmp_path)
    assert seen == [tmp_path / "vgg16-397923af.pth", Path("/elsewhere.pth")]
