"""Work that is done ahead in threads, in order, and never further ahead than is asked for."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def map_ahead(
    function: Callable[[In], Out], items: Iterable[In], pool: Executor, ahead: int
) -> Generator[Out, None, None]:
    """`map(function, items)` in a pool: results in order, at most `ahead` + 1 of them begun early.

    Items are taken one by one as results are, so that neither items nor results pile up. What was
    begun and is not taken is cancelled where it has not started.

    Args:
        function: called in the pool.
        items: may be endless; asked for in the caller's thread.
        pool: stays the caller's.
        ahead: how many results may wait for the one that is taken.
    """
    pending: deque[Future[Out]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
