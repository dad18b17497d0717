"""How many bits, and how many names, are read from pictures after what happens in the wild."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.format import columns
from dnnlib.tflib.machine import resolve_execution
from fingerprints.bits import decide_bits, pack_bits
from fingerprints.detection.evidence import weigh
from fingerprints.detection.search import PackedIndex
from fingerprints.detection.views import Decision
from tools.study.edits import WILD
from tools.study.model import MINIBATCH, chances, load_model
from training.models.functions import inputs_by_seed, make_decoder, make_generator

IN_A_ROW = 3
UNEDITED, SEVERAL = "none", f"{IN_A_ROW} of these in a row"


@dataclass(frozen=True)
class Row:
    """What is read after one edit."""

    edit: str
    bit_accuracy: float
    attributed: float  # share of pictures named rightly
    wrong: int  # pictures named wrongly


def edited(images: np.ndarray, seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Name of an edit and the pictures behind it: uint8 [N,H,W,3] -> the same.

    Where several come in a row, each picture has other ones, drawn by `seed`.
    """
    pictures = [Image.fromarray(image) for image in images]
    yield UNEDITED, images
    for name, edit in WILD.items():
        yield name, np.stack([np.asarray(edit(picture)) for picture in pictures])
    rng, edits = np.random.default_rng(seed), list(WILD.values())
    made = []
    for picture in pictures:
        for number in rng.choice(len(edits), IN_A_ROW, replace=False):
            picture = edits[number](picture)
        made.append(np.asarray(picture))
    yield SEVERAL, np.stack(made)


def judge(
    name: str,
    logits: np.ndarray,
    owners: np.ndarray,
    registered: np.ndarray,
    fpr: float,
    decision: Decision = "soft",
) -> Row:
    """Names the licensee whose fingerprint fits best, if that is no chance.

    Args:
        name: of the edit.
        logits: [N,B].
        owners: [N], whose fingerprint each picture carries, a row of `registered`.
        registered: [K,B] of 0 and 1.
        fpr: rate of pictures of others that are named.
        decision: what logits weigh.
    """
    num_keys, num_bits = registered.shape
    index = PackedIndex.from_arrays(np.arange(num_keys), pack_bits(registered), num_bits)
    best = index.nearest(weigh(logits, decision), 1)[0][:, 0]
    named = num_keys * chances(logits, registered[best], decision) <= fpr
    return Row(
        name,
        float((decide_bits(logits) == registered[owners]).mean()),
        float((named & (best == owners)).mean()),
        int((named & (best != owners)).sum()),
    )


def measure(
    images: np.ndarray,
    bits: np.ndarray,
    decode: Callable[[np.ndarray], np.ndarray],
    *,
    num_keys: int,
    fpr: float,
    seed: int = 0,
    decision: Decision = "soft",
) -> list[Row]:
    """A row per edit, each of the same pictures.

    Args:
        images: uint8 [N,H,W,3], each with a fingerprint of its own.
        bits: [N,B], these fingerprints.
        decode: uint8 pictures -> logits.
        num_keys: licensees; those who made no picture here have fingerprints drawn by `seed`.
        fpr, decision: see `judge`.
        seed: of other fingerprints and of the edits in a row.
    """
    rng = np.random.default_rng(seed)
    others = rng.integers(0, 2, [max(num_keys - len(bits), 0), bits.shape[1]], np.uint8)
    registered, owners = np.concatenate([bits, others]), np.arange(len(bits))
    return [
        judge(name, decode(pictures), owners, registered, fpr, decision)
        for name, pictures in edited(images, seed)
    ]


def print_robustness(
    network: str,
    *,
    num_images: int,
    num_keys: int,
    fpr: float,
    seed: int,
    decision: Decision = "soft",
) -> None:
    """Loads a snapshot, measures and prints a table.

    Raises:
        UserError: no snapshot with generator and decoder, or pictures that are not RGB.
    """
    (generator, decoder), execution = load_model(network), resolve_execution()
    if generator.num_channels != 3:
        raise UserError(f"--network={network}: its pictures are not RGB, which the edits need")
    batches = list(inputs_by_seed(generator, range(num_images), minibatch=MINIBATCH))
    generate = make_generator(generator, MINIBATCH, execution)
    rows = measure(
        np.concatenate([generate(inputs) for inputs in batches]),
        np.concatenate([inputs.fingerprints for inputs in batches]),
        make_decoder(decoder, MINIBATCH, execution),
        num_keys=num_keys,
        fpr=fpr,
        decision=decision,
        seed=seed,
    )
    print("\n".join(format_rows(rows, max(num_keys, num_images), fpr)))


def format_rows(rows: Sequence[Row], num_keys: int, fpr: float) -> list[str]:
    """Lines of the table."""
    head = ["edit", "bit accuracy", f"named at {fpr:g} among {num_keys}", "wrongly"]
    cells = [
        [row.edit, f"{row.bit_accuracy:.4f}", f"{row.attributed:.1%}", str(row.wrong)]
        for row in rows
    ]
    return columns([head, *cells], right=(1, 2, 3))
