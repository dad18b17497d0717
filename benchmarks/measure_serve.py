"""Times the service against bulk `verify`; see `bench_serve`."""

import asyncio
import contextlib
import functools
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.measure_verify import Prepared, make_verify, prepare
from tools.http_load import Reply, ask_all, verify_request
from tools.serving import Serving

_UNLIMITED = 10**9  # pictures a minute


@dataclass
class Load:
    """What was asked and answered."""

    seconds: float = 0.0
    pictures: int = 0  # with a verdict
    refused: int = 0  # requests with an error that says so: 429, 503
    wrong: int = 0  # verdicts that are not those of `verify`, and answers that make no sense
    times: list[float] = field(default_factory=list)  # of each request
    server_cpu: float = 0.0  # seconds
    client_cpu: float = 0.0

    def take(self, reply: Reply, expected: Sequence[str], size: int) -> None:
        """Counts a reply; the n-th request has the pictures from n * size on, again and again."""
        self.times.append(reply.seconds)
        if reply.status in (429, 503):
            self.refused += 1
            return
        first = reply.number % (len(expected) // size) * size
        try:
            verdicts = [one["verdict"] for one in json.loads(reply.body)["results"]]
        except (ValueError, KeyError, TypeError):
            verdicts = []
        is_right = verdicts == list(expected[first : first + size])
        self.wrong += not is_right
        self.pictures += len(verdicts) if is_right else 0

    def figures(self) -> dict[str, float]:
        """Plain values."""
        times = sorted(self.times)
        return {
            "images_per_second": self.pictures / self.seconds,
            "p50_ms": 1000 * times[len(times) // 2],
            "p99_ms": 1000 * times[int(len(times) * 0.99)],
            "max_ms": 1000 * times[-1],
            "server_cpu_us": 1e6 * self.server_cpu / max(self.pictures, 1),
            "client_cpu_us": 1e6 * self.client_cpu / max(self.pictures, 1),
            "requests": len(times),
            "refused": self.refused,
            "wrong": self.wrong,
        }


def measure(
    network: str,
    num_images: int,
    num_licensees: int,
    num_clients: int,
    sizes: Sequence[int],
    rounds: int,
    flags: Sequence[str],
) -> dict[str, Any]:
    """In turn: bulk `verify` of all pictures, and all of them sent to a service.

    Args:
        network: the snapshot.
        num_images: pictures; half of them have a fingerprint.
        num_licensees: registered.
        num_clients: at the same time.
        sizes: pictures of a request, one row each.
        rounds: samples of each; the first of all is left out.
        flags: more of `serve`.

    Returns:
        `resolution`, `verify`: images per second; `serve`: size -> medians of `Load.figures`, their
        `ratio` to `verify` of the same round, and sums of what was refused or wrong.
    """
    with _service(network, num_images, num_licensees, flags) as (prepared, serving):
        verify = make_verify(prepared, 16)
        rates: list[float] = []
        found: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        expected: list[str] = []
        for number in range(rounds + 1):
            seconds = report.seconds(functools.partial(verify, number))
            expected = expected or read_verdicts(prepared, number)
            rate = num_images / seconds
            rates += [rate] * (number > 0)
            for size in sizes:
                load = asyncio.run(_load(prepared, serving, expected, num_clients, size))
                figures = load.figures()
                figures["ratio"] = figures["images_per_second"] / rate
                found[size] += [figures] * (number > 0)
        return {
            "resolution": prepared.decoder.resolution,
            "verify": {"images_per_second": statistics.median(rates)},
            "serve": {str(size): _summary(rows) for size, rows in found.items()},
        }


def measure_memory(
    network: str,
    num_licensees: int,
    num_clients: int,
    marks: Sequence[int],
    flags: Sequence[str],
) -> dict[str, Any]:
    """Resident memory of the service after so many requests of one picture each.

    Returns:
        `memory`: requests -> MiB; `refused`, `wrong`.
    """
    with _service(network, 1024, num_licensees, flags) as (prepared, serving):
        make_verify(prepared, 16)(0)
        expected = read_verdicts(prepared, 0)
        memory: dict[str, float] = {"0": serving.memory_mb()}
        done = refused = wrong = 0
        for mark in marks:
            load = asyncio.run(
                _load(prepared, serving, expected, num_clients, 1, num_requests=mark - done)
            )
            done = mark
            refused, wrong = refused + load.refused, wrong + load.wrong
            memory[str(mark)] = serving.memory_mb()
            report.note(f"{mark:,} requests: {memory[str(mark)]:.0f} MiB")
        return {"memory": memory, "refused": refused, "wrong": wrong}


@contextlib.contextmanager
def _service(
    network: str, num_images: int, num_licensees: int, flags: Sequence[str]
) -> Iterator[tuple[Prepared, Serving]]:
    with tempfile.TemporaryDirectory() as name:
        prepared = prepare(Path(name), network, num_images, num_licensees)
        arguments = [f"--network={network}", f"--registry={prepared.registry}"]
        arguments += [f"--anonymous={_UNLIMITED}", *flags]
        with Serving(arguments, Path(name) / "serve.log") as serving:
            serving.wait_until_ready()
            yield prepared, serving


def read_verdicts(prepared: Prepared, number: int) -> list[str]:
    """What `verify` said of each picture, as the answers of the service say it."""
    lines = (prepared.folder / f"verify-{number}.jsonl").read_text().splitlines()
    by_file = {}
    for line in lines:
        values = json.loads(line)
        by_file[values.get("file")] = values.get("verdict")
    return [by_file[name] for name in prepared.names]


async def _load(
    prepared: Prepared,
    serving: Serving,
    expected: Sequence[str],
    num_clients: int,
    size: int,
    num_requests: int | None = None,
) -> Load:
    """Sends pictures, `size` a request; without `num_requests` each of them once."""
    contents = [Path(name).read_bytes() for name in prepared.names]
    starts = range(0, len(contents) - size + 1, size)
    ready = [verify_request(contents[start : start + size]) for start in starts]
    load = Load()

    def on_reply(reply: Reply) -> None:
        load.take(reply, expected, size)

    count = len(ready) if num_requests is None else num_requests
    requests = itertools.islice(enumerate(itertools.cycle(ready)), count)
    server, client = serving.cpu_seconds(), time.process_time()
    start = time.perf_counter()
    await ask_all(serving.port, requests, num_clients, on_reply)
    load.seconds = time.perf_counter() - start
    load.server_cpu = serving.cpu_seconds() - server
    load.client_cpu = time.process_time() - client
    return load


def _summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    sums = {name: sum(row[name] for row in rows) for name in ("refused", "wrong", "requests")}
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {**medians, **sums}
