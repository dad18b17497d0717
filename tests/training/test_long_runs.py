"""What goes wrong only after many iterations: memory that grows, functions traced again."""

import gc
from pathlib import Path

import pytest

from dnnlib.tflib.hardware import process_memory_gb
from tests.support.small_runs import SMALL, write_images
from training.config import PRESETS, TrainOptions, setup_training_config
from training.data.dataset import open_dataset
from training.progress_log import Statistics
from training.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.long]

ITERATIONS = 2000
WARM_UP = 500


def test_memory_and_traces_stand_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "config-test", SMALL)
    write_images(tmp_path / "noise", 50)
    dataset = open_dataset(tmp_path, "noise")
    options = TrainOptions(dataset="noise", config="config-test", minibatch=8, ops="reference")
    run = Run(setup_training_config(options, 8, 3), dataset)
    statistics = Statistics()
    memory, traces = [], []
    with dataset.batches(8, seed=0) as batches:
        for _ in range(ITERATIONS):
            statistics.add(run.train_iteration(batches))
            if run.state.iteration % 125 == 0:  # as often as published ticks
                means, skipped = statistics.take_means()
                assert len(means) >= 8
                assert skipped == 0
            if run.state.iteration in (WARM_UP, ITERATIONS):
                gc.collect()
                memory.append(process_memory_gb())
            if run.state.iteration in (17, ITERATIONS):  # every phase has run twice
                traces.append(run.steps.num_traces())
    assert traces[0] == traces[1] > 0
    assert memory[0] > 0.1
    assert memory[1] < memory[0] * 1.02
