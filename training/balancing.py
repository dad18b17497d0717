"""Makes all bits of a trained generator equally readable, at a visibility of one's choice.

In training, some combinations of bits come out strong and others hardly at all (docs/training.md).
Both what each combination does to the pictures and how well it is read can be measured; then the
sizes that read all bits equally well for the least change have a closed form.
"""

import numpy as np
import tensorflow as tf

from dnnlib.tflib.execution import Execution
from training.draws import draw_inputs
from training.models.functions import make_images
from training.models.orthogonal import fold_in
from training.networks.generator import Generator

_BATCH = 64
_BATCHES = 8  # of pairs of pictures
_STEPS = 3
_LENGTH = 3.0  # of the directions along which pictures are compared, where one bit has 1
_LEAST = 0.05  # information below this is not told from none


def balance(
    generators: list[Generator],
    information: np.ndarray,
    psnr: float,
    *,
    seed: int,
    execution: Execution,
) -> list[Generator]:
    """The generators with other sizes of what bits do.

    With information r_i and energy e_i in each eigenvector of the former, factors g_i with
    g_i^2 ~ (r_i e_i)^-1/2 minimise the sum of 1 / (r_i g_i^2), which says how badly bits are read,
    for a given energy, the sum of g_i^2 e_i (Cauchy and Schwarz).

    Args:
        generators: G and its average, the average last; their mappings are the same rotation.
        information: [B,B] of `readout.FittedReadout`, of the average.
        psnr: dB between two fingerprints of one latent that is aimed at.
        seed: of the latents.
        execution: how the networks run.
    """
    values, vectors = np.linalg.eigh(information)
    values = np.maximum(values, _LEAST)
    energies = _energies(generators[-1], vectors, seed, execution)
    squares = (values * energies) ** -0.5
    # Two fingerprints differ in half of their bits, by 2 each: twice the energy on average.
    squares *= _mean_square(psnr) / (2 * np.sum(squares * energies))
    factors = vectors @ np.diag(np.sqrt(squares)) @ vectors.T
    return [fold_in(generator, factors) for generator in generators]


def fade(
    generators: list[Generator], psnr: float, *, seed: int, execution: Execution
) -> list[Generator]:
    """The generators with all that bits do larger or smaller by one factor; see `balance`."""
    aim = _mean_square(psnr)
    for _ in range(_STEPS):  # pictures are nearly linear in it
        factor = np.sqrt(aim / _difference(generators[-1], seed, execution))
        factors = factor * np.eye(generators[-1].fingerprint_size)
        generators = [fold_in(generator, factors) for generator in generators]
    return generators


def _mean_square(psnr: float) -> float:
    """Of the difference of pictures in [-1,1] that many dB apart."""
    return 4 * 10 ** (-psnr / 10)


def _difference(generator: Generator, seed: int, execution: Execution) -> float:
    """Mean square between pictures in [-1,1] of one latent under two fingerprints."""
    generator.run_with(execution.impl, execution.precision)

    def square(latents: tf.Tensor, codes: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        maps = generator.split_noise(noise)
        one, other = (
            tf.clip_by_value(make_images(generator, latents, bits, maps), -1, 1)
            for bits in (codes, tf.roll(codes, 1, 0))
        )
        return tf.reduce_mean(tf.square(one - other))

    run = tf.function(square, jit_compile=execution.jit, autograph=False)
    found = []
    for index in range(_BATCHES):
        latents, codes, noise = draw_inputs(
            generator, tf.constant([seed, index], tf.int64), _BATCH, 1
        )
        found.append(float(run(latents, codes[0], noise[0])))
    return float(np.mean(found))


def _energies(
    generator: Generator, vectors: np.ndarray, seed: int, execution: Execution
) -> np.ndarray:
    """Mean square of what each direction (a column) adds to pictures in [-1,1], per unit."""
    generator.run_with(execution.impl, execution.precision)

    def added(latents: tf.Tensor, bits: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        maps = generator.split_noise(noise)
        one, other = (
            tf.clip_by_value(make_images(generator, latents, 0.5 + sign * bits / 2, maps), -1, 1)
            for sign in (1, -1)
        )
        return tf.reduce_mean(tf.square(one - other)) / 4

    run = tf.function(added, jit_compile=execution.jit, autograph=False)
    found = []
    for index, vector in enumerate(vectors.T):
        drawn = tf.constant([seed, index % 4], tf.int64)
        latents, _, noise = draw_inputs(generator, drawn, _BATCH, 1)
        bits = np.tile(_LENGTH * vector.astype(np.float32), [_BATCH, 1])
        found.append(float(run(latents, tf.constant(bits), noise[0])) / _LENGTH**2)
    return np.array(found)
