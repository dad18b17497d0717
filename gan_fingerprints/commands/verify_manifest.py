"""Flags of `verify-manifest`."""

from dnnlib import cli
from gan_fingerprints.commands.common import Commands, add_command, add_json

HELP = "check an instance's signed manifest"
DESCRIPTION = """\
Checks that a manifest was signed with the private half of this key and that the instance beside
it is the one it speaks of.
"""

EXAMPLES = """example:
  {command} --public-key=signing.key.pub instances/acme.pkl.manifest.json
"""

WORK = cli.deferred("gan_fingerprints.work.verify_manifest:verify_manifest")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `verify-manifest`."""
    parser = add_command(commands, "verify-manifest", HELP, WORK, DESCRIPTION, EXAMPLES)
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
