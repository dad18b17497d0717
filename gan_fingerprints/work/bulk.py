"""Many pictures: which of them a call gives results for, and a pass over them that can go on."""

import argparse
import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from dnnlib.errors import UserError
from fingerprints.image_files import find_images
from gan_fingerprints.work.images import Batch, Decoded, Reader, image_arguments, image_paths
from gan_fingerprints.work.output import Line
from gan_fingerprints.work.results import Results

_JUDGED = 256  # pictures that are judged at once, if so many come
_JUDGED_SECONDS = 0.5


class Shard(NamedTuple):
    """One of `of` parts of the work. What belongs to it follows from names alone."""

    number: int  # 0 to of - 1
    of: int

    def has(self, name: str) -> bool:
        """Whether what is called so belongs to it."""
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number


@dataclass(frozen=True)
class Work:
    """What a call gives results for: pictures or, with `--pool`, sources of several."""

    names: list[str]  # of this shard, each once
    num_results: int  # of all shards together
    pools: Mapping[str, Sequence[str]] | None = None  # with `--pool`: name -> its pictures

    def pictures(self, name: str) -> Sequence[str]:
        """The pictures that get one result together."""
        return (name,) if self.pools is None else self.pools[name]

    def count(self, names: Sequence[str]) -> int:
        """How many pictures these are."""
        return sum(len(self.pictures(name)) for name in names)


def find_work(args: argparse.Namespace) -> Work:
    """What the flags of `add_images` name, as far as it belongs to `--shard`.

    Every shard looks at all names, so that each knows how many there are.

    Raises:
        UserError: as `find_images`, or nothing belongs to this shard.
    """
    is_pooled = getattr(args, "pool", False)
    found = image_arguments(args) if is_pooled else map(str, image_paths(args))
    names = list(dict.fromkeys(found))
    mine = names
    if args.shard is not None:
        mine = [name for name in names if Shard(*args.shard).has(name)]
    if not mine:
        raise UserError(
            f"nothing of these {len(names)} belongs to --shard={'/'.join(map(str, args.shard))}; "
            "use fewer shards"
        )
    return Work(mine, len(names), find_pools(args, mine) if is_pooled else None)


def find_pools(args: argparse.Namespace, names: Sequence[str]) -> dict[str, list[str]]:
    """The pictures of sources, each a file, a pattern or a folder."""
    return {name: list(map(str, find_images([name], recursive=args.recursive))) for name in names}


class Judge(Protocol):
    """Gives results."""

    def singles(self, paths: Sequence[Path], logits: np.ndarray) -> list[Line]:
        """One for each of M pictures; logits [M,B], or [M,K,B] of K views."""

    def pool(self, name: str, logits: np.ndarray, hashes: np.ndarray) -> Line:
        """One for M pictures of one source."""


def judge_all(
    work: Work, reader: Reader, judge: Judge, names: Sequence[str], num_done: int = 0
) -> Generator[list[Line], None, None]:
    """Results for pictures or sources, in order, some at a time.

    Args:
        work: says what the names stand for.
        reader: of the pictures; with hashes if there are pools.
        judge: of what comes out.
        names: some of `work`'s.
        num_done: pictures that the progress bar begins with.
    """
    if work.pools is not None:
        yield from _judge_pools(work, reader, judge, names, num_done)
        return
    with contextlib.closing(reader.batches(names, num_done)) as batches:
        for some in _gathered(batches):
            pairs = [pair for one in some for pair in zip(one.paths, one.errors, strict=True)]
            good = [path for path, error in pairs if error is None]
            found = iter(judge.singles(good, np.concatenate([one.logits for one in some])))
            yield [
                next(found) if error is None else Line.of_error(path, error)
                for path, error in pairs
            ]


def _gathered(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Batches that are judged together, since many at once cost less each, but soon enough."""
    some: list[Batch] = []
    since = time.monotonic()
    for batch in batches:
        some.append(batch)
        is_late = time.monotonic() - since > _JUDGED_SECONDS
        if is_late or sum(len(one.paths) for one in some) >= _JUDGED:
            yield some
            some, since = [], time.monotonic()
    if some:
        yield some


def _judge_pools(
    work: Work, reader: Reader, judge: Judge, names: Sequence[str], num_done: int
) -> Generator[list[Line], None, None]:
    pictures = [path for name in names for path in work.pictures(name)]
    with contextlib.closing(reader.batches(pictures, num_done)) as batches:
        stream = (one for batch in batches for one in batch.decoded())
        for name in names:
            found: list[Decoded] = []
            lines = []
            for _ in work.pictures(name):
                one = next(stream)
                if isinstance(one, Decoded):
                    found.append(one)
                else:
                    lines.append(Line.of_error(*one))
            if found:
                logits = np.stack([one.logits for one in found])
                hashes = np.stack([one.hash for one in found if one.hash is not None])
                lines.append(judge.pool(name, logits, hashes))
            yield lines  # together, so that no source has its errors without its verdict


@dataclass
class Tally:
    """What results add up to, those of earlier calls included."""

    num_images: int = 0  # that could be read
    num_bad: int = 0
    num_resumed: int = 0  # of both, those of earlier calls
    verdicts: Counter[str] = field(default_factory=Counter)
    wrong_name_rate: float | None = None  # of the last verdict; the same for all
    num_compared: int = 0  # images whose fingerprint is known
    num_match: int = 0  # their bits that match
    num_bits: int = 0  # of so many

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a result, of which it needs what is in `results.TALLIED`."""
        if row.get("error") is not None:
            self.num_bad += 1
            return
        self.num_images += row.get("images") or 1
        if row.get("verdict") is not None:
            self.verdicts[row["verdict"]] += 1
            self.wrong_name_rate = row.get("wrong_name_rate")
        if row.get("match") is not None:
            self.num_compared += 1
            self.num_match += row["match"]
            self.num_bits += row["num_bits"]


# Names, and pictures of earlier calls -> results, some at a time.
ResultsOf = Callable[[Sequence[str], int], Generator[list[Line], None, None]]


def run(work: Work, results: Results, results_of: ResultsOf) -> Tally:
    """Gives the results that are not there yet, and counts all."""
    tally = Tally()
    for row in results.old_rows():
        tally.add(row)
    tally.num_resumed = tally.num_images + tally.num_bad
    # A source none of whose pictures can be read has their errors, and no result of its own.
    left = [
        name
        for name in work.names
        if results.lacks(name) and any(map(results.lacks, work.pictures(name)))
    ]
    if left:
        num_done = work.count(work.names) - work.count(left)
        with (
            # The network has the cores; BLAS's own threads would only wait for them.
            threadpool_limits(limits=1, user_api="blas"),
            contextlib.closing(results_of(left, num_done)) as new,
        ):
            for lines in new:
                results.add(lines)
                for line in lines:
                    tally.add(line.values)
    return tally
