"""How a command comes to TensorFlow: `--ops` and `--precision`, and a quiet first import.

TensorFlow must not be imported by a command before its arguments are parsed, so that `--help`
and argument errors answer at once.
"""

import argparse
import importlib
import logging
import os
import sys

from dnnlib.tflib import xla_cache
from dnnlib.tflib.execution import OPS, OPS_HELP, PRECISION_HELP, PRECISIONS


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Adds `--ops` and `--precision`."""
    parser.add_argument("--ops", choices=OPS, default="auto", metavar="PATH", help=OPS_HELP)
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", metavar="NAME", help=PRECISION_HELP
    )


def quiet_tensorflow(verbose: bool) -> None:
    """Imports TensorFlow for the first time; without its start-up messages unless `verbose`.

    Some of them are printed before TensorFlow reads its log level, straight to file descriptor 2,
    so that is closed to them during the import. What XLA compiles from then on is kept for later
    commands, see `dnnlib.tflib.xla_cache`.
    """
    xla_cache.enable()
    if verbose:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
