"""Flags of `retune`."""

from dnnlib import cli
from dnnlib.tflib.start import add_execution
from gan_fingerprints.commands.common import (
    Commands,
    add_command,
    add_json,
    add_minibatch,
    add_network,
    add_registry,
)

HELP = "train the decoder alone to read edited pictures"
DESCRIPTION = """\
Trains the decoder on pictures of its generator that go through edits (JPEG, crops, brightness,
mirroring, ...), and writes a snapshot with the new decoder. The generator stays as it is: instances
that were issued keep their fingerprints, which are read better from edited pictures. The bit
accuracy before and after is printed for each edit and written to NAME.json beside the result. When
it is stopped, the same command goes on. With a registry that knows the model, the new decoder is
entered there; calibrate with it before verdicts.
"""
EXAMPLES = """example:
  {command} --network=network-final.pkl --out=network-retuned.pkl
"""

WORK = cli.deferred("gan_fingerprints.work.retune:retune")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `retune`."""
    parser = add_command(commands, "retune", HELP, WORK, DESCRIPTION, EXAMPLES)
    add_network(parser, "snapshot with generator and decoder")
    parser.add_argument("--out", required=True, metavar="PKL", help="snapshot to write")
    parser.add_argument(
        "--immunize",
        default="full",
        metavar="EDITS",
        help="edits to learn: light, full, or a list as run_training.py takes (default: full)",
    )
    parser.add_argument(
        "--kimg",
        type=cli.positive_float,
        default=300.0,
        metavar="KIMG",
        help="pictures to learn from, in thousands (default: 300)",
    )
    parser.add_argument(
        "--learning-rate",
        type=cli.positive_float,
        default=0.005,
        metavar="RATE",
        help="of Adam at the start (default: 0.005)",
    )
    parser.add_argument("--seed", type=cli.non_negative_int, default=1000, metavar="N")
    add_minibatch(parser, 32, "pictures per step")
    parser.add_argument(
        "--checkpoint-minutes",
        type=cli.positive_float,
        default=5.0,
        metavar="MINUTES",
        help="between two checkpoints (default: 5)",
    )
    parser.add_argument(
        "--threads", type=cli.positive_int, metavar="N", help="within an operation (one per core)"
    )
    add_execution(parser)
    add_registry(parser)
    add_json(parser)
