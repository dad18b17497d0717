"""Bits read behind single edits, and what the log and TensorBoard say of them."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import run_training
from tests.support.small_runs import SMALL, write_images
from training.config import PRESETS
from training.edits.probes import PROBES
from training.probes import accuracies_after_edits


def test_what_an_edit_takes_away_is_told() -> None:
    """Bits in the colour of a picture's left half: grey takes them, a mirror moves them."""
    bits = np.array([[0], [1]] * 10, np.uint8)
    images = np.full([20, 16, 16, 3], 128, np.uint8)
    images[:, :, :8, 0] = np.where(bits, 200, 60)[:, :, None]
    images[:, :, :8, 2] = np.where(bits, 60, 200)[:, :, None]

    def decode(given: np.ndarray) -> np.ndarray:
        assert given.dtype == np.float32
        assert abs(given).max() <= 1 + 1e-6
        return (given[:, :, :8, 0] - given[:, :, :8, 2]).mean(axis=(1, 2))[:, None] - 1e-3

    found = accuracies_after_edits(images, bits, decode)
    assert found.keys() == PROBES.keys()
    assert found["jpeg75"] == found["half"] == found["bright08"] == 1.0
    assert found["grey"] == 0.5
    assert found["flip"] == 0.5


@pytest.mark.slow
def test_log_of_a_run_with_edits(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("run")
    write_images(folder / "data" / "noise", 40)
    monkeypatch.setitem(PRESETS, "config-test", SMALL)
    run_training.main([
        f"--data-dir={folder / 'data'}", "--dataset=noise", "--config=config-test",
        f"--result-dir={folder / 'results'}", "--num-gpus=0", "--ops=reference",
        "--immunize=jpeg,flip", "--edit-strength=0@0,1@0.2", "--augment=ada", "--total-kimg=0.2",
    ])  # fmt: skip
    (run_dir,) = (folder / "results").iterdir()
    log = (run_dir / "log.txt").read_text()
    assert "bit_accuracy_edited 0." in log
    assert all(f"  {name} " in log or f"after {name} " in log for name in PROBES)
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {f"Progress/bit_accuracy/{name}" for name in PROBES} <= tags
    assert {"Progress/bit_accuracy_edited", "Progress/augment_p"} <= tags
