"""The detector: its index follows the registry, and findings name who the registry names."""

import shutil
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
    with pytest.raises(UserError, match="index of something else"):
        PackedIndex.open(path)  # whose it is has to be told


def restore(registry: Registry, backup: Path) -> Registry:
    registry.close()
    shutil.copy(backup, backup.with_name("registry.db"))
    return Registry.open(str(backup.with_name("registry.db")))


def test_a_restored_registry_names_who_it_names(tmp_path):
    """The number of an event was given to somebody else after the backup."""
    registry, model = make(tmp_path, "acme")
    registry.close()
    backup = tmp_path / "backup.db"
    shutil.copy(tmp_path / "registry.db", backup)

    registry = Registry.open(str(tmp_path / "registry.db"))
    reserve(registry, model, "bell")
    bells = logits_of(registry, "bell")
    assert Detector(registry, model).judge(bells).text == "licensee bell"
    number = registry.fingerprints(licensee_id="bell")[0].id

    registry = restore(registry, backup)
    reserve(registry, model, "core")
    assert registry.fingerprints(licensee_id="core")[0].id == number
    detector = Detector(registry, model)
    assert detector.judge(logits_of(registry, "core")).text == "licensee core"
    assert detector.judge(bells).text == "not-ours"  # nobody knows it any more

    # Back to the first history: its index must not be that of the other one either.
    registry = restore(registry, backup)
    assert Detector(registry, model).judge(bells).text == "not-ours"


def test_a_copy_that_went_on_otherwise_has_its_own_index(tmp_path):
    """Two registries of one id take turns in one cache."""
    first, model = make(tmp_path, "acme")
    first.close()
    shutil.copy(tmp_path / "registry.db", tmp_path / "copy.db")
    both = [Registry.open(str(tmp_path / name)) for name in ("registry.db", "copy.db")]
    assert both[0].id == both[1].id
    for registry, licensee in zip(both, ("bell", "core"), strict=True):
        reserve(registry, model, licensee)
    for _ in range(2):
        for registry, own, other in ((both[0], "bell", "core"), (both[1], "core", "bell")):
            detector = Detector(registry, model)
            assert detector.judge(logits_of(registry, own)).text == f"licensee {own}"
            foreign = both[1] if registry is both[0] else both[0]
            assert detector.judge(logits_of(foreign, other)).text == "not-ours"


def test_a_swapped_index_file_is_not_believed(tmp_path, cache):
    """One registry's file under the other's name."""
    (tmp_path / "two").mkdir()
    registries = [make(tmp_path, "acme"), make(tmp_path / "two", "bell")]
    paths = []
    for registry, model in registries:
        before = set(cache.iterdir()) if cache.exists() else set()
        open_index(registry, model)
        (path,) = set(cache.iterdir()) - before
        paths.append(path)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[::-1], strict=True):
        path.write_bytes(content)
    for (registry, model), licensee in zip(registries, ("acme", "bell"), strict=True):
        logits = logits_of(registry, licensee)
        assert Detector(registry, model).judge(logits).text == f"licensee {licensee}"


def test_a_registry_restored_under_a_living_detector_gives_no_wrong_name(tmp_path):
    registry, model = make(tmp_path, "acme")
    registry.close()
    backup = tmp_path / "backup.db"
    shutil.copy(tmp_path / "registry.db", backup)
    registry = Registry.open(str(tmp_path / "registry.db"))
    reserve(registry, model, "bell")
    bells, detector = logits_of(registry, "bell"), Detector(registry, model)
    restored = restore(registry, backup)
    reserve(restored, model, "core")
    detector._store = restored  # as a PostgreSQL server has it, where the name stays
    with pytest.raises(UserError, match="is not what it was when the search began.*run audit"):
        detector.judge(bells)
    with pytest.raises(UserError, match="is not what it was"):
        detector.candidates(bells[None], 2)


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


def test_nothing_to_compare_with(tmp_path):
    registry, model = make(tmp_path)
    with pytest.raises(UserError, match="has no fingerprint of the model abababababab; issue one"):
        Detector(registry, model)
    with pytest.raises(UserError, match="licensee zed has no fingerprint"):
        Detector(registry, model, "zed")
