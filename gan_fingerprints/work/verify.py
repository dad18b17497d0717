"""`verify` and `attribute`: whether the model made an image, and whose instance did."""

import argparse
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from dnnlib import cli
from fingerprints.detection.verdict import expected_false, per_image_level
from gan_fingerprints.work import bulk
from gan_fingerprints.work.credentials import with_credentials
from gan_fingerprints.work.images import Reader, check_all_read, load_decoder, views_of
from gan_fingerprints.work.judges import RegistryJudge, make_judge
from gan_fingerprints.work.output import emit
from gan_fingerprints.work.registry import head_text, keep_heads
from gan_fingerprints.work.reports import with_report
from gan_fingerprints.work.results import VERDICT_COLUMNS, open_results

_ON_A_CLUSTER = cli.deferred("gan_fingerprints.work.ray_verify:judge_on_cluster")


def verify(args: argparse.Namespace) -> None:
    """The command `verify`."""
    args.top = 0
    _run(args, "verify")


def attribute(args: argparse.Namespace) -> None:
    """The command `attribute`."""
    args.licensee = args.payload_key = args.c2pa = args.c2pa_anchors = args.c2pa_alg = None
    args.report = args.report_key = None
    _run(args, "attribute")


def _run(args: argparse.Namespace, command: str) -> None:
    work = bulk.find_work(args)
    level = per_image_level(args.fpr, args.fwer, work.num_results)
    network, model_hash, decoder_hash = load_decoder(args.network)
    judge = make_judge(args, network.fingerprint_size, (model_hash, decoder_hash), level)
    about = {"the command": command, "the decoder": decoder_hash, "level": level, **judge.about}
    head: Mapping[str, Any] = {}
    if isinstance(judge, RegistryJudge):
        head = judge.head = keep_heads(args, judge.registry)
    with open_results(args, about, VERDICT_COLUMNS) as results:
        results_of: bulk.ResultsOf
        if args.ray is not None:
            results_of = partial(_ON_A_CLUSTER, args, head, level, work)
        else:
            views = views_of(args.search)
            number = work.count(work.names)
            reader = Reader(args, network, number, expand=views, hashes=args.pool)
            results_of = partial(bulk.judge_all, work, reader, judge)
        results_of = with_credentials(args, results_of)
        basis = {"model": model_hash, "decoder": decoder_hash}
        basis["calibration"] = judge.about.get("the calibration")
        results_of = with_report(args, work, basis, results_of)
        start = time.monotonic()
        tally = bulk.run(work, results, results_of)
        seconds = time.monotonic() - start
    _print_summary(args, tally, level, head, seconds)
    if args.search == "none" and tally.verdicts["not-ours"] and not args.json:
        print(
            "not-ours is said of these pictures as they are; --search=light also tries whether "
            "they were mirrored, turned, cropped, or made darker or brighter",
            file=sys.stderr,
        )
    where = "their lines" if args.out is None else f"their rows in {args.out}"
    check_all_read(tally.num_bad, tally.num_images + tally.num_bad, where)


def _print_summary(
    args: argparse.Namespace,
    tally: bulk.Tally,
    level: float,
    head: Mapping[str, Any],
    seconds: float,
) -> None:
    """Counts, and what all verdicts have in common."""
    wrong_name_rate = tally.wrong_name_rate  # payload mode names nobody
    num_false = expected_false(level, sum(tally.verdicts.values()))
    num_new = tally.num_images + tally.num_bad - tally.num_resumed
    rate = num_new / max(seconds, 1e-9)
    summary = {
        "images": tally.num_images,
        "unreadable": tally.num_bad,
        "resumed": tally.num_resumed,
        "verdicts": dict(tally.verdicts),
        "level": level,
        "expected_false": num_false,
        "wrong_name_rate": wrong_name_rate,
        "images_per_second": round(rate, 2),
    }
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.verdicts.items()))
    text = f"verdicts: {listed or 'none'}; "
    text += f"false ones to expect if all are foreign: {num_false:.1e} at most"
    if wrong_name_rate is not None:
        text += f"; risk of a wrong name, per image of ours: {wrong_name_rate:.1e} at most"
    if head:
        text += f"; {head_text(dict(head))}"
    if tally.num_resumed:
        text += f"; {tally.num_resumed} images from earlier calls"
    emit(args, {"summary": summary}, f"{text}; {rate:.1f} images/s")
