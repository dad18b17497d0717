"""Decodes files as they are, edited or averaged, and compares verdicts with the truth."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib.tflib.machine import resolve_execution
from evaluation.perturbations.wild import Edit
from fingerprints.bits import decide_bits
from fingerprints.detection.detector import Detector, Finding
from fingerprints.detection.tails import count_matches
from fingerprints.image_files import read_image, source_of
from tools.study.tally import Tally
from training.models.functions import make_decoder
from training.networks.decoder import Decoder

Decoded = Iterator[tuple[Path, np.ndarray]]  # files and logits [B]
_BATCH = 64


class Judge:
    """Reads fingerprints and judges them at one rate.

    Args:
        decoder: of the model.
        detector: of the model, in the study's registry.
        fpr: false-positive rate per image.
    """

    def __init__(self, decoder: Decoder, detector: Detector, fpr: float) -> None:
        self.detector = detector
        self.fpr = fpr
        self._size = (decoder.resolution, decoder.num_channels)
        self._decode = make_decoder(decoder, _BATCH, resolve_execution("auto", "fp32"))
        self._bits_of: dict[str, np.ndarray] = {}

    def files(self, paths: Sequence[Path]) -> Decoded:
        """Image files as they are."""
        for start in tqdm(range(0, len(paths), _BATCH), unit="batch", disable=None):
            part = paths[start : start + _BATCH]
            images = [read_image(path, *self._size, resize=False) for path in part]
            yield from zip(part, self._decode(np.stack(images)), strict=True)

    def edited(self, paths: Sequence[Path], edit: Edit) -> Decoded:
        """Image files, edited."""
        for start in range(0, len(paths), _BATCH):
            part = paths[start : start + _BATCH]
            images = [np.asarray(edit(Image.open(path).convert("RGB"))) for path in part]
            yield from zip(part, self._decode(np.stack(images)), strict=True)

    def averaged(self, groups: Sequence[Sequence[Path]]) -> Decoded:
        """The mean pixels of each group, under its first path."""
        for start in range(0, len(groups), _BATCH):
            part = groups[start : start + _BATCH]
            pixels = [np.mean([np.asarray(Image.open(p)) for p in group], axis=0) for group in part]
            images = np.rint(np.stack(pixels)).astype(np.uint8)
            yield from zip((group[0] for group in part), self._decode(images), strict=True)

    def tally(
        self, decoded: Iterable[tuple[Path, np.ndarray]], owner: Callable[[Path], str | None]
    ) -> Tally:
        """Judges images whose owner is known; None: foreign."""
        found = Tally()
        for path, logits in decoded:
            finding = self.detector.judge(logits, self.fpr)
            truth = owner(path)
            found.kinds[kind_of(finding, [] if truth is None else [truth])] += 1
            found.num_images += 1
            found.sources.add(source_of(path))
            found.matches[finding.verdict.matches] += 1
            if truth is not None:
                if truth not in self._bits_of:
                    self._bits_of[truth] = self.detector.bits_of(truth)
                found.num_match += int(count_matches(decide_bits(logits), self._bits_of[truth]))
                found.num_bits += len(logits)
        return found

    def collude(self, folder: Path, number: int) -> Tally:
        """Judges averages of the pictures that `number` licensees make of the same latents.

        "right" is one of them, "wrong" somebody else.
        """
        members = sorted(path.name for path in folder.iterdir())[:number]
        names = sorted(path.name for path in (folder / members[0]).glob("seed*.png"))
        found = Tally()
        for _, logits in self.averaged([[folder / m / name for m in members] for name in names]):
            finding = self.detector.judge(logits, self.fpr)
            found.kinds[kind_of(finding, members)] += 1
            found.num_images += 1
            found.num_match += finding.verdict.matches
            found.num_bits += len(logits)
        return found


def kind_of(finding: Finding, owners: Sequence[str]) -> str:
    """`right` or `wrong` where a licensee is named, else the kind of the verdict."""
    if finding.fingerprint is None:
        return finding.verdict.kind
    return "right" if finding.fingerprint.licensee in owners else "wrong"
