"""Tells which worker of a run this process is, and starts all of them on one machine, to try out.

Without TensorFlow, so that the launcher of the workers is light.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO

from dnnlib.errors import UserError

VARIABLE = "TF_CONFIG"
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)
GRACE = 30.0  # seconds that workers get to end by themselves when another one has died
_POLL = 0.1


@dataclass(frozen=True)
class Task:
    """This process among the workers of a run, as the environment variable TF_CONFIG says."""

    names: tuple[str, ...]  # of all workers: `worker:1`, chief first
    addresses: tuple[str, ...]  # of all workers: `host:port`
    index: int  # of this one

    @property
    def num_workers(self) -> int:
        """How many processes train together."""
        return len(self.names)


def find_task(text: str | None = None) -> Task | None:
    """Reads TF_CONFIG.

    Args:
        text: its content; None takes it from the environment.

    Returns:
        What it says, or None where it is not set or names a single worker.

    Raises:
        UserError: it is malformed, or names tasks that training does not have.
    """
    text = os.environ.get(VARIABLE) if text is None else text
    if not text:
        return None
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        kind, index = task["type"], int(task["index"])
        jobs = {job: [str(address) for address in cluster[job]] for job in cluster}
    except (ValueError, TypeError, KeyError) as error:
        raise _malformed(f"it lacks a part or is no JSON ({error!r})") from error
    others = sorted(set(jobs) - {"chief", "worker"})
    if others:
        raise _malformed(f"training has no {' or '.join(others)}, only chief and worker")
    if any(isinstance(cluster[job], str) for job in cluster) or len(jobs.get("chief", [])) > 1:
        raise _malformed("each entry of cluster is a list, and that of chief has one address")
    workers = [(f"{job}:{i}", a) for job in sorted(jobs) for i, a in enumerate(jobs[job])]
    names, addresses = [name for name, _ in workers], [address for _, address in workers]
    wrong = [address for address in addresses if not re.fullmatch(r".+:[0-9]+", address)]
    if wrong or len(set(addresses)) < len(addresses):
        raise _malformed("every worker needs an address host:port of its own")
    if f"{kind}:{index}" not in names:
        raise _malformed(f"its task {kind}:{index} is not in its cluster")
    if len(names) < 2:
        return None
    return Task(tuple(names), tuple(addresses), names.index(f"{kind}:{index}"))


def _malformed(reason: str) -> UserError:
    return UserError(
        f"the environment variable {VARIABLE} is malformed: {reason}; unset it to train on one "
        f"machine, or set it as in {_EXAMPLE}"
    )


def launch(num_workers: int, command: Sequence[str]) -> int:
    """Runs the same command as several workers on the CPU and waits for them.

    The first one, the chief, writes to this process's stdout and stderr; the lines of the others go
    to stderr behind their name. Ctrl-C and SIGTERM are passed on to all. When one of them fails,
    the others notice and end (those that have not done so after 30 seconds are killed), and one
    line on stderr says which one it was.

    Args:
        num_workers: how many, at least 2.
        command: program and arguments.

    Returns:
        0, or the status of the one that failed first; 128 + n if signal n killed it. After a signal
        that was passed on, the chief's status.
    """
    addresses = [f"localhost:{port}" for port in free_ports(num_workers)]
    processes: list[subprocess.Popen[str]] = []
    try:
        with _passing_signals_on(processes) as passed:
            for index in range(num_workers):
                processes.append(_start(command, addresses, index))
            readers = [
                threading.Thread(target=_relay, args=(process.stdout, index), daemon=True)
                for index, process in enumerate(processes)
                if process.stdout is not None
            ]
            for reader in readers:
                reader.start()
            failed = _wait(processes, passed)
            for reader in readers:
                reader.join(timeout=5)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    if failed is None:
        return _status(processes[0])
    print(
        f"error: worker {failed} of {num_workers} ended with {_reason(processes[failed])}, and the "
        "run with it",
        file=sys.stderr,
    )
    return _status(processes[failed])


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _start(command: Sequence[str], addresses: Sequence[str], index: int) -> subprocess.Popen[str]:
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    # All would take the same GPUs; several GPUs of one machine need no workers.
    environment = os.environ | {VARIABLE: json.dumps(task), "CUDA_VISIBLE_DEVICES": "-1"}
    is_chief = index == 0
    return subprocess.Popen(
        command,
        env=environment,
        stdin=None if is_chief else subprocess.DEVNULL,
        stdout=None if is_chief else subprocess.PIPE,
        stderr=None if is_chief else subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # else Ctrl-C would reach it twice
    )


def _relay(lines: IO[str], index: int) -> None:
    for line in lines:
        print(f"worker {index}: {line.rstrip()}", file=sys.stderr, flush=True)


@contextmanager
def _passing_signals_on(processes: Sequence[subprocess.Popen[str]]) -> Iterator[list[int]]:
    """Passes Ctrl-C and SIGTERM on to all processes; yields the list of those that came."""
    passed: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        passed.append(number)
        _signal_all(processes, number)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in a shell's background job
            before[number] = signal.signal(number, handle)
    try:
        yield passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_all(processes: Sequence[subprocess.Popen[str]], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _wait(processes: Sequence[subprocess.Popen[str]], passed: list[int]) -> int | None:
    """Waits for all; returns the number of the first that failed, unless it was told to stop."""
    failed: int | None = None
    deadline = float("inf")
    running = True
    while running:
        time.sleep(_POLL)
        running = any(process.poll() is None for process in processes)
        ended = [(process.returncode, i) for i, process in enumerate(processes) if process.poll()]
        if ended and failed is None and not passed:
            _, failed = min(ended)  # a process that was killed before those that complain of it
            deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            _signal_all(processes, signal.SIGKILL)
    return failed


def _status(process: subprocess.Popen[str]) -> int:
    """The exit status as a shell has it."""
    code = process.returncode
    return 128 - code if code < 0 else code


def _reason(process: subprocess.Popen[str]) -> str:
    if process.returncode < 0:
        return f"signal {signal.Signals(-process.returncode).name}"
    return f"status {process.returncode}"
