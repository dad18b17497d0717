"""Many processes at one registry, and processes killed at any moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa

from fingerprints.registry.facade import Registry
from tests.support.issuing import MIN_DISTANCE, MODEL
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def start_issuing(place: str, num_processes: int, num_each: int) -> subprocess.Popen[str]:
    """Starts `tests.support.issuing` and waits until its processes begin."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.issuing", place, str(num_processes), str(num_each)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def check_complete(place: str, num_processes: int, num_each: int) -> None:
    """Every licensee has one fingerprint and one instance, all distances are kept."""
    with Registry.open(place) as registry:
        assert registry.audit().problems == []
        made = registry.fingerprints()
        licensees = {f"{p}-{i}" for p in range(num_processes) for i in range(num_each)}
        assert sorted(f.licensee for f in made) == sorted(licensees)
        assert sorted(i.fingerprint_id for i in registry.instances()) == [f.id for f in made]
        assert [e.seq for e in registry.events()] == list(range(1, 3 + 3 * len(made)))
    bits = np.array([f.bits for f in made])
    apart = (bits[:, None] != bits[None]).sum(axis=2) + MODEL[2] * np.eye(len(bits), dtype=int)
    assert apart.min() >= MIN_DISTANCE


def test_16_processes_lose_and_repeat_nothing(place: str) -> None:
    Registry.create(place).close()
    assert start_issuing(place, 16, num_each=3).wait(timeout=60) == 0
    check_complete(place, 16, num_each=3)


def test_killed_processes_leave_a_sound_registry(place: str) -> None:
    with Registry.create(place) as registry:
        count = 0
        for seconds in (0.0, 0.01, 0.03):
            process = start_issuing(place, 8, num_each=6)
            deadline = time.monotonic() + 60
            while registry.counts().fingerprints == count and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert registry.audit().problems == []
            assert registry.counts().fingerprints > count
            count = registry.counts().fingerprints
        # They were killed in the middle of their work, not after it.
        assert count < 8 * 6
    assert start_issuing(place, 8, num_each=6).wait(timeout=60) == 0
    check_complete(place, 8, num_each=6)


def kill_at_statement(number: int) -> None:
    """Ends this process like SIGKILL does, when so many statements have been executed."""
    done = 0

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def count(*arguments: object) -> None:
        nonlocal done
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)


def in_a_fork(action: Callable[[], None]) -> int:
    """Runs a function in a process of its own; returns 0, or the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


ACTIONS: dict[str, Callable[[Registry], object]] = {
    "reserve": lambda r: r.reserve(
        r.models()[0], [("acme", "Acme"), ("new", "")], min_distance=16, replace_revoked=True
    ),
    "revoke": lambda r: r.revoke("old", "late payment"),
    "record": lambda r: r.record_issue(r.fingerprints()[0], "1", "pkl", "2"),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_kill_after_any_statement_leaves_all_or_nothing(
    name: str,
    new_place: Callable[[], str],
) -> None:
    place = new_place()
    with Registry.create(place) as registry:
        registry.reserve(registry.add_model(*MODEL), [("old", "")], min_distance=16)
        head = registry.head()

    def act(number: int) -> None:
        kill_at_statement(number)
        with Registry.open(place) as registry:
            ACTIONS[name](registry)

    for number in range(1, 100):
        ended_by = in_a_fork(lambda number=number: act(number))
        with Registry.open(place) as registry:
            assert registry.audit().problems == []
            if ended_by == 0:
                assert registry.head() != head
                break
            # COMMIT is no statement of a cursor: whoever was killed had not committed.
            assert (ended_by, registry.head()) == (signal.SIGKILL, head)
    assert 4 < number < 99


def test_kill_while_creating_is_repeated(new_place: Callable[[], str]) -> None:
    place = new_place()

    def act(number: int) -> None:
        kill_at_statement(number)
        Registry.create(place).close()

    for number in (1, 5, 20):
        assert in_a_fork(lambda number=number: act(number)) == signal.SIGKILL
    with Registry.create(place) as registry:
        assert registry.audit().problems == []
