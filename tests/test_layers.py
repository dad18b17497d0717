"""The rules of the code's layout: imports point down, and a few things stand in one place only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dnnlib", "training", "fingerprints", "metrics")

# What is not named has the layer of its parent; docs/architecture.md says what the layers are.
LAYERS = {
    "dnnlib": 0,
    "training": 4,
    "training.networks": 1,
    "training.dataset": 1,
    "training.dataset_writer": 1,
    "training.devices": 1,
    "training.image_folder": 1,
    "training.legacy": 1,
    "training.records": 1,
    "training.snapshot": 1,
    "training.workers": 1,
    "training.decoding": 1,
    "training.export": 1,
    "fingerprints": 2,
    "fingerprints.commands": 5,
    "metrics": 3,
    "tools": 5,
}
COMMAND_LAYER = 5
# Metrics are given functions and a data set; they open no model files.
FORBIDDEN = {
    "metrics": ("pickle", "dnnlib.safe_pickle", "training.snapshot"),
}


def python_files() -> list[Path]:
    """The product's files: packages, commands, tools."""
    folders = [p for name in (*PACKAGES, "tools") for p in sorted((ROOT / name).rglob("*.py"))]
    return sorted(ROOT.glob("*.py")) + folders


def module_name(path: Path) -> str:
    """training/networks/__init__.py -> training.networks."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in python_files()}


def layer(module: str) -> int | None:
    """Number of a module's layer; None for what is not ours."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in LAYERS:
            return LAYERS[name]
    return COMMAND_LAYER if parts[0] in MODULES else None


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import; write the full name"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def import_violations(module: str, source: str) -> list[str]:
    """What `module` may not import; one text each."""
    own = layer(module)
    assert own is not None
    found = []
    for name in imported(ast.parse(source)):
        other = layer(name)
        if other is not None and other > own:
            found.append(f"{module} (layer {own}) imports {name} (layer {other})")
        if name in FORBIDDEN.get(module.split(".")[0], ()):
            found.append(f"{module} imports {name}")
    return found


def call_violations(module: str, source: str) -> list[str]:
    """Calls and attributes that only certain modules may use; one text each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        if text in ("pickle.load", "pickle.loads") or (
            text == "pickle.Unpickler" and module != "dnnlib.safe_pickle"
        ):
            found.append(f"{module} uses {text}: read through dnnlib.safe_pickle")
        if text.endswith("compat.v1") and module != "metrics.feature_extractors":
            found.append(f"{module} uses {text}: only the reader of frozen graphs may")
        if text in ("eval", "exec", "__import__", "importlib.import_module"):
            found.append(f"{module} uses {text}: classes come from a table")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            is_false = isinstance(node.value, ast.Constant) and node.value.value is False
            if not is_false:
                found.append(f"{module} sets allow_pickle")
    return found


def test_imports_point_down() -> None:
    found = [v for m, path in MODULES.items() for v in import_violations(m, path.read_text())]
    assert not found, "\n".join(found)


def test_dangerous_calls_stand_in_one_place() -> None:
    found = [v for m, path in MODULES.items() for v in call_violations(m, path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dnnlib.format", "from training.networks import layers"),
        ("training.snapshot", "from training import loss"),
        ("training.networks.table", "import fingerprints.bits"),
        ("fingerprints.bits", "def f():\n    from metrics.registry import help_text"),
        ("metrics.registry", "import training.training_loop"),
        ("metrics.registry", "from training import steps"),
        ("metrics.evaluate", "from training.snapshot import load_networks"),
        ("metrics.evaluate", "import pickle"),
        ("training.loss", "import run_metrics"),
    ],
)
def test_planted_import_is_found(module: str, source: str) -> None:
    assert len(import_violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("training.snapshot", "pickle.load(file)"),
        ("training.snapshot", "class Reader(pickle.Unpickler): pass"),
        ("dnnlib.safe_pickle", "pickle.loads(text)"),
        ("training.adam", "tf.compat.v1.train.AdamOptimizer()"),
        ("training.networks.table", "eval(class_name)"),
        ("training.networks.table", "importlib.import_module(name)"),
        ("metrics.evaluate", "np.load(path, allow_pickle=True)"),
    ],
)
def test_planted_call_is_found(module: str, source: str) -> None:
    assert len(call_violations(module, source)) == 1


def test_layer_table_names_what_exists() -> None:
    missing = [name for name in LAYERS if name not in MODULES]
    assert not missing, f"remove from LAYERS: {missing}"


def test_fingerprints_need_no_tensorflow() -> None:
    modules = [
        name
        for name in MODULES
        if name.startswith("fingerprints.") and name != "fingerprints.baking"
    ]
    assert "fingerprints.bits" in modules
    # An entry of None makes an import fail, so this catches indirect imports as well.
    script = "import sys; sys.modules['tensorflow'] = None\n" + "".join(
        f"import {name}\n" for name in modules
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


def test_every_file_has_a_docstring() -> None:
    others = [p for name in ("tests", "benchmarks") for p in sorted((ROOT / name).rglob("*.py"))]
    missing = []
    for path in python_files() + others:
        source = path.read_text()
        if source.strip() and not ast.get_docstring(ast.parse(source)):
            missing.append(str(path.relative_to(ROOT)))
    assert not missing, f"no module docstring: {missing}"
