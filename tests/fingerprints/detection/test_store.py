"""A detector over a store of the user's own, where there is no database."""

import subprocess
import sys

from tests.support.paths import ROOT

CODE = """
import sys
sys.modules["sqlalchemy"] = sys.modules["tensorflow"] = None
import numpy as np
from fingerprints.bits import pack_bits
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.detector import Detector
from fingerprints.entries import Counts, Fingerprint, Licensee, Model

rng = np.random.default_rng(5)
MODEL = Model(1, "a" * 64, "b" * 64, 64, "model", "2026-01-01T00:00:00Z")
BITS = rng.integers(0, 2, (5, 64), dtype=np.uint8)


class Memory:
    id = "memory"
    is_encrypted = False

    def __init__(self, calibration):
        self.calibration = calibration

    def counts(self, model):
        return Counts(len(BITS), len(BITS), 0, len(BITS), 0)

    def packed(self, model):
        yield np.arange(100, 105), pack_bits(BITS)

    def fingerprint(self, number):
        row = number - 100
        return Fingerprint(number, 1, "a" * 64, f"licensee-{row}", 16, "", BITS[row])

    def fingerprints(self, model, licensee):
        return [self.fingerprint(100 + int(licensee[-1]))]

    def licensee(self, name):
        return Licensee(name, name.upper(), "")

    def load_calibration(self, model):
        return self.calibration


foreign = Calibration.from_logits("b" * 64, rng.normal(0, 1, (200, 64)))
for calibration in (None, foreign.to_bytes()):
    detector = Detector(Memory(calibration), MODEL)
    for row in range(5):
        finding = detector.judge(np.where(BITS[row], 3.0, -3.0), fpr=1e-3)
        print(finding.text, finding.licensee_name)
    print(detector.judge(rng.normal(0, 1, 64)).text)
    print([entry.licensee for entry, *_ in detector.candidates(np.where(BITS[2:3], 1.0, -1), 1)])
print(Detector(Memory(None), MODEL, "licensee-3").judge(np.where(BITS[3], 3.0, -3.0)).text)
"""


def test_detector_over_a_store_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path))
    run = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    named = [f"licensee licensee-{row} LICENSEE-{row}" for row in range(5)]
    once = [*named, "not-ours", "['licensee-2']"]
    assert run.stdout.splitlines() == [*once, *once, "licensee licensee-3"]
