"""Robustness: what an edit takes away is counted, and names are given at the stated rate only."""

import json

import numpy as np
import pytest
from PIL import Image

from evaluation.perturbations.wild import OFF_GRID, WILD
from evaluation.studies import wild
from evaluation.studies.wild import (
    SEVERAL,
    UNEDITED,
    blank_called_ours,
    called_ours,
    edited,
    foreign_table,
    make_ways,
    measure,
    table,
)
from evaluation.subject.blank import blank_pictures
from evaluation.subject.readings import decode_views, numbers_named
from tools.robustness import build_parser

RNG = np.random.default_rng(0)
REGISTERED = RNG.integers(0, 2, [40, 64]).astype(np.uint8)
BITS = REGISTERED[:6]


def paint(bits: np.ndarray) -> np.ndarray:
    """64 bits as blocks of 4x4 grey pixels, darker and brighter: uint8 [32,32,3]."""
    blocks = np.where(bits.reshape(8, 8), 180, 70).repeat(4, 0).repeat(4, 1)
    return np.repeat(blocks[:, :, None], 3, axis=2).astype(np.uint8)


IMAGES = np.stack([paint(bits) for bits in BITS])


def decode(images: np.ndarray) -> np.ndarray:
    grey = images.astype(float).mean(axis=3).reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    return grey.reshape(-1, 64) - 125


@pytest.fixture(scope="module")
def ways():
    return make_ways(REGISTERED, [None, None], "light")


@pytest.fixture(scope="module")
def rows(ways):
    decoders = [decode, lambda images: -decode(images)]  # the second one reads all bits wrongly
    return measure(IMAGES, BITS, decoders, ways, search="light", fpr=1e-6)


def test_ways_are_decisions_searches_and_decoders(ways) -> None:
    found = [(way.name, way.decoder, way.num_views) for way in ways]
    assert found == [
        ("bits", 0, 1),
        ("soft", 0, 1),
        ("soft, light", 0, 10),
        ("retuned, soft", 1, 1),
        ("retuned, soft, light", 1, 10),
    ]


def test_what_edits_take(rows) -> None:
    by_edit = {row.edit: row for row in rows}
    assert list(by_edit) == [UNEDITED, *WILD, SEVERAL, *OFF_GRID]
    for name in (UNEDITED, "JPEG, quality 75", "noise, deviation 0.1", "grey"):
        assert by_edit[name].bit_accuracy == (1.0, 0.0), name
        assert by_edit[name].named == (1.0, 1.0, 1.0, 0.0, 0.0), name
    assert by_edit["mirrored"].named == (0.0, 0.0, 1.0, 0.0, 0.0)
    assert by_edit["turned by 90 degrees"].named == (0.0, 0.0, 1.0, 0.0, 0.0)
    assert not any(any(row.wrong) for row in rows)


def test_wrong_names_are_counted(ways) -> None:
    """Pictures that carry each other's fingerprints."""
    rows = measure(IMAGES[::-1], BITS, [decode, decode], ways, search="light", fpr=1e-6)
    assert rows[0].wrong == (6,) * 5
    assert rows[0].named == (0.0,) * 5
    assert ", **6 wrong**" in "\n".join(table(rows, ways))


def test_edits_change_pictures_of_the_same_shape() -> None:
    found = dict(edited(IMAGES))
    assert all(pictures.shape == IMAGES.shape for pictures in found.values())
    assert all(pictures.dtype == np.uint8 for pictures in found.values())
    changed = {name for name, pictures in found.items() if not np.array_equal(pictures, IMAGES)}
    assert changed == found.keys() - {UNEDITED, "grey"}
    assert np.array_equal(found["mirrored"], IMAGES[:, :, ::-1])


def test_views_are_decoded_in_their_order() -> None:
    logits = decode_views(decode, IMAGES, "light")
    assert logits.shape == (6, 10, 64)
    assert np.array_equal(logits[:, 0], decode(IMAGES))
    assert np.array_equal(logits[:, 1], decode(IMAGES[:, :, ::-1]))


def test_foreign_pictures_are_counted_by_source(ways) -> None:
    noise = RNG.normal(size=[5, 10, 64])
    own = decode_views(decode, IMAGES, "light")
    found = called_ours({"noise": [noise, noise], "own": [own, own]}, ways, 1e-6)
    assert found == {"noise": (5, 0, 0, 0, 0, 0), "own": (6, 6, 6, 6, 6, 6)}
    lines = foreign_table(found, ways)
    assert lines[-1].split("|")[1:3] == [" all ", " 11 "]


def test_blank_pictures_are_nobodys_though_read_surely(ways) -> None:
    found = blank_called_ours(17, 32, [decode, decode], ways, search="light", fpr=1e-6)
    assert len(found) == 2 * len(blank_pictures(1, 32, 0))
    for name, (number, *ours) in found.items():
        assert number == (2 if "pool" in name else 17), name
        assert ours == [0] * 5, name


def test_blank_pictures_that_carry_a_fingerprint_are_counted() -> None:
    """A decoder that reads one licensee's bits from everything: each of them is called ours."""
    ways = make_ways(REGISTERED, [None], "none")
    found = blank_called_ours(
        17, 32, [lambda images: np.tile(BITS[0] - 0.5, [len(images), 1])], ways,
        search="none", fpr=1e-6,
    )  # fmt: skip
    assert all(ours == [number] * 2 for number, *ours in found.values())


def test_table(rows, ways) -> None:
    lines = table(rows, ways)
    assert len(lines) == len(WILD) + len(OFF_GRID) + 4
    assert lines[0].startswith("| edit | bit accuracy | retuned, bit accuracy | bits | soft |")
    assert lines[2] == "| none | 1.000 | 0.000 | 100.0% | 100.0% | 100.0% | 0.0% | 0.0% |"


def test_nobody_is_named_in_noise(ways) -> None:
    assert (
        numbers_named(ways[2].detector.judge_many(RNG.normal(size=[50, 10, 64]), 1e-6)) == -1
    ).all()


def test_flags() -> None:
    args = build_parser().parse_args(["--network=x.pkl"])
    assert (args.images, args.keys, args.fpr, args.seed) == (600, 1000, 1e-6, 0)
    assert (args.search, args.retuned, args.foreign, args.out) == ("light", None, None, None)


def test_a_whole_run(tmp_path, capsys) -> None:
    """With a real model, retuned or not, and foreign pictures of two sources."""
    for source in ("noise", "colours"):
        (tmp_path / "foreign" / source).mkdir(parents=True)
    for number in range(44):
        noise = RNG.integers(0, 256, [32, 32, 3], np.uint8)
        Image.fromarray(noise).save(tmp_path / f"foreign/noise/{number:03d}.png")
        colour = Image.new("RGB", (32, 32), tuple(RNG.integers(0, 256, 3).tolist()))
        colour.save(tmp_path / f"foreign/colours/{number:03d}.png")
    wild.run(
        "models/portraits-32.pkl",
        retuned="models/portraits-32.pkl",
        foreign=str(tmp_path / "foreign"),
        search="light",
        num_images=4,
        num_keys=10,
        fpr=1e-4,
        seed=0,
        out=str(tmp_path / "out"),
    )
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "robustness.md").read_text() == printed
    values = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert values["foreign"]["noise"] == [22, 0, 0, 0, 0, 0]
    assert values["blank"]["one colour"] == [4, 0, 0, 0, 0, 0]
    assert values["rows"][0]["named"] == [1.0] * 5
    assert "4 pictures, 10 licensees, 32 bits, fpr 0.0001 per picture, calibrated" in printed
