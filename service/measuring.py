"""What the service counts of itself, for Prometheus."""

import functools
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Measures:
    """Counters of one service; `collected` holds them all."""

    def __init__(self) -> None:
        """All at zero."""
        self.collected = CollectorRegistry()
        own: Any = {"registry": self.collected, "namespace": "fingerprints"}
        self.requests = Counter(
            "requests", "Requests by path and status", ["path", "status"], **own
        )
        self.seconds = Histogram(
            "request_seconds", "Time of a request", ["path"], buckets=_SECONDS, **own
        )
        self.verdicts = Counter("verdicts", "Pictures by verdict", ["verdict"], **own)
        self.unreadable = Counter("unreadable", "Files that could not be read", **own)
        self.refused = Counter("refused", "Requests refused, by reason", ["reason"], **own)
        self.batch_size = Histogram(
            "batch_size", "Pictures of a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256), **own
        )
        self.batch_seconds = Histogram("batch_seconds", "Time of a batch", buckets=_SECONDS, **own)
        self.pending = Gauge("pending", "Pictures that wait or are judged", **own)
        self.registered = Gauge("registered", "Fingerprints that are compared with", **own)
        self.refreshes = Counter("registry_changes", "Times that the registry had changed", **own)
        self.is_ready = Gauge("ready", "1 if verdicts can be given", **own)

        # To find a counter by its labels takes as long as to count some times over.
        self._verdict = functools.cache(self.verdicts.labels)
        self._request = functools.cache(
            lambda path, status: (self.requests.labels(path, status), self.seconds.labels(path))
        )

    def on_verdict(self, verdict: str) -> None:
        """Counts one."""
        self._verdict(verdict).inc()

    def on_request(self, path: str, status: int, seconds: float) -> None:
        """Counts one; `path` is one of few."""
        count, time_taken = self._request(path, str(status))
        count.inc()
        time_taken.observe(seconds)

    def on_batch(self, size: int, seconds: float) -> None:
        """Told by the batcher."""
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)
