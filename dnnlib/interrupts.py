"""Ctrl-C and SIGTERM as a wish to stop, which long work looks at where it can stop well."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """Set when Ctrl-C was pressed or SIGTERM came."""

    def __init__(self) -> None:
        self.signal: int | None = None  # the first that came
        self.raises = False  # the next one does not wait

    @property
    def is_set(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block a signal, there or earlier, is a KeyboardInterrupt."""
        self.raises = True
        try:
            if self.is_set:
                raise KeyboardInterrupt
            yield
        except Exception as error:
            # TensorFlow, interrupted while it builds a graph, may raise an error of its own.
            if self.is_set:
                raise KeyboardInterrupt from error
            raise
        finally:
            self.raises = self.is_set


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Turns the first Ctrl-C or SIGTERM into a flag; the second is a KeyboardInterrupt."""
    found = Interrupts()

    def handle(signum: int, frame: FrameType | None) -> None:
        stop = found.raises
        found.signal = found.signal or signum
        found.raises = True
        if stop:
            raise KeyboardInterrupt

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    except ValueError:  # not in the main thread, which is where signals arrive
        yield found
        return
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
