"""Flags of `verify-manifest`."""

from dnnlib import cli
from gan_fingerprints.commands.common import Commands, add_json

DESCRIPTION = """\
Checks that a manifest was signed with the private half of this key and that the instance beside
it is the one it speaks of.
"""


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `verify-manifest`."""
    parser = commands.add_parser(
        "verify-manifest",
        help="check an instance's signed manifest",
        description=DESCRIPTION,
        epilog="example:\n  python3 run_fingerprints.py verify-manifest "
        "--public-key=signing.key.pub instances/acme.pkl.manifest.json",
    )
    work = cli.deferred("gan_fingerprints.work.verify_manifest:verify_manifest")
    parser.set_defaults(function=work, needs_tensorflow=False)
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST")
    parser.add_argument(
        "--public-key", required=True, metavar="FILE", help="public half of the signing key (*.pub)"
    )
    parser.add_argument(
        "--instance",
        metavar="FILE",
        help="the instance (default: the manifest's name without .manifest.json)",
    )
    add_json(parser)
    parser.add_verbose()
