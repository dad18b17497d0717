"""`list`, `show`, `revoke`, `export` and `audit`: what the registry knows."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from fingerprints.registry.heads import find_heads
from fingerprints.registry.listing import export_rows, export_text
from gan_fingerprints.work.output import emit
from gan_fingerprints.work.registry import open_registry


def list_fingerprints(args: argparse.Namespace) -> None:
    """The command `list`."""
    rows = _rows(args, include_bits=False)
    if args.model is not None:
        rows = [row for row in rows if row["model_hash"].startswith(args.model)]
    if args.json:
        for row in rows:
            emit(args, row, "")
        return
    _print_table(rows)


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
    found = open_registry(args).show(args.licensee)
    values = {
        "licensee": asdict(found.licensee),
        # The bits stay in the registry: export --include-bits writes them.
        "fingerprints": [
            {name: value for name, value in vars(entry).items() if name != "bits"}
            for entry in found.fingerprints
        ],
        "instances": [asdict(entry) for entry in found.instances],
        "events": [asdict(event) for event in found.events],
    }
    emit(args, values, json.dumps(values, indent=2))


def revoke(args: argparse.Namespace) -> None:
    """The command `revoke`."""
    for entry in open_registry(args).revoke(args.licensee, args.reason):
        emit(
            args,
            {"licensee": entry.licensee, "fingerprint": entry.id, "revoked": entry.revoked},
            f"revoked: {entry.licensee}, fingerprint {entry.id}",
        )


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
    sources = find_heads(
        _folders_beside(args), registry.id, {model.model_hash for model in registry.models()}
    )
    if args.head is not None:
        sources[args.head] = "--head"
    result = registry.audit(list(sources))
    problems = [_with_source(text, sources) for text in result.problems]
    values = {
        "problems": problems,
        "events": result.num_events,
        "head": result.head,
        "heads_compared": len(sources),
    }
    count = f"{result.num_events} events, head {result.head}"
    compared = f"{len(sources)} heads from elsewhere are among them" if sources else _NO_HEADS
    text = "\n".join([*problems, count] if problems else [f"all agree: {count}", compared])
    emit(args, values, text)
    if problems:
        raise UserError(f"--registry={args.registry}: {len(problems)} problems, see above")


_NO_HEADS = "no head from elsewhere to compare with: events cut off at the end would not show"


def _folders_beside(args: argparse.Namespace) -> list[Path]:
    """Where manifests and heads are looked for: beside the registry, and where the user says."""
    beside = [] if "://" in args.registry else [Path(args.registry).parent]
    folders = [*beside, Path(), *map(Path, args.beside or ())]
    folders += [folder / "instances" for folder in folders]
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def _with_source(problem: str, sources: Mapping[str, str]) -> str:
    """A problem with a head, and which file has that head."""
    for head, source in sources.items():
        if f"log head {head} " in problem:
            return f"{problem} (that head is from {source})"
    return problem
