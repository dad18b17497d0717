"""The formats of an instance: what writes a baked generator as a file of its own."""

from collections.abc import Sequence
from pathlib import Path

from training.models.baking import write_instance
from training.models.export import OnnxExporter, SavedModelExporter, import_onnx
from training.models.legacy import NetworkData


class PklWriter:
    """A snapshot that holds nothing but the instance."""

    ending = ".pkl"

    def write(self, data: NetworkData, path: Path) -> None:
        """Writes a file."""
        write_instance(path, data)


class SavedModelWriter:
    """TensorFlow's SavedModel; the graph is traced once, for the first instance."""

    ending = ".savedmodel"

    def __init__(self) -> None:
        self._exporter: SavedModelExporter | None = None

    def write(self, data: NetworkData, path: Path) -> None:
        """Writes a folder; one that is there goes when the new one is complete."""
        self._exporter = self._exporter or SavedModelExporter(data)
        self._exporter.write(data, path, replace=True)


class OnnxWriter:
    """ONNX; the graph is converted once, for the first instance.

    Raises:
        UserError: the packages that it needs are missing.
    """

    ending = ".onnx"

    def __init__(self) -> None:
        import_onnx()  # what is missing shall be said before anything is reserved
        self._exporter: OnnxExporter | None = None

    def write(self, data: NetworkData, path: Path) -> None:
        """Writes a file."""
        self._exporter = self._exporter or OnnxExporter(data)
        self._exporter.write(data, path)


Writer = PklWriter | SavedModelWriter | OnnxWriter
WRITERS: dict[str, type[Writer]] = {
    "pkl": PklWriter,
    "savedmodel": SavedModelWriter,
    "onnx": OnnxWriter,
}


def make_writers(formats: Sequence[str]) -> dict[str, Writer]:
    """Writers of these formats, names of `WRITERS`.

    Raises:
        UserError: a package that a format needs is missing.
    """
    return {name: WRITERS[name]() for name in formats}
