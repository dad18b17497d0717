"""`gan-fingerprints`: all commands under one name."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from dnnlib import cli
from gan_fingerprints import __version__

NAME = "gan-fingerprints"
_FINGERPRINTS = cli.deferred("gan_fingerprints.commands.fingerprints:main")

# Name -> what it does, and the function (arguments, name of the program) that does it.
COMMANDS: dict[str, tuple[str, Callable[..., Any]]] = {
    "dataset": (
        "make data sets of images, show, extract, compare them",
        cli.deferred("gan_fingerprints.commands.dataset:main"),
    ),
    "train": (
        "train a fingerprinted generator with its decoder",
        cli.deferred("gan_fingerprints.commands.train:main"),
    ),
    "evaluate": (
        "measure quality and bit accuracy of a snapshot",
        cli.deferred("gan_fingerprints.commands.evaluate:main"),
    ),
    "generate": (
        "make images that carry fingerprints",
        cli.deferred("gan_fingerprints.commands.generate:generate"),
    ),
    "export-network": (
        "write a snapshot for the published code, or as plain arrays",
        cli.deferred("gan_fingerprints.commands.export_network:main"),
    ),
}
# Those of run_fingerprints.py; help and flags are theirs.
LICENSING = {
    "keygen": "make a key",
    "plan": "what a number of bits can do",
    "adopt": "give a StyleGAN2 that you already have fingerprints",
    "issue": "give licensees generators of their own",
    "verify-manifest": "check an instance's signed manifest",
    "list": "list licensees and their fingerprints",
    "show": "all about one licensee",
    "revoke": "mark a licensee's fingerprints as revoked",
    "export": "write the registry's contents as CSV or JSON",
    "audit": "check the registry's log",
    "decode": "print the fingerprints that images carry",
    "retune": "train the decoder alone to read edited pictures",
    "calibrate": "measure false matches on foreign images",
    "verify": "whether the model made an image, and whose",
    "verify-report": "check a report of verify --report",
    "attribute": "whose fingerprint fits images best",
    "serve": "a page and an API that tell whether pictures are ours",
    "serve-key": "make a key for a caller of the service, or remove one",
}


def help_text() -> str:
    """What `--help` prints."""
    rows = {name: text for name, (text, _) in COMMANDS.items()} | LICENSING
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {text}" for name, text in rows.items()]
    return "\n".join([
        f"usage: {NAME} COMMAND ...",
        "",
        "Scalable GAN fingerprints: train generators whose images tell whose they are.",
        "",
        "commands (each answers --help):",
        *lines,
        "",
        "  --version        print the version",
    ])  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command that the first argument names.

    Args:
        argv: arguments without the program's name; None means sys.argv.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        print(help_text())
    elif name == "--version":
        print(f"{NAME} {__version__}")
    elif name in COMMANDS:
        COMMANDS[name][1](arguments[1:], prog=f"{NAME} {name}")
    elif name in LICENSING:
        _FINGERPRINTS(arguments, prog=NAME)
    else:
        problem = f"unknown command {name!r}" if name else "a command is missing"
        print(f"{NAME}: error: {problem} (see --help)", file=sys.stderr)
        sys.exit(2)


def console() -> NoReturn:
    """The entry point of the installed program."""
    cli.run(main)
