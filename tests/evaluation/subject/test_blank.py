"""Pictures that show nothing are what their names say, and copies of one are alike."""

import numpy as np
import pytest

from evaluation.subject.blank import COPIES, blank_pictures, copies
from fingerprints.detection.alike import groups_of_alike, picture_hashes

PICTURES = blank_pictures(8, 32, seed=1)


@pytest.mark.parametrize("number", [1, 2, 8])
def test_as_many_as_asked_for(number: int) -> None:
    for name, images in blank_pictures(number, 16, seed=1).items():
        assert images.shape == (number, 16, 16, 3), name
        assert images.dtype == np.uint8, name


def test_pictures_are_what_their_names_say() -> None:
    flat = PICTURES["one colour"]
    assert np.ptp(flat, axis=(1, 2)).max() == 0
    assert flat[:2, 0, 0].tolist() == [[0] * 3, [255] * 3]
    assert len(np.unique(flat[:, 0, 0], axis=0)) == len(flat)
    ramps = PICTURES["gradients"].astype(int)
    assert np.array_equal(ramps[:, 0, 0], flat[:, 0, 0])
    assert np.ptp(ramps, axis=2).max() == 0 < np.ptp(ramps, axis=1).min(axis=0).max()
    squares = PICTURES["squares of two colours"]
    assert np.array_equal(squares[:, :4, :4], flat[:, :4, :4])
    assert np.array_equal(squares[:, 4:8, 4:8], flat[:, :4, :4])
    assert all(len(np.unique(image.reshape(-1, 3), axis=0)) == 2 for image in squares)
    assert PICTURES["noise"].std() > 60
    assert np.ptp(PICTURES["grey noise"], axis=3).max() == 0


def test_copies_differ_and_are_alike() -> None:
    for name, images in PICTURES.items():
        found = copies(images[3])
        assert found.shape == (COPIES, 32, 32, 3), name
        if name != "one colour":
            assert len(np.unique(found, axis=0)) > 1, name
        assert groups_of_alike(picture_hashes(found)).max() == 0, name
