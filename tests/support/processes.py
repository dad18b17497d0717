"""Processes that tests start: scripts on the project, and commands that are stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def run_script(script: str, *arguments: str | Path, hash_seed: int = 0) -> str:
    """What a Python script prints, in which texts have other hashes than here."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def interrupt_at(process: "subprocess.Popen[str]", beginning: str) -> tuple[str, str]:
    """Sends Ctrl-C when a line begins so; what comes on stdout from then on, and all of stderr."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(beginning):
            break
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=600)
    assert process.returncode == 130, error
    return output, error
