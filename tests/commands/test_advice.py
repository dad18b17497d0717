"""What messages tell people to do exists: flags, commands and scripts."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_fingerprints.commands import dataset, evaluate, fingerprints, generate, train
from gan_fingerprints.main import COMMANDS, LICENSING
from tests.support.paths import ROOT

PACKAGES = (
    "dnnlib", "fingerprints", "training", "metrics", "gan_fingerprints", "tools",
)  # fmt: skip
# Of other programs, which a message may name, and of `python -m dnnlib.tflib.custom_ops`.
OTHERS = {"--tags", "--cuda", "--arch", "--no-large", "--silent"}


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


def all_flags() -> set[str]:
    builders = (dataset, evaluate, fingerprints, generate, train)
    found = {"--help", "--version"} | OTHERS
    for module in builders:
        for parser in parsers(module.build_parser("x")):
            found |= {flag for action in parser._actions for flag in action.option_strings}
    for path in (ROOT / "tools").rglob("*.py"):
        found |= set(re.findall(r"\badd\w*\(\s*\"(--[a-z-]+)", path.read_text()))
    return found


def texts(path: Path) -> Iterator[str]:
    """String literals of a module, f-strings with {} where a value goes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            yield "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_exist(path: Path) -> None:
    known = all_flags()
    named = {
        flag
        for text in texts(path)
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9A-Z_-]*[a-z0-9A-Z]", text)
        if "pip install" not in text and not flag.startswith("--tf_xla_")
    }
    assert named <= known, f"{path.name} names flags that there are not"


def test_commands_and_scripts_exist() -> None:
    commands = {*COMMANDS, *LICENSING, "generate-images"}
    for parser in parsers(dataset.build_parser("x")):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                commands |= set(action.choices)
    for path in SOURCES:
        for text in texts(path):
            for script in re.findall(r"\b(?:run_\w+|dataset_tool)\.py", text):
                assert (ROOT / script).is_file(), f"{path}: {script}"
            for command in re.findall(r"run: (?:run_fingerprints.py )?([a-z-]+)$", text):
                assert command in commands, f"{path}: {command}"
            for file in re.findall(r"pip install -r (\S+\.txt)", text):
                assert (ROOT / file).is_file(), f"{path}: {file}"
