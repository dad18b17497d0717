"""Robustness: what an edit takes away is counted, and names are given at the stated rate only."""

import numpy as np

from tools.robustness import build_parser
from tools.study.edits import WILD
from tools.study.robustness import SEVERAL, UNEDITED, edited, format_rows, judge, measure

BITS = np.random.default_rng(0).integers(0, 2, [6, 64]).astype(np.uint8)


def paint(bits: np.ndarray) -> np.ndarray:
    """64 bits as blocks of 4x4 grey pixels, darker and brighter: uint8 [32,32,3]."""
    blocks = np.where(bits.reshape(8, 8), 180, 70).repeat(4, 0).repeat(4, 1)
    return np.repeat(blocks[:, :, None], 3, axis=2).astype(np.uint8)


IMAGES = np.stack([paint(bits) for bits in BITS])


def decode(images: np.ndarray) -> np.ndarray:
    grey = images.astype(float).mean(axis=3).reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    return grey.reshape(-1, 64) - 125


def test_what_edits_take() -> None:
    rows = {row.edit: row for row in measure(IMAGES, BITS, decode, num_keys=1000, fpr=1e-6)}
    assert list(rows) == [UNEDITED, *WILD, SEVERAL]
    for name in (UNEDITED, "JPEG, quality 75", "noise, deviation 0.1", "grey"):
        assert (rows[name].bit_accuracy, rows[name].attributed) == (1.0, 1.0), name
    assert rows["mirrored"].bit_accuracy < 0.7
    assert rows["mirrored"].attributed == 0.0
    assert all(row.wrong == 0 for row in rows.values())


def test_names_at_the_rate_asked_for() -> None:
    """47 of 64 bits: p = 1.2e-4, times 6 licensees 7e-4; a better match with another is wrong."""
    logits = np.where(BITS, 1.0, -1.0)
    logits[0, :17] *= -1
    logits[1] = logits[2]
    row = judge("x", logits, np.arange(6), BITS, 1e-3)
    assert (row.attributed, row.wrong) == (5 / 6, 1)
    assert judge("x", logits, np.arange(6), BITS, 1e-4).attributed == 4 / 6
    assert row.bit_accuracy == ((np.where(logits > 0, 1, 0) == BITS).mean())


def test_edits_change_pictures_of_the_same_shape() -> None:
    found = dict(edited(IMAGES))
    assert all(pictures.shape == IMAGES.shape for pictures in found.values())
    assert all(pictures.dtype == np.uint8 for pictures in found.values())
    changed = {name for name, pictures in found.items() if not np.array_equal(pictures, IMAGES)}
    assert changed == found.keys() - {UNEDITED, "grey"}
    assert np.array_equal(found["mirrored"], IMAGES[:, :, ::-1])


def test_table() -> None:
    rows = measure(IMAGES[:2], BITS[:2], decode, num_keys=10, fpr=1e-6)
    lines = format_rows(rows, 10, 1e-6)
    assert len(lines) == len(WILD) + 3
    assert " ".join(lines[0].split()) == "edit bit accuracy named at 1e-06 among 10 wrongly"
    assert lines[1].split() == ["none", "1.0000", "100.0%", "0"]


def test_flags() -> None:
    args = build_parser().parse_args(["--network=x.pkl"])
    assert (args.images, args.keys, args.fpr, args.seed) == (500, 1000, 1e-6, 0)
