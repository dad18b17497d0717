"""Attacks do what they say, and the bar tells who won: on painted bits, and on tiny networks."""

from functools import partial

import numpy as np
import pytest

from evaluation.attacks import gradients, learning
from evaluation.attacks.gradients import Pusher, with_decoder, without_decoder
from evaluation.attacks.instances import (
    Instances,
    average,
    merged,
    prune,
    pruned,
    quantise,
    quantised,
)
from evaluation.attacks.learning import copied, fine_tuned, recoded
from evaluation.attacks.outcome import colluded, forged, removed
from evaluation.attacks.pictures import averaged, denoised, residual
from evaluation.subject.classifier import Classifier
from evaluation.subject.readings import Reader
from evaluation.subject.settings import Settings, Skipped
from tests.support.painted import paint, painted_subject
from tests.support.subjects import tiny_subject

SETTINGS = Settings(num_images=8)
PAINTED = painted_subject()
TINY = tiny_subject()
RNG = np.random.default_rng(0)


class Reals:
    """A data set of noise."""

    name, num_images = "reals", 20

    def __init__(self, side: int) -> None:
        self.side = side

    def images(self, limit: int | None = None):
        size = [limit or self.num_images, self.side, self.side, 3]
        return iter(np.random.default_rng(1).integers(0, 256, size).astype(np.uint8))


def judge(kind, after: np.ndarray, **whose):
    reader = Reader(PAINTED, 1e-6)
    words = {"needs": "n", "cost": "c", "before": PAINTED.pictures(len(after)), "after": after}
    return kind(reader, "an attack", **words, **whose)


def test_the_bar_of_removal() -> None:
    own, owners = PAINTED.pictures(8), PAINTED.owners(8)
    kept = judge(removed, own, owners=owners)
    assert kept["passed"]
    assert kept["named"]["value"] == 1
    assert (kept["psnr"], kept["kind"]) == (200, "remove")
    # Half of the contrast hardly counts for quality here, and bits that are turned around are gone.
    lost = judge(removed, 250 - own, owners=owners)
    assert lost["psnr"] < 20
    assert lost["passed"]  # the attacker has ruined his pictures
    tuned = judge(removed, 250 - own, owners=owners, keeps_content=False)
    assert not tuned["passed"]  # or made others that serve him as well
    assert "20 dB" in lost["bar"]
    assert "20 dB" not in tuned["bar"]
    grey = np.where(own == 180, 124, 126).astype(np.uint8)
    assert not judge(removed, np.where(own > 0, 124, 0).astype(np.uint8), owners=owners)["named"][
        "value"
    ]
    assert judge(removed, grey, owners=owners)["bit_accuracy"]["value"] == 0
    others = judge(removed, PAINTED.pictures(8)[::-1], owners=owners)
    assert others["wrong"] == 8
    assert not others["passed"]  # somebody else is named


def test_the_bar_of_forgery() -> None:
    victim = PAINTED.registered[30]
    row = judge(forged, paint(np.broadcast_to(victim, (8, 64))), victim=30)
    assert not row["passed"]
    assert row["named"]["value"] == 1
    assert judge(forged, PAINTED.pictures(8), victim=30)["passed"]


def test_the_bar_of_collusion() -> None:
    innocent = paint(np.broadcast_to(PAINTED.registered[30], (8, 64)))
    row = judge(colluded, innocent, colluders=[0, 1])
    assert (row["wrong"], row["passed"]) == (8, False)
    row = judge(colluded, PAINTED.pictures(8)[:2].repeat(4, 0), colluders=[0, 1])
    assert (row["named"]["value"], row["passed"]) == (1, True)


def test_averages_name_nobody_innocent() -> None:
    rows = averaged(PAINTED, SETTINGS)["rows"]
    assert [row["name"].split()[2] for row in rows] == ["2", "3", "5", "10"]
    assert all(row["wrong"] == 0 for row in rows)
    assert not rows[-1]["passed"]  # and nobody else
    assert rows[0]["bit_accuracy"]["value"] > rows[-1]["bit_accuracy"]["value"]
    with pytest.raises(Skipped):
        averaged(painted_subject(num_keys=4), SETTINGS)


def test_a_fixed_pattern_is_forged_and_removed(monkeypatch) -> None:
    """Painted bits are the same in every picture, which averaging finds."""
    rows = residual(PAINTED, SETTINGS, Reals(32))["rows"]
    taken, *pasted = rows
    assert taken["named"]["value"] == 0
    assert [row["name"].split()[-1] for row in pasted] == ["model", "pictures"]
    assert pasted[1]["named"]["value"] == 1
    assert not pasted[1]["passed"]


def test_a_filter_leaves_large_shapes() -> None:
    rows = denoised(PAINTED, SETTINGS)["rows"]
    assert all(row["named"]["value"] == 1 and row["passed"] for row in rows)
    assert rows[0]["psnr"] > rows[-1]["psnr"]


def test_quantised_weights() -> None:
    values = {"a/weight": RNG.normal(size=[50]).astype(np.float32), "a/bias": np.zeros(3)}
    found = quantise(values, 4)
    assert len(np.unique(found["a/weight"])) <= 15
    step = np.abs(values["a/weight"]).max() / 7
    assert np.abs(found["a/weight"] - values["a/weight"]).max() <= step / 2 * 1.0001
    assert not found["a/bias"].any()


def test_pruned_weights_and_means() -> None:
    values = {"a/weight": np.arange(-5, 5, dtype=np.float32), "a/bias": np.ones(2)}
    found = prune(values, 0.4)
    assert found["a/weight"].tolist() == [-5, -4, -3, 0, 0, 0, 0, 0, 3, 4]
    assert found["a/bias"].tolist() == [1, 1]
    assert average([values, found])["a/weight"][3] == -1


def test_instances_make_the_generators_pictures() -> None:
    instances = Instances(TINY)
    prune(instances.weights(3), 0.5)  # changes a copy
    found = instances.pictures(instances.weights(3), range(5))
    expected = TINY.generate(range(5), TINY.registered[3]).astype(int)
    assert np.abs(found - expected).max() <= 1  # rounding
    assert found.std() > 0


@pytest.mark.slow
def test_attacks_on_instances_have_rows() -> None:
    few, several, mean = (f(TINY, SETTINGS)["rows"] for f in (quantised, pruned, merged))
    assert [len(rows) for rows in (few, several, mean)] == [4, 5, 4]
    assert few[0]["psnr"] > few[-1]["psnr"]
    assert several[0]["psnr"] > several[-1]["psnr"]


def test_gradients_reach_their_target_within_bounds() -> None:
    images = RNG.integers(5, 250, [6, 16, 16, 3]).astype(np.uint8)
    target = RNG.integers(0, 2, [6, 4])
    decoder = TINY.decoder
    after = Pusher(lambda x: decoder(x)[1], decoder)(images, target, 6)
    change = np.abs(after.astype(int) - images)
    assert change.max() <= 6
    signs = 2 * target - 1
    before, found = (signs * TINY.decode(x) for x in (images, after))
    assert (found > before).mean() > 0.8
    assert (found - before).mean() > 0.02


def test_a_classifier_learns() -> None:
    bright = RNG.integers(100, 256, [40, 16, 16, 3]).astype(np.uint8)
    dark = RNG.integers(0, 156, [40, 16, 16, 3]).astype(np.uint8)
    classifier = Classifier(TINY.decoder.config, seed=0, steps=25)
    classifier.learn(bright[:30], dark[:30])
    assert classifier.accuracy(bright[30:], dark[30:]) > 0.9
    assert classifier.accuracy(dark[30:], bright[30:]) < 0.1  # which is which


@pytest.mark.slow
def test_attacks_that_learn_have_rows(monkeypatch) -> None:
    monkeypatch.setattr(gradients, "LEARNING", 10)
    monkeypatch.setattr(gradients, "STEPS", 2)
    monkeypatch.setattr(gradients, "Classifier", partial(Classifier, steps=2))
    monkeypatch.setattr(learning, "STAGES", (1, 2))
    monkeypatch.setattr(learning, "COPYING", 2)
    reals, small = Reals(8), tiny_subject(resolution=8)
    assert len(with_decoder(small, SETTINGS)["rows"]) == 8
    assert len(without_decoder(small, SETTINGS)["rows"]) == 4
    tuned = fine_tuned(small, SETTINGS, reals)["rows"]  # type: ignore[arg-type]
    assert [row["cost"] for row in tuned] == [
        f"{steps} steps of 16 of 20 pictures" for steps in (1, 2)
    ]
    assert tuned[0]["psnr"] < 60
    for rows in (copied(small, SETTINGS)["rows"], recoded(small, SETTINGS, reals)["rows"]):  # type: ignore[arg-type]
        assert len(rows) == 1
        assert rows[0]["psnr"] < 40
    with pytest.raises(Skipped, match="--dataset"):
        fine_tuned(small, SETTINGS, None)
