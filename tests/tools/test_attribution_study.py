"""The study of detection and attribution runs as a whole and counts rightly."""

import json
import zipfile
from collections import Counter

import numpy as np
from PIL import Image

from evaluation.subject.foreign import split_foreign
from fingerprints.registry import drawing
from tests.support.adopted import make_adopted
from tests.support.paths import REFERENCE, ROOT
from tools import attribution_study
from tools.study.pictures import make_pictures
from tools.study.tally import Tally, foreign_table, own_table
from training.models.adopted_baking import AdoptedBaker
from training.models.baking import write_instance
from training.models.functions import inputs_by_seed, make_generator
from training.models.snapshot import load_networks


def test_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    # The same fingerprints every time: of three, two may lie so close that one is no verdict.
    monkeypatch.setattr(drawing.secrets, "token_bytes", np.random.default_rng(1).bytes)
    with zipfile.ZipFile(ROOT / "datasets" / "noto-emoji-32.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][:90]
        for number, name in enumerate(names):
            path = tmp_path / "foreign" / ("a" if number % 3 else "b") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    attribution_study.main([
        f"--network={ROOT / 'models' / 'portraits-32.pkl'}", "--licensees=3", "--images=2",
        "--latents=10", f"--foreign={tmp_path / 'foreign'}", f"--out={tmp_path / 'out'}",
    ])  # fmt: skip
    kinds = json.loads((tmp_path / "out" / "study.json").read_text())
    assert kinds["PNG"] == {"right": 6}
    assert kinds["latents"] == {"right": 10}
    assert kinds["none"] == {"right": 6}
    assert all("wrong" not in found for found in kinds.values())
    assert sum(kinds["mirrored"].values()) == 6
    assert kinds["mirrored"].get("right", 0) < 6
    assert sum(kinds["2 colluders"].values()) == 10
    assert "3 colluders" not in kinds  # there are two beside the first
    assert (kinds["a"], kinds["b"]) == ({"not-ours": 30}, {"not-ours": 15})
    assert Image.open(tmp_path / "out" / "matches.png").size == (720, 288)
    text = (tmp_path / "out" / "study.md").read_text()
    assert text in capsys.readouterr().out
    assert "calibrated with 45 images" in text


def test_instances_in_the_layout_that_came_in_make_pictures(tmp_path):
    """The weights of each are exchanged in one network; each has a class of its own."""
    parent = make_adopted(REFERENCE / "plain_resnet_32_labels_torch.pkl", 8)
    baker = AdoptedBaker(parent, "parent.pkl", spread_seed=b"seed")
    (tmp_path / "instances").mkdir()
    names = ["a", "b"]
    for name, bits in zip(names, np.eye(8, dtype=np.uint8), strict=False):
        write_instance(tmp_path / "instances" / f"{name}.pkl", baker.bake(bits))
    files = make_pictures(tmp_path, names, 2)["PNG"]
    assert [path.name[:8] for path in files] == ["seed0000", "seed0001", "seed0002", "seed0003"]
    second = load_networks(tmp_path / "instances" / "b.pkl").generator
    (inputs,) = inputs_by_seed(second, [2, 3], class_index=1, minibatch=2)
    expected = make_generator(second)(inputs)
    for path, picture in zip(files[2:], expected, strict=True):
        with Image.open(path) as found:
            np.testing.assert_allclose(np.asarray(found).astype(int), picture, atol=1)


def test_crops_of_one_picture_stay_together(tmp_path):
    for number in range(4):
        for crop in range(3):
            path = tmp_path / "photos" / f"photo{number}-crop{crop:02d}.png"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    calibrating, judged = split_foreign(tmp_path)
    names = [{path.name[:6] for path in paths} for paths in (calibrating, judged["photos"])]
    assert names == [{"photo1", "photo3"}, {"photo0", "photo2"}]
    assert len(calibrating) == len(judged["photos"]) == 6


def test_tables_count_pictures_not_crops():
    sources = {f"photo{number}" for number in range(30)}
    clean = Tally(120, sources, Counter({"not-ours": 120}), matches=Counter([70, 80]))
    bad = Tally(10, {"x"}, Counter({"not-ours": 9, "wrong": 1}), matches=Counter([99]))
    rows = foreign_table({"clean": clean, "bad": bad})
    assert rows[2] == "| clean | 120 | 30 | 80 | 0 | 9.5e-02 |"
    assert rows[3] == "| bad | 10 | 1 | 99 | 1 | does not apply |"
    assert rows[4] == "| all | 130 | 31 | 99 | 1 | does not apply |"
    own = own_table({"PNG": Tally(4, set(), Counter(right=3, wrong=1), 60, 64)})
    assert own[2] == "| PNG | 4 | 0.9375 | 3 (75.00%) | 0 | 0 | **1** |"
