"""Random access to TFRecord files: the same bytes as TensorFlow reads, every kind of damage."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from training.data.example import Example
from training.data.records import DamagedRecordError, RecordFile, Tail

CONTENTS = [b"first", b"", bytes(range(256)) * 300, b"last"]
OFFSETS = [12, 33, 49, 76865]  # 16 bytes of frame each


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.tfrecords"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in CONTENTS:
            writer.write(content)
    return path


def flip_bit(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def test_every_record_by_number(path: Path) -> None:
    records = RecordFile(path)
    assert len(records) == 4
    assert records.tail is Tail.NOTHING
    assert records.offsets.tolist() == OFFSETS
    assert records.lengths.tolist() == [len(content) for content in CONTENTS]
    assert records.offsets.dtype == records.lengths.dtype == np.int64
    for number in (2, 0, 3, 1):
        assert records.read(number) == CONTENTS[number]


def test_published_file_as_tensorflow_reads_it(reference: Path) -> None:
    path = reference / "tfrecords" / "emoji12" / "emoji12-r05.tfrecords"
    records = RecordFile(path)
    expected = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert [records.read(number) for number in range(len(records))] == expected


def test_several_threads(path: Path) -> None:
    records = RecordFile(path)
    numbers = [i % 4 for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(records.read, numbers))
    assert found == [CONTENTS[number] for number in numbers]


def test_limit(path: Path) -> None:
    flip_bit(path, OFFSETS[1] - 12)
    assert len(RecordFile(path, limit=1)) == 1
    assert RecordFile(path, limit=1).tail is Tail.NOTHING
    assert RecordFile(path, limit=2).tail is Tail.UNKNOWN


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert len(RecordFile(tmp_path / "empty")) == 0


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*/nope: No such file.*; check the path"):
        RecordFile(tmp_path / "nope")


@pytest.mark.parametrize("place", ["first byte", "last byte", "checksum"])
def test_flipped_bit_in_data(path: Path, place: str) -> None:
    end = OFFSETS[2] + len(CONTENTS[2])
    flip_bit(path, {"first byte": OFFSETS[2], "last byte": end - 1, "checksum": end + 3}[place])
    records = RecordFile(path)
    with pytest.raises(DamagedRecordError, match=r"^record 2 \(counting from 0\) of .*damaged; "):
        records.read(2)
    assert records.read(3) == b"last"


@pytest.mark.parametrize("place", [0, 7, 8, 11])  # of the length and of its checksum
def test_flipped_bit_in_length(path: Path, place: int) -> None:
    flip_bit(path, OFFSETS[2] - 12 + place)
    records = RecordFile(path)
    assert len(records) == 2
    assert records.tail is Tail.UNKNOWN


def test_zeros_behind_the_records(path: Path) -> None:
    """What a power cut may leave; 16 of them are no empty record."""
    path.write_bytes(path.read_bytes() + bytes(64))
    assert len(RecordFile(path)) == 4
    assert RecordFile(path).tail is Tail.UNKNOWN


@pytest.mark.parametrize("cut", [1, 4, 5, 8, 9, 19])  # bytes; 20 would be the whole record
def test_truncated_file(path: Path, cut: int) -> None:
    os.truncate(path, path.stat().st_size - cut)
    records = RecordFile(path)
    assert len(records) == 3
    assert records.tail is Tail.TRUNCATED
    assert records.read(2) == CONTENTS[2]


def test_file_truncated_while_open(path: Path) -> None:
    records = RecordFile(path)
    os.truncate(path, OFFSETS[2] + 1000)
    with pytest.raises(DamagedRecordError, match=r"record 2 .*some.tfrecords is truncated or"):
        records.read(2)
    with pytest.raises(DamagedRecordError, match=r"record 3 .*some.tfrecords is truncated or"):
        records.read(3)
    assert records.read(0) == b"first"


@pytest.mark.parametrize("replaced", [False, True])
def test_file_removed_or_replaced_while_open(path: Path, replaced: bool) -> None:
    records = RecordFile(path)
    size = path.stat().st_size
    path.unlink()
    if replaced:
        path.write_text("something else")
    assert [records.read(number) for number in range(4)] == CONTENTS
    assert records.status().st_size == size


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.EIO, DamagedRecordError, "Input/output error; check the disk; copy the file or"),
        (errno.ESTALE, UserError, r"Stale file handle \(its server .*\); .* the command again$"),
        (errno.ENOMEM, UserError, "Cannot allocate memory; check the file and run"),
    ],
)
def test_failing_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[UserError], message: str
) -> None:
    records = RecordFile(path)

    def fail(*_: int) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(UserError, match=f"cannot read record 3 .*: {message}") as error:
        records.read(3)
    assert type(error.value) is kind
    assert "\n" not in str(error.value)


def test_disk_that_fails_at_a_length(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.pread

    def fail(file: int, count: int, offset: int) -> bytes:
        if offset == OFFSETS[2] - 12:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(file, count, offset)

    monkeypatch.setattr(os, "pread", fail)
    records = RecordFile(path)
    assert len(records) == 2
    assert records.tail is Tail.UNKNOWN


def test_its_file_is_closed_with_it(path: Path) -> None:
    def open_here() -> int:
        links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return sum(os.path.realpath(link) == str(path.resolve()) for link in links)

    records = RecordFile(path)
    assert open_here() == 1
    records.read(0)
    assert open_here() == 1
    del records
    assert open_here() == 0


def test_examples_are_those_of_tensorflow() -> None:
    """The same bytes for all kinds of values, and read from either."""
    theirs = tf.train.Example()
    ours = Example()
    for example in (theirs, ours):
        feature = example.features.feature
        feature["a"].int64_list.value.extend([3, -4, 2**40])
        feature["b"].bytes_list.value.extend([b"", bytes(range(256))])
        feature["c"].float_list.value.extend([0.5, -1e30])
    data = theirs.SerializeToString(deterministic=True)
    assert ours.SerializeToString(deterministic=True) == data
    assert Example.FromString(data) == ours
    assert Example.FromString(data).features.feature["c"].WhichOneof("kind") == "float_list"
