"""`list`, `show`, `revoke`, `export` and `audit`: what the registry knows."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.format import columns
from fingerprints.entries import Model
from fingerprints.instances.witnesses import contradictions, find_witnesses
from fingerprints.registry.facade import Registry
from fingerprints.registry.listing import export_rows, export_text
from gan_fingerprints.work.output import emit, write_line
from gan_fingerprints.work.registry import head_files, head_text, keep_heads, open_registry


def list_fingerprints(args: argparse.Namespace) -> None:
    """The command `list`."""
    if args.decoders:
        _list_decoders(args)
        return
    rows = _rows(args, include_bits=False)
    if args.model is not None:
        rows = [row for row in rows if row["model_hash"].startswith(args.model)]
    if args.json:
        for row in rows:
            emit(args, row, "")
        return
    _print_table(rows)


def _list_decoders(args: argparse.Namespace) -> None:
    registry = open_registry(args)
    found = [
        values
        for model in registry.models()
        if args.model is None or model.model_hash.startswith(args.model)
        for values in _decoders(registry, model)
    ]
    if args.json:
        for values in found:
            emit(args, values, "")
        return
    rows = [["model", "decoder", "file", "added", "calibrated"]]
    for values in found:
        calibrated = (values["calibrated"] or "no")[:19]
        if values["calibrated"] and not values["newest"]:
            calibrated += " (an earlier decoder)"
        hashes = (values["model_hash"][:12], values["decoder_hash"][:12])
        rows.append([*hashes, values["name"], values["created"][:19], calibrated])
    write_line("\n".join(columns(rows)))


def _decoders(registry: Registry, model: Model) -> list[dict[str, Any]]:
    """The decoders of a model as plain values, the one that it was registered with first."""
    return [
        {
            "model_hash": model.model_hash,
            "decoder_hash": entry.model.decoder_hash,
            "name": entry.name,
            "created": entry.time,
            "calibrated": entry.calibrated,
            "newest": entry.is_newest,
        }
        for entry in registry.decoders(model)
    ]


def _rows(args: argparse.Namespace, *, include_bits: bool) -> list[dict[str, Any]]:
    return export_rows(open_registry(args), include_bits=include_bits)


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    titles = {"licensee": 20, "model": 12, "created": 20, "revoked": 20, "instances": 9}
    print("  ".join(title.ljust(width) for title, width in titles.items()).rstrip())
    for row in rows:
        cells = {
            "licensee": row["licensee"],
            "model": row["model_hash"][:12],
            "created": row["created"][:19],
            "revoked": (row["revoked"] or "")[:19],
            "instances": str(len(row["instances"])),
        }
        print("  ".join(cells[title].ljust(width) for title, width in titles.items()).rstrip())


def show(args: argparse.Namespace) -> None:
    """The command `show`."""
    registry = open_registry(args)
    found = registry.show(args.licensee)
    owned = {entry.model_id for entry in found.fingerprints}
    models = [model for model in registry.models() if model.id in owned]
    values = {
        "licensee": asdict(found.licensee),
        # The bits stay in the registry: export --include-bits writes them.
        "fingerprints": [
            {name: value for name, value in vars(entry).items() if name != "bits"}
            for entry in found.fingerprints
        ],
        "instances": [asdict(entry) for entry in found.instances],
        "decoders": [values for model in models for values in _decoders(registry, model)],
        "events": [asdict(event) for event in found.events],
    }
    emit(args, values, json.dumps(values, indent=2))


def revoke(args: argparse.Namespace) -> None:
    """The command `revoke`."""
    registry = open_registry(args)
    revoked = registry.revoke(args.licensee, args.reason)
    head = keep_heads(args, registry)
    for entry in revoked:
        values = {"licensee": entry.licensee, "fingerprint": entry.id, "revoked": entry.revoked}
        text = f"revoked: {entry.licensee}, fingerprint {entry.id}; {head_text(head)}"
        emit(args, {**values, **head}, text)


def export(args: argparse.Namespace) -> None:
    """The command `export`."""
    rows = _rows(args, include_bits=args.include_bits)
    text = export_text(rows, args.format or ("json" if args.json else "csv"))
    if args.out is None:
        sys.stdout.write(text)
        return
    # Whoever has the bits can copy the fingerprints.
    mode = 0o600 if args.include_bits else 0o666
    with open_atomic(
        args.out, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, mode)
    ) as file:
        file.write(text)
    print(f"wrote {args.out}: {len(rows)} fingerprints", file=sys.stderr)


def audit(args: argparse.Namespace) -> None:
    """The command `audit`."""
    registry = open_registry(args)
    beside = Path() if "://" in registry.name else Path(registry.name).parent
    kept = [path for path in head_files(args) if path.exists()]
    # Before the log is read: it may grow meanwhile, but not what is compared with it.
    witnesses = find_witnesses([beside, *kept, *map(Path, args.places)])
    result = registry.audit([] if args.head is None else [args.head])
    missing, num_heads = contradictions(registry, witnesses)
    problems = [*result.problems, *missing]
    values = {
        "problems": problems,
        "events": result.num_events,
        "head": result.head,
        "compared": num_heads,
    }
    compared = f"compared with {num_heads} heads that are kept elsewhere"
    if not num_heads and args.head is None:
        compared = (
            "no head is kept elsewhere: that the end of the log was cut off cannot be seen; name "
            "manifests or use --head"
        )
    count = f"{result.num_events} events, head {result.head}; {compared}"
    emit(args, values, "\n".join([*problems, count] if problems else [f"all agree: {count}"]))
    if problems:
        raise UserError(f"--registry={args.registry}: {len(problems)} problems, see above")
    keep_heads(args, registry)
