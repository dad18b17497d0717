"""The picture of what a fingerprint changes: its three rows, pixel by pixel, and its captions."""

import numpy as np
import pytest

from tools.pair_picture import ENLARGED, GAIN, pair_picture

STRIP = 16  # pixels


def pairs(channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Six pictures of 8x8 pixels, and others that are 1 darker, 3 lighter, or quite different."""
    first = np.random.RandomState(0).randint(20, 200, [6, 8, 8, channels]).astype(np.uint8)
    second = first.copy()
    second[0] -= 1
    second[1] += 3
    second[2] = 255 - first[2]
    return first, second


def rows_of(picture: np.ndarray) -> list[np.ndarray]:
    """The rows without captions, as small as they were: [3 rows][6,8,8,C]."""
    rows = np.split(picture, 3)
    small = [row[STRIP:][::ENLARGED, ::ENLARGED] for row in rows]
    return [row.reshape(8, 6, 8, -1).swapaxes(0, 1) for row in small]


def test_rows_hold_the_pictures_and_ten_times_the_difference() -> None:
    first, second = pairs()
    picture = pair_picture(first, second, ("alice", "bob"))
    assert (picture.dtype, picture.shape) == (np.uint8, (3 * (STRIP + 32), 6 * 32, 3))
    above, below, difference = rows_of(picture)
    np.testing.assert_array_equal(above, first)
    np.testing.assert_array_equal(below, second)
    assert GAIN == 10
    assert (difference[0] == 10).all()
    assert (difference[1] == 30).all()
    expected = np.minimum(10 * np.abs(first[2].astype(int) - second[2]), 255)
    np.testing.assert_array_equal(difference[2], expected)
    assert expected.max() == 255
    assert not difference[3:].any()


def test_pixels_become_squares() -> None:
    picture = pair_picture(*pairs(), ("alice", "bob"))
    row = picture[STRIP : STRIP + 32]
    small = row[::4, ::4]
    for i in range(4):
        for j in range(4):
            np.testing.assert_array_equal(row[i::4, j::4], small)


def test_captions_are_black_on_white_and_differ() -> None:
    strips = [row[:STRIP] for row in np.split(pair_picture(*pairs(), ("alice", "bob")), 3)]
    for strip in strips:
        assert (strip[:, 0] == 255).all()
        assert strip.min() < 100
        # Whole letters: nothing is cut off above or below.
        assert (strip[[0, -1]] == 255).all()
    assert len({strip.tobytes() for strip in strips}) == 3
    other = pair_picture(*pairs(), ("alice", "carol"))
    assert not np.array_equal(np.split(other, 3)[1][:STRIP], strips[1])


def test_grey_pictures() -> None:
    first, second = pairs(channels=1)
    above, below, _ = rows_of(pair_picture(first, second, ("alice", "bob")))
    np.testing.assert_array_equal(above, first.repeat(3, axis=3))
    np.testing.assert_array_equal(below, second.repeat(3, axis=3))


def test_misuse() -> None:
    first, second = pairs()
    for wrong in (second[:5], second.astype(np.float32)):
        with pytest.raises(ValueError, match="expected two arrays of uint8"):
            pair_picture(first, wrong, ("alice", "bob"))
