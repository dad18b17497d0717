"""The registry's log as a hash chain: how an event is hashed, continued and checked.

An event's hash covers its number, time, kind, content and the hash of the event before it, so that
nothing can be changed, removed or put in between without changing every later hash. Only the end
can be cut off unnoticed; who keeps a head (every instance manifest holds one) notices that too.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dnnlib.canonical_json import canonical_bytes, canonical_json

GENESIS = "0" * 64  # what the first event has for a previous hash


@dataclass(frozen=True)
class Event:
    """One line of the log."""

    seq: int  # 1, 2, 3 ... without gaps
    time: str  # UTC, see `utc_now`
    kind: str  # what happened, e.g. "revoked"
    payload: str  # canonical JSON: the new row of the registry, bits left out
    previous: str  # hash of the event before, SHA-256 in hex
    hash: str  # `event_hash` of the fields above


@dataclass(frozen=True)
class LogHead:
    """Where a registry's log ends: what shows later that nothing was cut off."""

    registry_id: str
    log_events: int  # number of the last event
    log_head: str  # its hash


def utc_now() -> str:
    """The time as 2030-12-31T23:59:59Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event_hash(seq: int, time: str, kind: str, payload: str, previous: str) -> str:
    """SHA-256, in hex, of the canonical JSON of [seq, time, kind, payload, previous] in UTF-8."""
    # Text that is not Unicode can only come from a changed database; it has to fail the check.
    text = canonical_bytes([seq, time, kind, payload, previous])
    return hashlib.sha256(text).hexdigest()


def next_event(seq: int, previous: str, time: str, kind: str, content: dict[str, Any]) -> Event:
    """The event number `seq` after the event with hash `previous` (`GENESIS`: there is none)."""
    payload = canonical_json(content)
    return Event(seq, time, kind, payload, previous, event_hash(seq, time, kind, payload, previous))


class ChainCheck:
    """Takes the events in order and finds where the chain is broken.

    Args:
        heads: hashes that are known from elsewhere, such as those in instance manifests; each has
            to be the hash of some event.
    """

    def __init__(self, heads: Iterable[str] = ()) -> None:
        self.num_events = 0
        self.head = GENESIS
        self._last_seq = 0
        self._missing_heads = {head for head in heads if head != GENESIS}

    def add(self, event: Event) -> list[str]:
        """Takes the next event.

        Returns:
            What is wrong with it, one text each; most often none.
        """
        problems = []
        if event.seq != self._last_seq + 1:
            problems.append(f"event {event.seq}: follows event {self._last_seq}, some are missing")
        elif event.previous != self.head:
            before = f"hash of event {self._last_seq}" if self._last_seq else "first event's mark"
            problems.append(f"event {event.seq}: its previous hash is not the {before}")
        fields = (event.seq, event.time, event.kind, event.payload, event.previous)
        if event.hash != event_hash(*fields):
            problems.append(f"event {event.seq}: its content does not fit its hash")
        self._last_seq = event.seq
        self.head = event.hash
        self.num_events += 1
        self._missing_heads.discard(event.hash)
        return problems

    def finish(self) -> list[str]:
        """What is missing at the end, one text each."""
        problems = [] if self.num_events else ["the log is empty"]
        problems += [
            f"log head {head} is no event's hash: the end of the log was cut off, or the log was "
            "written anew"
            for head in sorted(self._missing_heads)
        ]
        return problems
