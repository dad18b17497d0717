"""Whether the files of a training run are whole, and whether two runs ended the same."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from dnnlib.atomic import is_incomplete
from dnnlib.config import load_json, to_dict
from dnnlib.errors import UserError
from training.checkpoint import Position, list_checkpoints
from training.models.snapshot import read_snapshot

Values = dict[str, Any]  # by name; arrays, numbers, texts


def file_names(run_dir: Path) -> set[str]:
    """Files under their final names, below the run folder; without what checkpoints hold."""
    paths = (path for path in run_dir.iterdir() if path.is_file())
    return {path.name for path in paths if not path.name.startswith(".")}


def remains(result_dir: Path) -> list[str]:
    """Files and folders that have a temporary name."""
    found = [path for path in result_dir.rglob("*") if is_incomplete(path)]
    found += result_dir.glob(".*.claim")
    return sorted(str(path.relative_to(result_dir)) for path in found)


def damaged_files(run_dir: Path) -> list[str]:
    """One text for each file or checkpoint of a run folder that cannot be read to its end."""
    paths = [run_dir / name for name in sorted(file_names(run_dir))]
    found = []
    for path in [*paths, *list_checkpoints(run_dir)]:
        read = read_checkpoint if path.is_dir() else _READERS.get(path.suffix)
        try:
            if read is not None:
                read(path)
        # OpError, IndexError: TensorFlow. SyntaxError: Pillow, of a PNG file. ValueError: JSON.
        except (
            OSError, UserError, ValueError, SyntaxError, IndexError, tf.errors.OpError
        ) as error:  # fmt: skip
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            found.append(f"{path} is damaged: {reason}")
    return found


def end_differences(expected: Path, found: Path) -> list[str]:
    """What differs between two runs that have finished, but for times: one text each.

    Args:
        expected, found: run folders.
    """
    texts = []
    names = file_names(expected), file_names(found)
    # Every process that takes part in a run writes an event file of its own.
    only = {name for name in names[0] ^ names[1] if not name.startswith("events.out.")}
    texts += [f"{name} is in one of them only" for name in sorted(only)]
    for name in sorted(names[0] & names[1]):
        compare = _COMPARED.get(Path(name).suffix)
        if compare is not None and (name.startswith("metric-") or not name.endswith(".txt")):
            texts += [f"{name}: {text}" for text in _differing(compare, expected, found, name)]
    newest = [list_checkpoints(run_dir)[-1:] for run_dir in (expected, found)]
    if not all(newest):
        return [*texts, "a run has no checkpoint"]
    values = [read_checkpoint(paths[0]) for paths in newest]
    return texts + [f"last checkpoint: {text}" for text in value_differences(*values)]


def value_differences(expected: Values, found: Values) -> list[str]:
    """Names of the values that are not equal to the last bit."""
    texts = [f"{name} is in one of them only" for name in sorted(expected.keys() ^ found.keys())]
    for name in sorted(expected.keys() & found.keys()):
        one, other = np.asarray(expected[name]), np.asarray(found[name])
        if (one.dtype, one.shape, one.tobytes()) != (other.dtype, other.shape, other.tobytes()):
            shown = f" ({one} and {other})" if one.ndim == other.ndim == 0 else ""
            texts.append(f"{name} differs{shown if len(shown) < 200 else ''}")
    return texts


def read_values(path: Path) -> Values:
    """Variables, arguments and position of a snapshot, by name.

    Raises:
        UserError: it is damaged.
    """
    networks, position = read_snapshot(path)
    values = _flat("position", position)
    for slot, data in networks.items():
        values |= _flat(slot, {"class": data.class_name, **data.kwargs})
        values |= {f"{slot}/{name}": value for name, value in data.variables.items()}
    return values


def read_checkpoint(path: Path) -> Values:
    """All tensors of a checkpoint, and its position but for times, by name.

    Raises:
        UserError, ValueError, IndexError, tf.errors.OpError: it is damaged.
    """
    position = to_dict(load_json(Position, path / "position.json"))
    del position["elapsed"], position["metric_files"]  # metric files hold times, too
    values = _flat("position", position)
    reader = tf.train.load_checkpoint(str(path / "variables"))
    for name in reader.get_variable_to_shape_map():
        values[name] = reader.get_tensor(name)
    return values


def _read_png(path: Path) -> None:
    with Image.open(path) as image:
        image.verify()  # all but the end of the last chunk
    if not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
        raise ValueError("its end is cut off")


def _read_lines(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        raise ValueError("its last line is cut off")
    return [json.loads(line) for line in text.splitlines()]


_READERS: dict[str, Callable[[Path], Any]] = {
    ".pkl": read_snapshot,
    ".png": _read_png,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": _read_lines,
}


def _metric_values(path: Path) -> Values:
    """The lines of a metric file without the times in them."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({**line, "seconds": 0}) for line in _read_lines(path)]
    else:
        text = path.read_text(encoding="utf-8")
        lines = [re.sub(r" time (\d+\w )*\d+\w +", " ", line) for line in text.splitlines()]
    return {f"line {number}": line for number, line in enumerate(lines, 1)}


_COMPARED: dict[str, Callable[[Path], Values]] = {
    ".pkl": read_values,
    ".png": lambda path: {"the file": np.fromfile(path, np.uint8)},
    ".json": lambda path: _flat("", json.loads(path.read_text(encoding="utf-8"))),
    ".jsonl": _metric_values,
    ".txt": _metric_values,
}


def _flat(prefix: str, values: dict[str, Any]) -> Values:
    """Nested values by names such as `settings/loss/bits`."""
    found: Values = {}
    for key, value in values.items():
        name = f"{prefix}/{key}" if prefix else key
        found |= _flat(name, value) if isinstance(value, dict) else {name: json.dumps(value)}
    return found


def _differing(read: Callable[[Path], Values], expected: Path, found: Path, name: str) -> list[str]:
    return value_differences(read(expected / name), read(found / name))
