"""Work in processes of threads: results, errors, and the end of either side."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dnnlib.child_processes import ChildProcesses
from dnnlib.errors import UserError
from dnnlib.images import UnreadableImageError
from tests.support.paths import ROOT


def work(number: int) -> tuple[int, int]:
    time.sleep(0.01)
    return number**2, os.getpid()


def fail(kind: str) -> None:
    raise UnreadableImageError("no", kind)


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_thread_has_a_process() -> None:
    with ChildProcesses() as children, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda number: children.call(work, number), range(20)))
        assert [square for square, _ in found] == [number**2 for number in range(20)]
        others = {process for _, process in found}
        assert len(others) == 2
        assert os.getpid() not in others
    for process in others:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_errors_are_the_callers() -> None:
    with ChildProcesses() as children:
        with pytest.raises(UnreadableImageError, match="^no$") as caught:
            children.call(fail, "empty")
        assert caught.value.kind == "empty"
        assert children.call(work, 3)[0] == 9  # and the process goes on


def test_a_process_that_is_killed_says_so() -> None:
    with ChildProcesses() as children, pytest.raises(UserError, match="status -9.* fewer workers"):
        children.call(end)


def test_signals_are_the_callers_to_answer() -> None:
    """Of a process group all get them."""
    with ChildProcesses() as children:
        other = children.call(work, 1)[1]
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(other, number)
        assert children.call(work, 2) == (4, other)


def test_a_caller_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, signal\n"
        "from dnnlib.child_processes import ChildProcesses\n"
        'if __name__ == "__main__":\n'
        "    children = ChildProcesses()\n"
        "    print(children.call(os.getpid), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    other = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(other, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # ended, and nobody asks for its status
        time.sleep(0.1)
    pytest.fail(f"process {other} goes on")
