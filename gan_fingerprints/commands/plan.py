"""`keygen` and `plan`: what comes before the first instance."""

import argparse
from dataclasses import asdict

from dnnlib import cli
from gan_fingerprints.commands.common import Commands, add_json, emit, write_line

KEYGEN_DESCRIPTION = """\
Makes a key that only its owner can read (mode 0600); it is never part of a registry.

  signing   Ed25519, signs the manifests of instances; the public half goes to FILE.pub and to
            whoever shall verify them
  registry  encrypts the fingerprints of a registry (give it to every command as --registry-key)
  payload   hides the code of a model in payload mode
"""
PLAN_DESCRIPTION = """\
Says before any training what a number of bits can do: how many must match so that an image of
another origin is called ours with a probability of at most F, the bit accuracy that takes, how
many licensees are possible at all, and how far apart fingerprints can be kept.
"""


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the commands `keygen` and `plan`."""
    parser = commands.add_parser(
        "keygen", help="make a key", description=KEYGEN_DESCRIPTION,
        epilog="example:\n  python3 run_fingerprints.py keygen signing.key",
    )  # fmt: skip
    parser.set_defaults(function=keygen, needs_tensorflow=False)
    parser.add_argument("file", metavar="FILE", help="where the key goes; never overwritten")
    parser.add_argument(
        "--kind",
        choices=("signing", "registry", "payload"),
        default="signing",
        help="(default: signing)",
    )
    add_json(parser)
    parser.add_verbose()

    parser = commands.add_parser(
        "plan", help="what a number of bits can do", description=PLAN_DESCRIPTION,
        epilog="example:\n  python3 run_fingerprints.py plan --bits=128 --licensees=1000",
    )  # fmt: skip
    parser.set_defaults(function=plan, needs_tensorflow=False)
    parser.add_argument("--bits", type=cli.positive_int, required=True, metavar="B")
    parser.add_argument("--licensees", type=cli.positive_int, required=True, metavar="N")
    add_fpr(parser)
    add_json(parser)
    parser.add_verbose()


def add_fpr(parser: cli.ArgumentParser) -> None:
    """Adds `--fpr`."""
    parser.add_argument(
        "--fpr",
        type=cli.probability,
        default=1e-6,
        metavar="F",
        help="highest probability with which one image of another origin is called ours "
        "(default: 1e-6)",
    )


def keygen(args: argparse.Namespace) -> None:
    """The command `keygen`."""
    from fingerprints.keys import write_key

    files = [str(path) for path in write_key(args.file, args.kind)]
    emit(args, {"kind": args.kind, "files": files}, "\n".join(files))


def plan(args: argparse.Namespace) -> None:
    """The command `plan`."""
    from fingerprints.detection import planning

    found = planning.plan(args.bits, args.licensees, args.fpr)
    if args.json:
        emit(args, asdict(found), "")
    else:
        write_line("\n".join(found.lines()))
