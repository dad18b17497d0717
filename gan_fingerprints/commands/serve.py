"""Flags of `serve` and `serve-key`."""

import argparse

from dnnlib import cli
from dnnlib.tflib.start import add_execution
from gan_fingerprints.commands.common import (
    Commands,
    add_c2pa,
    add_command,
    add_decision,
    add_fpr,
    add_network,
    add_registry,
    add_search,
)
from service.callers import SCOPES
from service.settings import REVEALS, Limits

SERVE_HELP = "a page and an API that tell whether pictures are ours"
SERVE_DESCRIPTION = """\
Serves a page for people and an API for programs, which give the verdicts of `verify` on pictures
that are sent, and keep none. SIGTERM ends it when all that it has taken is answered.
docs/service.md says how to set it up.
"""
SERVE_EXAMPLE = """example:
  {command} --network=network-final.pkl --registry=fingerprints.db --port=8000
"""
KEY_HELP = "make a key for a caller of the service, or remove one"
KEY_EXAMPLES = """examples:
  {command} --keys=callers.jsonl --name=newspaper --per-minute=6000
  {command} --keys=callers.jsonl --name=newspaper --remove
"""

SERVE = cli.deferred("service.main:serve")
SERVE_KEY = cli.deferred("service.main:serve_key")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the commands `serve` and `serve-key`."""
    parser = add_command(commands, "serve", SERVE_HELP, SERVE, SERVE_DESCRIPTION, SERVE_EXAMPLE)
    add_network(parser)
    add_registry(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="to listen on (default: %(default)s)"
    )
    add_fpr(parser)
    add_decision(parser)
    add_search(parser)
    parser.add_argument(
        "--reveal",
        choices=REVEALS,
        default="handle",
        help="whose fingerprint it is: nothing of it, a public handle, or the licensee "
        "(default: %(default)s)",
    )
    _add_limits(parser)
    parser.add_argument("--keys", metavar="FILE", help="callers' keys, made by serve-key")
    parser.add_argument(
        "--feedback", metavar="FILE", help="take feedback, and add it to this file, JSON lines"
    )
    add_c2pa(parser)
    parser.add_argument(
        "--manifests",
        metavar="FILE",
        help="manifests.jsonl of generate-images --c2pa: answer /matches/byBinding and byContent",
    )
    parser.add_argument(
        "--report-key",
        metavar="FILE",
        help="give signed reports on pictures, with this private key of keygen",
    )
    cli.add_boolean(
        parser, "--allow-urls", default=False, help="fetch pictures from public addresses, too"
    )
    parser.add_argument(
        "--trusted-proxy",
        metavar="ADDRESSES",
        help="addresses of proxies, with commas, that say where requests come from "
        "(X-Forwarded-For)",
    )
    parser.add_argument(
        "--refresh",
        type=cli.positive_float,
        default=1.0,
        metavar="SECONDS",
        help="between two looks at the registry (default: 1)",
    )
    add_execution(parser)
    _add_key(commands)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    usual = Limits()
    counts = {
        "--max-batch": (usual.max_batch, "pictures that the network reads at once"),
        "--queue": (usual.queue, "pictures that may wait; for more the answer is 429"),
        "--max-bytes": (usual.max_bytes, "bytes of a picture's file"),
        "--max-pixels": (usual.max_pixels, "pixels of a picture; more are not decoded"),
        "--max-files": (usual.max_files, "pictures of a request"),
    }
    for flag, (default, what) in counts.items():
        parser.add_argument(
            flag,
            type=cli.positive_int,
            default=default,
            metavar="N",
            help=f"{what} (default: {default})",
        )
    parser.add_argument(
        "--max-wait-ms",
        type=cli.non_negative_float,
        default=1000 * usual.max_wait,
        metavar="MS",
        help="that a picture waits for others to be read with (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=cli.positive_float,
        default=usual.timeout,
        metavar="SECONDS",
        help="of a request, its upload included (default: %(default)s)",
    )
    parser.add_argument(
        "--anonymous",
        type=cli.non_negative_int,
        default=usual.anonymous,
        metavar="N",
        help="pictures a minute of an address without a key; 0: keys only (default: %(default)s)",
    )


def _add_key(commands: "Commands[cli.ArgumentParser]") -> None:
    parser = add_command(commands, "serve-key", KEY_HELP, SERVE_KEY, epilog=KEY_EXAMPLES)
    parser.add_argument("--keys", required=True, metavar="FILE", help="of hashed keys, for serve")
    parser.add_argument("--name", required=True, metavar="NAME", help="of the caller")
    parser.add_argument(
        "--scopes",
        nargs="+",
        choices=SCOPES,
        default=["verify", "feedback"],
        metavar="SCOPE",
        help=f"what it is for: {', '.join(SCOPES)} (default: verify feedback)",
    )
    parser.add_argument(
        "--per-minute",
        type=cli.positive_int,
        default=600,
        metavar="N",
        help="pictures a minute (default: 600)",
    )
    parser.add_argument("--remove", action="store_true", help="take the caller's key out")


def _port(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: use 1 to 65535")
