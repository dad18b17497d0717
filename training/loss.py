"""Losses: tensors in, per-sample losses and named statistics out. No gradient tape in here.

Yu et al., arXiv 2012.08726, section 3.2; StyleGAN2, arXiv 1912.04958, section 3 and appendix B.
"""

import tensorflow as tf


def latent_loss(latents: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Squared error of the recovered latent (paper, equation 3): [N,Z], [N,Z] -> [N]."""
    return tf.reduce_mean(tf.square(latents - decoded), axis=1)


def bits_loss(bits: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of the recovered bits (paper, equation 4), in nats per bit: [N]."""
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=bits, logits=logits), axis=1
    )


def decouple_loss(images: tf.Tensor, images_other: tf.Tensor) -> tf.Tensor:
    """Squared difference of images that share the latent (paper, equation 5): [N,H,W,C] -> [N]."""
    return tf.reduce_mean(tf.square(images - images_other), axis=[1, 2, 3])


def generator_adversarial_loss(scores: tf.Tensor) -> tf.Tensor:
    """Non-saturating logistic loss of the generator: [N,1] -> [N]."""
    return tf.nn.softplus(-scores[:, 0])


def discriminator_loss(scores_fakes: tf.Tensor, scores_reals: tf.Tensor) -> tf.Tensor:
    """Logistic loss of the discriminator: [N,1], [N,1] -> [N]."""
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
