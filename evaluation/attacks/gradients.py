"""Attacks by gradients: pictures are changed until a network reads other bits.

With the model's decoder, and without it: then the attacker trains a network of his own to tell
pictures of one instance from others, and hopes that what misleads it misleads the decoder.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.pixels import centred
from evaluation.attacks.outcome import forged, removed
from evaluation.attacks.pictures import PICTURES, other_bits
from evaluation.subject.classifier import Classifier
from evaluation.subject.model import FIRST_OF_ATTACKER, MINIBATCH, Subject
from evaluation.subject.readings import Reader
from evaluation.subject.settings import Settings
from training.networks.layers import Network

REACHES = (1, 2, 4, 8)  # largest change of a value, in grey levels
STEPS = 20
LEARNING = 1000  # pictures of each kind that the attacker's network learns from
Logits = Callable[[tf.Tensor], tf.Tensor]  # images [N,H,W,C] in [-1,1] -> [N,K]


class Pusher:
    """Changes pictures so that a network reads a target.

    Projected gradient steps of the signs (Madry et al., arXiv 1706.06083, section 2.1), on the
    cross-entropy of the target; the result is rounded to 8 bits.

    Args:
        logits_of: calls the network.
        network: whose operations are used.
    """

    def __init__(self, logits_of: Logits, network: Network) -> None:
        @tf.function(autograph=False, reduce_retracing=True)
        def gradient(x: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape, network.running_with("reference"):
                tape.watch(x)
                losses = tf.nn.sigmoid_cross_entropy_with_logits(
                    labels=bits, logits=logits_of(centred(x))
                )
                loss = tf.reduce_sum(losses)
            return tape.gradient(loss, x)

        self._gradient = gradient

    def __call__(self, images: np.ndarray, target: np.ndarray, reach: int) -> np.ndarray:
        """The changed pictures.

        Args:
            images: uint8 [N,H,W,C].
            target: 0 or 1, [N,K].
            reach: largest change of a value, in grey levels.
        """
        made = []
        for start in range(0, len(images), MINIBATCH):
            original = tf.constant(images[start : start + MINIBATCH], tf.float32)
            bits = tf.constant(target[start : start + MINIBATCH], tf.float32)
            x = original
            for _ in range(STEPS):
                x = x - 2.5 * reach / STEPS * tf.sign(self._gradient(x, bits))
                x = tf.clip_by_value(x, original - reach, original + reach)
                x = tf.clip_by_value(x, 0.0, 255.0)
            made.append(tf.cast(tf.round(x), tf.uint8).numpy())
        return np.concatenate(made)


def with_decoder(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Who has the decoder removes the fingerprint, and forges that of a victim whose bits he knows.

    To remove it, the decoder is to read bits drawn at random.
    """
    num, decoder = settings.num_images, subject.decoder
    reader, owners = Reader(subject, settings.fpr), subject.owners(num)
    images = subject.pictures(num)
    rng = np.random.default_rng([subject.seed, 5])
    drawn = rng.integers(0, 2, [num, subject.num_bits])
    victim = subject.num_keys - 1
    others = subject.generate(range(num), subject.registered[owners % victim])
    wanted = np.broadcast_to(subject.registered[victim], drawn.shape)
    push = Pusher(lambda x: decoder(x)[1], decoder)
    rows = []
    for reach in REACHES:
        cost = f"{STEPS} steps per picture, at most {reach} of 255 in all"
        after = push(images, drawn, reach)
        rows.append(
            removed(
                reader,
                f"gradients of the decoder, {reach} of 255",
                needs="the decoder",
                cost=cost,
                before=images,
                after=after,
                owners=owners,
            )
        )
        after = push(others, wanted, reach)
        rows.append(
            forged(
                reader,
                f"forged by gradients of the decoder, {reach} of 255",
                needs="the decoder, the victim's bits",
                cost=cost,
                before=others,
                after=after,
                victim=victim,
            )
        )
    return {"rows": rows}


def without_decoder(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Who has pictures of one instance and of others trains a network on them, and attacks that."""
    num, victim = settings.num_images, 0
    reader = Reader(subject, settings.fpr)
    bits = subject.registered[victim]
    first = FIRST_OF_ATTACKER
    rest = other_bits(subject, LEARNING)
    classifier = Classifier(subject.decoder.config, seed=subject.seed)
    classifier.learn(
        subject.generate(range(first, first + LEARNING), bits),
        subject.generate(range(first + LEARNING, first + 2 * LEARNING), rest),
    )
    own = subject.generate(range(num), bits)
    others = subject.generate(range(num), rest[np.arange(num) % LEARNING])
    knows = f"{100 * classifier.accuracy(own, others):.0f} % right"
    push = Pusher(classifier.logits, classifier.network)
    rows = []
    for reach in REACHES[-2:]:
        cost = (
            f"{classifier.steps} steps to learn from {2 * LEARNING:,} pictures ({knows}), "
            f"{STEPS} per picture"
        )
        ones, zeros = np.ones([num, 1]), np.zeros([num, 1])
        after = push(own, zeros, reach)
        rows.append(
            removed(
                reader,
                f"gradients of the attacker's network, {reach} of 255",
                needs=PICTURES,
                cost=cost,
                before=own,
                after=after,
                owners=np.full(num, victim),
            )
        )
        after = push(others, ones, reach)
        rows.append(
            forged(
                reader,
                f"forged by gradients of the attacker's network, {reach} of 255",
                needs=PICTURES,
                cost=cost,
                before=others,
                after=after,
                victim=victim,
            )
        )
    return {"rows": rows}
