"""Requests that come one by one, judged together: a bounded queue before one thread."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class QueueFullError(Exception):
    """As many wait as may."""


class Batcher(Generic[Item, Result]):
    """Gathers what several requests ask for, and gives each its part of the answer.

    A batch is what has come while the last one was worked on; if that is less than `max_batch`, it
    waits `max_wait` seconds for more. Work runs in one thread, in order.

    Attributes:
        pending: items that were reserved and are not done.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_batch: int,
        max_wait: float,
        capacity: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """Nothing runs before `run`.

        Args:
            work: results of at most `max_batch` items, in order; an error is that of all of them.
            max_batch: items of a batch.
            max_wait: seconds.
            capacity: items that may be reserved at a time.
            on_batch: told the size of each batch, and the seconds that it took.
        """
        self.pending = 0
        self._work = work
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._capacity = capacity
        self._on_batch = on_batch
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "judge")
        self._seconds_each = 0.01  # a running mean, for `retry_after`

    @contextlib.contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Room for so many items, before anything is done for them.

        Raises:
            QueueFullError: there is none.
        """
        if self.pending + count > self._capacity:
            raise QueueFullError
        self.pending += count
        try:
            yield
        finally:
            self.pending -= count

    @property
    def retry_after(self) -> int:
        """Seconds in which what waits now will be done, at least 1."""
        return max(1, round(self.pending * self._seconds_each))

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Results of items for which there is room."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        for pair in zip(items, futures, strict=True):
            self._queue.put_nowait(pair)
        # Of several that fail only one error is looked at; the others are not to be reported.
        results = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results  # type: ignore[return-value]

    async def run(self) -> None:
        """Works until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            deadline = loop.time() + self._max_wait
            while len(batch) < self._max_batch:
                if not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                    continue
                try:
                    async with asyncio.timeout_at(deadline):
                        batch.append(await self._queue.get())
                except TimeoutError:
                    break
            # Who has gone meanwhile, or waited too long, is not worked for.
            batch = [(item, future) for item, future in batch if not future.done()]
            if batch:
                await self._do(batch)

    async def _do(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        start = time.monotonic()
        items = [item for item, _ in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._work, items
            )
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results of {len(batch)} items")
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
        seconds = time.monotonic() - start
        self._seconds_each += 0.1 * (seconds / len(batch) - self._seconds_each)
        self._on_batch(len(batch), seconds)

    def close(self) -> None:
        """Waits for the batch that is being worked on."""
        self._thread.shutdown()
