"""The detector: its index follows the registry, and findings name who the registry names."""

from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.detector import Detector, open_index
from fingerprints.detection.search import PackedIndex
from fingerprints.entries import Model
from fingerprints.registry.facade import Registry

NUM_BITS = 64
HASHES = ("ab" * 32, "cd" * 32)  # of the model and of its decoder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "index"


def make(tmp_path: Path, *licensees: str, key: bytes | None = None) -> tuple[Registry, Model]:
    registry = Registry.create(str(tmp_path / "registry.db"), key)
    model = registry.add_model(*HASHES, NUM_BITS, "model")
    reserve(registry, model, *licensees)
    return registry, model


def reserve(registry: Registry, model: Model, *licensees: str) -> None:
    registry.reserve(model, [(name, name.title()) for name in licensees], min_distance=8)


def logits_of(registry: Registry, licensee: str, num_wrong: int = 0) -> np.ndarray:
    """What a decoder says of an image of this licensee, with some bits wrong and unsure."""
    bits = registry.fingerprints(licensee_id=licensee)[-1].bits
    logits = np.where(bits == 1, 4.0, -4.0)
    logits[:num_wrong] *= -0.25
    return logits


def test_findings_name_the_licensee(tmp_path):
    registry, model = make(tmp_path, "acme", "bell", "core")
    detector = Detector(registry, model)
    finding = detector.judge(logits_of(registry, "bell", num_wrong=3))
    assert finding.text == "licensee bell"
    found = finding.to_dict()
    assert (found["licensee"], found["name"], found["matches"]) == ("bell", "Bell", NUM_BITS - 3)
    assert (found["num_keys"], found["calibrated"], found["revoked"]) == (3, False, False)
    best, *others = detector.candidates(logits_of(registry, "bell")[None], 3)
    assert (best[0].licensee, best[1], best[2]) == ("bell", NUM_BITS, 4.0 * NUM_BITS)
    assert {other[0].licensee for other in others} == {"acme", "core"}


def test_revocation_shows_at_once(tmp_path):
    registry, model = make(tmp_path, "acme", "bell")
    detector = Detector(registry, model)
    logits = logits_of(registry, "acme")
    registry.revoke("acme", "leak")
    assert detector.judge(logits).text == "licensee acme (revoked)"
    assert detector.judge(logits).to_dict()["revoked"] is True
    assert Detector(registry, model).judge(logits).verdict.num_keys == 2  # it still counts


def test_random_bits_are_nobodys(tmp_path):
    registry, model = make(tmp_path, "acme", "bell")
    finding = Detector(registry, model).judge(np.random.default_rng(0).standard_normal(NUM_BITS))
    assert finding.text == "not-ours"
    assert finding.to_dict()["licensee"] is None


def test_index_follows_the_registry(tmp_path, cache):
    registry, model = make(tmp_path, "acme")
    assert len(open_index(registry, model)) == 1
    (first,) = cache.iterdir()
    assert open_index(registry, model).ids.tolist() == [registry.fingerprints()[0].id]
    assert list(cache.iterdir()) == [first]  # not written again
    reserve(registry, model, "bell", "core")
    old = open_index(registry, model)
    (second,) = cache.iterdir()  # the older one is gone
    assert second != first
    assert old.ids.tolist() == [entry.id for entry in registry.fingerprints()]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert second.stat().st_mode & 0o777 == 0o600


def test_a_damaged_index_is_written_anew(tmp_path, cache):
    registry, model = make(tmp_path, "acme", "bell")
    open_index(registry, model)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert open_index(registry, model).ids.tolist() == [e.id for e in registry.fingerprints()]
    assert len(PackedIndex.open(path)) == 2


def test_encrypted_bits_stay_in_memory(tmp_path, cache):
    registry, model = make(tmp_path, "acme", "bell", key=bytes(range(64)))
    assert Detector(registry, model).judge(logits_of(registry, "acme")).text == "licensee acme"
    assert not cache.exists()


def test_a_pool_is_one_decision(tmp_path):
    """Images that say nothing alone: a quarter of their bits is wrong, each time others."""
    registry, model = make(tmp_path, "acme", "bell")
    detector = Detector(registry, model)
    rnd = np.random.default_rng(0)
    rows = np.stack([logits_of(registry, "acme") for _ in range(9)])
    rows *= np.where(rnd.random(rows.shape) < 0.25, -1, 1)
    assert {detector.judge(row).text for row in rows} != {"licensee acme"}
    assert detector.judge_pool(rows).text == "licensee acme"
    assert detector.judge_pool(rows[:1]).to_dict() == detector.judge(rows[0]).to_dict()


def test_calibration_raises_p(tmp_path):
    """Foreign images that all lean to one licensee."""
    registry, model = make(tmp_path, "acme", "bell")
    logits = logits_of(registry, "acme")
    assert Detector(registry, model).judge(logits).text == "licensee acme"
    rnd = np.random.default_rng(1)
    foreign = np.sign(logits) * np.where(rnd.random((400, NUM_BITS)) < 0.1, -1, 1)
    foreign *= rnd.uniform(3.9, 4.1, foreign.shape)
    calibration = Calibration.from_logits(HASHES[1], foreign)
    registry.save_calibration(model, calibration.to_bytes(), 400)
    found = Detector(registry, model).judge(logits).to_dict()
    assert found["verdict"] == "not-ours"
    assert found["calibrated"]
    assert found["pvalue"] == found["calibrated_pvalue"] > found["exact_pvalue"]


def test_many_are_judged_at_once(tmp_path):
    registry, model = make(tmp_path, "acme", "bell")
    detector = Detector(registry, model)
    rows = [
        logits_of(registry, "bell", 3),
        -logits_of(registry, "bell"),
        logits_of(registry, "acme"),
    ]
    findings = detector.judge_many(np.stack(rows))
    assert [f.text for f in findings] == ["licensee bell", "not-ours", "licensee acme"]
    assert findings == [detector.judge(row) for row in rows]
    assert detector.judge_many(np.zeros([0, NUM_BITS])) == []


def test_what_is_unclear_counts_little(tmp_path):
    """A third of the bits is wrong, but barely: too few matches, and clearly ours."""
    registry, model = make(tmp_path, "acme", "bell")
    logits = logits_of(registry, "bell")
    logits[:21] *= -0.1
    soft = Detector(registry, model).judge(logits)
    bits = Detector(registry, model, decision="bits").judge(logits)
    assert (soft.text, bits.text) == ("licensee bell", "not-ours")
    assert (soft.verdict.matches, bits.verdict.matches) == (43, 43)
    assert (soft.to_dict()["decision"], bits.to_dict()["decision"]) == ("soft", "bits")


VIEWS = {"none": ("as it is",), "light": ("as it is", "mirrored", "brighter")}


def test_edits_are_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("fingerprints.detection.detector.SEARCHES", VIEWS)
    registry, model = make(tmp_path, "acme", "bell")
    rng = np.random.default_rng(0)
    foreign = rng.standard_normal((200, 3, NUM_BITS))
    calibration = Calibration.from_logits(HASHES[1], foreign, views=VIEWS["light"])
    registry.save_calibration(model, calibration.to_bytes(), 200)
    detector = Detector(registry, model, search="light")
    logits = rng.standard_normal((3, NUM_BITS))
    logits[2] = logits_of(registry, "acme", 3)
    found = detector.judge(logits).to_dict()
    assert (found["licensee"], found["edit"], found["views"]) == ("acme", "brighter", 3)
    best, _ = detector.candidates(logits[None], 2, view="brighter")
    assert (best[0].licensee, best[1]) == ("acme", NUM_BITS - 3)
    # A pool is edited in one way.
    pool = rng.standard_normal((5, 3, NUM_BITS))
    pool[:, 1] += 0.5 * np.sign(logits_of(registry, "bell"))
    assert detector.judge_pool(pool).to_dict()["edit"] == "mirrored"
    # What is not searched takes only its own part of the calibration.
    plain = Detector(registry, model)
    assert plain.calibration.views == ("as it is",)
    assert plain.judge(logits[2]).to_dict()["edit"] is None


def test_a_calibration_of_fewer_views_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fingerprints.detection.detector.SEARCHES", VIEWS)
    monkeypatch.setattr("fingerprints.detection.views.SEARCHES", VIEWS)
    registry, model = make(tmp_path, "acme")
    calibration = Calibration.from_logits(HASHES[1], np.zeros((30, NUM_BITS)))
    registry.save_calibration(model, calibration.to_bytes(), 30)
    with pytest.raises(
        UserError, match="without the edit 'mirrored'; calibrate again with --search=light$"
    ):
        Detector(registry, model, search="light")


def test_nothing_to_compare_with(tmp_path):
    registry, model = make(tmp_path)
    with pytest.raises(UserError, match="has no fingerprint of the model abababababab; issue one"):
        Detector(registry, model)
    with pytest.raises(UserError, match="licensee zed has no fingerprint"):
        Detector(registry, model, "zed")
