"""Verdicts on a Ray cluster: a pipeline of Ray Data in which every actor holds one decoder.

Names of pictures go out and verdicts come back; the pictures stay on a disk that all machines see.
An actor does what one command does, so the verdicts are the same; they come in any order.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.optional import require
from gan_fingerprints.work import bulk
from gan_fingerprints.work.images import Reader, load_decoder, views_of
from gan_fingerprints.work.judges import RegistryJudge, make_judge
from gan_fingerprints.work.output import Line

_MISSING = "--ray needs the package {name}; run: pip install -r requirements/ray.txt"
_MAX_NAMES = 1024  # that an actor is given at a time: it reads some while it decodes others


class _Actor:
    """One decoder and one judge, made once, in a process of the cluster."""

    def __init__(
        self, args: argparse.Namespace, head: Mapping[str, Any], level: float, folder: str
    ) -> None:
        os.chdir(folder)  # that of the command: names may be relative to it
        self._args = args
        network, model_hash, decoder_hash = load_decoder(args.network)
        hashes = (model_hash, decoder_hash)
        self._judge = make_judge(args, network.fingerprint_size, hashes, level, quiet=True)
        if isinstance(self._judge, RegistryJudge):
            self._judge.head = head
        views = views_of(args.search)
        self._reader = Reader(args, network, _MAX_NAMES, expand=views, hashes=args.pool)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """Names -> `Line`s, as JSON; those of one batch only."""
        names = [os.fsdecode(name) for name in batch["name"]]
        pools = bulk.find_pools(self._args, names) if self._args.pool else None
        work = bulk.Work(names, len(names), pools)
        found = bulk.judge_all(work, self._reader, self._judge, names)
        return {"line": [json.dumps(asdict(line)) for lines in found for line in lines]}


def judge_on_cluster(
    args: argparse.Namespace,
    head: Mapping[str, Any],
    level: float,
    work: bulk.Work,
    names: Sequence[str],
    num_done: int,
) -> Generator[list[Line], None, None]:
    """As `bulk.judge_all`, on a cluster, and in any order.

    Args:
        args: the flags; `ray` is the address, or "local" for processes of this machine.
        head: of the registry's log.
        level: at which each picture or source is tested.
        work: says what the names stand for.
        names: of pictures or sources.
        num_done: pictures that the progress bar begins with.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or an actor raised one.
    """
    ray = require("ray", _MISSING)
    data = require("ray.data", _MISSING)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    data.DataContext.get_current().enable_progress_bars = False
    try:
        _connect(ray, args)
        num_actors, resources = _actors(ray, args.ray_actors)
        found = data.from_items([{"name": os.fsencode(name)} for name in names]).map_batches(
            _Actor,
            fn_constructor_args=(args, head, level, os.getcwd()),
            batch_size=max(1, min(_MAX_NAMES, len(names) // num_actors)),
            compute=data.ActorPoolStrategy(size=num_actors),
            **resources,
        )
        total = num_done + work.count(names)
        with tqdm(
            total=total, initial=num_done, unit="image", file=sys.stderr, disable=None
        ) as progress:
            for batch in found.iter_batches(batch_size=None):
                lines = [Line(**json.loads(str(line))) for line in batch["line"]]
                yield lines
                progress.update(sum(line.values.get("images", 1) for line in lines))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
    finally:
        ray.shutdown()


def _connect(ray: ModuleType, args: argparse.Namespace) -> None:
    """Joins the cluster, or starts one of this machine's own."""
    # Processes of this machine: as many as actors are asked for, whatever the number of cores.
    num_cpus = args.ray_actors if args.ray == "local" else None
    level = logging.WARNING if args.verbose else logging.ERROR
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(level)
    try:
        ray.init(args.ray, num_cpus=num_cpus, log_to_driver=args.verbose, logging_level=level)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray={args.ray}: {error}; check the address") from error


def _actors(ray: ModuleType, asked: int | None) -> tuple[int, dict[str, Any]]:
    """How many actors there are to be, and what Ray shall give each.

    TensorFlow takes all cores of a machine, so there is one on each; Ray Data spreads them.
    """
    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    num_machines = sum(bool(node["Alive"]) for node in ray.nodes())
    return asked or num_gpus or num_machines, {"num_cpus": 1, "num_gpus": min(num_gpus, 1)}
