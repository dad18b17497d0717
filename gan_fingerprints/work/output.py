"""How commands print results: lines past a progress bar, or JSON."""

import argparse
import json
import sys
from typing import Any

from tqdm import tqdm


def write_line(text: str) -> None:
    """Prints a line of results, past the progress bar."""
    tqdm.write(text, file=sys.stdout)


def emit(args: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Prints a result: as JSON with `--json`, else the text."""
    write_line(json.dumps(values) if args.json else text)
