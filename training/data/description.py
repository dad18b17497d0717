"""`dataset.json`: what a data set of the project's own layout holds, and how it was made."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError

FILE_NAME = "dataset.json"
FORMAT = "gan-fingerprints data set"
VERSION = 1
_CURE = "copy the data set again, or make it anew"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of the files that the images are in, in their order."""

    file: str  # its name
    num_images: int
    num_bytes: int
    crc32c: str  # of all its bytes, 8 hexadecimal digits


@dataclasses.dataclass(frozen=True)
class Description:
    """What is in `dataset.json`, beside the format's name and version."""

    shape: tuple[int, ...]  # H, W, C
    num_images: int
    label_size: int  # numbers per label; 0: there are none
    shards: tuple[Shard, ...]
    made: dict[str, Any]  # by what command, of what, resized how; never read by the program

    def write(self, folder: Path) -> None:
        """Writes the file into the folder of the data set."""
        content = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_description(folder: Path) -> Description | None:
    """The description of a data set; None where there is none: then the layout is the published.

    Raises:
        UserError: it cannot be read, is not complete, or is of a later version.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path} ({error}); {_CURE}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} does not describe a data set of this program; {_CURE}")
    if content.get("version") != VERSION:
        raise UserError(
            f"{path} is of version {content.get('version')}, this program knows {VERSION}; use the"
            " program that made it"
        )
    try:
        found = Description(
            shape=tuple(int(n) for n in content["shape"]),
            num_images=int(content["num_images"]),
            label_size=int(content["label_size"]),
            shards=tuple(Shard(**shard) for shard in content["shards"]),
            made=dict(content["made"]),
        )
        fits = sum(shard.num_images for shard in found.shards) == found.num_images > 0
        fits &= len(found.shape) == 3
        fits &= all(Path(shard.file).name == shard.file for shard in found.shards)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not complete ({error}); {_CURE}") from error
    if not fits:
        raise UserError(f"{path} contradicts itself; {_CURE}")
    return found
