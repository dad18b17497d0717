"""Losses against NumPy, the gradient of the path length penalty against its formula."""

import numpy as np
import pytest
import tensorflow as tf

from training import loss
from training.config import LossConfig

RNG_SEED = 11


def softplus(x):
    return np.logaddexp(x, 0)


def normal(*shape):
    return np.random.default_rng(RNG_SEED + len(shape)).standard_normal(shape)


def f32(x):
    return tf.constant(x, tf.float32)


def test_published_weights():
    weights = LossConfig()
    assert (weights.decouple, weights.latent, weights.bits) == (2, 1, 2)


def test_latent_loss():
    latents, decoded = normal(3, 5), 2 * normal(3, 5)[::-1]
    expected = np.mean((latents - decoded) ** 2, axis=1)
    np.testing.assert_allclose(loss.latent_loss(f32(latents), f32(decoded)), expected, rtol=1e-5)


def test_bits_loss():
    bits = np.array([[0, 1, 1], [1, 0, 0]])
    logits = np.array([[-1.0, 2.0, -3.0], [0.0, 200.0, -200.0]])  # no overflow
    probabilities = 1 / (1 + np.exp(-logits[0]))
    first = -np.mean(bits[0] * np.log(probabilities) + (1 - bits[0]) * np.log(1 - probabilities))
    found = loss.bits_loss(f32(bits), f32(logits))
    np.testing.assert_allclose(found, [first, (np.log(2) + 200) / 3], rtol=1e-5)


def test_decouple_loss():
    images, other = normal(2, 4, 4, 3), normal(2, 4, 4, 3)[::-1]
    expected = np.mean((images - other) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(loss.decouple_loss(f32(images), f32(other)), expected, rtol=1e-5)


def test_adversarial_losses():
    fakes, reals = normal(4, 1), 3 * normal(4, 1)[::-1]
    found = loss.generator_adversarial_loss(f32(fakes))
    np.testing.assert_allclose(found, softplus(-fakes[:, 0]), rtol=1e-5)
    found = loss.discriminator_loss(f32(fakes), f32(reals))
    np.testing.assert_allclose(found, (softplus(fakes) + softplus(-reals))[:, 0], rtol=1e-5)


def test_bit_accuracy_is_over_the_whole_batch():
    bits = [[0, 1, 1], [1, 0, 0]]
    logits = [[-0.1, 5.0, -1.0], [0.1, -7.0, 0.0]]  # a logit of 0 reads as bit 0
    assert float(loss.bit_accuracy(f32(bits), f32(logits))) == pytest.approx(5 / 6)
    assert float(loss.bit_accuracy(f32(bits), -f32(logits))) == pytest.approx(2 / 6)


def test_r1_penalty():
    gradients = normal(3, 4, 4, 2)
    expected = 10 / 2 * np.sum(gradients**2, axis=(1, 2, 3))
    np.testing.assert_allclose(loss.r1_penalty(f32(gradients), 10.0), expected, rtol=1e-5)


def test_unused_slots_count_as_zero_in_path_lengths():
    gradients = normal(2, 6, 5)
    gradients[:, 4:] = 0
    expected = np.sqrt(np.sum(gradients**2, axis=(1, 2)) / 6)
    np.testing.assert_allclose(loss.path_lengths(f32(gradients)), expected, rtol=1e-5)


def test_path_length_penalty_is_against_the_updated_mean():
    lengths, mean = np.array([3.0, 1.0, 5.0]), 2.0
    moved = 2.0 + 0.01 * (3.0 - 2.0)
    penalty, found = loss.path_length_penalty(f32(lengths), f32(mean))
    assert float(found) == pytest.approx(moved)
    np.testing.assert_allclose(penalty, 2 * (lengths - moved) ** 2, rtol=1e-5)


def test_path_length_gradient_flows_through_the_mean():
    lengths, mean = np.array([3.0, 1.0, 5.0]), 2.0
    x = f32(lengths)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(loss.path_length_penalty(x, f32(mean))[0])
    distance = lengths - (2.0 + 0.01 * (3.0 - 2.0))
    # d/dl_i of 2*sum_j (l_j - m)^2 with dm/dl_i = 0.01/3.
    expected = 4 * (distance - distance.sum() * 0.01 / 3)
    found = tape.gradient(total, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert not np.allclose(found, 4 * distance, rtol=1e-3)  # what a constant mean would give
