"""A detector over a store of the user's own, where there is no database."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.detector import Detector, open_index
from tests.support.memory_store import FIRST_ID, MODEL, NUM_BITS, MemoryStore
from tests.support.paths import ROOT

BITS = np.random.default_rng(5).integers(0, 2, (5, NUM_BITS), dtype=np.uint8)
FOREIGN = np.random.default_rng(6).normal(0, 1, (200, NUM_BITS))
NOBODYS = np.random.default_rng(7).normal(0, 1, NUM_BITS)

CODE = """
import sys
sys.modules["sqlalchemy"] = sys.modules["tensorflow"] = None
from tests.fingerprints.detection.test_store import check
check()
"""


def logits_of(row: int) -> np.ndarray:
    return np.where(BITS[row], 3.0, -3.0)


def check(**options) -> None:
    """Who made it is told, with and without a calibration."""
    foreign = Calibration.from_logits(MODEL.decoder_hash, FOREIGN).to_bytes()
    for calibration in (None, foreign):
        detector = Detector(MemoryStore(BITS, calibration, **options), MODEL)
        assert (detector.calibration is None) == (calibration is None)
        for row in range(5):
            finding = detector.judge(logits_of(row), fpr=1e-3)
            assert finding.text == f"licensee licensee-{row}"
            assert finding.licensee_name == f"LICENSEE-{row}"
        assert detector.judge(NOBODYS).text == "not-ours"
        ((entry, matches, _),) = detector.candidates(logits_of(2)[None], 1)
        assert (entry.licensee, matches) == ("licensee-2", NUM_BITS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_detector_needs_neither_database_nor_tensorflow() -> None:
    run = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("block", [1, 2, 5])
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_blocks_of_any_size_give_the_same(block: int, is_encrypted: bool) -> None:
    store = MemoryStore(BITS, block=block, is_encrypted=is_encrypted)
    assert len(next(store.packed(MODEL))[0]) == block
    assert open_index(store, MODEL).ids.tolist() == [FIRST_ID + row for row in range(5)]
    check(block=block, is_encrypted=is_encrypted)


def test_an_encrypted_store_leaves_nothing_in_the_cache(cache: Path) -> None:
    check(is_encrypted=True)
    assert not cache.exists()
    check()
    assert len(list((cache / "index").iterdir())) == 1


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_one_licensee_of_many(cache: Path, is_encrypted: bool) -> None:
    """The question is about that one: another's image is not ours, and one comparison counts."""
    detector = Detector(MemoryStore(BITS, is_encrypted=is_encrypted), MODEL, "licensee-3")
    finding = detector.judge(logits_of(3))
    assert (finding.text, finding.verdict.num_keys) == ("licensee licensee-3", 1)
    assert detector.judge(logits_of(2)).text == "not-ours"
    assert not cache.exists()
    with pytest.raises(UserError, match="licensee licensee-7 has no fingerprint"):
        Detector(MemoryStore(BITS, is_encrypted=is_encrypted), MODEL, "licensee-7")


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_store_of_one_licensee(is_encrypted: bool) -> None:
    detector = Detector(MemoryStore(BITS[:1], is_encrypted=is_encrypted), MODEL)
    finding = detector.judge(logits_of(0))
    assert (finding.text, finding.verdict.num_keys) == ("licensee licensee-0", 1)
    assert detector.judge(logits_of(1)).text == "not-ours"


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_an_empty_store_is_refused(is_encrypted: bool) -> None:
    with pytest.raises(UserError, match="has no fingerprint of the model aaaaaaaaaaaa; issue one"):
        Detector(MemoryStore(BITS[:0], is_encrypted=is_encrypted), MODEL)
