"""Operations against NumPy and SciPy: values, two orders of gradients, shapes, errors."""

import numpy as np
import pytest
import scipy.signal
import scipy.special
import tensorflow as tf

from dnnlib.tflib.impl import resolve_impl
from dnnlib.tflib.ops import phases, winograd
from dnnlib.tflib.ops.fused_bias_act import ACTIVATIONS, fused_bias_act
from dnnlib.tflib.ops.resample_conv import conv_2d, conv_downsample_2d, upsample_conv_2d
from dnnlib.tflib.ops.upfirdn_2d import (
    downsample_2d,
    setup_filter,
    upfirdn_2d,
    upsample_2d,
)
from tests.support.filtering import filter_2d
from tests.support.upfirdn_cases import (
    FIR,
    insert_zeros,
    pad_arguments,
    pad_or_crop,
    random_case,
    reference_upfirdn,
)


def reference_conv(x, w, stride=1):
    """Correlation of [N,H,W,I] with [k,k,I,O] without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))
    return np.einsum("nhwiyx,yxio->nhwo", windows, w)[:, ::stride, ::stride]


@pytest.mark.parametrize("seed", range(40))
def test_upfirdn_is_insert_pad_convolve_drop(seed):
    x, k, factors, pads = random_case(seed)
    y = upfirdn_2d(tf.constant(x), k, **factors, **pad_arguments(pads))
    expected = reference_upfirdn(x, k, **factors, pady=pads[:2], padx=pads[2:])
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5)


def test_random_cases_cover_what_they_should():
    cases = [random_case(seed) for seed in range(40)]
    assert any(min(pads) < 0 for *_, pads in cases)
    assert any(x.shape[1] % 2 and x.shape[2] % 2 for x, *_ in cases)
    for name in ("upx", "upy", "downx", "downy"):
        assert {factors[name] for _, _, factors, _ in cases} == {1, 2, 3, 4}
    assert any(f["upy"] > k.shape[0] for _, k, f, _ in cases)  # phases that meet no tap


@pytest.mark.parametrize("seed", range(6))
def test_upfirdn_of_unknown_size_and_of_nothing(seed):
    x, k, factors, pads = random_case(seed)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def graph(images):
        return upfirdn_2d(images, k, **factors, **pad_arguments(pads))

    expected = reference_upfirdn(x, k, **factors, pady=pads[:2], padx=pads[2:])
    np.testing.assert_allclose(graph(x), expected, rtol=0, atol=2e-5)
    taller = np.concatenate([x, x], axis=1)
    expected_taller = reference_upfirdn(taller, k, **factors, pady=pads[:2], padx=pads[2:])
    np.testing.assert_allclose(graph(taller), expected_taller, rtol=0, atol=2e-5)
    nothing = tf.zeros([0, *x.shape[1:]])
    with tf.GradientTape() as tape:
        tape.watch(nothing)
        y = upfirdn_2d(nothing, k, **factors, **pad_arguments(pads))
    assert y.shape == (0, *expected.shape[1:])
    assert tape.gradient(y, nothing).shape == nothing.shape
    assert graph(nothing).shape == y.shape


@pytest.mark.parametrize("seed", range(8))
def test_upfirdn_gradients(seed):
    """Linear: <A x, dy> = <x, A' dy> fixes the first order; the second gives A back."""
    x, k, factors, pads = random_case(seed)
    rng = np.random.default_rng(seed)
    kwargs = factors | {"pady": pads[:2], "padx": pads[2:]}
    dy = tf.constant(rng.standard_normal(reference_upfirdn(x, k, **kwargs).shape), tf.float32)
    v = rng.standard_normal(x.shape).astype(np.float32)
    x = tf.constant(x)
    with tf.GradientTape() as second:
        second.watch(dy)
        with tf.GradientTape() as first:
            first.watch(x)
            y = upfirdn_2d(x, k, **factors, **pad_arguments(pads))
        dx = first.gradient(y, x, output_gradients=dy)
    for basis in (v, rng.standard_normal(x.shape).astype(np.float32)):
        left = np.sum(reference_upfirdn(basis, k, **kwargs) * dy.numpy())
        np.testing.assert_allclose(np.sum(basis * dx.numpy()), left, rtol=1e-4, atol=1e-3)
    ddy = second.gradient(dx, dy, output_gradients=tf.constant(v))
    np.testing.assert_allclose(ddy, reference_upfirdn(v, k, **kwargs), rtol=0, atol=2e-5)


def test_upfirdn_keeps_half_precision():
    x, k, factors, pads = random_case(1)
    expected = reference_upfirdn(x, k, **factors, pady=pads[:2], padx=pads[2:])
    for dtype, tolerance in ((tf.float16, 5e-3), (tf.bfloat16, 5e-2)):
        y = upfirdn_2d(tf.cast(x, dtype), k, **factors, **pad_arguments(pads))
        assert y.dtype == dtype
        np.testing.assert_allclose(
            tf.cast(y, tf.float32), expected, rtol=0, atol=tolerance * np.abs(expected).max()
        )


def test_filters_are_normalised():
    np.testing.assert_allclose(setup_filter(FIR, 2, 4.0), np.outer(FIR, FIR) / 64 * 4)
    np.testing.assert_allclose(setup_filter(None, 3), np.full([3, 3], 1 / 9), rtol=1e-6)
    k = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]])
    np.testing.assert_allclose(setup_filter(k, gain=0.5), k / 16)
    with pytest.raises(ValueError, match=r"filter of shape \(1, 1, 1\)"):
        setup_filter(np.ones([1, 1, 1]))


def test_sampling_without_filter_repeats_and_averages():
    x = np.random.default_rng(0).standard_normal([2, 6, 9, 3]).astype(np.float32)
    images = tf.constant(x)
    for factor in (2, 3):
        repeated = x.repeat(factor, axis=1).repeat(factor, axis=2)
        np.testing.assert_allclose(upsample_2d(images, factor=factor), repeated, atol=1e-6)
    means = x.reshape(2, 2, 3, 3, 3, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(downsample_2d(images, factor=3, gain=2.0), 2 * means, atol=1e-6)


@pytest.mark.parametrize(
    "taps", [FIR, [1.0, 2.0, 1.0], [[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 2.0]]]
)
def test_sampling_with_filter(taps):
    """The pads keep the sizes; of the generator's filter they are those of the design."""
    x = np.random.default_rng(0).standard_normal([1, 8, 8, 2]).astype(np.float32)
    images = tf.constant(x)
    k = setup_filter(taps)

    def symmetric(n):  # `same` padding with the surplus in front
        return n // 2, (n - 1) // 2

    pady, padx = map(symmetric, k.shape)
    expected = reference_upfirdn(x, k, pady=pady, padx=padx)
    np.testing.assert_allclose(filter_2d(images, taps), expected, atol=1e-6)
    assert upsample_2d(images, taps).shape == (1, 16, 16, 2)
    assert downsample_2d(images, taps).shape == (1, 4, 4, 2)
    if taps == FIR:
        up = reference_upfirdn(x, 4 * k, upx=2, upy=2, pady=(2, 1), padx=(2, 1))
        np.testing.assert_allclose(upsample_2d(images, taps), up, atol=1e-6)
        down = reference_upfirdn(x, k, downx=2, downy=2, pady=(1, 1), padx=(1, 1))
        np.testing.assert_allclose(downsample_2d(images, taps), down, atol=1e-6)


def images_and_weights(taps, height=5, width=7):
    rng = np.random.default_rng(taps)
    x = rng.standard_normal([2, height, width, 3]).astype(np.float32)
    return x, rng.standard_normal([taps, taps, 3, 4]).astype(np.float32)


@pytest.mark.parametrize(("taps", "pad"), [(3, 1), (1, 2), (5, 0)])
def test_upsampling_convolution(taps, pad):
    """Zero insertion, convolution with full padding, FIR filter."""
    x, w = images_and_weights(taps)
    inserted = insert_zeros(x, 2, 2)[:, :-1, :-1]
    full = pad_or_crop(inserted, *[taps - 1] * 4)
    k = np.outer(FIR, FIR) / 64 * 4
    expected = reference_upfirdn(reference_conv(full, w), k, pady=(pad, pad), padx=(pad, pad))
    y = upsample_conv_2d(tf.constant(x), tf.constant(w), FIR)
    assert y.shape == (2, 10, 14, 4)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    doubled = upsample_conv_2d(tf.constant(x), tf.constant(w), FIR, gain=2.0)
    np.testing.assert_allclose(doubled, 2 * expected, atol=4e-5)


@pytest.mark.parametrize(("taps", "pad"), [(3, 2), (1, 1), (5, 3)])
def test_downsampling_convolution(taps, pad):
    """FIR filter, then a convolution with stride 2."""
    x, w = images_and_weights(taps, 6, 8)
    k = np.outer(FIR, FIR) / 64
    filtered = reference_upfirdn(x, k, pady=(pad, pad), padx=(pad, pad))
    y = conv_downsample_2d(tf.constant(x), tf.constant(w), FIR)
    assert y.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(y, reference_conv(filtered, w, 2), atol=2e-5)
    y = conv_downsample_2d(tf.constant(x), tf.constant(w), FIR, gain=0.5)
    np.testing.assert_allclose(y, reference_conv(filtered, w, 2) / 2, atol=2e-5)


def test_other_factors_of_the_convolutions():
    x, w = images_and_weights(3, 6, 9)
    k = np.full([3, 3], 1.0)  # the box of 3, times 9
    inserted = insert_zeros(x, 3, 3)[:, :-2, :-2]
    full = reference_conv(pad_or_crop(inserted, 2, 2, 2, 2), w)
    expected = reference_upfirdn(full, k, pady=(1, 0), padx=(1, 0))  # the published pads
    y = upsample_conv_2d(tf.constant(x), tf.constant(w), factor=3)
    np.testing.assert_allclose(y, expected, atol=5e-5)
    filtered = reference_upfirdn(x, k / 9, pady=(1, 1), padx=(1, 1))
    y = conv_downsample_2d(tf.constant(x), tf.constant(w), factor=3)
    assert y.shape == (2, 2, 3, 4)
    np.testing.assert_allclose(y, reference_conv(filtered, w, 3), atol=2e-5)


def test_plain_convolution_keeps_the_size():
    x, w = images_and_weights(3)
    expected = reference_conv(pad_or_crop(x, 1, 1, 1, 1), w)
    np.testing.assert_allclose(conv_2d(tf.constant(x), tf.constant(w)), expected, atol=2e-5)


def check_two_orders(function, *values):
    """First and second derivative along random directions against differences, in float64."""
    rng = np.random.default_rng(9)
    values = [tf.constant(value, tf.float64) for value in values]
    weights = tf.constant(rng.standard_normal(function(*values).shape))
    u, v = ([tf.constant(rng.standard_normal(x.shape)) for x in values] for _ in range(2))

    def along(direction, gradients):
        return tf.add_n([tf.reduce_sum(d * g) for d, g in zip(direction, gradients, strict=True)])

    def loss(inputs):
        return tf.reduce_sum(tf.sin(function(*inputs)) * weights)

    def slope(inputs):  # derivative of the loss along u
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = loss(inputs)
        return along(u, tape.gradient(y, inputs))

    step = 1e-5
    for tested in (loss, slope):
        with tf.GradientTape() as tape:
            tape.watch(values)
            y = tested(values)
        ours = along(v, tape.gradient(y, values, unconnected_gradients="zero"))
        ahead, behind = (
            tested([x + sign * step * d for x, d in zip(values, v, strict=True)])
            for sign in (1, -1)
        )
        np.testing.assert_allclose(ours, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("op", [upsample_conv_2d, conv_downsample_2d])
def test_gradients_of_resampling_convolutions(op, taps):
    rng = np.random.default_rng(taps)
    x, w = rng.standard_normal([1, 4, 2, 2]), rng.standard_normal([taps, taps, 2, 1])
    check_two_orders(lambda x, w: op(x, w, FIR), x, w)


@pytest.mark.parametrize("op", [upsample_conv_2d, conv_downsample_2d])
@pytest.mark.parametrize("taps", [1, 3])
def test_resampling_convolutions_of_unknown_size_and_of_nothing(op, taps):
    x, w = images_and_weights(taps, 6, 8)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def graph(images):
        return op(images, tf.constant(w), FIR)

    y = op(tf.constant(x), tf.constant(w), FIR)
    np.testing.assert_allclose(graph(x), y, atol=1e-5)
    assert graph(x[:0]).shape == (0, *y.shape[1:])
    assert op(tf.constant(x[:0]), tf.constant(w), FIR).shape == (0, *y.shape[1:])


def softplus(x):
    return np.logaddexp(x, 0)


def selu(x):
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * np.expm1(x))


# Each activation and its default gain, from the StyleGAN2 paper's code description.
REFERENCE_ACTIVATIONS = {
    "linear": (lambda x, alpha: x, 1),
    "relu": (lambda x, alpha: np.maximum(x, 0), np.sqrt(2)),
    "lrelu": (lambda x, alpha: np.where(x > 0, x, x * alpha), np.sqrt(2)),
    "tanh": (lambda x, alpha: np.tanh(x), 1),
    "sigmoid": (lambda x, alpha: scipy.special.expit(x), 1),
    "elu": (lambda x, alpha: np.where(x > 0, x, np.expm1(x)), 1),
    "selu": (lambda x, alpha: selu(x), 1),
    "softplus": (lambda x, alpha: softplus(x), 1),
    "swish": (lambda x, alpha: x * scipy.special.expit(x), np.sqrt(2)),
}


def bias_case(shape=(2, 3, 5, 4)):
    """Values of which none lies at a kink once the bias is added."""
    rng = np.random.default_rng(3)
    x, b = rng.standard_normal(shape), rng.standard_normal(shape[-1])
    sums = x + b
    return x + np.where(np.abs(sums) < 0.05, 0.1, 0), b


def test_the_nine_activations_are_there():
    assert set(ACTIVATIONS) == set(REFERENCE_ACTIVATIONS)


@pytest.mark.parametrize("act", REFERENCE_ACTIVATIONS)
def test_bias_and_activation(act):
    x, b = bias_case()
    function, gain = REFERENCE_ACTIVATIONS[act]
    expected = function(x + b, 0.2) * gain
    y = fused_bias_act(tf.constant(x), tf.constant(b), act=act)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)
    y = fused_bias_act(tf.constant(x), None, act=act, alpha=0.35, gain=1.7)
    np.testing.assert_allclose(y, function(x, 0.35) * 1.7, rtol=1e-6, atol=1e-7)
    y = fused_bias_act(tf.constant(x), tf.constant(b), act=act, clamp=0.4)
    np.testing.assert_allclose(y, np.clip(expected, -0.4, 0.4), rtol=1e-6, atol=1e-7)
    empty = fused_bias_act(tf.zeros([0, 5, 4]), tf.zeros([4]), act=act)
    assert empty.shape == (0, 5, 4)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("act", REFERENCE_ACTIVATIONS)
def test_half_precision_is_kept(act, dtype):
    x, b = bias_case()
    function, gain = REFERENCE_ACTIVATIONS[act]
    y = fused_bias_act(tf.cast(x, dtype), tf.cast(b, dtype), act=act, clamp=2.0)
    assert y.dtype == dtype
    expected = np.clip(function(x + b, 0.2) * gain, -2, 2)
    tolerance = 0.01 if dtype == tf.float16 else 0.08
    np.testing.assert_allclose(tf.cast(y, tf.float64), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("act", REFERENCE_ACTIVATIONS)
def test_gradients_of_bias_and_activation(act):
    x, b = bias_case((3, 4))
    check_two_orders(lambda x, b: fused_bias_act(x, b, act=act, alpha=0.3, gain=1.5), x, b)


def test_no_gradient_beyond_the_clamp():
    x = tf.constant([-3.0, -0.5, 0.5, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = fused_bias_act(x, act="linear", gain=2.0, clamp=1.5)
    assert y.numpy().tolist() == [-1.5, -1.0, 1.0, 1.5]
    assert tape.gradient(y, x).numpy().tolist() == [0.0, 2.0, 2.0, 0.0]


def layer(x, w, b):
    """Operations in a chain, with a gradient of a gradient at the end."""
    with tf.GradientTape() as second:
        second.watch(w)
        with tf.GradientTape() as first:
            first.watch(x)
            y = fused_bias_act(upsample_conv_2d(x, w, FIR), b, act="swish", clamp=4.0)
            y = conv_downsample_2d(y, w, [[0.0, 1.0], [2.0, 3.0]])
        dx = first.gradient(y, x)
        length = tf.reduce_sum(tf.square(dx))
    return y, dx, second.gradient(length, w)


# Forms for XLA

FORMS = {  # operation, [N,H,W], channels in and out: with and without Winograd's sums
    "plain": (conv_2d, (2, 16, 18), (128, 130)),
    "plain, few channels": (conv_2d, (2, 16, 16), (3, 5)),
    "plain, odd": (conv_2d, (1, 17, 16), (128, 128)),
    "up": (upsample_conv_2d, (2, 8, 12), (128, 129)),
    "up, few channels": (upsample_conv_2d, (2, 6, 4), (3, 5)),
    "up, odd": (upsample_conv_2d, (1, 5, 4), (3, 5)),
    "down": (conv_downsample_2d, (2, 16, 12), (129, 128)),
    "down, few channels": (conv_downsample_2d, (2, 12, 8), (3, 5)),
    "down, odd tiles": (conv_downsample_2d, (1, 6, 10), (128, 128)),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_for_xla_equal_the_plain_ones(case):
    """Values, gradients and second-order gradients, with a filter that is not symmetric."""
    op, shape, (fan_in, fan_out) = FORMS[case]
    rng = np.random.default_rng(1)
    x = tf.constant(rng.standard_normal([*shape, fan_in]), tf.float32)
    w = tf.constant(rng.standard_normal([3, 3, fan_in, fan_out]), tf.float32)
    arguments = () if op is conv_2d else ([1.0, 2.0, 4.0, 1.5],)

    def run(impl):
        with tf.GradientTape() as second:
            second.watch([x, w])
            with tf.GradientTape() as first:
                first.watch([x, w])
                y = op(x, w, *arguments, impl=impl)
                loss = tf.reduce_sum(tf.sin(y / 30))
            gradients = first.gradient(loss, [x, w])
            length = tf.add_n([tf.reduce_sum(tf.square(g)) for g in gradients])
        return [y, *gradients, *second.gradient(length, [x, w])]

    for ours, expected in zip(run("xla"), run("reference"), strict=True):
        largest = np.abs(expected).max()
        assert largest > 0
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * largest)


def test_forms_for_xla_are_used_where_they_pay():
    x, w = tf.zeros([1, 16, 16, 128]), tf.zeros([3, 3, 128, 128])
    assert winograd.pays(x, w)
    assert not winograd.pays(x[:, :8], w)
    assert not winograd.pays(x[:, :15], w)
    assert not winograd.pays(x, w[..., :64])
    assert not winograd.pays(x, w[:1, :1])
    assert not winograd.pays(tf.cast(x, tf.bfloat16), tf.cast(w, tf.bfloat16))
    kernel = setup_filter(FIR, 2)
    assert phases.pays(x, w, kernel, 2)
    assert not phases.pays(x, w, kernel, 3)
    assert not phases.pays(x, w[:1, :1], kernel, 2)
    assert not phases.pays(x[:, :15], w, kernel, 2)
    assert not phases.pays(x, w, setup_filter([1.0, 1.0], 2), 2)
    assert not phases.pays(x, w, np.eye(4), 2)


def test_bias_gradient_for_xla():
    x, b = tf.random.normal([2, 3, 5, 7], seed=1), tf.random.normal([7], seed=2)

    def run(impl):
        with tf.GradientTape() as second:
            second.watch(b)
            with tf.GradientTape() as first:
                first.watch(b)
                y = tf.reduce_sum(fused_bias_act(x, b, act="swish", impl=impl) ** 2)
            db = first.gradient(y, b)
        return y, db, second.gradient(db, b)

    for ours, expected in zip(run("xla"), run("reference"), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_eager_graph_and_xla_agree():
    rng = np.random.default_rng(5)
    shapes = ([2, 4, 5, 3], [3, 3, 3, 3], [3])
    values = [tf.constant(rng.standard_normal(shape), tf.float32) for shape in shapes]
    eager = layer(*values)
    for jit in (False, True):
        for ours, expected in zip(tf.function(layer, jit_compile=jit)(*values), eager, strict=True):
            tolerance = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance)


IMAGES = tf.zeros([1, 4, 4, 3])
ERRORS = {
    "impl='fast': expected one of auto, reference, xla, compiled": lambda: resolve_impl("fast"),
    r"images \(4, 4\) and filter \(1, 1\): expected 4 and 2": (
        lambda: upfirdn_2d(tf.zeros([4, 4]), [[1.0]])
    ),
    r"filter \(2,\): expected 4 and 2": lambda: upfirdn_2d(IMAGES, [1.0, 2.0]),
    "factors must be at least 1": lambda: upfirdn_2d(IMAGES, [[1.0]], downy=0),
    r"filter \(1, 5\) is larger than the padded image": lambda: upfirdn_2d(IMAGES, [[1.0] * 5]),
    r"filter \(3, 1\) is larger": lambda: upfirdn_2d(IMAGES, [[1.0]] * 3, pady0=-1, pady1=-1),
    "act='gelu': expected one of linear, relu, lrelu": lambda: fused_bias_act(IMAGES, act="gelu"),
    "clamp=-1: expected a value >= 0 or None": lambda: fused_bias_act(IMAGES, clamp=-1),
    r"bias \(4,\) does not fit": lambda: fused_bias_act(IMAGES, tf.zeros([4])),
    r"bias \(1, 3\) does not fit": lambda: fused_bias_act(IMAGES, tf.zeros([1, 3])),
    r"weights \(3, 1, 3, 2\): expected \[N,H,W,I\]": (
        lambda: upsample_conv_2d(IMAGES, tf.zeros([3, 1, 3, 2]))
    ),
    r"images \(4, 3\) and weights": lambda: conv_downsample_2d(
        IMAGES[0, 0], tf.zeros([1, 1, 3, 2])
    ),
    r"do not fit weights \(3, 3, 4, 2\)": (
        lambda: conv_downsample_2d(IMAGES, tf.zeros([3, 3, 4, 2]))
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


@pytest.mark.parametrize(
    "call",
    [
        lambda impl: upfirdn_2d(IMAGES, [[1.0]], impl=impl),
        lambda impl: conv_2d(IMAGES, tf.zeros([3, 3, 3, 2]), impl=impl),
        lambda impl: filter_2d(IMAGES, FIR, impl=impl),
        lambda impl: upsample_2d(IMAGES, FIR, impl=impl),
        lambda impl: downsample_2d(IMAGES, FIR, impl=impl),
        lambda impl: upsample_conv_2d(IMAGES, tf.zeros([3, 3, 3, 2]), impl=impl),
        lambda impl: conv_downsample_2d(IMAGES, tf.zeros([3, 3, 3, 2]), impl=impl),
        lambda impl: fused_bias_act(IMAGES, impl=impl),
    ],
)
def test_every_operation_takes_an_implementation(call):
    assert np.array_equal(call("reference"), call("auto"))
    with pytest.raises(ValueError, match="impl='fast'"):
        call("fast")
