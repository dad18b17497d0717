"""Compares networks and operations with reference files of the published implementation.

Prints the largest deviation of every output, loss, gradient and operation, in single precision.

Tolerances: outputs, losses and results of operations 1e-4, or 1e-5 of the largest value where that
is more; gradients 1e-3 of their largest entry, or 1e-6 of the largest gradient of the same loss
where that is more. Exit status: 0 when all are kept, 1 when not, 2 when a file cannot be used.
"""

import argparse
import sys
import zipfile
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import quiet_tensorflow

if TYPE_CHECKING:
    import numpy as np

    from tests.support.deviation import Deviation

PATHS = ("auto", "cuda", "xla", "reference", "compiled")


def build_parser() -> argparse.ArgumentParser:
    """Flags of the command."""
    parser = cli.ArgumentParser(prog="python -m tests.check_reference", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.npz", help="networks or operations")
    parser.add_argument(
        "--ops",
        choices=PATHS,
        default="auto",
        help="how operations run; cuda: our kernels on a GPU, compiled: our kernels on any device, "
        "xla: compiled by XLA, takes minutes; auto (default): cuda or reference",
    )
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Checks every file; SystemExit with status 1 when a tolerance is exceeded."""
    args = build_parser().parse_args(argv)
    files = {path: read_arrays(path) for path in args.files}
    quiet_tensorflow(args.verbose)

    import tensorflow as tf

    from dnnlib.tflib.machine import resolve_execution

    if args.ops != "auto":
        resolve_execution(args.ops)
    # The references are single precision: a GPU's shortened products would not reach them.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    failures = 0
    for path, arrays in files.items():
        deviations = check(arrays, path, args.ops)
        print(f"{path}\n{report(deviations)}", flush=True)
        failures += sum(deviation.failed for deviation in deviations)
    if failures:
        sys.exit(1)


def read_arrays(path: str) -> dict[str, "np.ndarray"]:
    """All arrays of a file by name; UserError when it is no archive of plain arrays."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable .npz file of plain arrays") from error
    except (AttributeError, TypeError) as error:  # one bare array
        raise UserError(f"{path}: a single array, expected an .npz file") from error


def check(arrays: dict[str, "np.ndarray"], where: str, ops: str) -> list["Deviation"]:
    """Compares the arrays of one file of either layout; UserError for any other.

    `ops` is one of PATHS, or `xla-eager`: the forms for XLA, but not compiled.
    """
    from tests.support.reference_networks import check_networks
    from tests.support.reference_ops import OPS, check_ops

    impl = {"cuda": "compiled", "xla-eager": "xla"}.get(ops, ops)
    xla = ops == "xla"
    if "meta" in arrays:
        return check_networks(arrays, where, impl, xla)
    if arrays and all(name.split("/")[0] in OPS and name.count("/") >= 2 for name in arrays):
        return check_ops(arrays, where, impl, xla)
    raise UserError(
        f"{where}: neither layout of reference files; expected `meta`, `G/...` of networks "
        "or `<operation>/<case>/x` of operations"
    )


def report(deviations: list["Deviation"]) -> str:
    """One line per deviation and one that sums them up."""
    lines = []
    for d in deviations:
        note = f"  ({d.note})" if d.note else ""
        lines.append(f"{'FAIL' if d.failed else 'ok':<5}{d.value:9.2e}  {d.name}{note}")
    worst = max(deviations, key=lambda d: d.share_of_tolerance)
    failed = sum(deviation.failed for deviation in deviations)
    lines.append(
        f"{len(deviations)} compared, {failed} failed; "
        f"nearest to its limit: {worst.name} ({worst.share_of_tolerance:.1%} of it)"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
