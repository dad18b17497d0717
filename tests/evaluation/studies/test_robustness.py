"""What edits take is counted, against the truth, by each way of coming to a verdict."""

import numpy as np
import pytest

from evaluation.studies.attribution import GENERATORS, attribution
from evaluation.studies.robustness import robustness, unperturbed
from evaluation.studies.visibility import visibility
from evaluation.subject.readings import Reader
from evaluation.subject.settings import Settings
from tests.support.painted import painted_subject

SETTINGS = Settings(num_images=12)
SUBJECT = painted_subject()


def test_all_is_read_of_pictures_as_they_are() -> None:
    found = unperturbed(SUBJECT, SETTINGS)
    assert found["bit_accuracy"]["value"] == 1
    assert [named["value"] for named in found["named"].values()] == [1, 1, 1]
    assert set(found["wrong"].values()) == {0}


def test_a_mirror_is_found_by_trying() -> None:
    (point,) = robustness(SUBJECT, SETTINGS, "flip")["points"]
    named = {way: figure["value"] for way, figure in point["named"].items()}
    assert named == {"bits": 0, "soft": 0, "soft, light": 1}
    assert 0.3 < point["bit_accuracy"]["value"] < 0.7


def test_noise_takes_more_and_more() -> None:
    found = robustness(SUBJECT, SETTINGS, "crop")
    accuracies = [point["bit_accuracy"]["value"] for point in found["points"]]
    assert accuracies[0] == 1
    assert accuracies[-1] < 0.8
    decibels = [point["psnr"] for point in found["points"]]
    assert decibels == sorted(decibels, reverse=True)
    assert found["points"][0]["num_images"] == 12


def test_wrong_names_are_counted() -> None:
    owners = SUBJECT.owners(12)
    reading = Reader(SUBJECT, 1e-6).read(SUBJECT.pictures(12), np.roll(owners, 1))
    assert reading.wrong == {"bits": 12, "soft": 12}
    assert reading.named["soft"].value == 0
    assert reading.ours["soft"].value == 1


class Reals:
    """A data set of pictures that carry nothing."""

    name, num_images = "reals", 12

    def images(self, limit: int | None = None):
        rng = np.random.default_rng(1)
        return iter(rng.integers(0, 256, [limit, 32, 32, 3]).astype(np.uint8))


def test_attribution_counts_both_worlds() -> None:
    found = attribution(SUBJECT, SETTINGS, Reals())  # type: ignore[arg-type]
    assert [row["generators"] for row in found["rows"]] == list(GENERATORS)
    for row in found["rows"]:
        assert row["closed_world"]["value"] == row["open_world"]["value"] == 1
        assert row["detection"]["value"] == 1
        assert (row["wrong"], row["real_called_ours"], row["real_images"]) == (0, 0, 12)
    assert "detection" not in attribution(SUBJECT, SETTINGS, None)["rows"][0]


def test_visibility_is_symmetric_and_of_the_fingerprint() -> None:
    found = visibility(SUBJECT, SETTINGS)
    # Half of the blocks differ by 110 levels.
    assert found["pooled_psnr"] == pytest.approx(20 * np.log10(255 / (110 * 0.5**0.5)), abs=0.5)
    assert found["largest"]["value"] == 110
    assert set(found["pictures"]) == {"grid", "fingerprints", "first", "second", "difference"}
