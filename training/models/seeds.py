"""Sampling by seed: what a generator needs for one image per seed, as published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GeneratorInputs:
    """What the generator needs for N images."""

    seeds: list[int]  # N seeds
    latents: np.ndarray  # float32 [N,Z]
    fingerprints: np.ndarray  # uint8 [N,B] of 0 and 1
    noise: list[np.ndarray]  # per noise layer float32 [N,h,w,1]
    labels: np.ndarray  # float32 [N,C], one-hot; C is 0 without classes


def sample_by_seed(
    seeds: Sequence[int],
    *,
    latent_size: int,
    fingerprint_size: int,
    noise_shapes: Sequence[tuple[int, int]],
    identical_latent: bool = False,
    identical_watermark: bool = False,
    fingerprint: np.ndarray | None = None,
    label: np.ndarray | None = None,
    fixed_noise: Sequence[np.ndarray] | None = None,
    bits_last: bool = False,
    minibatch: int = 16,
) -> Iterator[GeneratorInputs]:
    """Draws the inputs of one image per seed, in batches; the same seed gives the same image.

    Per seed a `RandomState(seed)` yields the latent, the bits and the noise maps, in this order,
    as published; users' scripts rely on it. A latent or fingerprint that all images share is not
    drawn again there: it comes from a `RandomState(seeds[0])` of its own, latent first.

    Args:
        seeds: 0 to 2**32 - 1.
        latent_size: Z.
        fingerprint_size: B.
        noise_shapes: height and width of every noise map.
        identical_latent: all images share one latent.
        identical_watermark: all images share one fingerprint.
        fingerprint: [B] of 0 and 1, takes the place of every drawn fingerprint. The draw still
            happens, so that noise maps are those of the same seed without it.
        label: [C], that of all images; None: there are no classes.
        fixed_noise: maps [1,h,w,1] of all images, in place of drawn ones.
        bits_last: draw a seed's bits behind its noise maps, so that latent and noise are those of
            a generator without fingerprints.
        minibatch: images per batch; the last batch may be smaller.
    """

    def draw_bits(rnd: np.random.RandomState) -> np.ndarray:
        return rnd.randint(0, 2, (1, fingerprint_size))

    shared = np.random.RandomState(seeds[0])
    # Both are drawn even if one of them is not shared: the bits follow the latent's draw.
    shared_latent = shared.randn(1, latent_size)
    shared_bits = draw_bits(shared)

    for start in range(0, len(seeds), minibatch):
        batch = list(seeds[start : start + minibatch])
        latents = np.empty([len(batch), latent_size], dtype=np.float32)
        bits = np.empty([len(batch), fingerprint_size], dtype=np.uint8)
        noise = [np.empty([len(batch), h, w, 1], dtype=np.float32) for h, w in noise_shapes]
        for i, seed in enumerate(batch):
            rnd = np.random.RandomState(seed)
            latents[i] = shared_latent if identical_latent else rnd.randn(1, latent_size)
            if not bits_last:
                bits[i] = shared_bits if identical_watermark else draw_bits(rnd)
            for layer, (h, w) in enumerate(noise_shapes):
                if fixed_noise is None:
                    noise[layer][i, :, :, 0] = rnd.randn(1, 1, h, w)
                else:
                    noise[layer][i] = fixed_noise[layer][0]
            if bits_last:
                bits[i] = shared_bits if identical_watermark else draw_bits(rnd)
        if fingerprint is not None:
            bits[:] = fingerprint
        labels = np.zeros([len(batch), 0 if label is None else len(label)], np.float32)
        if label is not None:
            labels[:] = label
        yield GeneratorInputs(batch, latents, bits, noise, labels)
