"""Each view takes back what it says; all are there, in an order that longer searches keep."""

import numpy as np
import pytest
from PIL import Image

from fingerprints.detection import undoing
from fingerprints.detection.undoing import FULL
from fingerprints.detection.views import AS_IT_IS, SEARCHES, expand

SIDE = 32


def pictures(num: int = 3, side: int = SIDE) -> np.ndarray:
    """Smooth pictures in colour, which resampling changes little."""
    rng = np.random.default_rng(0)
    small = rng.integers(40, 160, [num, 5, 5, 3], np.uint8)
    size = (side, side)
    return np.stack(
        [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in small]
    )


def undone(name: str, images: np.ndarray) -> np.ndarray:
    return FULL[name](images)


def difference(one: np.ndarray, other: np.ndarray, margin: int = 0) -> float:
    """Mean, in grey levels, without a margin."""
    inside = slice(margin, one.shape[1] - margin)
    return float(np.abs(one[:, inside, inside].astype(int) - other[:, inside, inside]).mean())


def edited(images: np.ndarray, edit) -> np.ndarray:
    return np.stack([np.asarray(edit(Image.fromarray(image))) for image in images])


class TestSearches:
    def test_sizes_that_users_pay_for(self):
        assert {name: len(found) for name, found in SEARCHES.items()} == {
            "none": 1,
            "light": 10,
            "full": 36,
        }

    def test_a_longer_search_begins_with_the_shorter_one(self):
        assert SEARCHES["full"][:10] == SEARCHES["light"]
        assert SEARCHES["light"][:1] == SEARCHES["none"] == (AS_IT_IS,)

    @pytest.mark.parametrize("search", SEARCHES)
    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_view_keeps_the_shape(self, search, channels):
        images = pictures()[..., :channels]
        found = expand(images, search)
        assert found.shape == (3, len(SEARCHES[search]), SIDE, SIDE, channels)
        assert found.dtype == np.uint8
        assert np.array_equal(found[:, 0], images)

    def test_no_two_views_are_the_same_picture(self):
        found = expand(pictures(1), "full")[0]
        assert len(np.unique(found.reshape(len(found), -1), axis=0)) == len(found)

    def test_pictures_do_not_depend_on_their_neighbours(self):
        images = pictures(4)
        alone = np.concatenate([expand(images[[i]], "full") for i in range(4)])
        assert np.array_equal(expand(images, "full"), alone)

    def test_one_colour_stays_one_colour(self):
        images = np.full([1, SIDE, SIDE, 3], 200, np.uint8)
        for view in expand(images, "full")[0]:
            assert len(np.unique(view)) == 1


class TestTakesBack:
    @pytest.mark.parametrize(
        ("name", "edit"),
        [
            ("mirrored", Image.Transpose.FLIP_LEFT_RIGHT),
            ("turned left", Image.Transpose.ROTATE_90),
            ("upside down", Image.Transpose.ROTATE_180),
            ("turned right", Image.Transpose.ROTATE_270),
            ("mirrored, upside down", Image.Transpose.FLIP_TOP_BOTTOM),
        ],
    )
    def test_exactly(self, name, edit):
        images = pictures()
        changed = edited(images, lambda picture: picture.transpose(edit))
        assert not np.array_equal(changed, images)
        assert np.array_equal(undone(name, changed), images)

    @pytest.mark.parametrize(
        ("name", "curve"),
        [
            ("darkened", lambda v: v / 1.3),
            ("darkened much", lambda v: v / 1.7),
            ("brightened", lambda v: v ** (1 / 1.5)),
            ("contrast taken", lambda v: 0.5 + (v - 0.5) / 1.5),
        ],
    )
    def test_tones_up_to_rounding(self, name, curve):
        images = pictures()
        changed = np.rint(255 * curve(images / 255)).astype(np.uint8)
        assert difference(changed, images) > 10
        assert difference(undone(name, changed), images) < 1

    @pytest.mark.parametrize(
        ("name", "share"),
        [("cropped a little", 1 / 1.1), ("cropped", 1 / 1.25), ("cropped much", 1 / 1.4)],
    )
    def test_crops(self, name, share):
        images, cut = pictures(), SIDE * (1 - share) / 2
        box = (cut, cut, SIDE - cut, SIDE - cut)
        changed = edited(images, lambda p: p.resize(p.size, Image.Resampling.LANCZOS, box=box))
        margin = int(np.ceil(cut)) + 1
        before = difference(changed, images, margin)
        assert difference(undone(name, changed), images, margin) < 0.25 * before

    def test_a_crop_is_put_where_it_was(self):
        images, cut = pictures(), SIDE * (1 - 1 / 1.12)
        for name, box in {
            "top left": (0, 0, SIDE - cut, SIDE - cut),
            "top right": (cut, 0, SIDE, SIDE - cut),
            "bottom left": (0, cut, SIDE - cut, SIDE),
            "bottom right": (cut, cut, SIDE, SIDE),
        }.items():
            changed = edited(images, lambda p, box=box: p.resize(p.size, box=box))
            found = {
                other: difference(undone(f"cropped to the {other}", changed), images, 5)
                for other in ("top left", "top right", "bottom left", "bottom right")
            }
            assert min(found, key=found.__getitem__) == name
            assert found[name] < 0.25 * difference(changed, images, 5)

    @pytest.mark.parametrize(("name", "share"), [("made smaller", 0.9), ("made much smaller", 0.8)])
    def test_pictures_on_a_larger_ground(self, name, share):
        images, side = pictures(), round(SIDE * share / 2) * 2

        def shrink(picture: Image.Image) -> Image.Image:
            ground = Image.new("RGB", picture.size, (255, 255, 255))
            ground.paste(picture.resize((side, side)), ((SIDE - side) // 2,) * 2)
            return ground

        changed = edited(images, shrink)
        assert difference(undone(name, changed), images, 3) < 0.3 * difference(changed, images, 3)


def test_weights_of_a_window_are_means():
    for share in (0.8, 1.0, 1.25):
        weights = undoing._weights(16, share, 0.5)
        assert np.allclose(weights.sum(axis=1), 1)
        assert (weights >= 0).all()
    assert np.allclose(undoing._weights(16, 1.0, 0.5), np.eye(16))
