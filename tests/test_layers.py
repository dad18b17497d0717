"""The rules of the code's layout: imports point down, and a few things stand in one place only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = (
    *("dnnlib", "training", "fingerprints", "metrics", "evaluation"),
    *("gan_fingerprints", "service", "tools"),
)

# A folder has one layer; docs/architecture.md says what the layers are.
LAYERS = {
    "dnnlib": 0,
    "training/networks": 1,
    "training/data": 1,
    "training/models": 1,
    "fingerprints": 2,
    "metrics": 3,
    "training": 4,
    "evaluation": 4,
    "gan_fingerprints": 5,
    "service": 5,
    "tools": 5,
}
COMMAND_LAYER = 5  # of the scripts at the top
# Metrics are given functions and a data set; they open no model files.
IMPORTERS = (
    "dnnlib.cli",
    "dnnlib.optional",
    "dnnlib.tflib.start",
)  # modules by name, all of them written in the code
FORBIDDEN = {
    "metrics": ("pickle", "dnnlib.safe_pickle", "training.models.snapshot"),
}


def python_files() -> list[Path]:
    """The product's files: packages, commands, tools."""
    folders = [p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))]
    return sorted(ROOT.glob("*.py")) + folders


def module_name(path: Path) -> str:
    """training/networks/__init__.py -> training.networks."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in python_files()}
MODULES = {module: path.read_text(encoding="utf-8") for module, path in FILES.items()}


def folder(module: str) -> str:
    """The folder that a module lies in; "" for the scripts at the top."""
    path = FILES[module].parent.relative_to(ROOT)
    return "" if path == Path() else path.as_posix()


def layer(module: str) -> int | None:
    """Number of a module's layer; None for what is not ours."""
    known = module
    while known and known not in FILES:
        known = known.rpartition(".")[0]
    if not known:
        return None
    place = folder(known)
    while place and place not in LAYERS:
        place = place.rpartition("/")[0]
    return LAYERS[place] if place else COMMAND_LAYER


def deferred(node: ast.AST) -> str | None:
    """The module that `cli.deferred("package.module:function")` imports later."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("deferred")):
        return None
    target = node.args[0]
    assert isinstance(target, ast.Constant), "deferred() takes a text"
    module, _, name = target.value.partition(":")
    assert module in FILES, target.value
    assert name in {n.name for n in ast.parse(MODULES[module]).body if hasattr(n, "name")}, name
    return str(module)


def imported(tree: ast.Module, *, late: bool = True) -> Iterator[str]:
    """Every module that a file imports, inside functions and, if `late`, deferred ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import; write the full name"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else str(node.module)
        elif late and (later := deferred(node)):
            yield later


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
        by_name = text == "importlib.import_module" and module not in IMPORTERS
        if by_name or text in ("eval", "exec", "__import__"):
            found.append(f"{module} uses {text}: classes come from a table")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            is_false = isinstance(node.value, ast.Constant) and node.value.value is False
            if not is_false:
                found.append(f"{module} sets allow_pickle")
    return found


def test_imports_point_down() -> None:
    found = [v for module, source in MODULES.items() for v in import_violations(module, source)]
    assert not found, "\n".join(found)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Some way that leads back to where it began; empty if there is none."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node not in done:
            done.add(node)
            for other in sorted(arrows.get(node, ())):
                if found := walk(other, [*way, node]):
                    return found
        return []

    return next((found for node in sorted(arrows) if (found := walk(node, []))), [])


def arrows_of_modules() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports."""
    return {
        module: {name for name in imported(ast.parse(source)) if name in FILES and name != module}
        for module, source in MODULES.items()
    }


def test_no_module_imports_itself_in_the_end() -> None:
    assert not circle(arrows_of_modules())


def test_no_folder_imports_itself_in_the_end() -> None:
    """Two rooms that need each other are one room."""
    folders: dict[str, set[str]] = {}
    for module, names in arrows_of_modules().items():
        others = {folder(name) for name in names} - {folder(module)}
        folders.setdefault(folder(module), set()).update(others)
    assert not circle(folders)


def test_a_planted_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def imports_inside(source: str) -> list[str]:
    """Import statements within functions, as text."""
    return [
        ast.unparse(node)
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def test_imports_stand_at_the_top() -> None:
    """What is slow to load comes through `cli.deferred`, optional packages through `optional`."""
    found = [f"{m}: {text}" for m, source in MODULES.items() for text in imports_inside(source)]
    assert not found, "\n".join(found)


def test_a_planted_import_inside_a_function_is_found() -> None:
    assert imports_inside("def f():\n    import os\n") == ["import os"]
    assert imports_inside("import os\n") == []


def test_dangerous_calls_stand_in_one_place() -> None:
    found = [v for module, source in MODULES.items() for v in call_violations(module, source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dnnlib.format", "from training.networks import layers"),
        ("training.models.snapshot", "from training import loss"),
        ("training.networks.table", "import fingerprints.bits"),
        ("fingerprints.bits", "def f():\n    from metrics.table import help_text"),
        ("fingerprints.bits", 'f = cli.deferred("metrics.table:help_text")'),
        ("metrics.table", "import training.training_loop"),
        ("metrics.table", "from training import steps"),
        ("metrics.evaluate", "from training.models.snapshot import load_networks"),
        ("metrics.evaluate", "import pickle"),
        ("training.loss", "import run_metrics"),
    ],
)
def test_planted_import_is_found(module: str, source: str) -> None:
    assert len(import_violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("training.models.snapshot", "pickle.load(file)"),
        ("training.models.snapshot", "class Reader(pickle.Unpickler): pass"),
        ("dnnlib.safe_pickle", "pickle.loads(text)"),
        ("training.adam", "tf.compat.v1.train.AdamOptimizer()"),
        ("training.networks.table", "eval(class_name)"),
        ("training.networks.table", "importlib.import_module(name)"),
        ("metrics.evaluate", "np.load(path, allow_pickle=True)"),
    ],
)
def test_planted_call_is_found(module: str, source: str) -> None:
    assert len(call_violations(module, source)) == 1


def test_every_folder_has_a_layer() -> None:
    missing = [name for name in LAYERS if not (ROOT / name / "__init__.py").is_file()]
    assert not missing, f"remove from LAYERS: {missing}"
    assert all(layer(module) is not None for module in MODULES)


def test_fingerprints_need_no_tensorflow() -> None:
    modules = [name for name in MODULES if name.split(".")[0] == "fingerprints"]
    assert "fingerprints.bits" in modules
    # An entry of None makes an import fail, so this catches indirect imports as well.
    script = "import sys; sys.modules['tensorflow'] = None\n" + "".join(
        f"import {name}\n" for name in modules
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


TESTS = sorted((ROOT / "tests").rglob("*.py"))
# Folders of tests, and what they are of; those below follow.
ROOMS = {"commands": "gan_fingerprints", "benchmarks": "benchmarks"} | {
    name: name
    for name in ("dnnlib", "training", "metrics", "fingerprints", "evaluation", "service", "tools")
}
NO_TESTS = {"support", "data"}  # what tests share


def test_no_test_file_imports_another() -> None:
    """What several need is in tests/support."""
    found = []
    for path in TESTS:
        for name in imported(ast.parse(path.read_text()), late=False):
            if name.startswith("tests.") and not name.startswith("tests.support"):
                found.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not found, "\n".join(found)


def test_tests_lie_where_what_they_test_lies() -> None:
    misplaced = []
    for path in TESTS:
        place = path.relative_to(ROOT / "tests").parent
        if place.parts[:1] and place.parts[0] in NO_TESTS:
            continue
        room, *below = place.parts or (".",)
        if place.parts and not Path(ROOT, ROOMS.get(room, "nowhere"), *below).is_dir():
            misplaced.append(str(path.relative_to(ROOT)))
        if path.name not in ("__init__.py", "conftest.py", "check_reference.py"):
            misplaced += [str(path.relative_to(ROOT))] * (not path.name.startswith("test_"))
    assert not misplaced


def test_every_file_has_a_docstring() -> None:
    others = [p for name in ("tests", "benchmarks") for p in sorted((ROOT / name).rglob("*.py"))]
    missing = []
    for path in python_files() + others:
        source = path.read_text()
        if source.strip() and not ast.get_docstring(ast.parse(source)):
            missing.append(str(path.relative_to(ROOT)))
    assert not missing, f"no module docstring: {missing}"
