"""Reading data sets: published files, order, mirroring, damaged files, every error."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dnnlib.errors import UserError
from training import dataset as dataset_module
from training.dataset import Dataset, count_records, open_dataset
from training.dataset_writer import DatasetWriter


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


def numbers(batches: tf.data.Dataset, count: int) -> list[int]:
    """The left values of the first `count` batches."""
    return [
        int(image[0, 0, 0]) for batch in batches.take(count).as_numpy_iterator() for image in batch
    ]


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
    dataset = open_dataset(tmp_path, "n")
    batches = dataset.batches(4, seed=1)
    assert batches.element_spec == tf.TensorSpec([4, 4, 4, 1], tf.uint8)
    seen = numbers(batches, 9)
    epochs = [seen[0:12], seen[12:24], seen[24:36]]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != list(range(12))


def test_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    write_numbered(tmp_path / "n", 12)
    dataset = open_dataset(tmp_path, "n")
    first = numbers(dataset.batches(4, seed=1), 9)
    assert numbers(dataset.batches(4, seed=1), 9) == first
    assert numbers(dataset.batches(6, seed=1), 6) == first
    assert numbers(dataset.batches(4, seed=2), 9) != first


def test_batches_larger_than_the_data_set(tmp_path: Path) -> None:
    write_numbered(tmp_path / "n", 3)
    seen = numbers(open_dataset(tmp_path, "n").batches(7, seed=1), 3)
    assert [seen.count(i) for i in range(3)] == [7, 7, 7]


def test_files_beyond_the_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_numbered(tmp_path / "n", 40)
    dataset = open_dataset(tmp_path, "n")
    monkeypatch.setattr(dataset_module, "MEMORY_BYTES", dataset.path.stat().st_size // 10)
    seen = numbers(dataset.batches(4, seed=1), 20)
    assert sorted(seen[:40]) == sorted(seen[40:]) == list(range(40))
    # The window holds 4 images, so that none can come much before its place.
    assert seen[:40] != list(range(40))
    assert all(value <= place + 4 for place, value in enumerate(seen[:40]))


def test_mirroring(tmp_path: Path) -> None:
    write_numbered(tmp_path / "n", 10)
    dataset = open_dataset(tmp_path, "n")
    plain = list(dataset.batches(10, seed=1).take(20).as_numpy_iterator())
    mirrored = list(dataset.batches(10, seed=1, mirror_augment=True).take(20).as_numpy_iterator())
    again = list(dataset.batches(10, seed=1, mirror_augment=True).take(20).as_numpy_iterator())
    assert np.array_equal(mirrored, again)
    flipped = []
    for x, y in zip(np.concatenate(plain), np.concatenate(mirrored), strict=True):
        flipped.append(bool(np.array_equal(y, x[:, ::-1])))
        assert flipped[-1] != np.array_equal(y, x)
    assert 70 <= sum(flipped) <= 130  # of 200, 4 sigma
    assert flipped[:10] != flipped[10:20]


def test_fingerprint_follows_the_file(emoji: Path) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    before = dataset.fingerprint()
    assert open_dataset(emoji.parent, "emoji12").fingerprint() == before
    assert open_dataset(emoji.parent, "emoji12", 16).fingerprint() != before
    os.utime(dataset.path, ns=(0, 12345))
    assert dataset.fingerprint() != before


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


def test_count_records(emoji: Path) -> None:
    assert [count_records(path) for path in emoji.iterdir()] == [12] * 4


def damage(dataset: Dataset, record: int) -> None:
    """Flips a bit of a record's image; its frame stays right, its checksum does not."""
    data = bytearray(dataset.path.read_bytes())
    length = len(data) // dataset.num_images
    data[length * record + length // 2] ^= 1
    dataset.path.write_bytes(data)


def test_damaged_record_is_named_while_reading(emoji: Path) -> None:
    damage(open_dataset(emoji.parent, "emoji12"), 7)
    dataset = open_dataset(emoji.parent, "emoji12")
    with pytest.raises(UserError, match=r"record 7 \(counting from 0\) of .*-r05.tfrecords"):
        list(dataset.images())
    with (
        pytest.raises(UserError, match=r"record 7 \(counting from 0\) of .*-r05.tfrecords"),
        dataset.reading(),
    ):
        next(iter(dataset.batches(4, seed=1)))


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


def test_other_errors_pass_through_reading(emoji: Path) -> None:
    dataset = open_dataset(emoji.parent, "emoji12")
    with pytest.raises(tf.errors.InvalidArgumentError), dataset.reading():
        tf.debugging.assert_equal(1, 2)
