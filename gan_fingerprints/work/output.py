"""How commands print results: lines past a progress bar, or JSON."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Line:
    """A result, as JSON and as text; or that there is none, for an image that cannot be read."""

    values: dict[str, Any]
    text: str

    @classmethod
    def of_error(cls, path: Path, error: Exception) -> "Line":
        """What stands in the place of a result: `file` and `error`."""
        return cls({"file": str(path), "error": str(error)}, f"error: {printable(error)}")

    def print(self, args: argparse.Namespace) -> None:
        """Prints it: on stdout, but the text of an error on stderr."""
        if "error" in self.values and not args.json:
            tqdm.write(self.text, file=sys.stderr)
        else:
            emit(args, self.values, self.text)
