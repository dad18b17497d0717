"""The moving average Gs of the generator's weights."""

import tensorflow as tf

from training.networks.layers import Network


class WeightAverage(tf.Module):
    """Keeps `average` near `source` (StyleGAN2: beta = 0.5 ** (minibatch / half-life in images)).

    Args:
        average, source: networks of the same class and arguments.
        jit: compile the sums of all weights into one program.
    """

    def __init__(self, average: Network, source: Network, *, jit: bool = True) -> None:
        super().__init__()
        ours, theirs = average.named_variables(), source.named_variables()
        self._pairs = tuple((ours[name], theirs[name]) for name in ours)
        # Values in, values out: a variable cannot be assigned within, see `training.steps`.
        self._mix = tf.function(_mix, jit_compile=jit, autograph=False)

    def num_traces(self) -> int:
        """How often TensorFlow has traced the sums."""
        return int(self._mix.experimental_get_tracing_count())

    def update(self, beta: tf.Tensor) -> None:
        """Moves the trainables towards the source by 1 - beta; copies the others.

        On several replicas each calls it, and changes its own copies.
        """
        moved = [pair for pair in self._pairs if pair[0].trainable]
        values = self._mix([ours.read_value() for ours, _ in moved], [v for _, v in moved], beta)
        for (ours, _), value in zip(moved, values, strict=True):
            ours.assign(value)
        for ours, theirs in self._pairs:
            if not ours.trainable:
                ours.assign(theirs)


def _mix(ours: list[tf.Tensor], theirs: list[tf.Tensor], beta: tf.Tensor) -> list[tf.Tensor]:
    return [a + (1 - beta) * (b - a) for a, b in zip(ours, theirs, strict=True)]
