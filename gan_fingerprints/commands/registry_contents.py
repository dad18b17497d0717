"""`list`, `show`, `revoke`, `export` and `audit`: what the registry knows."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from gan_fingerprints.commands.common import Commands, add_json, add_registry, emit, open_registry

AUDIT_DESCRIPTION = """\
Checks the registry's log, in which every entry carries the hash of the one before, and that all
tables agree with it. Keep the head that it prints somewhere else: --head then also notices a log
that was cut short or written anew. Status 2 if anything is wrong.
"""


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the commands that read the registry, and `revoke`."""
    parser = _add(commands, "list", "list licensees and their fingerprints", list_fingerprints)
    parser.add_argument("--model", metavar="HASH", help="of one model; its beginning is enough")

    parser = _add(commands, "show", "all about one licensee", show)
    parser.add_argument("licensee", metavar="LICENSEE")

    parser = _add(
        commands, "revoke", "mark a licensee's fingerprints as revoked", revoke,
        "Verdicts go on naming the licensee, and say `revoked`; the fingerprint is never given to "
        "anybody else.",
    )  # fmt: skip
    parser.add_argument("licensee", metavar="LICENSEE")
    parser.add_argument("--reason", default="", metavar="TEXT", help="for the log")

    parser = _add(
        commands, "export", "write the registry's contents as CSV or JSON", export,
        "Without --include-bits the fingerprints themselves stay out.",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("csv", "json"), help="(default: csv, or json with --json)"
    )
    parser.add_argument("--out", metavar="FILE", help="(default: standard output)")
    parser.add_argument(
        "--include-bits", action="store_true", help="the fingerprints as well, in hex"
    )

    parser = _add(commands, "audit", "check the registry's log", audit, AUDIT_DESCRIPTION)
    parser.add_argument("--head", metavar="HASH", help="a head that an earlier audit printed")


def _add(
    commands: "Commands[cli.ArgumentParser]",
    name: str,
    help_text: str,
    function: Any,
    description: str | None = None,
) -> cli.ArgumentParser:
    parser = commands.add_parser(name, help=help_text, description=description or help_text)
    parser.set_defaults(function=function, needs_tensorflow=False)
    add_registry(parser)
    add_json(parser)
    parser.add_verbose()
    return parser


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
    from fingerprints.registry.listing import export_rows

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
    from fingerprints.registry.listing import export_text

    rows = _rows(args, include_bits=args.include_bits)
    text = export_text(rows, args.format or ("json" if args.json else "csv"))
    if args.out is None:
        sys.stdout.write(text)
        return
    with open_atomic(args.out, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"wrote {args.out}: {len(rows)} fingerprints", file=sys.stderr)


def audit(args: argparse.Namespace) -> None:
    """The command `audit`."""
    result = open_registry(args).audit([] if args.head is None else [args.head])
    values = {"problems": result.problems, "events": result.num_events, "head": result.head}
    count = f"{result.num_events} events, head {result.head}"
    text = "\n".join([*result.problems, count] if result.problems else [f"all agree: {count}"])
    emit(args, values, text)
    if result.problems:
        raise UserError(f"--registry={args.registry}: {len(result.problems)} problems, see above")
