"""PSNR, SSIM and largest difference against independent formulas; which way is better."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from metrics.context import GeneratedBatch, GeneratedPairs, MetricContext
from metrics.evaluate import evaluate
from metrics.image_difference import (
    IDENTICAL_PSNR,
    MeanSquaredError,
    PairDifferences,
    largest_difference,
    psnr,
    structural_similarity,
)
from metrics.metric import MetricResult
from metrics.report import report
from metrics.table import parse_metric

BITS = 5
NAME = "fingerprint_visibility1k"


def pictures(seed: int, num: int = 6, size: int = 24, channels: int = 3) -> np.ndarray:
    """Soft blobs, uint8 [num,size,size,channels]."""
    rnd = np.random.RandomState(seed)
    values = scipy.ndimage.gaussian_filter(rnd.randn(num, size, size, channels), (0, 3, 3, 0))
    return np.clip(128 + 400 * values, 0, 255).astype(np.uint8)


def reference_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Wang et al. 2004, equations 13 to 16, window by window, of grey pictures [H,W]."""
    y, x = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for i in range(first.shape[0] - 10):
        for j in range(first.shape[1] - 10):
            a, b = (image[i : i + 11, j : j + 11] for image in (first, second))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a = (weights * (a - mean_a) ** 2).sum()
            var_b = (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            found.append(luminance * (2 * covariance + c2) / (var_a + var_b + c2))
    return float(np.mean(found))


def luma(image: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def generator_of(strength: float, latent_strength: float = 60.0) -> MetricContext:
    """Stands for a generator whose fingerprint adds a pattern of `strength` grey levels."""
    patterns = np.random.RandomState(1).randn(BITS, 24, 24, 1)

    def draw(num: int, *stream: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(stream)
        return rng.standard_normal([num, 2, 2, 3]), rng.integers(0, 2, [num, BITS], np.uint8)

    def batch(latents: np.ndarray, bits: np.ndarray) -> GeneratedBatch:
        mark = strength * np.tensordot(2.0 * bits - 1, patterns, 1)
        large = latents.repeat(12, axis=1).repeat(12, axis=2)
        images = np.clip(128 + latent_strength * large + mark, 0, 255)
        return GeneratedBatch(images.astype(np.uint8), np.empty(0), bits)

    def generate_pairs(num: int, first: int) -> GeneratedPairs:
        (latents, bits), (other_latents, other_bits) = draw(num, first), draw(num, first, 1)
        return GeneratedPairs(batch(latents, other_bits), batch(other_latents, bits))

    return MetricContext(
        generate=lambda num, first: batch(*draw(num, first)),
        generate_pairs=generate_pairs,
        resolution=24,
        num_channels=3,
        fingerprint_size=BITS,
        minibatch=300,
    )


def measured(context: MetricContext) -> MetricResult:
    (result,) = evaluate([NAME], context)
    return result


def test_figures_are_of_exactly_the_pairs() -> None:
    """Of whole minibatches of 300, the last pairs of which are beyond the thousand."""
    context = generator_of(4.0)
    assert context.generate_pairs is not None
    firsts = (0, 300, 600, 900)
    images = np.concatenate([context.generate(300, n).images_uint8 for n in firsts])[:1000]
    pairs = [context.generate_pairs(300, n) for n in firsts]
    marked = np.concatenate([p.other_fingerprint.images_uint8 for p in pairs])[:1000]
    others = np.concatenate([p.other_latent.images_uint8 for p in pairs])[:1000]
    result = measured(context)

    def decibels(first: np.ndarray, second: np.ndarray) -> float:
        error = np.mean((first.astype(float) - second.astype(float)) ** 2)
        return 20 * math.log10(255) - 10 * math.log10(error)

    assert result.values[f"{NAME}_psnr"] == pytest.approx(decibels(images, marked), rel=1e-12)
    assert result.values[f"{NAME}_latents_psnr"] == pytest.approx(decibels(images, others))
    largest = np.abs(images.astype(int) - marked).reshape(1000, -1).max(axis=1)
    assert result.values[f"{NAME}_max"] == largest.mean()
    similarity = structural_similarity(images, marked).mean()
    assert result.values[f"{NAME}_ssim"] == pytest.approx(similarity, rel=1e-12)
    assert result.details["pairs"] == 1000
    error = result.details["fingerprint_mean_squared_error"]
    assert psnr(error) == result.values[f"{NAME}_psnr"]


def test_larger_is_better_says_the_right_way() -> None:
    """A fainter fingerprint is better, and so is a latent that makes more of the picture."""
    loud, faint = measured(generator_of(8.0)), measured(generator_of(2.0))
    collapsed = measured(generator_of(2.0, latent_strength=3.0))
    for suffix in ("_psnr", "_ssim", "_max"):
        name = NAME + suffix
        larger = faint.values[name] > loud.values[name]
        assert faint.larger_is_better[name] == larger, name
    name = f"{NAME}_latents_psnr"
    assert faint.larger_is_better[name] == (faint.values[name] > collapsed.values[name])
    # The guard sees what the fingerprint's own figures do not.
    assert collapsed.values[name] > faint.values[name] + 10
    assert collapsed.values[f"{NAME}_psnr"] == pytest.approx(faint.values[f"{NAME}_psnr"], abs=1)


def test_a_fingerprint_that_changes_nothing(tmp_path: Path) -> None:
    """Infinity is no number for JSON, TensorBoard's curves or a column of figures."""
    result = measured(generator_of(0.0))
    assert result.values[f"{NAME}_psnr"] == IDENTICAL_PSNR
    assert result.values[f"{NAME}_ssim"] == pytest.approx(1.0)
    assert result.values[f"{NAME}_max"] == 0
    assert result.details["fingerprint_mean_squared_error"] == 0
    line = report(result, tmp_path, "network")
    assert f"{NAME}_psnr 200.0000" in line

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    text = (tmp_path / f"metric-{NAME}.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse)["values"] == result.values


def test_psnr() -> None:
    assert psnr(255.0**2) == 0
    assert psnr(1.0) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(0.0) == IDENTICAL_PSNR
    # A thousand megapixel pictures that differ in one value by one.
    assert psnr(1 / 3e9) < IDENTICAL_PSNR
    # One figure for all, so that a pair that is identical by chance does not lift it.
    black, grey = np.zeros([2, 12, 12, 1], np.uint8), np.full([2, 12, 12, 1], 10, np.uint8)
    error = MeanSquaredError()
    error.add(black, black)
    error.add(black, grey)
    assert error.value == 50
    assert error.psnr == psnr(50)


def test_differences_do_not_wrap_around() -> None:
    black, white = np.zeros([1, 12, 12, 3], np.uint8), np.full([1, 12, 12, 3], 255, np.uint8)
    for pair in ((black, white), (white, black)):
        differences = PairDifferences()
        differences.add(*pair)
        assert differences.psnr == 0
        assert differences.largest == 255
        assert 0 < differences.ssim < 1e-3


def test_largest_difference_is_of_any_channel_and_place() -> None:
    first = np.full([2, 12, 12, 3], 100, np.uint8)
    second = first.copy()
    second[0, 11, 3, 2] = 71
    second[1, 0, 0, 0] = 113
    np.testing.assert_array_equal(largest_difference(first, second), [29, 13])


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_the_formula_window_by_window(channels: int) -> None:
    first, second = pictures(0, channels=channels), pictures(1, channels=channels)
    second[:3] = first[:3] // 2 + 40  # alike, but for contrast and brightness
    grey = (lambda image: image[..., 0].astype(float)) if channels == 1 else luma
    expected = [reference_ssim(grey(a), grey(b)) for a, b in zip(first, second, strict=True)]
    assert min(expected[:3]) > 2 * max(expected[3:])
    np.testing.assert_allclose(structural_similarity(first, second), expected, rtol=1e-9)
    np.testing.assert_allclose(structural_similarity(second, first), expected, rtol=1e-9)


def test_ssim_of_even_pictures_and_of_equal_ones() -> None:
    """Without structure, what is left is the comparison of luminance: equation 6."""
    first, second = np.full([1, 16, 16, 1], 90, np.uint8), np.full([1, 16, 16, 1], 120, np.uint8)
    c1 = 6.5025
    expected = (2 * 90 * 120 + c1) / (90**2 + 120**2 + c1)
    np.testing.assert_allclose(structural_similarity(first, second), expected, rtol=1e-9)
    np.testing.assert_allclose(structural_similarity(pictures(0), pictures(0)), 1, rtol=1e-12)


def test_misuse() -> None:
    small = np.zeros([1, 8, 8, 3], np.uint8)
    with pytest.raises(ValueError, match="needs 11x11 pixels"):
        structural_similarity(small, small)
    with pytest.raises(ValueError, match="expected uint8"):
        largest_difference(small, small.astype(np.float32))
    with pytest.raises(ValueError, match=r"expected two \[N,H,W,1 or 3\]"):
        MeanSquaredError().add(small, small[:, :4])
    assert parse_metric(NAME).family.min_resolution == 11
