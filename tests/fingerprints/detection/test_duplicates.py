"""Pictures that are nearly the same count once in a pool."""

import io

import numpy as np
from PIL import Image, ImageFilter

from fingerprints.detection.duplicates import merge_duplicates, perceptual_hash


def picture(seed: int, size: int = 32) -> np.ndarray:
    """Soft shapes, uint8 [size,size,3]."""
    noise = np.random.default_rng(seed).integers(0, 256, [8, 8, 3], np.uint8)
    image = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as found:
        return np.asarray(found.convert("RGB"))


def num_distinct(images: list[np.ndarray]) -> int:
    return len(merge_duplicates(np.zeros([len(images), 4]), [perceptual_hash(i) for i in images]))


def test_versions_of_one_picture_are_one() -> None:
    image = picture(0)
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.5)))
    brighter = (image * 0.9).astype(np.uint8)
    versions = [image, as_jpeg(image, 90), as_jpeg(image, 75), blurred, brighter]
    assert num_distinct([*versions, image]) == 1


def test_constants_and_frames_are_one() -> None:
    assert num_distinct([np.full([32, 32, 3], level, np.uint8) for level in range(0, 200, 10)]) == 1
    ramp = np.linspace(0, 200, 32).astype(np.uint8)[None, :, None] + np.zeros([32, 1, 3], np.uint8)
    assert num_distinct([ramp + np.uint8(step) for step in range(20)]) == 1
    frames = [np.roll(picture(3, 64), 0, axis=1) for _ in range(20)]
    for number, frame in enumerate(frames):
        frame = frame.copy()
        frame[:3, :3] = number * 12
        frames[number] = frame
    assert num_distinct(frames) == 1


def test_other_pictures_are_not() -> None:
    assert num_distinct([picture(seed) for seed in range(100)]) == 100
    grey = [picture(seed)[:, :, :1] for seed in range(10)]
    assert num_distinct(grey) == 10


def test_a_group_speaks_with_its_mean() -> None:
    logits = np.array([[1.0, 2.0], [5.0, 5.0], [3.0, 4.0]])
    found = merge_duplicates(logits, [0b1111, 2**64 - 1, 0b1110])
    np.testing.assert_array_equal(found, [[2.0, 3.0], [5.0, 5.0]])
