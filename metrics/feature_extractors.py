"""The 2015-12-05 Inception network, a frozen TensorFlow 1 graph, as a function on images.

FID figures are comparable only if this very network computes the features: its node `pool_3`
(2048 values), with the graph's own resize to 299x299 pixels, the bilinear one of TensorFlow 1.
The published code keeps the same graph in a pickle, which is read as well, as data.
"""

import hashlib
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.cache import default_cache_dir
from dnnlib.download import cached_path, open_url_or_path
from dnnlib.errors import UserError
from dnnlib.tflib.devices import Devices
from metrics.features import rgb_of_files
from metrics.table import forms_without_inception, needs_inception
from training.models.frozen_graph import PICKLE, read_frozen_graph

URL = "https://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz"
VARIABLE = "GAN_FINGERPRINTS_INCEPTION"
MEMBER = "classify_image_graph_def.pb"
PUBLISHED = "inception_v3_features.pkl"  # in the published cache: HASH_inception_v3_features.pkl
INPUT = "ExpandDims"  # float32 [N,H,W,3], 0 to 255
RESIZE = "ResizeBilinear"
WEIGHTS, BIASES = "softmax/weights", "softmax/biases"  # of the classifier behind the features
OUTPUT = "pool_3"  # float32 [N,1,1,2048]
NUM_FEATURES = 2048
MAX_BYTES = 1 << 30  # the real file has 96 MB


class InceptionExtractor:
    """Images -> features by a frozen graph with the node names of the 2015-12-05 file.

    Args:
        path: the .pb file, the .tgz that holds it, or the published pickle that does.
        devices: those of this process share every batch; None: one device. Of several workers each
            computes all features on its first one: some may have kept those of the real images.

    Raises:
        UserError: the file is not such a graph: names, types or widths differ.
    """

    num_features = NUM_FEATURES

    def __init__(self, path: Path, devices: Devices | None = None) -> None:
        self.path = path
        data = _read(path)
        self.sha256 = hashlib.sha256(data).hexdigest()
        graph = _parse(path, data)
        _check_resize(path, graph)
        self._classifier = _classifier(data)

        signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]

        @tf.function(input_signature=signature)
        def features_of(images: tf.Tensor) -> tf.Tensor:
            (pooled,) = tf.graph_util.import_graph_def(
                graph,
                input_map={f"{INPUT}:0": images},
                return_elements=[f"{OUTPUT}:0"],
                name="",
            )
            return pooled

        self._features_of = features_of
        self._try()
        self._run = features_of
        if devices is not None and devices.num_workers == 1:
            self._run = devices.spread(features_of, signature)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 images [N,H,W,C], RGB or grey -> float32 [N,2048]; grey is repeated.

        Raises:
            ValueError: another type or number of channels.
        """
        pooled = self._run(tf.constant(rgb_of_files(images), tf.float32)).numpy()
        return pooled.reshape(len(images), NUM_FEATURES)

    @property
    def has_classifier(self) -> bool:
        """Whether the file goes on behind the features."""
        return self._classifier is not None

    def classify(self, features: np.ndarray) -> np.ndarray:
        """Features [N,2048] -> logits of the graph's own classifier, float32 [N,K].

        Raises:
            UserError: the file ends at the features.
        """
        if self._classifier is None:
            raise UserError(
                f"{self.path} holds no classifier behind {OUTPUT}, which is<n>k needs; "
                f"get the whole graph from {URL}"
            )
        weights, biases = self._classifier
        return features @ weights + biases

    def _try(self) -> None:
        """Computes the features of two images, which shows every misfit at once."""
        try:
            _check_harmless(self.path, self._features_of.get_concrete_function())
            pooled = self._features_of(np.zeros([2, 8, 8, 3], np.float32))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:200]
            raise _misfit(self.path, f"it cannot be run ({reason})") from error
        if pooled.dtype != tf.float32 or tf.size(pooled) != 2 * NUM_FEATURES:
            raise _misfit(
                self.path,
                f"{OUTPUT} is {pooled.dtype.name} {pooled.shape} for 2 images, not float32 "
                f"[2,1,1,{NUM_FEATURES}]",
            )


def check_inception(
    names: Sequence[str],
    inception: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    devices: Devices | None = None,
) -> InceptionExtractor | None:
    """Finds, loads and tries the Inception graph, if one of the metrics needs it.

    Args:
        names: metrics.
        inception: what `--inception` says: path or URL of the .pb, .tgz or published .pkl. Without
            it the environment variable GAN_FINGERPRINTS_INCEPTION counts, then the cache folder
            (any of the file names), and at last it is downloaded into that folder.
        cache_dir: by default that of all downloads.
        devices: see `InceptionExtractor`.

    Returns:
        The network, or None if no metric needs it.

    Raises:
        UserError: it cannot be had, or the file is another one.
    """
    wanting = needs_inception(names)
    if not wanting:
        return None
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    for source, name in (("--inception", inception), (VARIABLE, os.environ.get(VARIABLE))):
        if name:
            try:
                path = open_url_or_path(name, folder)
            except UserError as error:
                raise UserError(f"{source}={name}: {error}; {_cure(wanting, folder)}") from error
            return InceptionExtractor(path, devices)
    if (kept := cached_inception(folder)) is not None:
        return InceptionExtractor(kept, devices)
    try:
        return InceptionExtractor(open_url_or_path(URL, folder), devices)
    except UserError as error:
        reason = str(error).partition(";")[0]
        raise UserError(f"{reason}; {_cure(wanting, folder)}") from error


def cached_inception(cache_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The graph's file in the cache folder, under any of its names; None if it is not there."""
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    known = (folder / MEMBER, folder / URL.rpartition("/")[2], cached_path(URL, folder))
    published = sorted(folder.glob(f"*{PUBLISHED}"))
    return next((path for path in (*known, *published) if path.is_file()), None)


def _cure(wanting: Sequence[str], folder: Path) -> str:
    return (
        f"{', '.join(wanting)} needs the Inception graph: get {URL} and name it with "
        f"--inception=FILE or ${VARIABLE}, or put it into {folder}; "
        f"these need none: {', '.join(forms_without_inception())}"
    )


def _misfit(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not the 2015-12-05 Inception graph: {reason}; get it from {URL}")


def _read(path: Path) -> bytes:
    """The bytes of the .pb file, taken out of the .tgz or the pickle if that is given."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
            if start[:1] == PICKLE:
                return _unpickle(path)
            if start != b"\x1f\x8b":
                if path.stat().st_size > MAX_BYTES:
                    raise _misfit(path, "it is too large")
                file.seek(0)
                return file.read()
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if Path(member.name).name == MEMBER and member.isfile():
                    if member.size > MAX_BYTES:
                        raise _misfit(path, "it is too large")
                    content = archive.extractfile(member)
                    assert content is not None
                    return content.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"cannot read {path}: {error}; get it again from {URL}") from error
    raise _misfit(path, f"the archive holds no {MEMBER}")


def _unpickle(path: Path) -> bytes:
    try:
        return read_frozen_graph(path)
    except UserError as error:
        raise UserError(f"{error}; take the frozen graph itself, from {URL}") from error


def _parse(path: Path, data: bytes) -> tf.compat.v1.GraphDef:
    """The part of the graph between `ExpandDims` (left out) and `pool_3`, made fit for today."""
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which has no name that is stable
        raise _misfit(path, "it is not a GraphDef file") from error
    nodes = {node.name: node for node in graph.node}
    missing = [name for name in (INPUT, RESIZE, OUTPUT) if name not in nodes]
    if missing:
        raise _misfit(path, f"it has no node {' and '.join(missing)}")

    result = tf.compat.v1.GraphDef()
    result.versions.producer = tf.version.GRAPH_DEF_VERSION
    waiting, seen = [OUTPUT], {INPUT, OUTPUT}
    while waiting:
        node = nodes[waiting.pop()]
        if node.op == "BatchNormWithGlobalNormalization":
            _append_batch_norm(result, node)
        else:
            kept = result.node.add()
            kept.CopyFrom(node)
            # Hints of the exporter, among them shapes for one image at a time.
            for name in [name for name in kept.attr if name.startswith("_")]:
                del kept.attr[name]
        for name in map(_node_name, node.input):
            if name not in nodes:
                raise _misfit(path, f"node {node.name} has no input {name}")
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    if RESIZE not in seen:
        raise _misfit(path, f"{OUTPUT} does not depend on {RESIZE}")
    return result


def _classifier(data: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights [2048,K] and biases [K] (or [1], of 0) of the layer behind the features, if any."""
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(data)
    constants = {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph.node
        if node.op == "Const" and node.name in (WEIGHTS, BIASES)
    }
    weights, biases = constants.get(WEIGHTS), constants.get(BIASES, np.zeros(1, np.float32))
    if weights is None or weights.ndim != 2 or len(weights) != NUM_FEATURES:
        return None
    return weights.astype(np.float32), biases.reshape(-1).astype(np.float32)


def _node_name(reference: str) -> str:
    """`^name` and `name:0` -> `name`."""
    return reference.removeprefix("^").partition(":")[0]


def _append_batch_norm(graph: tf.compat.v1.GraphDef, node: tf.compat.v1.NodeDef) -> None:
    """Appends the meaning of `node`, an operation that TensorFlow 2 refuses to run.

    BatchNormWithGlobalNormalization(x, mean, variance, beta, gamma) is
    (x - mean) / sqrt(variance + epsilon) * gamma + beta; without gamma if not
    `scale_after_normalization`.
    """
    x, mean, variance, beta, gamma = node.input[:5]
    control = node.input[5:]

    def add(op: str, name: str, inputs: Sequence[str]) -> str:
        part = graph.node.add(op=op, name=name, input=inputs)
        part.attr["T"].type = tf.float32.as_datatype_enum
        return name

    prefix = f"{node.name}/as_arithmetic"
    epsilon = graph.node.add(op="Const", name=f"{prefix}/epsilon")
    epsilon.attr["dtype"].type = tf.float32.as_datatype_enum
    epsilon.attr["value"].tensor.CopyFrom(
        tf.make_tensor_proto(node.attr["variance_epsilon"].f, tf.float32)
    )
    shifted = add("AddV2", f"{prefix}/shifted", [variance, epsilon.name])
    scale = add("Rsqrt", f"{prefix}/rsqrt", [shifted])
    if node.attr["scale_after_normalization"].b:
        scale = add("Mul", f"{prefix}/scale", [scale, gamma])
    offset = add("Mul", f"{prefix}/mean", [mean, scale])
    offset = add("Sub", f"{prefix}/offset", [beta, offset])
    scaled = add("Mul", f"{prefix}/scaled", [x, scale])
    add("AddV2", node.name, [scaled, offset, *control])


def _check_resize(path: Path, graph: tf.compat.v1.GraphDef) -> None:
    """Refuses a resize other than TensorFlow 1's, which would change every figure a little."""
    node = next(node for node in graph.node if node.name == RESIZE)
    if node.op != "ResizeBilinear":
        raise _misfit(path, f"node {RESIZE} is {node.op}")
    for option in ("align_corners", "half_pixel_centers"):
        if node.attr[option].b:
            raise _misfit(path, f"node {RESIZE} has {option}")


def _check_harmless(path: Path, function: tf.types.experimental.ConcreteFunction) -> None:
    """Refuses operations that reach beyond the graph: files, Python, state."""
    for operation in function.graph.get_operations():
        # The real graph checks its numbers, which counts as a state.
        stateful = operation.op_def.is_stateful and operation.type != "CheckNumerics"
        if stateful or operation.type in ("ReadFile", "MatchingFiles"):
            raise _misfit(path, f"operation {operation.type} does not belong there")
