"""The Inception graph (a made-up one of the same form): features, where it is found, bad files."""

import io
import pickle
import struct
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.pickle_values import Inert
from metrics import feature_extractors
from metrics.feature_extractors import VARIABLE, InceptionExtractor, check_inception
from tests.support import made_up_inception


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "made_up.pb"
    made_up_inception.write(path)
    return path


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_url_or_path(name: str, cache_dir: Path) -> Path:
        if str(name).startswith("https:"):
            raise UserError(f"cannot download {name}: no connection; put it somewhere")
        if not Path(name).is_file():
            raise UserError(f"{name} does not exist")
        return Path(name)

    monkeypatch.setattr(feature_extractors, "open_url_or_path", open_url_or_path)
    monkeypatch.delenv(VARIABLE, raising=False)


def resize_like_tensorflow_1(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear [H,W,C] -> [size,size,C] with the corners aligned at the top left alone."""

    def at(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = np.arange(size) * (length / size)
        low = place.astype(int)
        return low, np.minimum(low + 1, length - 1), place - low

    y0, y1, fy = at(image.shape[0])
    x0, x1, fx = at(image.shape[1])
    fx, fy = fx[None, :, None], fy[:, None, None]
    top = image[y0][:, x0] * (1 - fx) + image[y0][:, x1] * fx
    bottom = image[y1][:, x0] * (1 - fx) + image[y1][:, x1] * fx
    return top * (1 - fy) + bottom * fy


def reference_features(image: np.ndarray, scale: bool) -> np.ndarray:
    """The made-up graph for one image in NumPy: [H,W,3] -> [2048]."""
    w = made_up_inception.weights()
    x = (resize_like_tensorflow_1(image.astype(np.float64), 299) - 128) / 128
    kernel = w["conv/conv2d_params"]
    cut = x[:288, :288].reshape(12, 24, 12, 24, 3)
    x = np.einsum("yixjc,ijco->yxo", cut, kernel)
    x = x - w["conv/batchnorm/moving_mean"]
    x = x / np.sqrt(w["conv/batchnorm/moving_variance"] + made_up_inception.EPSILON)
    x = x * (w["conv/batchnorm/gamma"] if scale else 1) + w["conv/batchnorm/beta"]
    x = np.maximum(x, 0) @ w["mixed_10/conv2d_params"][0, 0]
    return np.maximum(x, 0).mean(axis=(0, 1))


@pytest.mark.parametrize("scale", [False, True])
def test_features_equal_numpy(tmp_path: Path, scale: bool) -> None:
    path = tmp_path / "graph.pb"
    made_up_inception.write(path, scale_after_normalization=scale)
    extract = InceptionExtractor(path)
    images = np.random.RandomState(0).randint(0, 256, [3, 16, 16, 3]).astype(np.uint8)
    features = extract(images)
    assert features.shape == (3, extract.num_features)
    assert features.dtype == np.float32
    expected = [reference_features(image, scale) for image in images]
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_grey_is_repeated_and_floats_are_refused(graph: Path) -> None:
    extract = InceptionExtractor(graph)
    grey = np.random.RandomState(0).randint(0, 256, [2, 8, 8, 1]).astype(np.uint8)
    np.testing.assert_array_equal(extract(grey), extract(grey.repeat(3, axis=3)))
    with pytest.raises(ValueError, match="expected uint8"):
        extract(grey / 255.0)


def test_where_it_is_found(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["fid1k", "swd1k"]
    assert check_inception(["swd1k", "watermark_accuracy_1k"], "/nowhere", tmp_path) is None

    archive = tmp_path / "inception-2015-12-05.tgz"
    content = graph.read_bytes()
    with tarfile.open(archive, "w:gz") as file:
        file.addfile(tarfile.TarInfo("LICENSE"))
        member = tarfile.TarInfo("./classify_image_graph_def.pb")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    in_cache = check_inception(names, None, tmp_path)
    assert in_cache is not None
    assert in_cache.path == archive

    monkeypatch.setenv(VARIABLE, str(graph))
    by_variable = check_inception(names, None, tmp_path)
    assert by_variable is not None
    assert by_variable.path == graph
    assert by_variable.sha256 == in_cache.sha256
    by_flag = check_inception(names, str(archive), tmp_path)
    assert by_flag is not None
    assert by_flag.path == archive


def test_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        check_inception(["swd1k", "fid2k"], None, tmp_path)
    line = str(error.value)
    for part in (
        "no connection", "fid2k needs", feature_extractors.URL, "--inception=", VARIABLE,
        "these need none: watermark_accuracy_<n>k, swd<n>k, fingerprint_visibility<n>k",
    ):  # fmt: skip
        assert part in line
    assert "\n" not in line
    monkeypatch.setenv(VARIABLE, "missing.pb")
    with pytest.raises(UserError, match=f"^{VARIABLE}=missing.pb: .*does not exist"):
        check_inception(["fid2k"], None, tmp_path)
    with pytest.raises(UserError, match="^--inception=gone.pb: "):
        check_inception(["fid2k"], "gone.pb", tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool_name": "pool_4"}, "it has no node pool_3"),
        ({"num_features": 100}, r"float32 \(2, 1, 1, 100\) for 2 images"),
        ({"half_pixel_centers": True}, "ResizeBilinear has half_pixel_centers"),
        ({"final_op": "NoSuchOperation"}, "cannot be run"),
        ({"final_op": "DebugIdentityV2"}, "DebugIdentityV2 does not belong there"),
    ],
    ids=["name", "width", "resize", "unknown", "stateful"],
)
def test_other_graphs_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "graph.pb"
    made_up_inception.write(path, **changes)
    with pytest.raises(UserError, match=message) as error:
        InceptionExtractor(path)
    assert str(error.value).startswith(f"{path} is not the 2015-12-05 Inception graph")


def test_other_files_are_refused(tmp_path: Path, graph: Path) -> None:
    path = tmp_path / "file"
    for content, message in (
        (b"no graph at all", "not a GraphDef"),
        (b"", "no node"),
        (graph.read_bytes()[:1000], "not a GraphDef"),
        (b"\x1f\x8b broken", "cannot read"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            InceptionExtractor(path)


# ---- The published pickle, whose contents are not documented: the places where a graph may be.


def component(**values: Any) -> dict[str, Inert]:
    return {"graph": Inert("dnnlib.tflib.network.Network", values)}


PLACES: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "keyword": lambda data: {"static_kwargs": {"graph_def": data, "name": b"pool_3:0"}},
    "keyword, array": lambda data: {"static_kwargs": {"g": np.frombuffer(data, np.uint8)}},
    "variable": lambda data: {"variables": [("scale", np.float32(1)), ("graph_def", data)]},
    "variable, array": lambda data: {"variables": [("g", np.frombuffer(data, np.uint8))]},
    "component": lambda data: {"components": component(variables=[("graph_def", data)])},
    "state": lambda data: {"graph_def": data},
}


@pytest.mark.parametrize("place", PLACES)
def test_the_published_pickle_gives_the_features_of_its_graph(
    place: str, graph: Path, tmp_path: Path
) -> None:
    path = tmp_path / "inception_v3_features.pkl"
    made_up_inception.write_pickle(path, **PLACES[place](graph.read_bytes()))
    ours, frozen = InceptionExtractor(path), InceptionExtractor(graph)
    assert ours.sha256 == frozen.sha256  # so that kept features of real images serve both
    images = np.random.RandomState(0).randint(0, 256, [2, 16, 16, 3]).astype(np.uint8)
    np.testing.assert_array_equal(ours(images), frozen(images))


def test_pickles_of_older_protocols_are_read(graph: Path, tmp_path: Path) -> None:
    """Python's own pickler, with bytes as protocol 2 writes them."""
    path = tmp_path / "inception_v3_features.pkl"
    names = ["dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"]

    class Network:
        def __getstate__(self) -> dict[str, Any]:
            return {"static_kwargs": {"graph_def": graph.read_bytes()}, "variables": []}

    Network.__module__, Network.__qualname__ = names[-1], "Network"
    module = types.ModuleType(names[-1])
    module.Network = Network  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, names[-1], module)
        data = [pickle.dumps(Network(), protocol) for protocol in (2, 3, 4)]
    for content in data:
        path.write_bytes(content)
        assert InceptionExtractor(path).sha256 == InceptionExtractor(graph).sha256


def test_the_published_cache_is_looked_through(graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "0123456789abcdef_inception_v3_features.pkl"
    made_up_inception.write_pickle(path, static_kwargs={"graph_def": graph.read_bytes()})
    found = check_inception(["fid1k"], None, tmp_path)
    assert found is not None
    assert found.path == path
    frozen = tmp_path / "classify_image_graph_def.pb"
    frozen.write_bytes(graph.read_bytes())
    found = check_inception(["fid1k"], None, tmp_path)
    assert found is not None
    assert found.path == frozen


def pickled_failure(path: Path) -> str:
    with pytest.raises(UserError) as error:
        InceptionExtractor(path)
    line = str(error.value)
    assert line.startswith(f"{path} ")
    assert feature_extractors.URL in line
    assert "\n" not in line
    return line


def test_other_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "inception_v3_features.pkl"
    weights = list(made_up_inception.weights().items())
    made_up_inception.write_pickle(path, variables=weights)
    assert "a network of 7 variables that holds no serialized graph" in pickled_failure(path)
    made_up_inception.write_pickle(path, variables=[("graph_def", b"nothing of the kind")])
    assert "it is not a GraphDef file" in pickled_failure(path)
    data = made_up_inception.graph_bytes(pool_name="pool_4")
    made_up_inception.write_pickle(path, variables=[("graph_def", data)])
    assert "it has no node pool_3" in pickled_failure(path)
    for content in ({"graph_def": data}, [1, 2], None):
        path.write_bytes(pickle.dumps(content))
        assert "not of one network of the published code" in pickled_failure(path)
    path.write_bytes(pickle.dumps({"graph_def": data})[:-50])
    assert "is not a complete snapshot" in pickled_failure(path)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "inception_v3_features.pkl", tmp_path / "marker"
    path.write_bytes(b"\x80\x03cos\nsystem\nX" + struct.pack("<I", len(f"touch {marker}"))
                     + f"touch {marker}".encode() + b"\x85R.")  # fmt: skip
    assert "asks for os.system" in pickled_failure(path)
    assert not marker.exists()
