"""`run_metrics.py --suite`: studies of one model or several, and their report."""

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dnnlib.atomic import open_atomic, write_error
from dnnlib.errors import UserError
from dnnlib.locks import try_lock_folder
from dnnlib.plots import import_pyplot
from dnnlib.run_dir import FINISHED, LOG, append_line, create_run_dir, mark_finished
from dnnlib.tflib.machine import resolve_execution
from evaluation.report.document import HTML, Evaluated, write_report
from evaluation.running import run_studies
from evaluation.subject.model import MINIBATCH, Subject, load_subject
from evaluation.subject.settings import Settings
from evaluation.suites import Materials, studies_of
from gan_fingerprints.work.evaluate import network_stem
from metrics.efficientnet_lite import check_lite0
from metrics.evaluate import check_metrics
from metrics.feature_extractors import VARIABLE, cached_inception, check_inception
from metrics.sampling import make_context
from training.data.dataset import Dataset, open_dataset

SETTINGS = "suite.json"


def measure_suite(args: argparse.Namespace) -> None:
    """The command.

    Raises:
        UserError: anything that the user can mend. All of it is checked before computing.
    """
    import_pyplot()
    settings = Settings(args.num_images, args.licensees, args.fpr, args.seed)
    execution = resolve_execution(args.ops, args.precision)
    networks = [args.network] if args.compare is None else args.compare
    names = short_names(networks)
    subjects = [
        load_subject(name, num_keys=args.licensees, seed=args.seed, execution=execution)
        for name in networks
    ]
    dataset = None
    if args.dataset:
        dataset = open_dataset(args.data_dir, args.dataset, skip_bad_records=args.skip_bad_records)
    materials = [_materials(args, subject, dataset) for subject in subjects]
    shown = {
        "suite": args.suite,
        **dataclasses.asdict(settings),
        "dataset": dataset and dataset.name,
        "dataset_fingerprint": dataset and dataset.cache_key(),
        "models": [[subject.model_hash, subject.decoder_hash] for subject in subjects],
    }
    folder, lock = _folder(args.result_dir, f"suite-{args.suite}-{'-'.join(names)}"[:120], shown)
    with lock:
        models = []
        for name, subject, own in zip(names, subjects, materials, strict=True):
            results = run_studies(
                folder / name,
                studies_of(args.suite),
                subject,
                settings,
                own,
                lambda line, name=name: append_line(folder / LOG, f"{name}  {line}"),
            )
            models.append(Evaluated(name, subject.facts(), results))
        date = datetime.now(UTC).date().isoformat()
        sentences = write_report(folder, args.suite, models, shown, date)
        mark_finished(folder)
    print("\n".join([*sentences, f"report: {folder / HTML}"]))


def short_names(networks: Sequence[str]) -> list[str]:
    """Names of files without folder and ending, each once."""
    names: list[str] = []
    for network in networks:
        stem = network_stem(network)
        number = sum(name == stem or name.startswith(f"{stem}-") for name in names)
        names.append(f"{stem}-{number + 1}" if stem in names else stem)
    return names


def _materials(args: argparse.Namespace, subject: Subject, dataset: Dataset | None) -> Materials:
    """The context of the metrics with the feature networks that there are."""
    context = make_context(
        generator=subject.generator,
        decoder=subject.decoder,
        dataset=dataset,
        minibatch=MINIBATCH,
        seed=args.seed,
        mirror_augment=args.mirror_augment,
        execution=subject.execution,
    )
    check_metrics(["swd1k"] if dataset is not None else [], context)  # sizes that do not fit
    missing = []
    lite0 = inception = None
    if dataset is None:
        missing.append("comparisons with real pictures; name them with --dataset")
    else:
        try:
            lite0 = check_lite0(["fd_lite0_1k"])
        except UserError as error:
            missing.append(str(error))
        # Named, or there already: a suite downloads nothing.
        if args.inception or os.environ.get(VARIABLE) or cached_inception():
            inception = check_inception(["fid1k"], args.inception)
        else:
            missing.append("metrics of Inception features; name its graph with --inception")
    return Materials(dataclasses.replace(context, lite0=lite0, inception=inception), missing)


def _folder(result_dir: str, description: str, settings: dict[str, Any]) -> tuple[Path, IO[bytes]]:
    """The folder of this command, locked: the newest unfinished one of the same settings, or new.

    Raises:
        UserError: it cannot be made, or another process is at it.
    """
    parent = Path(result_dir)
    text = json.dumps(settings, indent=2) + "\n"
    found = sorted(parent.glob(f"[0-9]*-{description}")) if parent.is_dir() else []
    for path in reversed(found):
        file = path / SETTINGS
        if (path / FINISHED).exists() or not file.is_file():
            continue
        if file.read_text(encoding="utf-8") == text:
            return path, _locked(path)
    folder = create_run_dir(result_dir, description)
    lock = _locked(folder)
    with open_atomic(folder / SETTINGS, "w", encoding="utf-8") as out:
        out.write(text)
    return folder, lock


def _locked(folder: Path) -> IO[bytes]:
    try:
        lock = try_lock_folder(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    if lock is None:
        raise UserError(f"{folder} is in use by another process; wait for it")
    return lock
