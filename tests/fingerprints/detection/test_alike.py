"""Pictures that are alike count once in a pool, and no pool of them is ours for being alike."""

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fingerprints.detection.alike import HASH_BYTES, count_once, groups_of_alike, picture_hashes
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.detector import Detector
from tests.support.memory_store import MODEL, NUM_BITS, MemoryStore
from tests.support.paths import ROOT

NUM_LICENSEES = 20


@pytest.fixture(scope="module")
def emoji() -> list[Image.Image]:
    """Pictures of many kinds."""
    with zipfile.ZipFile(ROOT / "datasets" / "noto-emoji-32.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        return [
            Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            for name in names[:: len(names) // 150]
        ]


def arrays(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in pictures])


def jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=75)
    return Image.open(file).convert("RGB")


def noisy(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 5, (32, 32, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def shifted(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(picture), 1, axis=1))


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p,
        jpeg,
        noisy,
        shifted,
        lambda p: p.resize((24, 24), Image.Resampling.LANCZOS).resize((32, 32)),
        lambda p: p.filter(ImageFilter.GaussianBlur(0.5)),
        lambda p: p.point(lambda v: min(255, round(v * 1.1))),
        lambda p: p.convert("L").convert("RGB"),
    ],
    ids=["same", "jpeg", "noisy", "shifted", "scaled", "blurred", "brightened", "grey"],
)
def test_a_copy_is_alike(
    emoji: list[Image.Image], edit: Callable[[Image.Image], Image.Image]
) -> None:
    first, second = picture_hashes(arrays(emoji)), picture_hashes(arrays([edit(p) for p in emoji]))
    assert first.shape == (len(emoji), HASH_BYTES)
    same = [groups_of_alike(np.stack(pair))[1] == 0 for pair in zip(first, second, strict=True)]
    assert np.mean(same) >= 0.9


def test_different_pictures_are_hardly_ever_alike(emoji: list[Image.Image]) -> None:
    """Round yellow faces are: of emoji, one pair in twenty at most."""
    hashes = picture_hashes(arrays(emoji))
    pairs = [groups_of_alike(hashes[[i, j]])[1] == 0 for i in range(len(emoji)) for j in range(i)]
    assert np.mean(pairs) < 0.05
    mirrored = picture_hashes(arrays(emoji)[:, :, ::-1])
    assert np.mean((hashes != mirrored).any(axis=1)) > 0.9


def constants(number: int) -> np.ndarray:
    """Pictures of one colour each."""
    colours = np.random.default_rng(1).integers(0, 256, (number, 1, 1, 3))
    return np.broadcast_to(colours, (number, 32, 32, 3)).astype(np.uint8)


def gradients(number: int) -> np.ndarray:
    """From one colour to another, from left to right."""
    ends = np.sort(np.random.default_rng(2).integers(0, 256, (2, number, 1, 1, 1)), axis=0)
    ends = ends + np.array([0, 90])[:, None, None, None, None]
    ramp = np.linspace(0, 1, 32)[None, None, :, None]
    pictures = ends[0] / 2 + (ends[1] - ends[0]) / 2 * ramp
    return np.broadcast_to(pictures, (number, 32, 32, 3)).astype(np.uint8)


def test_constants_are_alike_whatever_their_colour() -> None:
    assert groups_of_alike(picture_hashes(constants(20))).tolist() == [0] * 20


def test_grey_pictures_of_any_size_have_hashes() -> None:
    grey = np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8, 1)
    assert picture_hashes(grey).shape == (2, HASH_BYTES)
    large = np.repeat(np.repeat(np.repeat(grey, 8, 1), 8, 2), 3, 3)
    assert groups_of_alike(np.concatenate([picture_hashes(grey), picture_hashes(large)])).max() == 0
    assert picture_hashes(grey[:0]).shape == (0, HASH_BYTES)


def test_no_chain_joins_what_is_not_alike() -> None:
    """Each differs by 12 bits from the one before it: alike, but not the first and the last."""
    bits = np.zeros((20, 256), np.uint8)
    bits[:, :40] = 1
    for number in range(20):
        bits[number, 40 : 40 + 12 * number] = 1
    groups = groups_of_alike(np.packbits(bits, axis=1))
    assert (groups[0], groups[1]) == (0, 0)
    assert groups[-1] > 0
    assert (np.diff(groups) >= 0).all()


def test_groups_weigh_the_same() -> None:
    logits = np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 0.0]])
    hashes = np.zeros((3, HASH_BYTES), np.uint8)
    hashes[2] = 0xF0
    assert count_once(logits, hashes).tolist() == [[2.0, 3.0], [10.0, 0.0]]
    # Without hashes only copies are known.
    assert len(count_once(logits, None)) == 3
    assert count_once(np.tile(logits[:1], (5, 1)), None).tolist() == [[1.0, 2.0]]
    # Of several views each for itself.
    views = np.stack([logits, -logits], axis=1)
    found = count_once(views, hashes)
    assert found.tolist() == [[[2.0, 3.0], [-2.0, -3.0]], [[10.0, 0.0], [-10.0, 0.0]]]
    with pytest.raises(ValueError, match=r"expected hashes \[3,32\]"):
        count_once(logits, hashes[:2])
    with pytest.raises(ValueError, match=r"expected logits \[M,B\] or \[M,K,B\]"):
        count_once(logits[:0], None)


class Reading:
    """A decoder that was calibrated with pictures of which it was far less sure; a detector."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.bits = rng.integers(0, 2, (NUM_LICENSEES, NUM_BITS), dtype=np.uint8)
        self.weights = rng.standard_normal((32 * 32 * 3, NUM_BITS)) / 40
        foreign = self.decode(rng.integers(0, 256, (3000, 32, 32, 3), dtype=np.uint8))
        self.calibration = Calibration.from_logits("b" * 64, foreign / 100)
        self.detector = Detector(MemoryStore(self.bits, self.calibration.to_bytes()), MODEL)

    def decode(self, images: np.ndarray) -> np.ndarray:
        return (images.reshape(len(images), -1) / 127.5 - 1) @ self.weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path))


@pytest.mark.parametrize("kind", ["one", "frames", "gradients", "constants"])
def test_pools_of_foreign_pictures_that_are_alike_are_not_ours(
    emoji: list[Image.Image], kind: str
) -> None:
    one = np.asarray(emoji[5])
    rng = np.random.default_rng(4)
    images = {
        "one": np.stack([one] * 20),
        "frames": np.clip(one + rng.normal(0, 4, (20, 32, 32, 3)), 0, 255).astype(np.uint8),
        "gradients": gradients(20),
        "constants": constants(20),
    }[kind]
    reading = Reading()
    logits, hashes = reading.decode(images), picture_hashes(images)
    finding = reading.detector.judge_pool(logits, hashes=hashes)
    assert finding.text == "not-ours"
    assert finding.num_images == 20
    assert finding.num_distinct <= (3 if kind == "gradients" else 1)
    found = finding.to_dict()
    assert (found["images"], found["distinct"]) == (20, finding.num_distinct)
    # The decoder is surer of them than of any foreign image, and that is all that is said of it.
    assert "more surely read than any of" in found["indication"]
    for row in logits:
        assert reading.detector.judge(row).text == "not-ours"
    # Without the hashes as well: nothing but matches makes a picture ours.
    assert reading.detector.judge_pool(logits).text == "not-ours"


def test_copies_in_a_pool_change_nothing() -> None:
    """Ten pictures of a licensee, a quarter of the bits wrong in each; one of them forty times."""
    reading = Reading()
    rng = np.random.default_rng(5)
    wrong = rng.random((10, NUM_BITS)) < 0.25
    logits = np.where(wrong ^ (reading.bits[7] == 1), 1.0, -1.0)
    hashes = rng.integers(0, 256, (10, HASH_BYTES), dtype=np.uint8)
    assert groups_of_alike(hashes).tolist() == list(range(10))
    once = reading.detector.judge_pool(logits, hashes=hashes)
    chosen = np.array([*range(10), *[3] * 40])
    often = reading.detector.judge_pool(logits[chosen], hashes=hashes[chosen])
    assert (once.text, often.text) == ("licensee licensee-7",) * 2
    assert (often.num_images, often.num_distinct) == (50, 10)
    assert often.verdict == once.verdict
    # Taken for fifty pictures they would drown the others.
    flooded = reading.calibration.standardise(logits[chosen][:, None]).sum(axis=0)[0]
    assert np.sum((flooded > 0) == (logits[3] > 0)) > 60
