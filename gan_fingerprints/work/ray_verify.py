"""Verdicts on a Ray cluster: a pipeline of Ray Data in which every actor holds one decoder.

Names of pictures go out and verdicts come back; the pictures stay on a disk that all machines see.
An actor does what one command does, so the verdicts are the same; they come in any order.
"""

import argparse
import json
import os
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.optional import require
from gan_fingerprints.work import bulk
from gan_fingerprints.work.images import Reader, load_decoder
from gan_fingerprints.work.judges import make_judge
from gan_fingerprints.work.output import Line

_MISSING = "--ray needs the package {name}; run: pip install -r requirements/ray.txt"
_NAMES = 1024  # that an actor is given at a time, so that it can read some while it decodes others


class _Actor:
    """One decoder and one judge, made once, in a process of the cluster."""

    def __init__(self, args: argparse.Namespace, head: dict[str, Any], level: float) -> None:
        self._args = args
        network, *hashes = load_decoder(args.network)
        self._judge = make_judge(
            args, network.fingerprint_size, (hashes[0], str(hashes[1])), level, head=head
        )
        self._reader = Reader(args, network, _NAMES, hashes=args.pool, quiet=True)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """Names -> the lines of each, as JSON."""
        names = [str(name) for name in batch["name"]]
        pools = bulk.find_pools(self._args, names) if self._args.pool else None
        work = bulk.Work(names, len(names), pools)
        lines = [
            json.dumps(asdict(line))
            for found in bulk.judge_all(work, self._reader, self._judge, names)
            for line in found
        ]
        return {"line": lines}


def judge_on_cluster(
    args: argparse.Namespace,
    head: dict[str, Any],
    level: float,
    names: Sequence[str],
    num_done: int,
) -> Generator[list[Line], None, None]:
    """As `bulk.judge_all`, on a cluster, and in any order.

    Args:
        args: the flags; `ray` is the address, or "local" for processes of this machine.
        head: of the registry's log.
        level: at which each picture or source is tested.
        names: of pictures or sources.
        num_done: not needed: Ray Data has a progress bar of its own.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    ray = require("ray", _MISSING)
    data = require("ray.data", _MISSING)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        ray.init(None if args.ray == "local" else args.ray, log_to_driver=args.verbose)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray={args.ray}: {error}; check the address") from error
    try:
        actors = args.ray_actors or _num_actors(ray)
        found = data.from_items([{"name": name} for name in names]).map_batches(
            _Actor,
            fn_constructor_args=(_absolute(args), head, level),
            batch_size=max(1, min(_NAMES, len(names) // actors)),
            concurrency=actors,
            **_share(ray, actors),
        )
        for batch in found.iter_batches(batch_size=None):
            yield [Line(**json.loads(str(line))) for line in batch["line"]]
    finally:
        ray.shutdown()
