"""Whether a fingerprint shows: one latent under two fingerprints, and pictures to look at."""

import base64
from dataclasses import asdict
from typing import Any

import numpy as np

from dnnlib.image_grid import make_grid, png_bytes
from evaluation.subject.figures import mean
from evaluation.subject.model import Subject
from evaluation.subject.settings import Settings
from metrics.image_difference import WINDOW, psnr, structural_similarity

GRID = (8, 4)  # columns and rows
PAIRS = 8
GAIN = 10  # of the differences, which would be black without


def visibility(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Figures of pairs that differ in their fingerprint alone, and the pictures of a report.

    Returns:
        Plain values: `psnr` (dB, of each pair, with the interval of their mean), `pooled_psnr` (dB,
        of the mean error over all pairs), `ssim`, `largest` (grey levels), `latents_psnr` (dB,
        pooled, of pairs that differ in their latent alone), and `pictures`, PNG files in base64:
        `grid`, `first`, `second`, `difference`, `fingerprints` (one latent, many fingerprints).
    """
    num = settings.num_images
    rng = np.random.default_rng([subject.seed, 2])
    one, other = (rng.integers(0, 2, [num, subject.num_bits], np.uint8) for _ in range(2))
    seeds = range(num)
    first, second = subject.generate(seeds, one), subject.generate(seeds, other)
    errors = np.square(first.astype(np.int32) - second).mean(axis=(1, 2, 3))
    shifted = np.roll(first, 1, axis=0)  # neighbours differ in both; the latent outweighs
    latent_error = np.square(first.astype(np.int32) - shifted).mean()
    largest = np.abs(first.astype(np.int32) - second).max(axis=(1, 2, 3))
    found: dict[str, Any] = {
        "num_pairs": num,
        "psnr": asdict(mean(np.array([psnr(error) for error in errors]))),
        "pooled_psnr": psnr(float(errors.mean())),
        "largest": asdict(mean(largest)),
        "latents_psnr": psnr(float(latent_error)),
    }
    if subject.resolution >= WINDOW:
        found["ssim"] = asdict(mean(structural_similarity(first, second)))
    return found | {"pictures": _pictures(subject, first, second)}


def _pictures(subject: Subject, first: np.ndarray, second: np.ndarray) -> dict[str, str]:
    pairs = min(PAIRS, len(first))
    shown = GAIN * np.abs(first[:pairs].astype(np.int32) - second[:pairs])
    number = GRID[0] * GRID[1]
    same = subject.generate([0] * number, subject.registered[np.arange(number) % subject.num_keys])
    many = subject.pictures(number)
    grids = {
        "grid": make_grid(many, GRID),
        "fingerprints": make_grid(same, GRID),
        "first": make_grid(first[:pairs], (pairs, 1)),
        "second": make_grid(second[:pairs], (pairs, 1)),
        "difference": make_grid(np.minimum(shown, 255).astype(np.uint8), (pairs, 1)),
    }
    return {name: base64.b64encode(png_bytes(grid)).decode() for name, grid in grids.items()}
