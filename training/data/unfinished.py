"""How far an unfinished data set is: what lies in its folder, so that making it goes on.

Beside the records lie a journal and files of what else has to be kept, all of hidden names that
begin with `JOURNAL`; they go when the data set is complete (`dnnlib.atomic.folder_atomic`).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnnlib.config import differences, from_dict, save_json
from dnnlib.errors import UserError
from dnnlib.locks import FILE_NAME as LOCK_FILE
from training.data.description import Shard

JOURNAL = ".unfinished"


@dataclass(frozen=True)
class PartOfFile:
    """The bytes of a file that count; what is behind them was written later."""

    name: str
    num_bytes: int
    crc32c: str | None = None  # 8 hexadecimal digits; None: not checked


@dataclass(frozen=True)
class Progress:
    """The journal.

    Attributes:
        settings: what must be the same when the work goes on.
        shape: H, W, C of the images.
        num_images: in the files.
        shards: files of records that are complete, see `Shard`.
        records: files of records that get more.
        beside: other files that get more.
        state: what else the caller has to know.
    """

    settings: dict[str, Any]
    shape: tuple[int, ...]
    num_images: int
    shards: tuple[dict[str, Any], ...]
    records: tuple[dict[str, Any], ...]
    beside: tuple[dict[str, Any], ...]
    state: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Replaces the journal of a folder in one step; what it tells of must be on the disk."""
        save_json(self, folder / JOURNAL)

    def finished(self) -> list[Shard]:
        """`shards` as such."""
        return [Shard(**shard) for shard in self.shards]

    def parts(self) -> list[PartOfFile]:
        """`records` as such."""
        return [PartOfFile(**part) for part in self.records]

    def sizes(self) -> dict[str, int]:
        """Bytes of the files of `beside`, by name."""
        return {part["name"]: part["num_bytes"] for part in self.beside}


def read_progress(folder: Path, settings: dict[str, Any]) -> Progress | None:
    """The journal of a folder, of which later and unknown files are removed; None: it has none.

    Args:
        folder: of an unfinished data set, which this process has locked.
        settings: plain data; must be those of the journal.

    Raises:
        UserError: they are others, or files are missing or too short.
    """
    path = folder / JOURNAL
    try:
        progress = from_dict(Progress, json.loads(path.read_text(encoding="utf-8")))
        known = {LOCK_FILE, JOURNAL, *progress.sizes()}
        sizes = {shard.file: shard.num_bytes for shard in progress.finished()}
        sizes |= {part.name: part.num_bytes for part in progress.parts()} | progress.sizes()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"cannot read {path} ({error}); remove {folder} to begin anew") from error
    if changed := differences(progress.settings, json.loads(json.dumps(settings))):
        raise UserError(
            f"{folder} is an unfinished data set of other settings: {', '.join(changed)}; run that"
            " command again to go on with it, or remove it to begin anew"
        )
    for name, num_bytes in sizes.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size < num_bytes:
            raise UserError(f"{folder / name} is missing or cut off; remove {folder} to begin anew")
    for file in folder.iterdir():
        if file.name not in known | set(sizes):
            file.unlink()
    return progress
