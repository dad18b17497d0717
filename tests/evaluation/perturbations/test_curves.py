"""Perturbations: real codecs, stronger from step to step, the same for the same seed."""

import io

import numpy as np
import pytest
from PIL import Image

from evaluation.perturbations.curves import PERTURBATIONS, Perturbation, perturb
from metrics.image_difference import MeanSquaredError

RNG = np.random.default_rng(0)


def smooth(channels: int = 3) -> np.ndarray:
    """Pictures with soft shapes and some detail: uint8 [2,32,32,C]."""
    coarse = RNG.integers(20, 236, [2, 8, 8, 3]).astype(np.uint8)
    made = [Image.fromarray(c).resize((32, 32), Image.Resampling.BICUBIC) for c in coarse]
    images = np.stack([np.asarray(picture) for picture in made])
    return images if channels == 3 else images[..., :1]


IMAGES = smooth()
ALL = [p for p in PERTURBATIONS.values() if p.is_available]


def psnr(images: np.ndarray, changed: np.ndarray) -> float:
    error = MeanSquaredError()
    error.add(images, changed)
    return error.psnr


@pytest.mark.parametrize("perturbation", ALL, ids=lambda p: p.name)
def test_strengths_grow(perturbation: Perturbation) -> None:
    assert len(perturbation.strengths) == (1 if perturbation.name == "flip" else 10)
    found = [perturb(IMAGES, perturbation, s) for s in perturbation.strengths]
    assert all(f.shape == IMAGES.shape and f.dtype == np.uint8 for f in found)
    first, last = psnr(IMAGES, found[0]), psnr(IMAGES, found[-1])
    assert last < min(first, 33) or len(found) == 1
    assert np.array_equal(found[-1], perturb(IMAGES, perturbation, perturbation.strengths[-1]))


@pytest.mark.parametrize("name", ["noise", "several", "screenshot"])
def test_chance_follows_the_seed_and_the_picture(name: str) -> None:
    perturbation = PERTURBATIONS[name]
    twice = np.stack([IMAGES[0], IMAGES[0]])
    first, second = perturb(twice, perturbation, perturbation.strengths[4])
    assert not np.array_equal(first, second)
    other = perturb(twice, perturbation, perturbation.strengths[4], seed=1)
    assert not np.array_equal(first, other[0])


def test_jpeg_is_pillows() -> None:
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(buffer, "jpeg", quality=50)
    expected = np.asarray(Image.open(buffer))
    assert np.array_equal(perturb(IMAGES, PERTURBATIONS["jpeg"], 50)[0], expected)


def test_grey_stays_grey() -> None:
    grey = smooth(1)
    assert perturb(grey, PERTURBATIONS["jpeg"], 50).shape == (2, 32, 32, 1)
    assert np.abs(perturb(grey, PERTURBATIONS["saturation"], 0).astype(int) - grey).max() <= 1


def test_noise_has_its_deviation() -> None:
    flat = np.full([4, 32, 32, 3], 128, np.uint8)
    changed = perturb(flat, PERTURBATIONS["noise"], 0.04).astype(float) - 128
    assert changed.std() == pytest.approx(0.04 * 255, rel=0.05)
    assert abs(changed.mean()) < 0.5


def test_what_the_paper_found_lies_on_the_axes() -> None:
    points = [(p, point) for p in PERTURBATIONS.values() for point in p.paper]
    assert len(points) == 12
    for perturbation, point in points:
        ends = sorted(perturbation.strengths)
        assert ends[0] <= point.strength <= ends[-1]
        # The figures that stand in the drawing are bit accuracies.
        assert 0.5 <= point.original <= 1
        assert 0.5 <= point.immunized <= 1
