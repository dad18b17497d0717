"""Random access to the records of a TFRecord file.

A record is framed as length (uint64), checksum of the length (uint32), data, checksum of the data
(uint32), little-endian. The checksums are CRC-32C, rotated and shifted so that data which hold
checksums do not weaken them (tensorflow/core/lib/hash/crc32c.h).
"""

import enum
import errno
import os
import weakref
from array import array
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from dnnlib.errors import UserError

_HEADER = 12  # bytes: length and its checksum
_FOOTER = 4  # bytes: checksum of the data
_PIECE = 1 << 20  # bytes read at a time

_CURE = "copy the file or create the data set again, or leave it out with --skip-bad-records"


class DamagedRecordError(UserError):
    """A record that cannot be read, while others of its file can."""


class Tail(enum.Enum):
    """What is behind the last record that was found."""

    NOTHING = "the end of the file"
    TRUNCATED = "a part of one record"
    UNKNOWN = "a record whose length is damaged, so that none behind it can be found"


class RecordFile:
    """The records of a file, by number.

    Only this object's file descriptor is used once it is made: the records stay readable when the
    file is removed or another one gets its name. All methods may be called by several threads.

    Attributes:
        path: the file.
        offsets: int64 [N], where the data of every record begin, in bytes.
        lengths: int64 [N], bytes of data of every record.
        tail: what is behind them.
    """

    def __init__(self, path: str | os.PathLike[str], limit: int | None = None) -> None:
        """Finds the records by their frames, whose length is checked; data are not read.

        Args:
            path: the file.
            limit: how many records to look for; None finds all.

        Raises:
            UserError: the file cannot be opened or read.
        """
        self.path = Path(path)
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(
                f"cannot read {path}: {error.strerror}; check the path and its permissions"
            ) from error
        weakref.finalize(self, os.close, self._file)
        size = self.status().st_size
        offsets, lengths = array("q"), array("q")
        position = 0
        self.tail = Tail.NOTHING
        while position < size and (limit is None or len(offsets) < limit):
            try:
                header = self._read_bytes(_HEADER, position, len(offsets))
            except DamagedRecordError:
                self.tail = Tail.UNKNOWN
                break
            length = int.from_bytes(header[:8], "little")
            if len(header) == _HEADER and header[8:] != _checksum(header[:8]):
                self.tail = Tail.UNKNOWN
                break
            end = position + _HEADER + length + _FOOTER
            if len(header) < _HEADER or end > size:
                self.tail = Tail.TRUNCATED
                break
            offsets.append(position + _HEADER)
            lengths.append(length)
            position = end
        self.offsets = np.array(offsets, np.int64)
        self.lengths = np.array(lengths, np.int64)

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, number: int) -> bytes:
        """The data of a record, checked.

        Raises:
            DamagedRecordError: they are not what was written, or their part of the disk fails.
            UserError: the file cannot be read any more.
        """
        length = int(self.lengths[number])
        frame = self._read_bytes(length + _FOOTER, int(self.offsets[number]), number)
        data = frame[:length]
        if frame[length:] != _checksum(data):  # the end of the file included
            raise self.damage(number)
        return data

    def damage(self, number: int) -> DamagedRecordError:
        """The error of a record that is not as it was written; len(self) is that of the tail."""
        return DamagedRecordError(f"{self._name(number)} is truncated or damaged; {_CURE}")

    def status(self) -> os.stat_result:
        """Size, time and so on of the file."""
        return os.fstat(self._file)

    def identity(self) -> list[Any]:
        """What changes when the file does: name, size in bytes, time of the last change in ns."""
        status = self.status()
        return [self.path.name, status.st_size, status.st_mtime_ns]

    def _name(self, number: int) -> str:
        return f"record {number} (counting from 0) of {self.path}"

    def _read_bytes(self, count: int, offset: int, number: int) -> bytes:
        """Bytes of a record; fewer at the end of the file."""
        try:
            return os.pread(self._file, count, offset)
        except OSError as error:
            text = f"cannot read {self._name(number)}: {error.strerror}"
            if error.errno == errno.EIO:
                raise DamagedRecordError(f"{text}; check the disk; {_CURE}") from error
            if error.errno == errno.ESTALE:
                text += " (its server has removed or replaced the file)"
            raise UserError(f"{text}; check the file and run the command again") from error


class RecordWriter:
    """Writes a new file of records, or goes on with one.

    Attributes:
        path: the file.
        num_bytes: written so far.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, keep: int | None = None, crc32c: str | None = None
    ) -> None:
        """
        Args:
            path: the file.
            keep: bytes of a file that is there, which stay; what is behind them goes. None: it is
                made.
            crc32c: of these bytes.

        Raises:
            UserError: they are not those bytes.
            OSError: it cannot be made or read.
        """
        self.path = Path(path)
        self._file = open(path, "xb" if keep is None else "r+b")  # noqa: SIM115 - until `close`
        self._crc = google_crc32c.Checksum()
        self.num_bytes = 0
        if keep is not None:
            self._pass_over(keep)
            if self.num_bytes != keep or crc32c != self.crc32c:
                self._file.close()
                raise UserError(
                    f"{path} is not as it was left; remove {self.path.parent} to begin anew"
                )
            self._file.truncate()

    def _pass_over(self, count: int) -> None:
        """Goes behind the first `count` bytes."""
        while data := self._file.read(min(_PIECE, count - self.num_bytes)):
            self._crc.update(data)
            self.num_bytes += len(data)

    def write(self, data: bytes) -> None:
        """Appends a record.

        Raises:
            OSError: the disk is full or fails.
        """
        length = len(data).to_bytes(8, "little")
        frame = length + _checksum(length) + data + _checksum(data)
        self._file.write(frame)
        self._crc.update(frame)
        self.num_bytes += len(frame)

    @property
    def crc32c(self) -> str:
        """Of all bytes written, 8 hexadecimal digits."""
        return str(self._crc.hexdigest().decode())

    def sync(self) -> None:
        """Waits until everything is on the disk.

        Raises:
            OSError: the disk is full or fails.
        """
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Writes what waits in memory."""
        self._file.close()


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of data as a frame holds it."""
    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return masked.to_bytes(4, "little")
