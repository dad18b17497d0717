"""What a command runs on, for every number of GPUs asked for and there."""

import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.hardware import plan_devices, process_memory_gb
from dnnlib.tflib.machine import gpu_memory_gb, resolve_num_gpus


@pytest.mark.parametrize(
    ("requested", "available", "shares", "used", "label", "warns"),
    [
        (None, 0, 1, 0, "CPU", False),
        (None, 1, 1, 1, "1 GPU", False),
        (None, 4, 4, 4, "4 GPUs", False),
        (0, 0, 1, 0, "CPU", False),
        (0, 2, 1, 0, "CPU", False),
        (1, 0, 1, 0, "CPU", True),
        (2, 0, 2, 0, "CPU", True),
        (2, 2, 2, 2, "2 GPUs", False),
        (1, 2, 1, 1, "1 GPU", False),
    ],
)
def test_plan(
    requested: int | None, available: int, shares: int, used: int, label: str, warns: bool
) -> None:
    plan = plan_devices(requested, available)
    assert (plan.requested, plan.num_gpus, plan.label) == (shares, used, label)
    assert (plan.warning is not None) == warns
    if plan.warning is not None:
        assert plan.warning.startswith(f"--num-gpus={requested}: ")
        assert "\n" not in plan.warning


@pytest.mark.parametrize(("requested", "available"), [(3, 2), (-1, 0), (-1, 2)])
def test_impossible_numbers(requested: int, available: int) -> None:
    with pytest.raises(UserError, match=f"--num-gpus={requested}: "):
        plan_devices(requested, available)


def test_this_machine_without_gpus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert resolve_num_gpus(None).num_gpus == 0
    assert capsys.readouterr().err == ""
    assert resolve_num_gpus(2).requested == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("warning: --num-gpus=2: ")
    assert len(captured.err.splitlines()) == 1


def test_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three GPUs the first two are used when two are asked for, and none when 0 are."""
    gpus = ["GPU:0", "GPU:1", "GPU:2"]
    visible, growing = [], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: visible.append((devices, kind))
    )
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: growing.append((gpu, on))
    )
    resolve_num_gpus(3)
    assert visible == []
    assert growing == [(gpu, True) for gpu in gpus]
    resolve_num_gpus(2)
    resolve_num_gpus(0)
    assert visible == [(["GPU:0", "GPU:1"], "GPU"), ([], "GPU")]


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_memory_gb()
    assert 0.05 < before < 100
    block = bytearray(b"x") * 2**28
    assert 0.2 < process_memory_gb() - before < 0.3
    del block
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    assert gpu_memory_gb() == 0
