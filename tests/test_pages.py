"""The pages for developers speak of files, modules and targets that there are."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/README.md"),
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]
PACKAGES = "dnnlib|training|metrics|fingerprints|evaluation|gan_fingerprints|tools"


def text_of(page: str) -> str:
    """A page; of the list of changes what there is now, not the modules' old names."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "CHANGELOG.md":
        return re.sub(r"^\| [^|]* \|", "|", text, flags=re.MULTILINE)
    return text


def exists(name: str) -> bool:
    """Whether a dotted name is a module or package, or a name that a module has."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module, last = path.parent.with_suffix(".py"), path.name
    pattern = rf"^(?:def |class |){last}\b"
    return module.is_file() and bool(re.search(pattern, module.read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_modules_exist(page: str) -> None:
    names = re.findall(rf"`((?:{PACKAGES})(?:\.\w+)+)`", text_of(page))
    files = (".jsonl", ".db", ".py")  # fingerprints.db is no module
    assert not [name for name in names if not name.endswith(files) and not exists(name)]


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page: str) -> None:
    text = text_of(page)
    paths = re.findall(rf"`((?:{PACKAGES}|tests|benchmarks|docs|requirements)/[\w./]*)`", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing += [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", Path(ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z-]+)", text_of(page), re.MULTILINE)
    assert set(named) <= targets


def test_what_is_missing_is_found() -> None:
    assert exists("training.loss")
    assert exists("training.loss.TERMS")
    assert exists("fingerprints.registry")
    assert not exists("training.snapshot")
    assert not exists("training.loss.NOTHING")
