"""Losses: tensors in, per-sample losses and named statistics out. No gradient tape in here.

Yu et al., arXiv 2012.08726, section 3.2; StyleGAN2, arXiv 1912.04958, section 3 and appendix B.

What generator and decoder minimise is the adversarial loss and a sum over `TERMS`. A new term is a
row there, and a weight of its name in `config.LossConfig`.
"""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import tensorflow as tf

from training.ramps import value_at


def latent_loss(latents: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Squared error of the recovered latent (paper, equation 3): [N,Z], [N,Z] -> [N]."""
    return tf.reduce_mean(tf.square(latents - decoded), axis=1)


def label_loss(labels: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Squared error of the recovered label, one-hot or attributes: [N,C], [N,C] -> [N].

    As the latent's, for which the paper knows no label; the sum, so that a class counts the same
    among any number of them.
    """
    return tf.reduce_sum(tf.square(labels - decoded), axis=1)


def bits_loss(bits: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of the recovered bits (paper, equation 4), in nats per bit: [N]."""
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=bits, logits=logits), axis=1
    )


def decouple_loss(images: tf.Tensor, images_other: tf.Tensor) -> tf.Tensor:
    """Squared difference of images that share the latent (paper, equation 5): [N,H,W,C] -> [N]."""
    return tf.reduce_mean(tf.square(images - images_other), axis=[1, 2, 3])


def anchor_loss(images: tf.Tensor, images_before: tf.Tensor) -> tf.Tensor:
    """Squared difference from the model that training began with: [N,H,W,C] -> [N].

    Args:
        images: of today's generator.
        images_before: of that model for the same latents and noise, without a fingerprint: the mean
            of its pictures of one fingerprint and of the opposite one.
    """
    return decouple_loss(images, images_before)


@dataclass(frozen=True)
class Forward:
    """One slice of the generator's and decoder's step: what a term of the loss may look at."""

    latents: tf.Tensor  # [N,Z]
    bits: tf.Tensor  # [N,B] of 0 and 1, the fingerprints of `images`
    images: tf.Tensor  # [N,H,W,C], not clipped
    bits_other: tf.Tensor  # [N,B]
    images_other: tf.Tensor  # [N,H,W,C], of the same latents and other fingerprints
    received: tf.Tensor  # [N,H,W,C], `images` behind the channel
    decoded: tf.Tensor  # [N,Z], the decoder's latents
    logits: tf.Tensor  # [N,B], the decoder's, of `received`
    labels: tf.Tensor | None = None  # [N,C], of both images; None without classes
    decoded_labels: tf.Tensor | None = None  # [N,C], the decoder's
    images_before: tf.Tensor | None = None  # [N,H,W,C], see `anchor_loss`; None without


@dataclass(frozen=True)
class Term:
    """A part of the loss of generator and decoder."""

    loss: Callable[[Forward], tf.Tensor]  # -> [N]
    statistic: str  # its name in log and TensorBoard, as published where it is
    needs: str | None = None  # a field of `Forward` that it is absent without


# In the order in which they are added up, behind the adversarial loss.
TERMS: dict[str, Term] = {
    "decouple": Term(lambda f: decouple_loss(f.images, f.images_other), "loss_decouple"),
    "latent": Term(lambda f: latent_loss(f.latents, f.decoded), "loss_E_latents"),
    "bits": Term(lambda f: bits_loss(f.bits, f.logits), "loss_E_watermarks"),
    "label": Term(
        lambda f: label_loss(f.labels, f.decoded_labels), "loss_E_labels", needs="labels"
    ),
    "anchor": Term(
        lambda f: anchor_loss(f.images, f.images_before), "loss_anchor", needs="images_before"
    ),
}


@cache
def _weights_class(names: tuple[str, ...]) -> Any:
    return namedtuple("Weights", names)


def weights_of(losses: Any, kimg: float) -> Any:
    """The weights of `TERMS` as a named tuple of numbers.

    Args:
        losses: a `config.LossConfig`.
        kimg: real images shown, in thousands, which a weight may depend on.
    """
    return _weights_class(tuple(TERMS))(*(value_at(getattr(losses, name), kimg) for name in TERMS))


def generator_loss(
    scores: tf.Tensor, forward: Forward, weights: Any, scores_reals: tf.Tensor | None = None
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """What generator and decoder minimise (paper, equation 6).

    Args:
        scores: of the discriminator, [N,1].
        forward: what the terms look at.
        weights: of `weights_of`.
        scores_reals: of as many reals, for the relativistic loss; None: the logistic one.

    Returns:
        The mean over the batch, and the statistics: every part without its weight.
    """
    total = tf.reduce_mean(generator_adversarial_loss(scores, scores_reals))
    statistics = {"loss_G": total}
    for name, term in TERMS.items():
        if term.needs is not None and getattr(forward, term.needs) is None:
            continue
        value = tf.reduce_mean(term.loss(forward))
        total += getattr(weights, name) * value
        statistics[term.statistic] = value
    return total, statistics


def generator_adversarial_loss(
    scores: tf.Tensor, scores_reals: tf.Tensor | None = None
) -> tf.Tensor:
    """Non-saturating logistic loss of the generator: [N,1] -> [N].

    With scores of reals [N,1] the relativistic one, of pairs of a fake and a real (Huang et al.,
    arXiv 2501.05441, section 2.1).
    """
    if scores_reals is not None:
        scores = scores - scores_reals
    return tf.nn.softplus(-scores[:, 0])


def discriminator_loss(
    scores_fakes: tf.Tensor, scores_reals: tf.Tensor, *, relativistic: bool = False
) -> tf.Tensor:
    """Logistic loss of the discriminator, or the relativistic one of pairs: [N,1], [N,1] -> [N]."""
    if relativistic:
        return tf.nn.softplus(scores_fakes[:, 0] - scores_reals[:, 0])
    return tf.nn.softplus(scores_fakes[:, 0]) + tf.nn.softplus(-scores_reals[:, 0])


def bit_accuracy(bits: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Share of bits recovered, over the whole batch: [N,B] 0/1, [N,B] -> scalar in [0,1]."""
    return tf.reduce_mean(tf.cast(tf.equal(bits > 0.5, logits > 0), tf.float32))


def r1_penalty(gradients: tf.Tensor, gamma: float) -> tf.Tensor:
    """gamma/2 * |grad|^2 (Mescheder et al., arXiv 1801.04406), d score / d reals [N,H,W,C]: [N]."""
    return (gamma / 2) * tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3])


def path_lengths(gradients: tf.Tensor) -> tf.Tensor:
    """Length of d(sum of image * N(0,1)/R)/d styles, mean over slots: [N,L,D] -> [N]."""
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=2), axis=1))


PATH_LENGTH_DECAY = 0.01
PATH_LENGTH_WEIGHT = 2.0


def path_length_penalty(lengths: tf.Tensor, mean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Path length regularisation (StyleGAN2, section 3.2), against the updated mean.

    Args:
        lengths: [N].
        mean: scalar, moving mean before this step.

    Returns:
        Penalties [N] and the moved mean; gradients flow through both.
    """
    moved = mean + PATH_LENGTH_DECAY * (tf.reduce_mean(lengths) - mean)
    return PATH_LENGTH_WEIGHT * tf.square(lengths - moved), moved
