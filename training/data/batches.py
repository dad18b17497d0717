"""An endless iterator whose values threads make ahead."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from dnnlib.ahead import num_cores

# Batches read ahead, each by a thread of its own; images are decompressed there.
PREFETCH = min(8, max(2, num_cores()))


class Batches(Iterator[np.ndarray]):
    """Endless iterator whose values threads make ahead, until `close` or the end of a `with`.

    Raises what the threads raise, and ends after it.
    """

    def __init__(self, make: Callable[[int], np.ndarray], first: int) -> None:
        """
        Args:
            make: called with first, first + 1 and so on, by several threads.
            first: number of the first value.
        """
        self._make = make
        self._numbers = itertools.count(first)
        self._threads = ThreadPoolExecutor(PREFETCH, "batches")
        self._waiting: deque[Future[np.ndarray]] = deque()
        for _ in range(PREFETCH):
            self._begin_next()

    def __next__(self) -> np.ndarray:
        if not self._waiting:
            raise StopIteration  # closed
        try:
            # It is taken only when it is there: an interrupt while waiting loses nothing.
            value = self._waiting[0].result()
        except Exception:
            self.close()
            raise
        self._waiting.popleft()
        self._begin_next()
        return value

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads and the iteration."""
        self._waiting.clear()
        self._threads.shutdown(cancel_futures=True)

    def _begin_next(self) -> None:
        self._waiting.append(self._threads.submit(self._make, next(self._numbers)))
