"""How many bits, and how many names, are read from pictures after what happens in the wild.

And how many pictures are called ours that the model did not make: foreign ones, and some that show
nothing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.format import markdown
from dnnlib.tflib.machine import resolve_execution
from evaluation.perturbations.wild import OFF_GRID, WILD, Edit
from evaluation.subject.blank import COPIES, blank_pictures, copies
from evaluation.subject.foreign import split_foreign
from evaluation.subject.memory import MemoryStore
from evaluation.subject.model import MINIBATCH, load_model
from evaluation.subject.readings import Decode, decode_views, numbers_named
from fingerprints.bits import decide_bits
from fingerprints.detection.alike import picture_hashes
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.detector import Detector
from fingerprints.detection.views import SEARCHES, Decision
from fingerprints.image_files import read_batches, source_of
from training.models.functions import inputs_of_all_classes, make_decoder, make_generator
from training.networks.decoder import Decoder

IN_A_ROW = 3
MOST_BLANK = 256  # pictures of each kind that show nothing; a pool is made of every 16th of them
UNEDITED, SEVERAL = "none", f"{IN_A_ROW} of the above in a row"


@dataclass(frozen=True)
class Way:
    """One way to come from a picture to a verdict."""

    name: str
    detector: Detector
    decoder: int  # which of the decoders reads
    num_views: int  # tried edits, the first of those that were decoded


@dataclass(frozen=True)
class Row:
    """What is found after one edit."""

    edit: str
    bit_accuracy: tuple[float, ...]  # of each decoder, of the picture as it is
    named: tuple[float, ...]  # share of pictures named rightly, of each way
    wrong: tuple[int, ...]  # pictures named wrongly, of each way


def edited(images: np.ndarray, seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Name of an edit and the pictures behind it: uint8 [N,H,W,3] -> the same.

    Where several come in a row, each picture has other ones, drawn by `seed`. The last ones lie
    between what a search tries.
    """
    pictures = [Image.fromarray(image) for image in images]

    def apply(edit: Edit) -> np.ndarray:
        return np.stack([np.asarray(edit(picture)) for picture in pictures])

    yield UNEDITED, images
    for name, edit in WILD.items():
        yield name, apply(edit)
    rng, edits = np.random.default_rng(seed), list(WILD.values())
    made = []
    for picture in pictures:
        for number in rng.choice(len(edits), IN_A_ROW, replace=False):
            picture = edits[number](picture)
        made.append(np.asarray(picture))
    yield SEVERAL, np.stack(made)
    for name, edit in OFF_GRID.items():
        yield name, apply(edit)


def measure(
    images: np.ndarray,
    bits: np.ndarray,
    decoders: Sequence[Decode],
    ways: Sequence[Way],
    *,
    search: str,
    fpr: float,
    seed: int = 0,
) -> list[Row]:
    """A row per edit, each of the same pictures.

    Args:
        images: uint8 [N,H,W,3]; the i-th carries the i-th registered fingerprint.
        bits: these fingerprints, [N,B] of 0 and 1.
        decoders: of which each way has one.
        ways: how verdicts are come to.
        search: the longest of the ways.
        fpr: P[a foreign picture is called ours], per picture.
        seed: of the edits in a row.
    """
    rows, owners = [], np.arange(len(images))
    total = 2 + len(WILD) + len(OFF_GRID)
    for name, pictures in tqdm(edited(images, seed), total=total, unit="edit", disable=None):
        logits = [decode_views(decode, pictures, search) for decode in decoders]
        right, wrong = [], []
        for way in ways:
            views = logits[way.decoder][:, : way.num_views]
            found = numbers_named(way.detector.judge_many(views, fpr))
            right.append(float((found == owners).mean()))
            wrong.append(int(((found >= 0) & (found != owners)).sum()))
        accuracies = tuple(float((decide_bits(found[:, 0]) == bits).mean()) for found in logits)
        rows.append(Row(name, accuracies, tuple(right), tuple(wrong)))
    return rows


def read_views(
    paths: Sequence[Path], network: Decoder, decoders: Sequence[Decode], search: str
) -> list[np.ndarray]:
    """Logits [n,K,B] of image files, of each decoder."""
    found: list[list[np.ndarray]] = [[] for _ in decoders]
    size = (network.resolution, network.num_channels)
    with tqdm(total=len(paths), unit="image", disable=None) as progress:
        for outcomes, images in read_batches(paths, *size, resize=True, minibatch=MINIBATCH):
            for logits, decode in zip(found, decoders, strict=True):
                logits.append(decode_views(decode, images, search))
            progress.update(len(outcomes))
    return [np.concatenate(logits) for logits in found]


def called_ours(
    logits: Mapping[str, Sequence[np.ndarray]], ways: Sequence[Way], fpr: float
) -> dict[str, tuple[int, ...]]:
    """Foreign pictures by source, and how many of them each way calls ours; first their number.

    Args:
        logits: by source, [n,K,B] of each decoder.
        ways: see `measure`.
        fpr: see `measure`.
    """
    found = {}
    for source, of_decoder in logits.items():
        counts = [
            sum(
                finding.verdict.is_ours
                for finding in way.detector.judge_many(
                    of_decoder[way.decoder][:, : way.num_views], fpr
                )
            )
            for way in ways
        ]
        found[source] = (len(of_decoder[0]), *counts)
    return found


def blank_called_ours(
    number: int,
    size: int,
    decoders: Sequence[Decode],
    ways: Sequence[Way],
    *,
    search: str,
    fpr: float,
    seed: int = 0,
) -> dict[str, tuple[int, ...]]:
    """Pictures that show nothing and pools of copies of one, and how many of them are called ours.

    Args:
        number: of pictures of each kind.
        size: of these, pixels.
        decoders, ways, search, fpr, seed: see `measure`.

    Returns:
        By kind, their number, and how many each way calls ours.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, images in blank_pictures(number, size, seed).items():
        logits = [decode_views(decode, images, search) for decode in decoders]
        found |= called_ours({name: logits}, ways, fpr)
        pools = [copies(image) for image in images[::16]]
        ours = [_ways_that_call_ours(pool, decoders, ways, search, fpr) for pool in pools]
        found[f"{COPIES} copies of one as a pool: {name}"] = (
            len(pools),
            *(sum(of_way) for of_way in zip(*ours, strict=True)),
        )
    return found


def _ways_that_call_ours(
    pool: np.ndarray, decoders: Sequence[Decode], ways: Sequence[Way], search: str, fpr: float
) -> list[bool]:
    """Of each way, the verdict on a pool, uint8 [M,H,W,3]."""
    logits = [decode_views(decode, pool, search) for decode in decoders]
    hashes = picture_hashes(pool)
    return [
        way.detector.judge_pool(
            logits[way.decoder][:, : way.num_views], fpr, hashes=hashes
        ).verdict.is_ours
        for way in ways
    ]


def make_ways(
    registered: np.ndarray, calibrations: Sequence[Calibration | None], search: str
) -> list[Way]:
    """The ways that are compared: decisions, tried edits, and decoders.

    Args:
        registered: all fingerprints, [K,B] of 0 and 1.
        calibrations: of each decoder: the model's, and those that were retuned.
        search: the longest that is tried.
    """
    ways = []
    searches = ["none"] if search == "none" else ["none", search]
    for number, calibration in enumerate(calibrations):
        of_decoder = "" if number == 0 else "retuned, "
        kinds: list[tuple[Decision, str]] = [("soft", tried) for tried in searches]
        if number == 0:
            kinds.insert(0, ("bits", "none"))
        for decision, tried in kinds:
            name = of_decoder + decision + ("" if tried == "none" else f", {tried}")
            decoder_hash = f"{number:064d}" if calibration is None else calibration.decoder_hash
            store = MemoryStore(registered, decoder_hash, calibration)
            detector = Detector(store, store.model, decision=decision, search=tried)
            ways.append(Way(name, detector, number, len(SEARCHES[tried])))
    return ways


def table(rows: Sequence[Row], ways: Sequence[Way]) -> list[str]:
    """Lines of a Markdown table; pictures named wrongly are shown where there are any."""

    def cell(share: float, wrong: int) -> str:
        return f"{share:.1%}" + (f", **{wrong} wrong**" if wrong else "")

    num_decoders = len(rows[0].bit_accuracy)
    accuracies = ["bit accuracy", *["retuned, bit accuracy"] * (num_decoders - 1)]
    titles = ["edit", *accuracies, *(way.name for way in ways)]
    return markdown(
        titles,
        [
            [r.edit, *(f"{a:.3f}" for a in r.bit_accuracy), *map(cell, r.named, r.wrong)]
            for r in rows
        ],
    )


def foreign_table(
    found: Mapping[str, Sequence[int]], ways: Sequence[Way], title: str = "source"
) -> list[str]:
    """Lines of the table of foreign pictures called ours, with a line for all of them."""
    sums = [sum(column) for column in zip(*found.values(), strict=True)]
    titles = [title, "pictures", *(f"called ours: {way.name}" for way in ways)]
    return markdown(titles, [[name, *counts] for name, counts in {**found, "all": sums}.items()])


def _calibrate(
    foreign: str, network: Decoder, decoders: Sequence[Decode], search: str
) -> tuple[list[Calibration], dict[str, list[np.ndarray]]]:
    """Calibrations of each decoder by half of the pictures, and logits of the others by source."""
    calibrating, judged = split_foreign(Path(foreign))
    sources = [source_of(path) for path in calibrating]
    numbers = np.unique(sources, return_inverse=True)[1]
    calibrations = [
        Calibration.from_logits(f"{i:064d}", logits, numbers, views=SEARCHES[search])
        for i, logits in enumerate(read_views(calibrating, network, decoders, search))
    ]
    rows = {
        source: read_views(paths, network, decoders, search) for source, paths in judged.items()
    }
    return calibrations, rows


def run(
    network: str,
    *,
    retuned: str | None,
    foreign: str | None,
    search: str,
    num_images: int,
    num_keys: int,
    fpr: float,
    seed: int,
    out: str | None,
) -> None:
    """Loads a snapshot, measures, prints tables, and writes them with all numbers to a folder.

    Raises:
        UserError: no snapshot with generator and decoder, or pictures that are not RGB.
    """
    (generator, decoder), execution = load_model(network), resolve_execution()
    if generator.num_channels != 3:
        raise UserError(f"--network={network}: its pictures are not RGB, which the edits need")
    networks = [decoder, *([] if retuned is None else [load_model(retuned)[1]])]
    decoders = [make_decoder(found, MINIBATCH, execution) for found in networks]
    batches = list(inputs_of_all_classes(generator, range(num_images), MINIBATCH))
    generate = make_generator(generator, MINIBATCH, execution)
    images = np.concatenate([generate(inputs) for inputs in batches])
    bits = np.concatenate([inputs.fingerprints for inputs in batches])
    # Licensees who made no picture here.
    others = np.random.default_rng(seed).integers(
        0, 2, [max(num_keys - num_images, 0), bits.shape[1]], np.uint8
    )
    calibrations: Sequence[Calibration | None] = [None] * len(decoders)
    logits: dict[str, list[np.ndarray]] = {}
    if foreign is not None:
        calibrations, logits = _calibrate(foreign, decoder, decoders, search)
    registered = np.concatenate([bits, others]).astype(np.uint8)
    ways = make_ways(registered, calibrations, search)
    rows = measure(images, bits, decoders, ways, search=search, fpr=fpr, seed=seed)
    text = [
        f"{num_images} pictures, {len(registered)} licensees, {bits.shape[1]} bits, fpr {fpr:g} "
        f"per picture, {'not calibrated' if foreign is None else 'calibrated'}: named rightly",
        "",
        *table(rows, ways),
    ]
    blank = blank_called_ours(
        min(num_images, MOST_BLANK),
        decoder.resolution,
        decoders,
        ways,
        search=search,
        fpr=fpr,
        seed=seed,
    )
    text += ["", *foreign_table(blank, ways, "shows nothing")]
    values = {"rows": [asdict(r) for r in rows], "ways": [w.name for w in ways], "blank": blank}
    if logits:
        counts = called_ours(logits, ways, fpr)
        text += ["", *foreign_table(counts, ways)]
        values["foreign"] = counts
    print("\n".join(text))
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("robustness.md", "\n".join(text)), ("robustness.json", values)):
            with open_atomic(folder / name, "w", encoding="utf-8") as file:
                file.write((content if isinstance(content, str) else json.dumps(content)) + "\n")
