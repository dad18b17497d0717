"""What every test shares: the path to the packages, a quiet TensorFlow, the reference data."""

import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports TensorFlow: its start-up messages would bury pytest's report.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Plots are only ever saved here, and no window system may be needed for that.
os.environ.setdefault("MPLBACKEND", "Agg")
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the reference data, see tests/data/README.md."""
    return ROOT / "tests" / "data" / "reference"


# Shells start background jobs with Ctrl-C ignored, and commands would inherit that from here; the
# tests that interrupt one need it as a terminal has it.
signal.signal(signal.SIGINT, signal.default_int_handler)
