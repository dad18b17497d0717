"""Cuts a snapshot down to what users of a finished model need: Gs and the decoder."""

from collections.abc import Sequence
from pathlib import Path

from dnnlib import cli
from dnnlib.format import format_bytes
from dnnlib.tflib.start import quiet_tensorflow

_LOAD = cli.deferred("training.models.snapshot:load_networks")
_SAVE = cli.deferred("training.models.snapshot:save_snapshot")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.publish_model", description=__doc__)
    parser.add_argument("snapshot", metavar="PKL", help="snapshot of a training run")
    parser.add_argument("output", metavar="OUT", help="file to write")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    found = _LOAD(args.snapshot)
    _SAVE(args.output, E=found.decoder, Gs=found.generator, position=found.position)
    print(f"{args.output}: {format_bytes(Path(args.output).stat().st_size)}")


if __name__ == "__main__":
    cli.run(main)
