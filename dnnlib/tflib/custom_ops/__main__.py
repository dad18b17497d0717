"""Compiles the custom operations ahead of their first use, and tests them.

python -m dnnlib.tflib.custom_ops build [--cuda] [--arch sm_80,sm_90]
python -m dnnlib.tflib.custom_ops selftest [--no-large]
"""

import argparse
import re
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow


def _archs(text: str) -> list[str]:
    """Parses `sm_80,sm_90`."""
    archs = text.split(",")
    for arch in archs:
        if not re.fullmatch(r"sm_\d{2,3}", arch):
            raise argparse.ArgumentTypeError(f"{arch!r} is no CUDA architecture such as sm_90")
    return sorted(set(archs))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.ArgumentParser(
        prog="python -m dnnlib.tflib.custom_ops",
        description="Compiles the custom operations ahead of their first use, and tests them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "build", help="compile them into the cache", description="Compiles them into the cache."
    )
    command.add_argument("--cuda", action="store_true", help="with CUDA kernels; needs nvcc")
    command.add_argument(
        "--arch",
        type=_archs,
        metavar="LIST",
        help="CUDA architectures, such as sm_80,sm_90 (default: those of this machine's GPUs)",
    )
    command.add_verbose()
    selftest = commands.add_parser(
        "selftest",
        help="compare them with plain TensorFlow on every device",
        description="Compares them with plain TensorFlow on the CPU and every GPU: value, gradient "
        "and second order, and their speed beside that of a copy. Status 1 where they differ.",
    )
    selftest.add_argument(
        "--no-large", action="store_true", help="no tensors of more than 2^31 elements"
    )
    selftest.add_verbose()
    args = parser.parse_args(argv)
    if args.command == "build" and args.arch and not args.cuda:
        command.error("--arch is for CUDA kernels: give --cuda as well")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = _parse(argv)
    quiet_tensorflow(args.verbose)
    if args.command == "selftest":
        cli.deferred("dnnlib.tflib.custom_ops.selftest:run")(large=not args.no_large)
    else:
        cli.deferred("dnnlib.tflib.op_library:build_and_print")(args.cuda, args.arch)


if __name__ == "__main__":
    cli.run(main)
