"""Who is who among the workers of a run, and what the launcher does when they end or die."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnnlib.errors import UserError
from dnnlib.tflib import workers
from dnnlib.tflib.workers import find_task, free_ports, launch
from tests.support.paths import ROOT
from tests.support.workers import TRAINING, python


def tf_config(kind: str, index: object, **jobs: object) -> str:
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


def test_tasks() -> None:
    """The chief comes first; numbers are those of all workers together."""
    two = ["a:1", "b.svc.local:2222"]
    task = find_task(tf_config("worker", 1, worker=two))
    assert task is not None
    assert (task.index, task.num_workers) == (1, 2)
    task = find_task(tf_config("worker", "1", worker=two, chief=["c:1"]))
    assert task is not None
    assert (task.index, task.names) == (2, ("chief:0", "worker:0", "worker:1"))
    assert task.addresses == ("c:1", *two)
    chief = find_task(tf_config("chief", 0, worker=two, chief=["c:1"]))
    assert chief is not None
    assert chief.index == 0
    # As Kubeflow sets it.
    assert find_task(tf_config("worker", 0, worker=two)[:-1] + ', "environment": "cloud"}')


def test_one_worker_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_task(tf_config("worker", 0, worker=["a:1"])) is None
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert find_task() is None
    monkeypatch.setenv("TF_CONFIG", tf_config("worker", 1, worker=["a:1", "b:1"]))
    found = find_task()
    assert found is not None
    assert found.index == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("host0,host1", "no JSON"),
        ("[]", "lacks a part"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "lacks a part .*task"),
        (tf_config("worker", None, worker=["a:1", "b:1"]), "lacks a part"),
        (tf_config("worker", 0, worker=5), "lacks a part"),
        (tf_config("ps", 0, worker=["a:1"], ps=["b:1"]), "no ps, only chief and worker"),
        (tf_config("worker", 0, worker="a:1"), "is a list"),
        (tf_config("chief", 0, worker=["a:1"], chief=["b:1", "c:1"]), "chief has one address"),
        (tf_config("worker", 0, worker=["a:1", "b"]), "address host:port"),
        (tf_config("worker", 0, worker=["a:1", "a:1"]), "of its own"),
        (tf_config("worker", 2, worker=["a:1", "b:1"]), "worker:2 is not in its cluster"),
        (tf_config("chief", 0, worker=["a:1", "b:1"]), "chief:0 is not in its cluster"),
    ],
)
def test_malformed_tf_config(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"TF_CONFIG is malformed: .*{reason}.*; unset it") as error:
        find_task(text)
    assert "\n" not in str(error.value)


def test_the_example_in_the_error_is_right() -> None:
    assert find_task(workers._EXAMPLE) is not None


def shell_lines(before: str) -> str:
    """The shell lines of docs/scaling.md behind this one, up to `exec`, which runs training."""
    lines = iter((ROOT / "docs" / "scaling.md").read_text().splitlines())
    assert any(line.strip() == before for line in lines)
    found = itertools.takewhile(lambda line: not line.strip().startswith("exec"), lines)
    return "\n".join([*found, 'printf %s "$TF_CONFIG"'])


@pytest.mark.parametrize(
    ("before", "variable", "addresses"),
    [
        ("#!/bin/bash", "SLURM_PROCID", ("node1:2222", "node2:2222")),
        ("- |", "JOB_COMPLETION_INDEX", ("train-0.train:2222", "train-1.train:2222")),
    ],
)
def test_the_scripts_of_the_docs(
    tmp_path: Path, before: str, variable: str, addresses: tuple[str, str]
) -> None:
    """Slurm's and Kubernetes' shell lines give every worker its TF_CONFIG."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\ntest "$*" = "show hostnames node[1-2]" && printf "node1\\nnode2\\n"'
    )
    scontrol.chmod(0o755)
    for index in (0, 1):
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_JOB_NODELIST": "node[1-2]",
            variable: str(index),
        }
        done = subprocess.run(
            ["bash", "-ec", shell_lines(before)], env=environment, capture_output=True, text=True
        )
        task = find_task(done.stdout)
        assert task is not None, done.stderr
        assert (task.index, task.addresses) == (index, addresses)


def test_ports_are_free_and_differ() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(0 < port < 65536 for port in ports)


def test_every_worker_knows_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """The chief's output passes, that of the others goes behind their names."""
    code = """
        addresses = config["cluster"]["worker"]
        assert len(set(addresses)) == 3 and addresses[index].startswith("localhost:")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
        print(f"out {index}")
        print(f"err {index}", file=sys.stderr)
    """
    assert launch(3, python(code)) == 0
    captured = capfd.readouterr()
    assert captured.out == "out 0\n"
    assert sorted(captured.err.splitlines()) == [
        "err 0",
        *(f"worker {index}: {stream} {index}" for index in (1, 2) for stream in ("err", "out")),
    ]


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        ("sys.exit(3)", 3, "status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "signal SIGKILL"),
    ],
)
def test_the_others_do_not_outlive_a_worker(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    status: int,
    reason: str,
) -> None:
    """Although they pay no heed to anything."""
    monkeypatch.setattr(workers, "GRACE", 0.5)
    code = f"""
        if index == 1:
            {end}
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(100)
        print("alive")
    """
    assert launch(3, python(code)) == status
    captured = capfd.readouterr()
    assert captured.err == f"error: worker 1 of 3 ended with {reason}, and the run with it\n"
    assert captured.out == ""


def test_the_one_that_was_killed_is_blamed() -> None:
    """Not those that have ended because of it at the same moment."""
    ended = [SimpleNamespace(returncode=n, poll=lambda n=n: n) for n in (2, -9, 2)]
    assert workers._wait(ended, []) == 1  # type: ignore[arg-type]
    assert workers._wait(ended, [signal.SIGINT]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_every_worker_once(tmp_path: Path, number: signal.Signals) -> None:
    """And their statuses are no failures then; the chief's is that of the launcher."""
    code = f"""
        caught = []
        signal.signal({int(number)}, lambda n, frame: caught.append(n))
        open({str(tmp_path)!r} + f"/ready{{index}}", "w").close()
        while not caught:
            time.sleep(0.01)
        time.sleep(0.3)
        print(f"caught {{caught}}")
        sys.exit(75 + index)
    """
    launcher = (
        "import sys; from dnnlib.tflib.workers import launch; "
        f"sys.exit(launch(2, {python(code)!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", launcher],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert out == f"caught [{int(number)}]\n"
    assert err == f"worker 1: caught [{int(number)}]\n"


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_ends_the_others(victim: int) -> None:
    """They notice by themselves, whether it is the chief or not, and say which one it was."""
    code = textwrap.dedent(TRAINING).replace("VICTIM", str(victim))
    launcher = (
        "import sys; from dnnlib.tflib import workers; workers.GRACE = 60.0; "
        f"sys.exit(workers.launch(2, {python(code)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", launcher], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 137
    lines = done.stderr.splitlines()
    assert lines[-1] == (
        f"error: worker {victim} of 2 ended with signal SIGKILL, and the run with it"
    )
    (lost,) = [line for line in lines if "lost worker" in line]
    prefix = "" if victim == 1 else "worker 1: "
    assert lost.startswith(f"{prefix}error: lost worker {victim} of 2 (localhost:")
    assert "Traceback" not in done.stderr
