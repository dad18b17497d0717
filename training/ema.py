"""The moving average Gs of the generator's weights."""

import tensorflow as tf

from training.networks.layers import Network


def update_average(average: Network, source: Network, beta: tf.Tensor) -> None:
    """Moves trainables of `average` towards `source` by 1 - beta; copies the others.

    StyleGAN2: beta = 0.5 ** (minibatch / half-life in images).
    """
    theirs = source.named_variables()
    for name, variable in average.named_variables().items():
        if variable.trainable:
            variable.assign_sub((1 - beta) * (variable - theirs[name]))
        else:
            variable.assign(theirs[name])
