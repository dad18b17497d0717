"""Flags of `keygen`."""

from dnnlib import cli
from gan_fingerprints.commands.common import Commands, add_command, add_json

HELP = "make a key"
DESCRIPTION = """\
Makes a key that only its owner can read (mode 0600); it is never part of a registry.

  signing   Ed25519, signs the manifests of instances; the public half goes to FILE.pub and to
            whoever shall verify them
  registry  encrypts the fingerprints of a registry (give it to every command as --registry-key)
  c2pa      signs pictures (generate-images --c2pa); its certificates go to FILE.chain.pem, where
            those of an authority may take their place
  payload   hides the code of a model in payload mode
"""

EXAMPLES = "example:\n  {command} signing.key"

WORK = cli.deferred("gan_fingerprints.work.keygen:keygen")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `keygen`."""
    parser = add_command(commands, "keygen", HELP, WORK, DESCRIPTION, EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="where the key goes; never overwritten")
    parser.add_argument(
        "--kind",
        choices=("signing", "registry", "c2pa", "payload"),
        default="signing",
        help="(default: signing)",
    )
    parser.add_argument(
        "--organisation",
        default="unnamed",
        metavar="NAME",
        help="named in the certificates of a c2pa key (default: %(default)s)",
    )
    add_json(parser)
