"""Flags of `adopt`."""

from dnnlib import cli
from dnnlib.tflib.start import add_execution
from gan_fingerprints.commands.common import (
    Commands,
    add_command,
    add_json,
    add_minibatch,
    add_network,
    add_result_dir,
)
from training.options import ramp

HELP = "give a StyleGAN2 that you already have fingerprints"
DESCRIPTION = """\
Takes a trained StyleGAN2, NVIDIA's TensorFlow pickle, a StyleGAN2-ADA PyTorch pickle or a plain
snapshot of this project, and trains what fingerprints add to the styles of its layers, together
with a decoder. The generator itself stays as it is, and is the teacher of what pictures shall look
like: no data set is needed. The run's folder has log.txt, TensorBoard's events, grids (originals,
the same with fingerprints, ten times the difference) and network-final.pkl, which issue, decode,
verify and the other commands take; issue writes instances as files of the kind that came in. When
it is stopped, the same command goes on.
"""
EXAMPLES = """example:
  {command} --network=stylegan2.pkl --bits=128
"""
EMBEDDINGS = ("styles", "styles+biases")
WORK = cli.deferred("gan_fingerprints.work.adopt:adopt_network")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `adopt`."""
    parser = add_command(commands, "adopt", HELP, WORK, DESCRIPTION, EXAMPLES)
    add_network(parser, "the trained StyleGAN2")
    add_result_dir(parser, "parent of the run's folder")
    parser.add_argument(
        "--bits",
        type=cli.positive_int,
        default=128,
        metavar="B",
        help="of a fingerprint (default: 128)",
    )
    parser.add_argument(
        "--embedding",
        choices=EMBEDDINGS,
        default="styles+biases",
        help="what fingerprints shift (default: styles+biases)",
    )
    parser.add_argument(
        "--immunize",
        default="none",
        metavar="EDITS",
        help="edits that fingerprints shall survive: none, light, full or a list as "
        "run_training.py takes (default: none)",
    )
    parser.add_argument(
        "--edit-strength",
        type=ramp,
        default=1.0,
        metavar="STRENGTH",
        help="of those edits, 0 to 1, such as 0@20,1@60 (default: 1)",
    )
    parser.add_argument(
        "--distance-weight",
        type=ramp,
        default="0.1@20,15@60",
        metavar="WEIGHT",
        help="of the distance to the original's pictures, a number or points WEIGHT@KIMG "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--realism-weight",
        type=cli.non_negative_float,
        default=0.0,
        metavar="WEIGHT",
        help="of what the file's discriminator says (default: 0)",
    )
    parser.add_argument(
        "--variety",
        type=ramp,
        default="0.1@2,1@16",
        metavar="PSI",
        help="of the pictures that are learnt from: the psi of truncation, a number or points "
        "PSI@KIMG; the decoder learns sooner from pictures that are alike (default: %(default)s)",
    )
    parser.add_argument(
        "--kimg",
        type=cli.positive_float,
        default=100.0,
        metavar="KIMG",
        help="pictures to learn from, in thousands (default: 100)",
    )
    parser.add_argument(
        "--kimg-per-tick", type=cli.positive_float, default=4.0, metavar="KIMG", help="(default: 4)"
    )
    parser.add_argument(
        "--learning-rate",
        type=cli.positive_float,
        default=0.004,
        metavar="RATE",
        help="of Adam at the start (default: 0.004)",
    )
    parser.add_argument("--seed", type=cli.non_negative_int, default=0, metavar="N")
    add_minibatch(parser, 16, "pictures per step")
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
    add_json(parser)
