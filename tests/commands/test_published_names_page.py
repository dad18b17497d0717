"""docs/published-names.md: every published name has lines of ours, and they run."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import made_up_inception, published_loader
from tests.support.paths import REFERENCE, ROOT

PAGE = ROOT / "docs" / "published-names.md"
NAMES = (
    *("tflib.init_tf", "pickle.load", "misc.load_pkl", "Gs.run", "tflib.convert_images_to_uint8"),
    *("misc.create_image_grid", "misc.save_image_grid", "TFRecordDataset", "get_minibatch_np"),
)


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_part_is_of_a_published_name_and_has_code() -> None:
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    for part in parts:
        assert part.startswith("`"), part
        assert blocks(part), part
    for name in NAMES:
        assert any(name in part.partition("```")[0] for part in parts), name


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(REFERENCE / "snapshot_skip_resnet_32.pkl", "network.pkl")
    shutil.copytree(REFERENCE / "tfrecords" / "emoji12", "datasets/emoji")
    made_up_inception.write_pickle(
        "inception_v3_features.pkl", variables=[("graph_def", made_up_inception.graph_bytes())]
    )
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks(PAGE.read_text())):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert capsys.readouterr().out.splitlines() == [
        "float32 (6, 3, 32, 32)",
        "uint8 (6, 32, 32, 3)",
        "12 (5, 32, 32, 3)",
        "uint8 (4, 3, 32, 32)",
    ]
    generated = np.load(REFERENCE / "generated_skip_resnet_32.npz")
    assert generated["seeds"].tolist() == [0, 1, 2, 3]
    assert np.abs(names["by_seed"].astype(int) - generated["images"][1:]).max() <= 1
    np.testing.assert_array_equal(names["alone"], names["pictures"])
    assert names["features"].shape == (6, 2048)
    with Image.open("grid.png") as grid:
        np.testing.assert_array_equal(np.asarray(grid), names["grid"])
    with Image.open("seed0000.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), names["pictures"][0])
    assert names["of_floats"].shape == names["logits"].shape == (6, 16)
    assert names["latents_found"].shape == (6, 32)
    sources = sorted((REFERENCE / "tfrecords" / "emoji12_png").glob("*.png"))
    for source, image in zip(sources, names["in_order"], strict=False):
        with Image.open(source) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image)
    E, G, D, Gs = published_loader.load(Path("for-tf1.pkl").read_bytes())
    assert [network.name for network in (E, G, D, Gs)] == ["E", "G", "D", "Gs"]
