"""Files of known data sets, in their own formats, which the tests write byte by byte."""

import gzip
import struct
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
import scipy.io
from PIL import Image

import dataset_tool
from dnnlib.errors import UserError
from gan_fingerprints.work.creators import published_order
from training.data import sources
from training.data.dataset import Dataset, open_dataset

RNG = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + (
        array.tobytes()
    )  # fmt: skip


def make(tmp_path: Path, command: str, *arguments: object) -> Dataset:
    out = tmp_path / "sets" / "out"
    dataset_tool.main([command, str(out), *map(str, arguments)])
    return open_dataset(out.parent, "out")


def images_of(dataset: Dataset) -> np.ndarray:
    return np.stack(list(dataset.images()))


@pytest.fixture
def digits(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = tmp_path / "mnist"
    folder.mkdir()
    images = RNG.integers(0, 256, [7, 28, 28], np.uint8)
    classes = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(classes)))
    return folder, images, classes


def test_mnist(tmp_path: Path, digits: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, images, classes = digits
    dataset = make(tmp_path, "create_mnist", folder)
    order = published_order(7)
    padded = np.zeros([7, 32, 32, 1], np.uint8)
    padded[:, 2:30, 2:30, 0] = images
    np.testing.assert_array_equal(images_of(dataset), padded[order])
    np.testing.assert_array_equal(dataset.labels.argmax(1), classes[order])
    assert dataset.labels.sum(1).tolist() == [1] * 7
    assert dataset.label_size == 10


def test_mnist_in_three_channels(
    tmp_path: Path, digits: tuple[Path, np.ndarray, np.ndarray]
) -> None:
    folder, images, _ = digits
    dataset = make(tmp_path, "create_mnistrgb", folder, "--num_images=5", "--random_seed=4")
    rnd = np.random.RandomState(4)
    chosen = [rnd.randint(7, size=3) for _ in range(5)]
    expected = np.stack([images[three].transpose(1, 2, 0) for three in chosen])
    np.testing.assert_array_equal(images_of(dataset)[:, 2:30, 2:30], expected)
    assert dataset.label_size == 0


def test_files_that_are_no_idx(tmp_path: Path) -> None:
    path = tmp_path / "x"
    whole = idx(np.zeros([2, 3], np.uint8))
    for content in (b"", whole[:-1], whole + b"x", b"\0\0\x09" + whole[3:], whole[:9]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not a complete IDX file"):
            sources.read_idx(path)
    path.write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(UserError, match="cannot read .*x: "):
        sources.read_idx(path)


def python2_pickle(images: np.ndarray, key: bytes, classes: list[int]) -> bytes:
    """What Python 2 and its NumPy wrote: protocol 2, 8-bit text."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    data = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R("
    array += b"K\x01" + b"J" + struct.pack("<i", images.shape[0])
    array += b"M" + struct.pack("<H", images.shape[1]) + b"\x86"
    array += b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R("
    array += b"K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array += b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([value]) for value in classes) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + numbers + b"u."


@pytest.mark.parametrize(
    ("command", "files", "key", "count"),
    [
        ("create_cifar10", [f"data_batch_{i}" for i in range(1, 6)], b"labels", 10),
        ("create_cifar100", ["train"], b"fine_labels", 100),
    ],
)
def test_cifar(tmp_path: Path, command: str, files: list[str], key: bytes, count: int) -> None:
    folder = tmp_path / "cifar"
    folder.mkdir()
    images = RNG.integers(0, 256, [len(files), 2, 3, 32, 32], np.uint8)
    classes = RNG.integers(0, count, [len(files), 2])
    for name, some, theirs in zip(files, images, classes, strict=True):
        content = python2_pickle(some.reshape(2, -1), key, theirs.tolist())
        (folder / name).write_bytes(content)
    dataset = make(tmp_path, command, folder)
    order = published_order(2 * len(files))
    expected = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[order]
    np.testing.assert_array_equal(images_of(dataset), expected)
    np.testing.assert_array_equal(dataset.labels.argmax(1), classes.reshape(-1)[order])
    assert dataset.label_size == count


def test_a_batch_of_cifar_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "train").write_bytes(b"cos\nsystem\n(S'touch gone'\ntR.")
    with pytest.raises(UserError, match="no batch of CIFAR's Python version"):
        sources.cifar(tmp_path, ["train"], "fine_labels", 100)


def test_svhn(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, [32, 32, 3, 4], np.uint8)
    classes = np.array([[10], [1], [9], [2]], np.uint8)  # 10 is the digit 0
    scipy.io.savemat(tmp_path / "train_32x32.mat", {"X": images, "y": classes})
    dataset = make(tmp_path, "create_svhn", tmp_path)
    order = published_order(4)
    np.testing.assert_array_equal(images_of(dataset), images.transpose(3, 0, 1, 2)[order])
    np.testing.assert_array_equal(dataset.labels.argmax(1), np.array([0, 1, 9, 2])[order])
    (tmp_path / "train_32x32.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UserError, match="is no complete MAT file"):
        sources.svhn(tmp_path)


def test_hdf5(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, [5, 3, 16, 16], np.uint8)
    labels = RNG.random([5, 2]).astype(np.float32)
    path = tmp_path / "celeba-16.h5"
    with h5py.File(path, "w") as file:
        file["data16x16"] = images
        file["data8x8"] = images[:, :, ::2, ::2]
        file["other"] = np.zeros(3)
    np.save(tmp_path / "celeba-16-labels.npy", labels)
    dataset = make(tmp_path, "create_from_hdf5", path, "--shuffle=0")
    np.testing.assert_array_equal(images_of(dataset), images.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(dataset.labels, labels)
    path.write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="give an HDF5 file"):
        sources.hdf5(path)


def write_lmdb(folder: Path, files: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(
        write=True
    ) as transaction:  # fmt: skip
        for key, value in files.items():
            transaction.put(key, value)
    return folder


def webp(tmp_path: Path, height: int, width: int) -> tuple[Image.Image, bytes]:
    image = Image.fromarray(RNG.integers(0, 256, [height, width, 3], np.uint8))
    image.save(tmp_path / "x.webp", lossless=True)
    return image, (tmp_path / "x.webp").read_bytes()


def test_lsun(tmp_path: Path) -> None:
    first, one = webp(tmp_path, 40, 60)
    second, two = webp(tmp_path, 50, 34)
    folder = write_lmdb(tmp_path / "lmdb", {b"b": two, b"a": one, b"c": b"damaged"})
    with pytest.raises(UserError, match=r"1 of 3 files .* \(1 no image\)"):
        make(tmp_path, "create_lsun", folder, "--resolution=16")
    dataset = make(tmp_path, "create_lsun", folder, "--resolution=16", "--skip-bad")
    size, lanczos = (16, 16), Image.Resampling.LANCZOS
    expected = [
        first.crop((10, 0, 50, 40)).resize(size, lanczos),
        second.crop((0, 8, 34, 42)).resize(size, lanczos),
    ]
    np.testing.assert_array_equal(images_of(dataset), np.stack(expected))


def test_lsun_wide(tmp_path: Path) -> None:
    large, one = webp(tmp_path, 40, 64)
    _, two = webp(tmp_path, 64, 30)
    folder = write_lmdb(tmp_path / "lmdb", {b"a": one, b"b": two})
    dataset = make(tmp_path, "create_lsun_wide", folder, "--width=32", "--height=16")
    image = images_of(dataset)
    assert image.shape == (1, 32, 32, 3)
    assert not image[0, :8].any()
    assert not image[0, 24:].any()
    middle = large.crop((0, 4, 64, 36)).resize((32, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(image[0, 8:24], np.asarray(middle))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for command, what in [
        ("create_mnist", "train-images-idx3-ubyte"), ("create_cifar10", "data_batch_1"),
        ("create_cifar100", "train"), ("create_svhn", "train_32x32.mat"),
        ("create_lsun", "data.mdb"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=f"holds no .*{what}"):
            make(tmp_path, command, tmp_path)
    with pytest.raises(UserError, match="is not made from CelebA and its deltas here"):
        make(tmp_path, "create_celebahq", tmp_path, tmp_path)
