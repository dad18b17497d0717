"""Adam and the moving average against their formulas, written in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.numpy_adam import NumpyAdam
from tests.support.tiny_networks import tiny_generator
from training.adam import Adam
from training.ema import WeightAverage
from training.steps import lazy_ratio


@pytest.mark.parametrize("beta1", [0.0, 0.5])
@pytest.mark.parametrize("eps", [1e-8, 0.1])
@pytest.mark.parametrize("interval", [0, 4, 16])
@pytest.mark.parametrize("graph", [False, True])
def test_adam(beta1: float, eps: float, interval: int, graph: bool) -> None:
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (5,), ()]
    start = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    variables = {str(i): tf.Variable(value) for i, value in enumerate(start)}
    c = lazy_ratio(interval)
    adam = Adam(variables, beta1=beta1**c, beta2=0.99**c, epsilon=eps)
    expected = NumpyAdam(start, beta1**c, 0.99**c, eps)
    apply = tf.function(adam.apply) if graph else adam.apply
    for update in range(6):
        # Gradients of many sizes, and none at all at times; the rate changes with every update.
        scale = 10.0 ** rng.integers(-4, 3)
        gradients = [(scale * rng.normal(size=shape)).astype(np.float32) for shape in shapes]
        if update == 2:
            gradients = [0 * gradient for gradient in gradients]
        rate = 0.002 * (1 + update) * c
        apply([tf.constant(gradient) for gradient in gradients], tf.constant(rate, tf.float32))
        expected.apply(gradients, rate)
    assert int(adam.updates) == 6
    for variable, value in zip(variables.values(), expected.values, strict=True):
        np.testing.assert_allclose(variable, value, rtol=2e-5, atol=2e-6)
    assert [v.shape for v in adam.first] == [tf.TensorShape(shape) for shape in shapes]
    for mine, theirs in ((adam.first, expected.m), (adam.second, expected.v)):
        for variable, value in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-12)


def test_first_update_is_the_learning_rate() -> None:
    """Whatever the gradient's size: with beta1 = 0 every weight moves by lr against its sign."""
    variable = tf.Variable([1.0, 1.0, 1.0])
    adam = Adam({"v": variable})
    adam.apply([tf.constant([1e-3, -5.0, 0.0])], tf.constant(0.002))
    np.testing.assert_allclose(variable, [0.998, 1.002, 1.0], atol=1e-6)


def test_adam_refuses_another_number_of_gradients() -> None:
    adam = Adam({"v": tf.Variable([1.0])})
    with pytest.raises(ValueError, match="zip"):
        adam.apply([], tf.constant(0.1))


@pytest.mark.parametrize(("interval", "c"), [(4, 4 / 5), (16, 16 / 17), (1, 1 / 2), (0, 1.0)])
def test_lazy_ratio(interval: int, c: float) -> None:
    assert lazy_ratio(interval) == pytest.approx(c, rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
def test_average(beta: float) -> None:
    average, source = tiny_generator(1), tiny_generator(2)
    before = {name: v.numpy() for name, v in average.named_variables().items()}
    values = {name: v.numpy() for name, v in source.named_variables().items()}
    WeightAverage(average, source).update(tf.constant(beta))
    trainables = average.named_trainables()
    assert 0 < len(trainables) < len(before)
    for name, variable in average.named_variables().items():
        expected = values[name]
        if name in trainables:
            expected = beta * before[name] + (1 - beta) * values[name]
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(source.named_variables()[name], values[name])


def test_average_has_its_half_life() -> None:
    """Minibatch 80, half-life 10 kimg: after 125 updates half of the way is left."""
    average, source = tiny_generator(1), tiny_generator(2)
    name = "G_synthesis/8x8/Conv1/weight"
    start = (average.named_variables()[name] - source.named_variables()[name]).numpy()
    update = tf.function(WeightAverage(average, source, jit=False).update)
    for _ in range(125):
        update(tf.constant(0.5 ** (80 / 10000), tf.float32))
    left = (average.named_variables()[name] - source.named_variables()[name]).numpy()
    np.testing.assert_allclose(left, start / 2, rtol=1e-3, atol=1e-5)
