"""When memory runs out, training names the flags to go on with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import run_training
from dnnlib.errors import UserError
from tests.support.small_runs import write_images
from training.config import TrainConfig, TrainOptions, setup_training_config
from training.grids import Grids
from training.out_of_memory import advice, is_out_of_memory, smaller_slice, suggesting
from training.run import Run
from training.setup import check_minibatch


def config_of(name: str = "config-e", **sizes: int) -> TrainConfig:
    return setup_training_config(TrainOptions(dataset="d", config=name, **sizes), 32, 3)


@pytest.mark.parametrize(
    ("share", "now", "expected"),
    [
        (8, 8, 4),
        (16, 16, 8),
        (24, 24, 12),
        (12, 12, 4),  # not 6, which is neither at most 4 nor a multiple of it
        (40, 20, 8),  # not 10
        (28, 28, 4),  # not 14
        (4, 4, 2),
        (3, 3, 1),
        (8, 2, 1),
        (8, 1, None),
    ],
)
def test_smaller_slices(share: int, now: int, expected: int | None) -> None:
    assert smaller_slice(share, now) == expected


# The text depends on the preset only where no smaller slice is left: see the next test but one.
@pytest.mark.parametrize(
    ("name", "share", "num_replicas"),
    [
        ("config-f", 1, 1),
        ("config-tiny", 3, 1),
        ("config-e", 12, 2),
        ("config-e-Gskip-Dresnet", 20, 3),
        ("config-tiny-128", 64, 4),
    ],
)
def test_advice_is_accepted_and_leads_down_to_one(name: str, share: int, num_replicas: int) -> None:
    minibatch = share * num_replicas
    config = config_of(name, minibatch=minibatch, minibatch_gpu=share)
    while config.minibatch_gpu > 1:
        flags = dict(
            word.strip(",").removeprefix("--").split("=")
            for word in advice(config, num_replicas).split()
            if word.startswith("--")
        )
        assert flags.keys() == {"minibatch", "minibatch-gpu"}
        sizes = {"minibatch": int(flags["minibatch"]), "minibatch_gpu": int(flags["minibatch-gpu"])}
        smaller = config_of(name, **sizes)
        check_minibatch(smaller.minibatch, smaller.minibatch_gpu, num_replicas)
        assert smaller.minibatch == minibatch
        assert smaller.minibatch_gpu <= config.minibatch_gpu / 2
        config = smaller
    end = advice(config, num_replicas)
    assert "--minibatch-gpu=1 already: this model does not fit" in end


def test_slices_are_those_of_a_device() -> None:
    """8 divides the minibatch, but not the 20 images that each of two devices computes."""
    config = config_of(minibatch=40, minibatch_gpu=20)
    with (
        pytest.raises(UserError, match="--minibatch=40 --minibatch-gpu=4,"),
        suggesting(config, num_replicas=2),
    ):
        raise MemoryError


def test_advice_where_slices_end() -> None:
    small = {"minibatch": 8, "minibatch_gpu": 1}
    assert "(--config=config-e)" in advice(config_of("config-f", **small), 1)
    assert "(--config=config-tiny)" in advice(config_of("config-e-Gskip-Dresnet", **small), 1)
    tiny = advice(config_of("config-tiny", **small), 1)
    assert "--config" not in tiny
    assert "use a data set of a lower resolution" in tiny


def exhausted(text: str) -> tf.errors.ResourceExhaustedError:
    return tf.errors.ResourceExhaustedError(None, None, text)


@pytest.mark.parametrize(
    "error",
    [
        exhausted("OOM when allocating tensor with shape[4,4] on device GPU:0 by allocator GPU_0"),
        exhausted("Out of memory while trying to allocate 448.00MiB."),
        tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: Out of memory"),
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["gpu", "xla", "internal", "python", "c++", "system"],
)
def test_failed_allocations(error: Exception) -> None:
    assert is_out_of_memory(error)
    with (
        pytest.raises(UserError, match=r"--minibatch=8 --minibatch-gpu=4,") as found,
        suggesting(config_of(), 1),
    ):
        raise error
    assert found.value.__cause__ is error
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "error",
    [
        exhausted("log.txt; No space left on device"),
        tf.errors.InvalidArgumentError(None, None, "shapes differ"),
        ValueError("expected [N,Z]"),
        UserError("loss_G is not finite"),
        KeyboardInterrupt(),
    ],
    ids=["disk", "tensorflow", "ours", "user", "interrupt"],
)
def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as found, suggesting(config_of(), 1):
        raise error
    assert found.value is error


# Real allocations that fail


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    write_images(tmp_path / "data" / "noise", 20, size=16)
    return [
        f"--data-dir={tmp_path / 'data'}",
        "--dataset=noise",
        f"--result-dir={tmp_path / 'results'}",
        "--config=config-tiny",
        "--num-gpus=0",
    ]


def too_large_for_tensorflow() -> tf.Tensor:
    return tf.reduce_mean(tf.zeros([2**48]))


@tf.function(jit_compile=True)
def too_large_for_xla() -> tf.Tensor:
    column = tf.random.stateless_normal([2**24, 1], [1, 2])
    square = tf.matmul(column, column, transpose_b=True)  # [2**24,2**24]
    return tf.reduce_mean(tf.matmul(square, column))


@pytest.mark.slow
@pytest.mark.parametrize("allocate", [too_large_for_tensorflow, too_large_for_xla])
def test_iteration_that_exhausts_memory(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, allocate: Callable[[], tf.Tensor]
) -> None:
    """The allocations exceed what a process can address, so that no machine has room for them."""

    def iteration(run: Run, batches: Iterator[np.ndarray]) -> dict[str, tf.Tensor]:
        return {"loss_G": allocate()}

    monkeypatch.setattr(Run, "train_iteration", iteration)
    monkeypatch.setattr(Grids, "save", lambda self, run_dir, suffix: None)  # they take long
    with pytest.raises(UserError, match=r"^out of memory with 8 images .* --minibatch-gpu=4,"):
        run_training.main([*flags, "--minibatch=8"])
