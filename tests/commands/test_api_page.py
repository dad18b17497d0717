"""docs/api.md: its blocks run one after the other, as a reader would run them."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from fingerprints.registry import drawing
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "api.md"


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^## (.*)", PAGE.read_text(), re.MULTILINE)
    assert titles == ["Load a network", "Generate", "Decode", "Issue", "Judge"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    # The same fingerprints every time.
    monkeypatch.setattr(drawing.secrets, "token_bytes", np.random.default_rng(1).bytes)
    shutil.copy(ROOT / "models" / "portraits-32.pkl", "model.pkl")
    names: dict[str, object] = {}
    printed = []
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
        printed.append(capsys.readouterr().out)
    loaded, generated, decoded, issued, instance, judged = printed
    assert loaded == "32 32\n"
    assert generated == instance == ""
    assert len(decoded.strip()) == 8
    assert issued.splitlines() == [
        f"{name}.pkl {name}.pkl.manifest.json" for name in ("acme", "globex")
    ]
    assert [line.split()[:2] for line in judged.splitlines()] == [["licensee", "acme"]] * 4
    images = names["images"]
    assert isinstance(images, np.ndarray)
    assert images.shape == (4, 32, 32, 3)
