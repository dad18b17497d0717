"""Flags of `list`, `show`, `revoke`, `export` and `audit`."""

from collections.abc import Callable
from typing import Any

from dnnlib import cli
from gan_fingerprints.commands.common import Commands, add_command, add_json, add_registry

_LIST = cli.deferred("gan_fingerprints.work.registry_contents:list_fingerprints")
_SHOW = cli.deferred("gan_fingerprints.work.registry_contents:show")
_REVOKE = cli.deferred("gan_fingerprints.work.registry_contents:revoke")
_EXPORT = cli.deferred("gan_fingerprints.work.registry_contents:export")
_AUDIT = cli.deferred("gan_fingerprints.work.registry_contents:audit")

AUDIT_DESCRIPTION = """\
Checks the registry's log, in which every entry carries the hash of the one before, and that all
tables agree with it. A log that was cut short, or an older copy, agrees as well: so its head is
compared with those that are kept elsewhere, in manifests and *.heads.json in the registry's folder
and the folders in it, in the cache folder, and in what else is named. Status 2 if anything is
wrong.
"""


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the commands that read the registry, and `revoke`."""
    parser = _add(commands, "list", "list licensees and their fingerprints", _LIST)
    parser.add_argument("--model", metavar="HASH", help="of one model; its beginning is enough")
    parser.add_argument(
        "--decoders",
        action="store_true",
        help="list the models' decoders instead, and which of them are calibrated",
    )

    parser = _add(commands, "show", "all about one licensee", _SHOW)
    parser.add_argument("licensee", metavar="LICENSEE")

    parser = _add(
        commands, "revoke", "mark a licensee's fingerprints as revoked", _REVOKE,
        "Verdicts go on naming the licensee, and say `revoked`; the fingerprint is never given to "
        "anybody else.",
    )  # fmt: skip
    parser.add_argument("licensee", metavar="LICENSEE")
    parser.add_argument("--reason", default="", metavar="TEXT", help="for the log")

    parser = _add(
        commands, "export", "write the registry's contents as CSV or JSON", _EXPORT,
        "Without --include-bits the fingerprints themselves stay out.",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("csv", "json"), help="(default: csv, or json with --json)"
    )
    parser.add_argument("--out", metavar="FILE", help="(default: standard output)")
    parser.add_argument(
        "--include-bits",
        action="store_true",
        help="the fingerprints as well, in hex; --out is then readable by its owner only",
    )

    parser = _add(commands, "audit", "check the registry's log", _AUDIT, AUDIT_DESCRIPTION)
    parser.add_argument(
        "places",
        nargs="*",
        metavar="PLACE",
        help="more that holds heads: manifests, *.heads.json, saved output of verify --json, or "
        "folders of the first two",
    )
    parser.add_argument("--head", metavar="HASH", help="a head that an earlier audit printed")


def _add(
    commands: "Commands[cli.ArgumentParser]",
    name: str,
    help_text: str,
    function: Callable[..., Any],
    description: str | None = None,
) -> cli.ArgumentParser:
    parser = add_command(commands, name, help_text, function, description)
    add_registry(parser)
    add_json(parser)
    return parser
