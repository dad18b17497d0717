"""SavedModel and ONNX files: the parent's images, read by TensorFlow and by ONNX Runtime."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from tests.support.paths import ROOT
from tests.support.processes import run_script
from training.models import export
from training.models.baking import Baker
from training.models.legacy import NetworkData
from training.models.snapshot import network_data, save_snapshot
from training.networks.configs import GeneratorConfig
from training.networks.generator import Generator

COMMON = {"resolution": 8, "latent_size": 5, "fingerprint_size": 6, "fmap_base": 64, "fmap_max": 8}
MAPPING = {"dlatent_size": 7, "mapping_fmaps": 9, "mapping_layers": 2, "mapping_lrmul": 0.5}
PARENTS = {
    "skip": {"modulated_min_log2": 3},
    "resnet": {"architecture": "resnet"},
    "orig, grey": {"architecture": "orig", "num_channels": 1},
    "maps": {"map_min_log2": 2, "map_max_log2": 3, "style_biases": True},
    "classes": {"label_size": 3, "label_fmaps": 4},
}
BITS = np.array([1, 0, 0, 1, 1, 0], np.uint8)


def make_parent(name: str = "skip") -> Generator:
    """A generator whose images reach beyond [-1,1], so that pixels are clipped."""
    generator = Generator(GeneratorConfig(**COMMON | MAPPING | PARENTS[name]), seed=3)
    rng = np.random.default_rng(3)
    for variable in generator.named_trainables().values():
        variable.assign_add(rng.normal(0, 0.3, variable.shape) + 0.1)
    return generator


def make_inputs(parent: Generator, num_images: int = 3) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    latents = rng.standard_normal([num_images, parent.latent_size]).astype(np.float32)
    shapes = parent.noise_shapes
    return latents, [
        rng.standard_normal([num_images, h, w, 1]).astype(np.float32) for h, w in shapes
    ]


def labels_of(parent_name: str, num_images: int) -> dict[str, np.ndarray]:
    """The input `labels`, where there are classes."""
    classes = PARENTS[parent_name].get("label_size", 0)
    return {"labels": np.eye(classes, dtype=np.float32)[:num_images]} if classes else {}


def images_of(parent: Generator, bits: np.ndarray, latents, noise=None, labels=None) -> np.ndarray:
    return parent(
        tf.constant(latents),
        tf.constant(np.tile(bits, (len(latents), 1)), tf.float32),
        None if noise is None else [tf.constant(maps) for maps in noise],
        labels=None if labels is None else tf.constant(labels),
    ).numpy()


def assert_outputs(outputs: dict, expected: np.ndarray) -> None:
    """Images as the parent's, pixels by the formula of `to_uint8`, in NumPy."""
    images, pixels = np.asarray(outputs["images"]), np.asarray(outputs["pixels"])
    assert images.dtype == np.float32
    assert images.shape == expected.shape
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-4)
    assert pixels.dtype == np.uint8
    assert (np.abs(expected) > 1.1).any()
    exact = np.clip(127.5 * expected.astype(np.float64) + 128, 0, 255)
    assert np.abs(pixels - np.floor(exact)).max() <= 1
    assert np.mean(pixels == np.floor(exact)) > 0.99


def run_saved_model(path: Path, latents, noise=None, **labels) -> dict[str, np.ndarray]:
    signatures = tf.saved_model.load(os.fspath(path)).signatures
    given = {name: tf.constant(value) for name, value in labels.items()}
    given["latents"] = tf.constant(latents)
    if noise is None:
        return signatures["serving_default"](**given)
    maps = {f"noise{index}": tf.constant(values) for index, values in enumerate(noise)}
    return signatures["with_noise"](**given, **maps)


def run_onnx(path: Path, latents, noise=None, **labels) -> dict[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # else a warning for each noise map that may be given
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    maps = {f"noise{index}": values for index, values in enumerate(noise or [])}
    names = [output.name for output in session.get_outputs()]
    given = {"latents": latents} | labels | maps
    return dict(zip(names, session.run(names, given), strict=True))


KINDS = {
    "SavedModel": (export.SavedModelExporter, run_saved_model),
    "ONNX": (export.OnnxExporter, run_onnx),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("SavedModel", name) for name in ("skip", "maps", "classes")),
        *(("ONNX", name) for name in PARENTS),
    ],
)
def test_images_are_those_of_the_parent(kind, name, tmp_path):
    """The first instance and a second one of the same exporter, with any number of images."""
    make_exporter, run = KINDS[kind]
    parent = make_parent(name)
    baker = Baker(parent)
    exporter = make_exporter(baker.bake(BITS))
    for bits in (1 - BITS, BITS):
        path = tmp_path / f"{bits[0]}.model"
        exporter.write(baker.bake(bits), path)
        latents, noise = make_inputs(parent)
        shared = [maps[:1] for maps in noise]
        for given, maps in (
            (latents, None),
            (latents, noise),
            (latents, shared),
            (latents[:1], None),
        ):
            labels = labels_of(name, len(given))
            assert_outputs(
                run(path, given, maps, **labels), images_of(parent, bits, given, maps, **labels)
            )


def test_saved_models_differ_in_their_variables_alone(tmp_path):
    baker = Baker(make_parent())
    exporter = export.SavedModelExporter(baker.bake(BITS))
    files = {}
    for name, bits in (("a", BITS), ("b", 1 - BITS), ("a again", BITS)):
        exporter.write(baker.bake(bits), tmp_path / name)
        found = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        files[name] = {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in found
        }
    assert files["a"] == files["a again"]
    assert files["a"].keys() == {
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    }
    assert files["a"]["saved_model.pb"] == files["b"]["saved_model.pb"]
    checkpoint = tf.train.load_checkpoint(os.fspath(tmp_path / "a" / "variables" / "variables"))
    names = [name for name in checkpoint.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    stored = sorted(checkpoint.get_tensor(name).tobytes() for name in names)
    baked = baker.bake(BITS).variables.values()
    assert stored == sorted(value.tobytes() for value in baked)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "a.onnx"
    baker = Baker(make_parent())
    export.OnnxExporter(baker.bake(1 - BITS)).write(baker.bake(BITS), path)
    return path


def test_onnx_weights_are_initialisers_by_name(onnx_file):
    import onnx

    model = onnx.load(onnx_file)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import][0] == ("", 18)
    graph = model.graph
    noise = [f"noise{index}" for index in range(3)]
    assert [entry.name for entry in graph.input] == ["latents", *noise]
    assert [entry.name for entry in graph.output] == ["images", "pixels"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    values = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    assert len(values) == len(graph.initializer)
    for name, value in Baker(make_parent()).bake(BITS).variables.items():
        if name.startswith("G_synthesis/noise"):
            name, value = name.removeprefix("G_synthesis/"), value.reshape(1, *value.shape[2:], 1)
        np.testing.assert_array_equal(values.pop(name), value)
    # The rest are the converter's: shapes, FIR taps, zeros.
    assert max(np.count_nonzero(value) for value in values.values()) <= 16
    assert all(node.domain == "" for node in graph.node)


@pytest.mark.parametrize("kind", ["SavedModel", "ONNX"])
def test_the_files_say_nothing_of_fingerprints_or_sources(kind, tmp_path, onnx_file):
    path = onnx_file
    if kind == "SavedModel":
        path = tmp_path / "a"
        export.SavedModelExporter(Baker(make_parent()).bake(BITS)).write(
            Baker(make_parent()).bake(BITS), path
        )
        latents, _ = make_inputs(make_parent())
        expected = images_of(make_parent(), BITS, latents)
        assert_outputs(run_saved_model(path, latents), expected)
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    assert files
    for file in files:
        data = file.read_bytes()
        for word in (b"mapping", b"mod_", b"affine", b"watermark", b"ecoder", os.fsencode(ROOT)):
            assert word not in data, (file, word)
        assert b"fingerprint" not in data.lower()


@pytest.mark.slow
def test_the_same_instance_gives_the_same_onnx_file(onnx_file, tmp_path):
    """From another process, whose hashes of texts differ, and behind other conversions."""
    path = tmp_path / "parent.pkl"
    save_snapshot(path, Gs=make_parent())
    script = (
        "import sys, numpy as np\n"
        "from training.models.baking import Baker\n"
        "from training.models.export import OnnxExporter\n"
        "from training.models.snapshot import load_networks\n"
        "data = Baker(load_networks(sys.argv[1]).generator).bake(np.array([1, 0, 0, 1, 1, 0]))\n"
        "OnnxExporter(data).write(data, sys.argv[2])\n"
    )
    run_script(script, path, tmp_path / "theirs.onnx", hash_seed=17)
    theirs = (tmp_path / "theirs.onnx").read_bytes()
    assert hashlib.sha256(theirs).digest() == hashlib.sha256(onnx_file.read_bytes()).digest()


@pytest.mark.parametrize("exporter", [export.SavedModelExporter, export.OnnxExporter])
def test_instances_of_another_generator_are_refused(exporter, tmp_path):
    data = Baker(make_parent("resnet")).bake(BITS)
    made = exporter(data)
    other = Baker(make_parent("orig, grey")).bake(BITS)
    missing = {name: value for name, value in data.variables.items() if "ToRGB" not in name}
    for wrong in (other, NetworkData(data.class_name, data.kwargs, missing)):
        with pytest.raises(ValueError, match="of another generator than the first one"):
            made.write(wrong, tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exporter", [export.SavedModelExporter, export.OnnxExporter])
def test_only_instances_are_exported(exporter):
    with pytest.raises(ValueError, match="a Generator is no instance"):
        exporter(network_data(make_parent()))


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_missing_packages_are_one_line(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # makes an import fail
    with pytest.raises(UserError) as caught:
        export.OnnxExporter(Baker(make_parent()).bake(BITS))
    assert str(caught.value) == (
        f"ONNX files need the package {package}, which is not installed: "
        "pip install -r requirements/onnx.txt"
    )


@pytest.mark.slow
def test_the_module_needs_no_onnx():
    script = (
        "import sys; sys.modules['onnx'] = sys.modules['tf2onnx'] = None\n"
        "import training.models.export"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_saved_model_replaces_nothing(tmp_path):
    data = Baker(make_parent("resnet")).bake(BITS)
    path = tmp_path / "a"
    path.mkdir()
    with pytest.raises(UserError, match=r"a exists already; remove it or choose another name"):
        export.SavedModelExporter(data).write(data, path)
    assert [*tmp_path.iterdir()] == [path]
    assert not [*path.iterdir()]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    data = Baker(make_parent("resnet")).bake(BITS)

    def fail(*_args, **_kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")

    exporter = export.SavedModelExporter(data)
    monkeypatch.setattr(tf.train.Checkpoint, "write", fail)
    with pytest.raises(UserError) as caught:
        exporter.write(data, tmp_path / "a")
    text = f"cannot write {tmp_path / 'a'}: {os.strerror(errno.ENOSPC)}; free"
    assert str(caught.value).startswith(text)
    onnx_exporter = export.OnnxExporter(data)
    with pytest.raises(UserError, match=r"cannot write .*missing/a\.onnx: No such file"):
        onnx_exporter.write(data, tmp_path / "missing" / "a.onnx")
    assert not list(tmp_path.iterdir())
