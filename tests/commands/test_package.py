"""`pip install .`: the wheel holds what is imported, and what is compiled on the user's machine."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gan_fingerprints
from tests.support.paths import ROOT

PACKAGES = (
    *("dnnlib", "training", "metrics", "fingerprints", "evaluation"),
    *("gan_fingerprints", "service"),
)
PAGE = ROOT / "service" / "page"  # with what `make browser-decoder` puts there, if it ran


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building writes beside the sources."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    names = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "requirements.txt")
    for name in (*names, "requirements", *PACKAGES):
        (source / name).symlink_to(ROOT / name)
    flags = ("--no-build-isolation", "--no-deps", "--quiet", f"--wheel-dir={folder}")
    pip("wheel", *flags, str(source))
    (found,) = folder.glob("*.whl")
    return found


def pip(*arguments: str) -> None:
    """Runs pip; nothing is looked up elsewhere."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_content(wheel: Path) -> None:
    version = gan_fingerprints.__version__
    assert wheel.name == f"gan_fingerprints-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"gan_fingerprints-{version}.dist-info/entry_points.txt")
        metadata = archive.read(f"gan_fingerprints-{version}.dist-info/METADATA").decode()
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".h", ".cc", ".cu", ".css", ".npz")
        or path.name == "py.typed"
        or (path.is_file() and path.is_relative_to(PAGE))
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert b"gan-fingerprints = gan_fingerprints.main:console" in entry_points
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert f"Requires-Dist: {line}\n" in metadata


@pytest.mark.slow  # an installation, and a compilation of the operations
def test_installed(wheel: Path, tmp_path: Path) -> None:
    """Far from the checkout, with nothing but the wheel and what it requires."""
    target = tmp_path / "site"
    pip("install", "--no-deps", "--quiet", f"--target={target}", str(wheel))
    program = target / "bin" / "gan-fingerprints"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(target), "GAN_FINGERPRINTS_CACHE": str(tmp_path / "cache")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "  train " in run(program, "--help")
    assert run(program, "--version") == f"gan-fingerprints {gan_fingerprints.__version__}\n"
    assert "128 bits" in run(program, "plan", "--bits=128", "--licensees=10")
    where = run("-c", "import training.networks.generator as g; print(g.__file__)")
    assert where.startswith(str(target))
    run("-m", "dnnlib.tflib.custom_ops", "build")
    assert list((tmp_path / "cache").rglob("*.so"))
    network = ROOT / "models" / "portraits-32.pkl"
    made = run(
        program, "generate", f"--network={network}", "--seeds=0-3", "--ops=compiled",
        f"--result-dir={tmp_path / 'results'}",
    ).strip()  # fmt: skip
    decoded = run(program, "decode", f"--network={network}", made, "--ops=compiled")
    assert "seed0003.png" in decoded
