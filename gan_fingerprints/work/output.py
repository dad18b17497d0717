"""How commands print results: lines past a progress bar, or JSON."""

import argparse
import json
import sys
from typing import Any

from tqdm import tqdm

from dnnlib.format import printable


def write_line(text: str) -> None:
    """Prints results, a line or several, past the progress bar.

    Names of files in them may hold anything; what a terminal would obey is shown instead.
    """
    tqdm.write("\n".join(map(printable, text.split("\n"))), file=sys.stdout)


def emit(args: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Prints a result: as JSON with `--json`, else the text."""
    write_line(json.dumps(values) if args.json else text)
