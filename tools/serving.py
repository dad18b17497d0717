"""The command `serve` in a process of its own, for what measures or torments it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from dnnlib.errors import UserError
from tools.http_load import HOST

ROOT = Path(__file__).resolve().parent.parent
_START = 180.0  # seconds that a start may take, with a compiler that has never seen the network


class Serving:
    """A process that serves on a free port of this machine, until the block ends.

    Attributes:
        port: which one.
        process: that was started last.
    """

    def __init__(self, flags: Sequence[str], log: Path) -> None:
        """Starts it.

        Args:
            flags: of `serve`, without host and port.
            log: file for what it says.
        """
        with socket.create_server((HOST, 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self._flags = flags
        self._log = log
        self.start()

    def start(self) -> None:
        """Starts it, or starts it again, on the same port."""
        command = [sys.executable, str(ROOT / "run_fingerprints.py"), "serve", *self._flags]
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, f"--host={HOST}", f"--port={self.port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is ours alone
            )

    def wait_until_ready(self) -> None:
        """Returns when it can give verdicts.

        Raises:
            UserError: it has ended, or takes too long.
        """
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self.status("/readyz") == 200:
                return
            time.sleep(0.1)
        last = (self._log.read_text(errors="replace").splitlines() or [""])[-1]
        raise UserError(f"the service did not start: {last} (all of it: {self._log})")

    def status(self, path: str) -> int:
        """HTTP's status of a path; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)
        except OSError:
            return 0

    def kill(self) -> None:
        """Ends it as a loss of power would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ends it by SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Resident memory, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def __enter__(self) -> "Serving":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()
