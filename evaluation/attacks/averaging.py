"""The mean of one instance's pictures, pasted on others and taken off its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib.format import columns
from dnnlib.tflib.machine import resolve_execution
from evaluation.subject.model import MINIBATCH, load_model
from evaluation.subject.readings import chances
from fingerprints.bits import decide_bits
from training.models.functions import images_by_seed, make_decoder


@dataclass(frozen=True)
class Reading:
    """What the decoder reads of one fingerprint in a set of pictures."""

    bit_accuracy: float  # 0.5 is chance
    attributed: float  # share of pictures whose p-value is at most the rate asked for


def read(logits: np.ndarray, bits: np.ndarray, num_keys: int, fpr: float) -> Reading:
    """Logits [N,B] against a fingerprint [B], or one per picture [N,B].

    Args:
        logits: of the decoder.
        bits: 0 or 1.
        num_keys: registered fingerprints that the p-value is corrected for.
        fpr: rate of wrong names.
    """
    named = num_keys * chances(logits, bits) <= fpr
    return Reading(float((decide_bits(logits) == bits).mean()), float(named.mean()))


def mean_residual(marked: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What pictures of one instance have in common: uint8 [N,H,W,C] twice -> float64 [H,W,C].

    The others are of other latents, as a thief has them, so that the content does not cancel.
    """
    return marked.mean(axis=0, dtype=np.float64) - others.mean(axis=0, dtype=np.float64)


def add_residual(images: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """uint8 [N,H,W,C] and a mean difference [H,W,C] in grey levels -> uint8, rounded."""
    return np.clip(np.rint(images.astype(np.float64) + residual), 0, 255).astype(np.uint8)


def measure(
    generate: Callable[[Sequence[int], np.ndarray | None], np.ndarray],
    decode: Callable[[np.ndarray], np.ndarray],
    bits: np.ndarray,
    *,
    num_images: int,
    num_victims: int,
    num_keys: int,
    fpr: float,
) -> dict[str, Reading]:
    """What is read in marked pictures, in forged ones and in those with the mark taken away.

    Args:
        generate: pictures by seeds, with one fingerprint [B] or, for None, each with its own.
        decode: uint8 pictures -> logits.
        bits: [B], the instance's.
        num_images: pictures that the mean is taken of, and as many others.
        num_victims: pictures that the difference is pasted on.
        num_keys, fpr: see `read`.
    """
    marked = generate(range(num_images), bits)
    residual = mean_residual(marked, generate(range(num_images, 2 * num_images), None))
    seeds = range(2 * num_images, 2 * num_images + num_victims)
    foreign, own = generate(seeds, None), generate(seeds, bits)

    def reading(images: np.ndarray) -> Reading:
        return read(decode(images), bits, num_keys, fpr)

    return {
        "marked": reading(own),
        "other fingerprints": reading(foreign),
        "forged: mean pasted on others": reading(add_residual(foreign, residual)),
        "removed: mean taken off marked": reading(add_residual(own, -residual)),
    }


def print_reading(
    network: str, *, num_images: int, num_victims: int, num_keys: int, fpr: float, seed: int
) -> None:
    """Loads a snapshot, measures and prints a table.

    Raises:
        UserError: no snapshot with generator and decoder.
    """
    (generator, decoder), execution = load_model(network), resolve_execution()
    bits = np.random.default_rng(seed).integers(0, 2, generator.fingerprint_size, np.uint8)

    def generate(seeds: Sequence[int], fingerprint: np.ndarray | None) -> np.ndarray:
        return images_by_seed(
            generator,
            seeds,
            fingerprint,
            minibatch=MINIBATCH,
            execution=execution,
            class_index=0 if generator.label_size else None,
        )

    found = measure(
        generate,
        make_decoder(decoder, MINIBATCH, execution),
        bits,
        num_images=num_images,
        num_victims=num_victims,
        num_keys=num_keys,
        fpr=fpr,
    )
    rows = [["", "bit accuracy", f"attributed at {fpr:g}"]]
    rows += [[name, f"{r.bit_accuracy:.4f}", f"{r.attributed:.1%}"] for name, r in found.items()]
    print("\n".join(columns(rows)))
