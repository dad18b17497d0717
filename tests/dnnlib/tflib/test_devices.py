"""Several devices compute what one does: gradients, statistics and pictures."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib import devices as devices_module
from dnnlib.tflib.devices import Devices, check_equal_devices, local_devices, make_devices
from dnnlib.tflib.machine import gpu_memory_gb
from dnnlib.tflib.workers import Task, launch
from tests.support.paths import ROOT
from training.setup import check_minibatch

pytestmark = pytest.mark.slow

# What is compared with one device and plain operations; see `tests.support.on_devices`.
CASES = ("two:compiled", "two:xla", "workers:reference")
TWO = Task(("chief:0", "worker:0"), ("a:1", "b:2"), 1)


def on_devices(folder: Path, *cases: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.on_devices", str(folder / "found"), *cases]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `tests.support.on_devices` has found for a case, once for all tests."""
    folder = tmp_path_factory.mktemp("devices")

    @cache
    def run_on_one_machine() -> None:
        command = on_devices(folder, "one:reference", *CASES[:2])
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr

    @cache
    def run_on_workers() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            assert launch(2, on_devices(folder, CASES[2])) == 0

    @cache
    def find(case: str) -> dict[str, np.ndarray]:
        (run_on_workers if case == CASES[2] else run_on_one_machine)()
        with np.load(folder / f"found-{case.replace(':', '-')}.npz") as file:
            return dict(file)

    return find


@pytest.mark.parametrize("case", CASES)
def test_two_devices_are_one(measured: Any, case: str) -> None:
    """Four slices on one device, or two slices each on two devices, here or in two processes."""
    one, two = measured("one:reference"), measured(case)
    assert (one["replicas"], two["replicas"]) == (1, 2)
    compared = set()
    for name, expected in one.items():
        if name.partition("/")[0] in ("grad", "stat", "pl_mean"):
            largest = np.abs(expected).max()
            # Below that it is the rounding of a gradient that is 0.
            tolerance = 1e-5 * largest if largest > 1e-6 else 1e-6
            np.testing.assert_allclose(two[name], expected, rtol=0, atol=tolerance, err_msg=name)
            compared.add("/".join(name.split("/")[:2]))
    phases = ("generator", "path_length", "discriminator", "r1")
    assert compared == {f"{what}/{p}" for what in ("grad", "stat", "pl_mean") for p in phases}
    for name in ("grad/generator/E/0", "grad/path_length/G/0", "grad/r1/D/0"):
        assert np.abs(one[name]).max() > 1e-6
    assert one["pl_mean/path_length"] > 0


@pytest.mark.parametrize(("case", "copies"), list(zip(CASES, (2, 2, 1), strict=True)))
def test_copies_stay_the_same(measured: Any, case: str, copies: int) -> None:
    """Three iterations later, bit by bit; and nothing is traced again on the way."""
    found = measured(case)
    assert set(found["copies"]) == {copies}
    assert found["copies that differ"] == 0
    assert found["moved"] > len(found["copies"]) / 2
    assert found["updates"] == 6
    assert found["new traces"] == 0


@pytest.mark.parametrize("case", CASES)
def test_pictures_do_not_depend_on_the_devices(measured: Any, case: str) -> None:
    """Five images on two devices, three of them decoded: neither can be halved."""
    one, two = measured("one:reference"), measured(case)
    from_file = {"seeds/uint8", "seeds/logits", "seeds/features"} & set(two)
    assert bool(from_file) == (case == "two:compiled")
    for name in {"float", "logits"} | from_file - {"seeds/uint8"}:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for name in {"uint8"} | from_file - {"seeds/logits", "seeds/features"}:
        assert one[name].shape[0] == 5
        assert two[name].dtype == np.uint8
        assert np.abs(two[name].astype(int) - one[name]).max() <= 1
        assert len(np.unique(one[name], axis=0)) == 5
    np.testing.assert_array_equal(two["bits"], one["bits"])


@pytest.mark.parametrize(
    ("case", "label"),
    [
        ("one:reference", "CPU"),
        ("two:compiled", "2 CPUs"),
        ("workers:reference", "2 workers, each on CPU"),
    ],
)
def test_workers_agree(measured: Any, case: str, label: str) -> None:
    """On what any of them says, and on the chief's text."""
    found = measured(case)
    assert found["agree"].tolist() == [False, True]
    assert str(found["text"]) == "fingerprint été"
    assert str(found["described"]) == label


# Without starting anything


def made(num_replicas: int, task: Task | None) -> Devices:
    return Devices(SimpleNamespace(num_replicas_in_sync=num_replicas), task)  # type: ignore[arg-type]


def test_rows_of_a_worker() -> None:
    assert made(1, None).rows(8) == (0, 8)
    assert made(4, None).rows(8) == (0, 8)
    second = made(4, TWO)
    assert (second.rows(8), second.num_local, second.is_chief) == ((4, 8), 2, False)
    assert made(4, Task(TWO.names, TWO.addresses, 0)).rows(8) == (0, 4)
    with pytest.raises(ValueError, match="6 images cannot be shared by 4 devices"):
        second.rows(6)


def test_reals_go_where_their_slices_are_computed() -> None:
    """The second worker's two devices get the halves of its rows."""
    given = []

    def from_function(part: Any) -> None:
        given.extend(part(SimpleNamespace(replica_id_in_sync_group=i)).numpy() for i in (2, 3))

    devices = made(4, TWO)
    devices.strategy.experimental_distribute_values_from_function = from_function
    devices.distribute(np.arange(12).reshape(6, 2))
    np.testing.assert_array_equal(given, np.arange(12).reshape(2, 3, 2))


def test_one_device_needs_no_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for devices in (Devices(), make_devices(0), local_devices(1)):
        assert devices.strategy is tf.distribute.get_strategy()
        assert (devices.num_replicas, devices.is_chief, devices.rows(3)) == (1, True, (0, 3))
        assert devices.agree(True)
        assert devices.from_chief("text") == "text"
    values = np.ones([3, 2], np.float32)
    np.testing.assert_array_equal(Devices().distribute(values), values)
    assert Devices().spread(len) is len


def test_local_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without names TensorFlow would look for devices in TF_CONFIG."""
    asked = []
    gpus = [SimpleNamespace(name=f"/device:GPU:{i}") for i in range(3)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(devices_module.tf.distribute, "MirroredStrategy", asked.append)
    local_devices(2)
    assert asked == [["/device:GPU:0", "/device:GPU:1"]]


def test_a_malformed_cluster_is_found_before_it_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "worker0,worker1")
    with pytest.raises(UserError, match="TF_CONFIG is malformed"):
        make_devices(0)


def test_memory_is_that_of_the_fullest_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {"GPU:0": 2**30, "GPU:1": 3 * 2**30}
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: list(peaks))
    monkeypatch.setattr(
        tf.config.experimental, "get_memory_info", lambda device: {"peak": peaks[device]}
    )
    assert gpu_memory_gb() == 3


@pytest.mark.parametrize(
    ("minibatch", "minibatch_gpu", "replicas", "cure"),
    [(8, 2, 3, 6), (8, 8, 2, 16), (20, 8, 1, 16), (4, 8, 1, 8)],
)
def test_slices_that_cannot_be_shared(
    minibatch: int, minibatch_gpu: int, replicas: int, cure: int
) -> None:
    check_minibatch(cure, minibatch_gpu, replicas)
    with pytest.raises(UserError, match=f"--minibatch={minibatch} .* use --minibatch={cure} "):
        check_minibatch(minibatch, minibatch_gpu, replicas)


def lists(monkeypatch: pytest.MonkeyPatch, gpus: dict[str, int]) -> None:
    """TensorFlow sees these GPUs of all workers, as job:index -> number."""
    names = [
        f"/job:{name.replace(':', '/replica:0/task:')}/device:GPU:{number}"
        for name, count in gpus.items()
        for number in range(count)
    ]
    found = [SimpleNamespace(name=name) for name in names]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: found)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_workers_with_equally_many_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    lists(monkeypatch, {"worker:0": count, "chief:0": count})
    check_equal_devices(TWO)


def test_workers_with_unequal_gpus_are_refused_when_they_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "TF_CONFIG",
        '{"cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]},'
        ' "task": {"type": "worker", "index": 0}}',
    )
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda **options: None)
    lists(monkeypatch, {"chief:0": 4, "worker:1": 2, "worker:0": 4})
    with pytest.raises(
        UserError,
        match=r"^workers need equally many GPUs, but worker 0 of 3 \(a:1\) has 4 and worker 2 of 3 "
        r"\(c:3\) has 2; start all of them with --num-gpus=2$",
    ):
        make_devices(4)


ABORTED = (
    "Collective ops is aborted by: Error reported from /job:worker/task:0: The following tasks are "
    "unhealthy (stopped sending heartbeats):\n/job:chief/replica:0/task:0\nmore"
)


def test_a_lost_worker_is_one_line() -> None:
    """The first one named that is not this process."""
    for kind in (tf.errors.UnavailableError, tf.errors.InternalError):
        with (
            pytest.raises(UserError, match=r"lost worker 0 of 2 \(a:1\)") as error,
            made(2, TWO).reporting_lost_workers(),
        ):
            raise kind(None, None, ABORTED)
        assert "\n" not in str(error.value)
    with (
        pytest.raises(UserError, match="lost one of 2 workers"),
        made(2, TWO).reporting_lost_workers(),
    ):
        raise tf.errors.UnavailableError(None, None, "Socket closed")


def test_other_errors_pass() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), made(2, TWO).reporting_lost_workers():
        raise tf.errors.InvalidArgumentError(None, None, "of /job:chief/task:0")
    with pytest.raises(tf.errors.UnavailableError), made(2, None).reporting_lost_workers():
        raise tf.errors.UnavailableError(None, None, ABORTED)
