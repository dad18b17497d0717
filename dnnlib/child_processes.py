"""Python work on all cores: every thread that asks has a process of its own, and waits for it.

Threads share one lock on everything that is Python; processes do not. They are clean ones, which
have nothing of the caller's threads, files or memory, and end with it, whatever ends it.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from dnnlib.errors import UserError

_PATIENCE = 5.0  # seconds for a process to end by itself
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class ChildProcesses:
    """Context manager; `call` may be called by several threads, and each gets a process."""

    def __init__(self) -> None:
        self._context: Any = multiprocessing.get_context(_METHOD)
        self._own = threading.local()
        self._lock = threading.Lock()
        self._all: list[tuple[Any, Connection]] = []

    def __enter__(self) -> "ChildProcesses":
        return self

    def __exit__(self, *error: object) -> None:
        for _, connection in self._all:
            connection.close()  # which ends the process
        for process, _ in self._all:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)`, computed by the calling thread's process.

        Args:
            function: of a module's top level.
            arguments: plain data, or what else can be pickled; so must be the result.

        Raises:
            UserError: the process was killed.
            Exception: what the function raises.
        """
        if not hasattr(self._own, "process"):
            self._own.process, self._own.connection = self._start()
        try:
            self._own.connection.send((function, arguments))
            result, error = self._own.connection.recv()
        except (EOFError, OSError):
            self._own.process.join(_PATIENCE)
            raise UserError(
                f"a process that worked for this one ended (exit status"
                f" {self._own.process.exitcode}), as they do where memory ends; give it fewer"
                " workers"
            ) from None
        if error is not None:
            raise error
        return result

    def _start(self) -> tuple[Any, Connection]:
        with self._lock:  # the method's own server starts with the first
            here, there = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(there,), daemon=True)
            process.start()
            there.close()
            self._all.append((process, here))
        return process, here


def _serve(connection: Connection) -> None:
    """Answers calls until the other end is closed, or its process gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the caller, which gets them too, decides
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments = connection.recv()
            result, failure = None, None
            try:
                result = function(*arguments)
            except Exception as error:
                failure = error
            connection.send((result, failure))
