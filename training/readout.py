"""Fits a decoder's linear layer on small pictures by least squares (`networks.decoder.Readout`).

A fingerprint is a faint sum over bits on pictures that vary much; what varies is found by the
covariance of the pictures, and the layer that reads each bit best beside it has a closed form:
Fisher's linear discriminant. Training finds the same layer, a thousand times as slowly.
"""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from scipy import linalg
from tqdm import tqdm

from dnnlib.pixels import centred
from dnnlib.tflib.execution import Execution
from fingerprints.bits import decide_bits
from training.channels import Channel
from training.draws import draw_inputs
from training.models.functions import make_images, to_uint8
from training.networks.decoder import Decoder
from training.networks.table import Fingerprinted

_BATCH = 64
_BLOCK = 16  # batches that are added up at once
_HELD_OUT = 8192  # pictures that nothing is fitted to, at most a quarter
_RIDGE = 1e-5  # of the mean variance, added to all
_SHARES = (0.0, 0.25, 0.5, 1.0)  # of what the decoder said before, tried


@dataclass(frozen=True)
class FittedReadout:
    """A decoder with a fitted layer, and how it reads pictures that it was not fitted to."""

    decoder: Decoder
    accuracy: float  # of bits
    accuracy_before: float  # of the decoder that came, on the same pictures
    share: float  # of what that one said that was kept
    # [B,B]: how far fingerprints are apart for the layer, v^T information v for bits -1/+1 that
    # differ by 2v, in variances of what else is in the pictures (Fisher information).
    information: np.ndarray


class _Sampler:
    """Draws pictures, as small ones [N,P], with bits as -1/+1 and the logits of a decoder."""

    def __init__(
        self,
        generator: Fingerprinted,
        decoder: Decoder,
        channel: Channel | None,
        strength: float,
        seed: int,
        execution: Execution,
    ) -> None:
        for network in (generator, decoder):
            network.run_with(execution.impl, execution.precision)
        self._generator, self._decoder, self._channel = generator, decoder, channel
        self._seed, self._strength = seed, tf.constant(strength)
        self._look = tf.function(self._looked_at, jit_compile=execution.jit, autograph=False)

    def _looked_at(
        self, latents: tf.Tensor, codes: tf.Tensor, noise: tf.Tensor, draws: dict
    ) -> tuple[tf.Tensor, tf.Tensor]:
        g = self._generator
        made = make_images(g, latents, codes[0], g.split_noise(noise[0]))
        images = centred(tf.cast(to_uint8(made), tf.float32))
        if self._channel is not None:  # every second picture
            images = tf.concat([images[::2], self._channel.apply(images[1::2], draws)], 0)
        readout = self._decoder.readout
        assert readout is not None
        return readout.small(images), self._decoder.recover(images).logits

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pictures of this number, others for each: [64,P], [64,B], [64,B]."""
        seed = tf.constant([self._seed, index], tf.int64)
        drawn = draw_inputs(self._generator, seed, _BATCH, 1)
        draws: dict = {}
        if self._channel is not None:
            d = self._decoder
            shape = (_BATCH // 2, d.resolution, d.resolution, d.num_channels)
            other = tf.constant([self._seed, -1 - index], tf.int64)
            draws = self._channel.draw(shape, other, self._strength)
        small, logits = self._look(*drawn, draws)
        signs = 2 * drawn[1][0, :, : self._generator.fingerprint_size].numpy() - 1
        if self._channel is not None:
            signs = np.concatenate([signs[::2], signs[1::2]])
        return small.numpy().astype(np.float64), signs, logits.numpy()


def fit_readout(
    generator: Fingerprinted,
    decoder: Decoder,
    size: int,
    *,
    num_images: int,
    seed: int,
    execution: Execution,
    channel: Channel | None = None,
    strength: float = 1.0,
) -> FittedReadout:
    """A decoder that reads the same pictures better, or as well.

    Args:
        generator: of the pictures.
        decoder: is left as it is; a layer that it has already is fitted anew.
        size: side of the small pictures.
        num_images: to fit to; several times as many as 3 * size * size.
        seed: of everything random.
        execution: how the networks run.
        channel: edits that every second picture goes through; None: 8-bit pictures as they are.
        strength: of the channel, 0 to 1.

    Raises:
        ValueError: the size does not divide the pictures' side.
    """
    result = Decoder(replace(decoder.config, readout_size=size))
    before = decoder.named_variables()
    for name, variable in result.named_variables().items():
        if not name.startswith("Readout/"):
            variable.assign(before[name])
    assert result.readout is not None
    sampler = _Sampler(generator, result, channel, strength, seed, execution)
    batches = max(4, num_images // _BATCH)
    held_out = min(_HELD_OUT // _BATCH, batches // 4)
    with tqdm(total=batches, unit="batch", desc="fit", disable=None, leave=False) as progress:
        held = []
        for index in range(held_out):
            held.append(sampler.draw(index))
            progress.update()
        small, signs, logits = (np.concatenate(parts) for parts in zip(*held, strict=True))
        mean = small.mean(axis=0)
        second = np.zeros([small.shape[1]] * 2)
        patterns = np.zeros([small.shape[1], signs.shape[1]])
        for start in range(held_out, batches, _BLOCK):
            drawn = [sampler.draw(i) for i in range(start, min(start + _BLOCK, batches))]
            more, theirs, _ = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
            second += (more - mean).T @ (more - mean)
            patterns += (more - mean).T @ theirs
            progress.update(len(drawn))
    second[np.diag_indices_from(second)] += _RIDGE * np.trace(second) / len(second)
    weight = linalg.solve(second, patterns, assume_a="pos")
    found = (small - mean) @ weight
    weight *= _logit_scale(found, signs)
    said = (small - mean) @ weight
    share = min(_SHARES, key=lambda share: _cross_entropy(share * logits + said, signs))
    _assign(result, weight, mean, share)
    return FittedReadout(
        decoder=result,
        accuracy=_accuracy(share * logits + said, signs),
        accuracy_before=_accuracy(logits, signs),
        share=share,
        information=_information(found, signs),
    )


def _assign(decoder: Decoder, weight: np.ndarray, mean: np.ndarray, share: float) -> None:
    readout, output = decoder.readout, decoder.output
    assert readout is not None
    readout.weight.assign(weight / readout.scale)
    readout.bias.assign(-mean @ weight)
    begin = decoder.latent_size + decoder.label_size
    for variable in (output.weight, output.bias):
        value = variable.numpy()
        value[..., begin:] *= share
        variable.assign(value)


def _logit_scale(found: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """What turns a discriminant into log odds, by bit: 2 * mean / variance of its right side."""
    right = found * signs
    return 2 * right.mean(axis=0) / right.var(axis=0)


def _accuracy(logits: np.ndarray, signs: np.ndarray) -> float:
    return float(np.mean(decide_bits(logits) == (signs > 0)))


def _cross_entropy(logits: np.ndarray, signs: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0, -logits * signs)))


def _information(found: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Fisher information about the bits in what the layer found."""
    signal = signs.T @ found / len(signs)
    noise = np.cov((found - found.mean(axis=0) - signs @ signal).T)
    information = signal @ np.linalg.solve(noise, signal.T)
    return (information + information.T) / 2
