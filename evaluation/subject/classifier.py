"""A network of our layers that learns to tell two kinds of pictures apart."""

import dataclasses

import numpy as np
import tensorflow as tf

from dnnlib.pixels import centred
from training.adam import Adam
from training.networks.configs import DecoderConfig
from training.networks.decoder import Decoder

STEPS = 300
_MINIBATCH = 32  # half of it of each kind
_RATE = 0.002


class Classifier:
    """One logit per picture: above 0 means the first kind.

    Args:
        config: of a decoder whose size and widths it has.
        seed: of its weights and of the order of the pictures.
        steps: of learning.
    """

    def __init__(self, config: DecoderConfig, *, seed: int, steps: int = STEPS) -> None:
        self.network = Decoder(
            dataclasses.replace(config, latent_size=1, fingerprint_size=1), seed=seed
        )
        self.steps = steps
        self._seed = seed

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """[N,H,W,C] in [-1,1] -> [N,1]."""
        return self.network(images)[1]

    def learn(self, first: np.ndarray, second: np.ndarray) -> None:
        """Learns from pictures of both kinds, uint8 [N,H,W,C] and [M,H,W,C]."""
        trained = self.network.named_trainables()
        adam = Adam(trained, beta1=0.9)
        variables = list(trained.values())

        @tf.function(autograph=False)
        def step(images: tf.Tensor, labels: tf.Tensor) -> None:
            with tf.GradientTape() as tape, self.network.running_with("reference"):
                found = self.logits(centred(images))
                loss = tf.reduce_mean(
                    tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=found)
                )
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            adam.apply(gradients, tf.constant(_RATE))

        rng = np.random.default_rng([self._seed, 6])
        half = _MINIBATCH // 2
        labels = tf.constant(np.repeat([1.0, 0.0], half)[:, None], tf.float32)
        for _ in range(self.steps):
            rows = [rng.integers(0, len(kind), half) for kind in (first, second)]
            images = np.concatenate([first[rows[0]], second[rows[1]]])
            step(tf.constant(images, tf.float32), labels)

    def is_first(self, images: np.ndarray) -> np.ndarray:
        """Which kind pictures are taken for: uint8 [N,H,W,C] -> bool [N]."""
        found = []
        with self.network.running_with("reference"):
            for start in range(0, len(images), _MINIBATCH):
                part = tf.constant(images[start : start + _MINIBATCH], tf.float32)
                found.append(self.logits(centred(part)).numpy()[:, 0] > 0)
        return np.concatenate(found)

    def told(self, first: np.ndarray, second: np.ndarray) -> list[bool]:
        """Which pictures are told rightly, those of the first kind before the others."""
        return [*self.is_first(first), *~self.is_first(second)]

    def accuracy(self, first: np.ndarray, second: np.ndarray) -> float:
        """Share that is told rightly, of pictures that it has not learnt from."""
        return float(np.mean(self.told(first, second)))
