"""The records of a data set that lies in several files, as if they were in one."""

import os
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from training.data.description import FILE_NAME, Description
from training.data.records import DamagedRecordError, RecordFile, Tail


class ShardedRecords:
    """The records of all files that a description names, by number; like `RecordFile`.

    Attributes:
        path: of the description.
        tail: nothing: what is missing in a file is a damaged record.
    """

    tail = Tail.NOTHING

    def __init__(self, folder: Path, description: Description) -> None:
        """Finds the records by their frames; data are not read.

        Raises:
            UserError: a file cannot be opened or read.
        """
        self.path = folder / FILE_NAME
        self._files = [RecordFile(folder / shard.file) for shard in description.shards]
        counts = [shard.num_images for shard in description.shards]
        self._starts = np.array([0, *accumulate(counts)], np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def check_lengths(self) -> None:
        """
        Raises:
            DamagedRecordError: a file does not hold all of its records.
        """
        for index, file in enumerate(self._files):
            count = int(self._starts[index + 1] - self._starts[index])
            if len(file) < count or file.tail is not Tail.NOTHING:
                raise file.damage(min(count, len(file)))
            if len(file) > count:
                raise DamagedRecordError(
                    f"{file.path} holds {len(file)} records where {FILE_NAME} says {count}; copy"
                    " the data set again"
                )

    def read(self, number: int) -> bytes:
        """The data of a record, checked, see `RecordFile.read`."""
        file, place = self._find(number)
        if place >= len(file):
            raise file.damage(len(file))
        return file.read(place)

    def damage(self, number: int) -> DamagedRecordError:
        """The error of a record that is not as it was written."""
        file, place = self._find(min(number, len(self) - 1))
        return file.damage(place)

    def status(self) -> os.stat_result:
        """Size, time and so on of the first file."""
        return self._files[0].status()

    def identity(self) -> list[Any]:
        """What changes when a file does, see `RecordFile.identity`."""
        return [file.identity() for file in self._files]

    def _find(self, number: int) -> tuple[RecordFile, int]:
        index = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._files[index], number - int(self._starts[index])
