"""What every test shares: the path to the packages, a quiet TensorFlow, the reference data."""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports TensorFlow: its start-up messages would bury pytest's report.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Plots are only ever saved here, and no window system may be needed for that.
os.environ.setdefault("MPLBACKEND", "Agg")
# What XLA compiled for one test serves all others, also in processes of their own, and the user's
# cache stays as it is.
if "tf_xla_persistent_cache_directory" not in os.environ.get("TF_XLA_FLAGS", ""):
    programs = tempfile.mkdtemp(prefix="xla-programs-")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ["TF_XLA_FLAGS"] = (
        f"{os.environ.get('TF_XLA_FLAGS', '')} --tf_xla_persistent_cache_directory={programs} "
        "--tf_xla_persistent_cache_device_types=CPU"
    )
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


_GARBAGE = 100_000  # objects that a test may leave before they are looked through


@pytest.fixture(autouse=True)
def garbage_between_tests() -> Iterator[None]:
    """Python's collector at rest while TensorFlow works.

    Where it takes a traced function apart in the middle of an operation, Python 3.11 was seen to
    abort, once in many thousand tests.
    """
    gc.disable()
    yield
    if gc.get_count()[0] > _GARBAGE:
        gc.collect()


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the reference data, see tests/data/README.md."""
    return ROOT / "tests" / "data" / "reference"


# Shells start background jobs with Ctrl-C ignored, and commands would inherit that from here; the
# tests that interrupt one need it as a terminal has it.
signal.signal(signal.SIGINT, signal.default_int_handler)
