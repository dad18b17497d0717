"""Reading data sets: published files, order, mirroring, damaged files, every error."""

import gc
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dnnlib.errors import UserError
from tests.support.paths import ROOT
from training.data.dataset import Dataset, open_dataset
from training.data.writer import DatasetWriter


@pytest.fixture
def emoji(tmp_path: Path, reference: Path) -> Path:
    """A copy of a published data set, four levels; its folder is called emoji12."""
    return Path(shutil.copytree(reference / "tfrecords" / "emoji12", tmp_path / "emoji12"))


def write_numbered(path: Path, count: int) -> None:
    """Image i has the value i in its left half and 255 - i in the right."""
    with DatasetWriter(path) as writer:
        for i in range(count):
            image = np.full([4, 4, 1], i, np.uint8)
            image[:, 2:] = 255 - i
            writer.add(image)


def take(dataset: Dataset, count: int, *args: object, **kwargs: object) -> np.ndarray:
    """`count` of the batches with these arguments: uint8 [count,N,H,W,C]."""
    with dataset.batches(*args, **kwargs) as batches:
        return np.stack(list(itertools.islice(batches, count)))


def numbers(batches: Iterable[np.ndarray]) -> list[int]:
    """The left values of batches."""
    return [int(image[0, 0, 0]) for batch in batches for image in batch]


@pytest.mark.parametrize(
    ("name", "resolution", "count"),
    [("emoji12", 32, 12), ("emoji12_shuffled", 32, 9), ("celeba5", 128, 5)],
)
def test_published_data_sets(reference: Path, name: str, resolution: int, count: int) -> None:
    dataset = open_dataset(reference / "tfrecords", name)
    assert (dataset.name, dataset.resolution, dataset.num_channels) == (name, resolution, 3)
    assert dataset.num_images == count
    assert dataset.path.name == f"{name}-r{resolution.bit_length() - 1:02d}.tfrecords"
    images = list(dataset.images())
    assert len(images) == count
    assert images[0].shape == (resolution, resolution, 3)
    assert images[0].dtype == np.uint8


def test_images_come_in_file_order(reference: Path) -> None:
    sources = sorted((reference / "tfrecords" / "emoji12_png").iterdir())
    expected = [np.asarray(Image.open(path)) for path in sources]
    dataset = open_dataset(reference / "tfrecords", "emoji12")
    assert np.array_equal(list(dataset.images()), expected)
    assert np.array_equal(list(dataset.images(5)), expected[:5])
    assert len(list(dataset.images(100))) == 12


def test_lower_level(reference: Path) -> None:
    dataset = open_dataset(reference / "tfrecords", "emoji12", resolution=8)
    assert dataset.path.name == "emoji12-r03.tfrecords"
    assert next(dataset.images()).shape == (8, 8, 3)


def test_levels_follow_contents_not_names(emoji: Path) -> None:
    for index, path in enumerate(sorted(emoji.iterdir())):
        path.rename(emoji / f"{9 - index}.tfrecords")
    (emoji / "emoji12-rxx.labels").write_bytes(b"never read")
    assert open_dataset(emoji.parent, "emoji12").path.name == "6.tfrecords"


def test_batches_hold_every_image_once_per_epoch(tmp_path: Path) -> None:
    write_numbered(tmp_path / "n", 12)
    batches = take(open_dataset(tmp_path, "n"), 9, 4, seed=1)
    assert batches.shape == (9, 4, 4, 4, 1)
    assert batches.dtype == np.uint8
    seen = numbers(batches)
    epochs = [seen[0:12], seen[12:24], seen[24:36]]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != list(range(12))


def test_whole_images_are_shuffled(emoji: Path) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    batch = take(dataset, 1, 12, seed=3)[0]
    assert np.array_equal(batch, np.stack(list(dataset.images()))[order(12, 3, 0)])


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def test_order_follows_from_seed_and_epoch(tmp_path: Path) -> None:
    """The order itself is part of what a run that goes on relies on."""
    write_numbered(tmp_path / "n", 12)
    dataset = open_dataset(tmp_path, "n")
    expected = [int(i) for epoch in range(3) for i in order(12, 1, epoch)]
    assert numbers(take(dataset, 9, 4, seed=1)) == expected
    assert numbers(take(dataset, 6, 6, seed=1)) == expected
    assert numbers(take(dataset, 7, 5, seed=1)) == expected[:35]
    assert numbers(take(dataset, 9, 4, seed=2)) != expected


def test_batches_larger_than_the_data_set(tmp_path: Path) -> None:
    write_numbered(tmp_path / "n", 3)
    seen = numbers(take(open_dataset(tmp_path, "n"), 3, 7, seed=1))
    assert seen == [int(i) for epoch in range(7) for i in order(3, 1, epoch)]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("first", [1, 2, 3, 7, 1000])  # an epoch is 2.4 batches
def test_batches_from_any_of_them_on(tmp_path: Path, first: int, mirror: bool) -> None:
    write_numbered(tmp_path / "n", 12)
    dataset = open_dataset(tmp_path, "n")
    expected = take(dataset, first + 3, 5, 1, mirror)[first:]
    assert np.array_equal(take(dataset, 3, 5, 1, mirror, first=first), expected)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("ends", [(0, 8), (0, 4, 8), (0, 1, 6, 8)])
def test_rows_of_workers_make_up_the_batch(
    tmp_path: Path, ends: tuple[int, ...], mirror: bool
) -> None:
    write_numbered(tmp_path / "n", 12)
    dataset = open_dataset(tmp_path, "n")
    parts = [
        take(dataset, 4, 8, 1, mirror, first=2, rows=rows) for rows in itertools.pairwise(ends)
    ]
    assert [part.shape[1] for part in parts] == list(np.diff(ends))
    assert np.array_equal(np.concatenate(parts, axis=1), take(dataset, 4, 8, 1, mirror, first=2))


@pytest.mark.parametrize(
    "kwargs",
    [{"rows": (0, 9)}, {"rows": (3, 3)}, {"rows": (-1, 3)}, {"first": -1}, {"seed": -1}],
    ids=["beyond", "empty", "negative", "first", "seed"],
)
def test_batches_out_of_range(emoji: Path, kwargs: dict[str, object]) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    with pytest.raises(ValueError, match="batches of 8: "):
        dataset.batches(8, **{"seed": 1, **kwargs})


def test_mirroring(tmp_path: Path) -> None:
    write_numbered(tmp_path / "n", 10)
    dataset = open_dataset(tmp_path, "n")
    plain = take(dataset, 20, 10, seed=1)
    mirrored = take(dataset, 20, 10, seed=1, mirror_augment=True)
    flipped = []
    for x, y in zip(np.concatenate(plain), np.concatenate(mirrored), strict=True):
        flipped.append(bool(np.array_equal(y, x[:, ::-1])))
        assert flipped[-1] != np.array_equal(y, x)
    assert 70 <= sum(flipped) <= 130  # of 200, 4 sigma
    assert flipped[:10] != flipped[10:20]
    other = take(dataset, 20, 10, seed=2, mirror_augment=True)
    # The left half is the darker one, unless it was flipped.
    assert (other[:, :, 0, 0, 0] > other[:, :, 0, 3, 0]).ravel().tolist() != flipped


def test_mirroring_of_colour(emoji: Path) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    plain = take(dataset, 1, 12, seed=1)[0]
    mirrored = take(dataset, 1, 12, seed=1, mirror_augment=True)[0]
    flips = [not np.array_equal(x, y) for x, y in zip(plain, mirrored, strict=True)]
    assert 0 < sum(flips) < 12
    assert np.array_equal(mirrored[flips], plain[flips][:, :, ::-1])


# ----- the threads -----


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def wait_for_threads(threads: Iterable[threading.Thread]) -> bool:
    """Whether they end."""
    for thread in threads:
        thread.join(20)
    return not any(thread.is_alive() for thread in threads)


def test_closing_ends_threads_and_iteration(emoji: Path) -> None:
    batches = open_dataset(emoji.parent, "emoji12").batches(4, seed=1)
    next(batches)
    assert reading_threads()
    batches.close()
    assert not reading_threads()
    assert list(batches) == []
    batches.close()  # again is no error


def test_leaving_the_block_closes(emoji: Path) -> None:
    with open_dataset(emoji.parent, "emoji12").batches(4, seed=1) as batches:
        next(batches)
        assert reading_threads()
    assert not reading_threads()


def test_forgotten_batches_leave_no_threads(emoji: Path) -> None:
    batches = open_dataset(emoji.parent, "emoji12").batches(4, seed=1)
    next(batches)
    threads = reading_threads()
    assert threads
    del batches
    gc.collect()
    assert wait_for_threads(threads)


@pytest.mark.slow
def test_process_ends_with_batches_open(emoji: Path) -> None:
    script = (
        "from training.data.dataset import open_dataset\n"
        f"batches = open_dataset({str(emoji.parent)!r}, 'emoji12').batches(4, seed=1)\n"
        "print(next(batches).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "(4, 32, 32, 3)\n"), done.stderr


def test_interrupted_waiting_loses_no_batch(emoji: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> np.ndarray:
        raise KeyboardInterrupt

    dataset = open_dataset(emoji.parent, "emoji12")
    expected = take(dataset, 2, 4, seed=1)
    with dataset.batches(4, seed=1) as batches:
        with monkeypatch.context() as patched:
            patched.setattr(batches._waiting[0], "result", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(batches)
        assert np.array_equal([next(batches), next(batches)], expected)


# ----- fingerprint -----


def test_fingerprint_follows_the_file(emoji: Path) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    before = dataset.cache_key()
    assert open_dataset(emoji.parent, "emoji12").cache_key() == before
    assert open_dataset(emoji.parent, "emoji12", 16).cache_key() != before
    os.utime(dataset.path, ns=(0, 12345))
    changed = dataset.cache_key()
    assert changed != before
    dataset.path.unlink()  # while a run evaluates it
    assert dataset.cache_key() == changed


# ----- errors -----


def test_missing_data_set(emoji: Path) -> None:
    with pytest.raises(UserError, match=r"no data set .*nope \(.* has: emoji12\); make it with"):
        open_dataset(emoji.parent, "nope")
    with pytest.raises(UserError, match=r"no folder .*nowhere either\); make it with"):
        open_dataset(emoji.parent / "nowhere", "nope")
    (emoji.parent / "hollow").mkdir()
    with pytest.raises(UserError, match=r"hollow holds no \*.tfrecords files; make it with"):
        open_dataset(emoji.parent, "hollow")


def test_wrong_resolution(emoji: Path) -> None:
    with pytest.raises(UserError, match=r"no resolution 64; it has: 4, 8, 16, 32$"):
        open_dataset(emoji.parent, "emoji12", resolution=64)


def test_empty_file(emoji: Path) -> None:
    (emoji / "emoji12-r05.tfrecords").write_bytes(b"")
    with pytest.raises(UserError, match=r"emoji12-r05.tfrecords is empty"):
        open_dataset(emoji.parent, "emoji12")


def test_not_a_tfrecord_file(emoji: Path) -> None:
    (emoji / "emoji12-r05.tfrecords").write_bytes(b"something else entirely, of some length")
    with pytest.raises(UserError, match=r"record 0 .*emoji12-r05.tfrecords is truncated or"):
        open_dataset(emoji.parent, "emoji12")


@pytest.mark.parametrize("part", [0.001, 0.5, 0.9999])  # of the length, the data, the checksum
def test_truncated_file(emoji: Path, part: float) -> None:
    path = emoji / "emoji12-r05.tfrecords"
    data = path.read_bytes()
    record = len(data) // 12
    path.write_bytes(data[: 11 * record + int(part * record)])
    with pytest.raises(UserError, match=r"record 11 \(counting from 0\) of .*-r05.tfrecords is"):
        open_dataset(emoji.parent, "emoji12")


@pytest.mark.parametrize("skip", [False, True])
def test_incomplete_data_set(emoji: Path, skip: bool) -> None:
    left = emoji.rename(emoji.with_name("emoji12.incomplete-0123abcd"))
    with pytest.raises(UserError, match=r"0123abcd is incomplete: .* or run it again$"):
        open_dataset(left.parent, left.name, skip_bad_records=skip)
    with pytest.raises(UserError, match=r"no data set .*emoji12 \(.* has: none\); make it with"):
        open_dataset(left.parent, "emoji12", skip_bad_records=skip)


def damage(dataset: Dataset, record: int) -> None:
    """Flips a bit of a record's image; its frame stays right, its checksum does not."""
    data = bytearray(dataset.path.read_bytes())
    length = len(data) // dataset.num_images
    data[length * record + length // 2] ^= 1
    dataset.path.write_bytes(data)


def test_damaged_record_is_named_while_reading(emoji: Path) -> None:
    damage(open_dataset(emoji.parent, "emoji12"), 7)
    dataset = open_dataset(emoji.parent, "emoji12")
    message = r"^record 7 \(counting from 0\) of .*-r05.tfrecords is .* --skip-bad-records"
    with pytest.raises(UserError, match=message):
        list(dataset.images())
    assert len(list(dataset.images(7))) == 7


@pytest.mark.parametrize("epoch", [0, 5])  # of 3 batches
def test_damaged_record_ends_training_where_it_is_due(emoji: Path, epoch: int) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    expected = take(dataset, 2, 4, seed=1, first=3 * epoch)
    number = order(12, 1, epoch)[9]
    damage(dataset, number)
    seen: list[np.ndarray] = []
    batches = dataset.batches(4, seed=1, first=3 * epoch)
    with pytest.raises(UserError, match=rf"record {number} \(counting from 0\) of .*-r05.tfrec"):
        seen.extend(batches)
    assert np.array_equal(seen, expected)
    assert list(batches) == []
    assert not reading_threads()


def example(shape: list[int], data: bytes) -> bytes:
    feature = {
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=shape)),
        "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write_records(path: Path, contents: list[bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)


def test_images_of_two_shapes_in_a_file(tmp_path: Path) -> None:
    contents = [example([3, 4, 4], bytes(48))] * 3 + [example([3, 8, 8], bytes(192))]
    write_records(tmp_path / "mixed" / "mixed-r02.tfrecords", contents)
    dataset = open_dataset(tmp_path, "mixed")
    with pytest.raises(UserError, match=r"record 3 .* holds 192 bytes of shape \[3, 8, 8\]"):
        list(dataset.images())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (example([3, 4, 8], bytes(96)), "8x4 pixels: they must be square"),
        (example([3, 6, 6], bytes(108)), "6x6 pixels: they must be square and a power of two"),
        (example([4, 4, 4], bytes(64)), "images of 4 channels"),
        (example([3, 4, 4], bytes(47)), "record 0 is not an image"),
        (b"no example", "record 0 is not an image"),
        (b"", "record 0 is not an image"),
    ],
    # An example's bytes differ from process to process (order of its map), so they name no test.
    ids=["not-square", "no-power-of-two", "four-channels", "too-short", "no-example", "empty"],
)
def test_unusable_contents(tmp_path: Path, content: bytes, message: str) -> None:
    write_records(tmp_path / "odd" / "odd-r02.tfrecords", [content])
    with pytest.raises(UserError, match=message):
        open_dataset(tmp_path, "odd")


# ----- data sets that change while they are read -----


def test_deleted_while_it_is_read(emoji: Path) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    expected = take(dataset, 6, 4, seed=1)
    with dataset.batches(4, seed=1) as batches:
        next(batches)
        shutil.rmtree(emoji)
        assert np.array_equal(list(itertools.islice(batches, 5)), expected[1:])
    assert len(list(dataset.images())) == 12


def test_truncated_while_it_is_read(emoji: Path) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    os.truncate(dataset.path, dataset.path.stat().st_size // 2)
    with pytest.raises(UserError, match=r"record 6 \(counting from 0\) of .*-r05.tfrecords is tru"):
        list(dataset.images())
    with pytest.raises(UserError, match=r"record (6|7|8|9|10|11) \(counting from 0\) of .*-r05"):
        take(dataset, 3, 4, seed=1)


# ----- skip_bad_records -----


def test_skipping_where_nothing_is_bad(emoji: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = open_dataset(emoji.parent, "emoji12", skip_bad_records=True)
    assert capsys.readouterr() == ("", "")
    assert dataset.skipped == ()
    assert dataset == open_dataset(emoji.parent, "emoji12")
    assert dataset.cache_key() == open_dataset(emoji.parent, "emoji12").cache_key()


def test_damaged_records_are_skipped(emoji: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = open_dataset(emoji.parent, "emoji12")
    images = list(whole.images())
    for number in (0, 7):
        damage(whole, number)
    with pytest.raises(UserError, match="record 0 "):
        open_dataset(emoji.parent, "emoji12")
    dataset = open_dataset(emoji.parent, "emoji12", skip_bad_records=True)
    assert capsys.readouterr().err == (
        f"warning: {dataset.path}: skipped 2 of 12 records that are truncated or damaged: 0, 7\n"
    )
    assert (dataset.num_images, dataset.skipped) == (10, (0, 7))
    good = images[1:7] + images[8:]
    assert np.array_equal(list(dataset.images()), good)
    assert np.array_equal(list(dataset.images(8)), good[:8])
    assert np.array_equal(take(dataset, 2, 5, seed=1).reshape(-1, 32, 32, 3), good_order(good))
    assert dataset.cache_key() != whole.cache_key()
    lower = open_dataset(emoji.parent, "emoji12", 16, skip_bad_records=True)
    assert lower.num_images == 12  # another file


def good_order(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(images)[order(len(images), 1, 0)]


def test_fingerprint_knows_what_is_skipped(emoji: Path) -> None:
    found = []
    whole = open_dataset(emoji.parent, "emoji12")
    data, status = whole.path.read_bytes(), whole.path.stat()
    for number in (2, 3):
        damage(whole, number)
        os.utime(whole.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        found.append(open_dataset(emoji.parent, "emoji12", skip_bad_records=True).cache_key())
        whole.path.write_bytes(data)
    assert len({whole.cache_key(), *found}) == 3


def test_truncated_tail_is_skipped(emoji: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = emoji / "emoji12-r05.tfrecords"
    os.truncate(path, path.stat().st_size - 1)
    dataset = open_dataset(emoji.parent, "emoji12", skip_bad_records=True)
    assert (dataset.num_images, dataset.skipped) == (11, (11,))
    assert "skipped 1 of 12 records that are truncated or damaged: 11\n" in capsys.readouterr().err


def test_damaged_length_hides_what_is_behind(
    emoji: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    damage(dataset, 2)
    data = bytearray(dataset.path.read_bytes())
    data[len(data) // 12 * 9] ^= 1
    dataset.path.write_bytes(data)
    with pytest.raises(UserError, match=r"record 9 \(counting from 0\)"):
        open_dataset(emoji.parent, "emoji12")
    dataset = open_dataset(emoji.parent, "emoji12", skip_bad_records=True)
    assert (dataset.num_images, dataset.skipped) == (8, (2, 9))
    assert capsys.readouterr().err.endswith(
        "truncated or damaged: 2, 9 and all records behind 9, which cannot be found\n"
    )


def test_many_bad_records_are_not_all_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_numbered(tmp_path / "n", 30)
    dataset = open_dataset(tmp_path, "n")
    for number in range(5, 25):
        damage(dataset, number)
    assert open_dataset(tmp_path, "n", skip_bad_records=True).num_images == 10
    named = ", ".join(str(number) for number in range(5, 15))
    assert f"skipped 20 of 30 records that are truncated or damaged: {named}, ...\n" in (
        capsys.readouterr().err
    )


def test_records_that_are_no_such_images_are_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = example([3, 4, 4], bytes(range(48)))
    contents = [b"no example", good, example([3, 8, 8], bytes(192)), good, b""]
    write_records(tmp_path / "mixed" / "mixed-r02.tfrecords", contents)
    dataset = open_dataset(tmp_path, "mixed", skip_bad_records=True)
    assert (dataset.num_images, dataset.skipped) == (2, (0, 2, 4))
    assert len(list(dataset.images())) == 2


@pytest.mark.parametrize("kind", ["damaged", "no images", "no records"])
def test_no_good_records(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad" / "bad-r02.tfrecords"
    write_records(path, [b"no example", b""] if kind == "no images" else [bytes(20)])
    if kind == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif kind == "no records":
        path.write_bytes(bytes(100))
    with pytest.raises(UserError, match=r"bad-r02.tfrecords holds no record that is an image and"):
        open_dataset(tmp_path, "bad", skip_bad_records=True)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_of_the_check_is_for_terminals(
    emoji: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    open_dataset(emoji.parent, "emoji12", skip_bad_records=True)
    lines = [line for line in re.split(r"[\r\n]", stderr.getvalue()) if "Checking" in line]
    assert bool(lines) == is_terminal
    if is_terminal:
        assert re.match("Checking .*-r05.tfrecords: 100%.* 12/12 ", lines[-1])
