"""The compiled operations against NumPy, the plain ones, and index maths beyond 2^31 elements.

What the CPU kernels compute here is what the CUDA kernels compute: both are made from the same
functions. The number of channels chooses between packs of 16 and single ones.
"""

import ctypes
import shutil

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import op_library
from dnnlib.tflib.ops.fused_bias_act import ACTIVATIONS, fused_bias_act
from dnnlib.tflib.ops.upfirdn_2d import (
    downsample_2d,
    setup_filter,
    upfirdn_2d,
    upsample_2d,
)
from tests.support.filtering import filter_2d
from tests.support.reference_ops import check_ops
from tests.support.upfirdn_cases import FIR, pad_arguments, random_case, reference_upfirdn

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="needs a C++ compiler"
)

HALF_TYPES = {tf.float16: 2e-3, tf.bfloat16: 2e-2}  # tolerance, as a share of the largest entry


@pytest.fixture(scope="module")
def library():
    return op_library.get_library(cuda=False)


def derivatives(function, values, weights, directions):
    """Value, gradients, and second-order gradients along `directions`, by nested tapes."""
    with tf.GradientTape() as second:
        second.watch([*values, weights])
        with tf.GradientTape() as first:
            first.watch(values)
            y = function(*values)
        gradients = first.gradient(y, values, output_gradients=weights)
    seconds = second.gradient(
        gradients, [*values, weights], output_gradients=directions, unconnected_gradients="zero"
    )
    return [y, *gradients, *seconds]


def assert_close(ours, expected, tolerance):
    """Within a share of the largest entry of each array."""
    for index, (a, b) in enumerate(zip(ours, expected, strict=True)):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        b = tf.cast(b, tf.float32).numpy()
        limit = tolerance * max(np.abs(b).max(initial=0), 1e-3)
        np.testing.assert_allclose(tf.cast(a, tf.float32), b, rtol=0, atol=limit, err_msg=index)


def normal(seed, shape, dtype=tf.float32):
    return tf.cast(np.random.default_rng(seed).standard_normal(shape), dtype)


def compare_bias_act(shape, dtype, tolerance, bias=True, **options):
    """Compiled in `dtype` against plain in float32, on the same values."""
    x = normal(0, shape, dtype)
    values = [x, normal(1, shape[-1:], dtype)] if bias else [x]
    weights, directions = (
        normal(2, shape, dtype),
        [normal(3 + i, v.shape) for i, v in enumerate(values)],
    )

    def compiled(*values):
        return fused_bias_act(*values, impl="compiled", **options)

    def plain(*values):
        return fused_bias_act(*values, impl="reference", **options)

    ours = derivatives(compiled, values, weights, [tf.cast(d, dtype) for d in directions])
    single = [tf.cast(v, tf.float32) for v in (*values, weights)]
    expected = derivatives(plain, single[:-1], single[-1], directions)
    assert_close([tf.cast(y, tf.float32) for y in ours], expected, tolerance)
    assert {y.dtype for y in ours} == {dtype}


@pytest.mark.parametrize("shape", [(7,), (3, 16), (2, 5, 7, 3), (2, 3, 5, 37), (70, 513)])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bias_act_to_the_second_order(library, act, shape):
    compare_bias_act(shape, tf.float32, 1e-5, act=act)
    compare_bias_act(shape, tf.float32, 1e-5, act=act, bias=False)
    compare_bias_act(shape, tf.float32, 1e-5, act=act, alpha=0.35, gain=-1.7, clamp=0.9)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bias_act_in_half_types(library, act, dtype):
    for shape in ((2, 5, 7, 3), (3, 4, 4, 48)):
        compare_bias_act(shape, dtype, HALF_TYPES[dtype], act=act, alpha=0.3, gain=1.5)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_bias_gradient_of_many_pixels_in_half_types(library, dtype):
    """As many values as this do not add up in a half type: the sum is made in float."""
    x, b = tf.zeros([4, 64, 64, 3], dtype), tf.zeros([3], dtype)
    with tf.GradientTape() as tape:
        tape.watch(b)
        y = fused_bias_act(x, b, act="linear", impl="compiled")
    slope = tape.gradient(y, b, output_gradients=tf.fill(x.shape, tf.cast(0.25, dtype)))
    assert tf.cast(slope, tf.float32).numpy().tolist() == [4096.0] * 3


@pytest.mark.parametrize("act", ["lrelu", "swish", "tanh"])
def test_third_order_of_bias_act(library, act):
    x, b = normal(0, [4, 3]), normal(1, [3])

    def third(impl):
        with tf.GradientTape() as tape:
            tape.watch(b)
            results = derivatives(
                lambda x, b: fused_bias_act(x, b, act=act, clamp=1.5, impl=impl),
                [x, b], normal(2, x.shape), [normal(3, x.shape), normal(4, b.shape)],
            )  # fmt: skip
            loss = tf.add_n([tf.reduce_sum(tf.sin(y)) for y in results])
        return [tape.gradient(loss, b)]

    assert_close(third("compiled"), third("reference"), 1e-5)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bias_act_keeps_what_is_no_number(library, act):
    x = tf.constant([np.nan, np.inf, -np.inf, 0.0] * 9)  # packs, and what is left of them
    y = fused_bias_act(x, act=act, impl="compiled").numpy()
    expected = fused_bias_act(x, act=act, impl="reference").numpy()
    assert np.isnan(expected[::4]).all()
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    clamped = fused_bias_act(x, act=act, clamp=2.0, impl="compiled").numpy()
    np.testing.assert_allclose(clamped, np.clip(expected, -2, 2), rtol=1e-6)


def compare_upfirdn(x, k, factors, pads, dtype=tf.float32, tolerance=1e-5):
    """The value against NumPy; both orders by the rules that a linear operation obeys."""
    arguments = factors | pad_arguments(pads)
    kwargs = factors | {"pady": pads[:2], "padx": pads[2:]}
    x = tf.cast(x, dtype)
    expected = reference_upfirdn(tf.cast(x, tf.float32).numpy(), k, **kwargs)
    weights = normal(1, expected.shape, dtype)
    direction = normal(2, x.shape, dtype)
    y, dx, d2x, dweights = derivatives(
        lambda x: upfirdn_2d(x, k, **arguments, impl="compiled"), [x], weights, [direction]
    )
    assert {y.dtype, dx.dtype, dweights.dtype} == {dtype}
    assert_close([tf.cast(y, tf.float32)], [tf.constant(expected, tf.float32)], tolerance)
    assert not np.any(d2x)
    along = reference_upfirdn(tf.cast(direction, tf.float32).numpy(), k, **kwargs)
    assert_close([tf.cast(dweights, tf.float32)], [tf.constant(along, tf.float32)], tolerance)
    # The gradient, entry by entry, from plain operations (NumPy has none).
    single = tf.cast(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(single)
        plain = upfirdn_2d(single, k, **arguments, impl="reference")
    plain_dx = tape.gradient(plain, single, output_gradients=tf.cast(weights, tf.float32))
    assert_close([tf.cast(dx, tf.float32)], [plain_dx], tolerance)


@pytest.mark.parametrize("seed", range(40))
def test_upfirdn_of_all_kinds(library, seed):
    """Up and down 1 to 4, odd sizes, cropping pads, 3 channels (see test_ops for the cases)."""
    compare_upfirdn(*random_case(seed))


@pytest.mark.parametrize("channels", [1, 16, 19, 48])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (7, 10), (17, 9)])
@pytest.mark.parametrize("factor", ["up", "down", "same"])
def test_upfirdn_by_the_fast_path(library, factor, size, channels):
    """Four separable taps, of which none is like another, and pads of both signs."""
    k = np.outer([1.0, -2.0, 3.0, 0.5], [0.5, 4.0, 1.5, -1.0]).astype(np.float32)
    names = {"up": ("upx", "upy"), "down": ("downx", "downy"), "same": ()}[factor]
    factors = dict.fromkeys(("upx", "upy", "downx", "downy"), 1) | dict.fromkeys(names, 2)
    x = normal(0, [2, *size, channels]).numpy()
    for pads in ((2, 1, 1, 2), (4, 5, 6, 3), (-1, 4, 5, -2), (9, 8, 12, 11)):
        if min(size) == 1 and min(pads) < 0:
            continue
        compare_upfirdn(x, k, factors, list(pads))


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("channels", [3, 32])
def test_upfirdn_in_half_types(library, dtype, channels):
    x = normal(0, [2, 6, 7, channels]).numpy()
    for factors in ({}, {"upx": 2, "upy": 2}, {"downx": 2, "downy": 2}, {"upx": 3, "downy": 2}):
        k = setup_filter(FIR, gain=4.0)
        compare_upfirdn(x, k, factors, [2, 1, 2, 1], dtype, 2 * HALF_TYPES[dtype])


def test_upfirdn_with_the_largest_filter(library):
    k = np.random.default_rng(0).standard_normal([32, 32]).astype(np.float32)
    x = normal(1, [1, 9, 8, 17]).numpy()
    compare_upfirdn(x, k, {"upx": 2, "downy": 3}, [20, 19, 15, 16])
    compare_upfirdn(x, k[:1], {"upy": 3}, [-2, 1, 16, 15])


def test_upfirdn_keeps_infinities_apart(library):
    """A zero beyond the border is no factor of what is there, not even in the fast path."""
    x = tf.constant(np.where(np.arange(8) % 7, 1.0, np.inf), tf.float32)[None, None, :, None]
    for channels in (1, 16):
        y = filter_2d(tf.tile(x, [1, 4, 1, channels]), FIR, impl="compiled").numpy()
        assert not np.isnan(y).any()
        assert (
            np.isinf(y[0, :, :, 0]).tolist()
            == [[True, True, True, False, False, False, True, True]] * 4
        )


@pytest.mark.parametrize("op", [upsample_2d, downsample_2d, filter_2d])
def test_unknown_shapes_and_empty_batches(library, op):
    x = normal(0, [2, 6, 8, 3])

    def run(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            y = fused_bias_act(op(images, FIR, impl="compiled"), act="swish", impl="compiled")
        return y, tape.gradient(y, images)

    expected = run(x)
    for shape in ([None, 6, 8, 3], [None, None, None, 3], [None] * 4):
        graph = tf.function(run, input_signature=[tf.TensorSpec(shape)])
        assert_close(graph(x), expected, 1e-6)
        y, dx = graph(x[:0])
        assert (y.shape, dx.shape) == ((0, *expected[0].shape[1:]), (0, 6, 8, 3))
    y, dx = run(x[:0])
    assert (y.shape, dx.shape) == ((0, *expected[0].shape[1:]), (0, 6, 8, 3))


def test_gradients_of_an_empty_batch_of_biases_are_zero(library):
    b = tf.ones([3])
    with tf.GradientTape() as tape:
        tape.watch(b)
        y = fused_bias_act(tf.zeros([0, 4, 3]), b, act="lrelu", impl="compiled")
    assert tape.gradient(y, b).numpy().tolist() == [0, 0, 0]


def test_static_shapes_reach_the_next_operation(library):
    @tf.function
    def graph(x):
        y = upsample_2d(x, FIR, impl="compiled")
        z = fused_bias_act(y, act="lrelu", impl="compiled")
        assert y.shape.as_list() == z.shape.as_list() == [None, 8, 12, 3]
        return tf.gradients(z, x)[0]

    concrete = graph.get_concrete_function(tf.TensorSpec([None, 4, 6, 3]))
    assert concrete.output_shapes.as_list() == [None, 4, 6, 3]


def test_the_published_arrays(library, reference):
    with np.load(reference / "ops.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    failed = [d for d in check_ops(arrays, "ops.npz", "compiled", xla=False) if d.failed]
    assert not failed


X = tf.zeros([1, 4, 4, 3])
UPFIRDN = {"k": [1.0], "kh": 1, "kw": 1, "upx": 1, "upy": 1, "downx": 1, "downy": 1} | {
    "padx0": 0, "pady0": 0, "size": [4, 4],
}  # fmt: skip
ACT = {"act": "lrelu", "alpha": 0.2, "gain": 1.0, "clamp": -1.0}
# What the operations themselves refuse, with shapes that graphs do not know.
KERNEL_ERRORS = {
    r"images \[4,4\]: expected \[N,H,W,C\]": lambda lib, hide: lib.gan_upfirdn(
        x=hide(tf.zeros([4, 4])), **UPFIRDN
    ),
    r"size \[3\]: expected two numbers": lambda lib, hide: lib.gan_upfirdn(
        x=X, **UPFIRDN | {"size": hide(tf.zeros([3], tf.int32))}
    ),
    r"filter \[1,1\] is larger than the padded image \[1,4,4,3\]": lambda lib, hide: (
        lib.gan_upfirdn(x=X, **UPFIRDN | {"size": hide(tf.constant([4, 0]))})
    ),
    r"filter \[33,1\]: at most \[32,32\] is supported": lambda lib, hide: lib.gan_upfirdn(
        x=X, **UPFIRDN | {"k": [1.0] * 33, "kh": 33}
    ),
    r"filter \[2,1\] has 3 taps": lambda lib, hide: lib.gan_upfirdn(
        x=X, **UPFIRDN | {"k": [1.0] * 3, "kh": 2}
    ),
    "act='gelu' is no activation": lambda lib, hide: lib.gan_bias_act(
        x=X, b=tf.zeros([3]), **ACT | {"act": "gelu"}
    ),
    "x must have at least one dimension": lambda lib, hide: lib.gan_bias_act(
        x=hide(tf.zeros([])), b=tf.zeros([0]), **ACT
    ),
    r"bias \[4\] does not fit the last dimension of \[1,4,4,3\]": lambda lib, hide: (
        lib.gan_bias_act(x=X, b=hide(tf.zeros([4])), **ACT)
    ),
    r"bias \[1,3\] does not fit": lambda lib, hide: lib.gan_bias_act(
        x=X, b=hide(tf.zeros([1, 3])), **ACT
    ),
    r"gradient \[4,4,3\] does not have the shape \[1,4,4,3\]": (
        lambda lib, hide: lib.gan_bias_act_grad(g=hide(X[0]), x=X, b=tf.zeros([3]), order=1, **ACT)
    ),
    "order=3: expected 1 or 2": lambda lib, hide: lib.gan_bias_act_grad(
        g=X, x=X, b=tf.zeros([3]), order=3, **ACT
    ),
}


def of_unknown_shape(x):
    return tf.raw_ops.PlaceholderWithDefault(input=x, shape=None)


@pytest.mark.parametrize("message", KERNEL_ERRORS)
def test_errors_of_the_kernels(library, message):
    graph = tf.function(lambda: KERNEL_ERRORS[message](library, of_unknown_shape))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        graph()


def test_what_the_compiled_operations_do_not_take(library):
    x = tf.zeros([1, 40, 40, 3], tf.float64)
    with pytest.raises(ValueError, match="impl='compiled': dtype float64 is not one of float32"):
        fused_bias_act(x, impl="compiled")
    with pytest.raises(ValueError, match="impl='compiled': dtype float64"):
        upfirdn_2d(x, [[1.0]], impl="compiled")
    with pytest.raises(ValueError, match=r"filter \(33, 1\) is larger than \(32, 32\)"):
        upfirdn_2d(tf.cast(x, tf.float32), [[1.0]] * 33, impl="compiled")


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"bias \(4,\) does not fit", lambda: fused_bias_act(X, tf.zeros([4]), impl="compiled")),
        ("is larger than the padded", lambda: upfirdn_2d(X, [[1.0] * 5], impl="compiled")),
        ("factors must be at least 1", lambda: upfirdn_2d(X, [[1.0]], upx=0, impl="compiled")),
        ("expected 4 and 2 dimensions", lambda: upfirdn_2d(X[0], [[1.0]], impl="compiled")),
        ("expected a value >= 0", lambda: fused_bias_act(X, clamp=-1, impl="compiled")),
    ],
)
def test_mistakes_are_told_as_by_the_plain_operations(library, message, call):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def functions(library):
    """The C functions of the library, for sizes that no memory holds."""
    found = ctypes.CDLL(str(op_library.build()))
    found.gan_channel_of.argtypes = [ctypes.c_int64] * 2
    found.gan_channel_of.restype = ctypes.c_int64
    found.gan_upfirdn_position.argtypes = [ctypes.c_int64] * 4 + [ctypes.POINTER(ctypes.c_int64)]
    found.gan_upfirdn_offset.argtypes = [ctypes.c_int64] * 7
    found.gan_upfirdn_offset.restype = ctypes.c_int64
    found.gan_upfirdn_span.argtypes = [
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int,
        ctypes.POINTER(ctypes.c_int64),
    ]  # fmt: skip
    return found


def test_indices_beyond_2_to_the_31(functions):
    n, rows, columns, blocks = 300_000, 1024, 1024, 32  # 10^13 packs
    item = (((n - 1) * rows + 1000) * columns + 77) * blocks + 5
    at = (ctypes.c_int64 * 4)()
    functions.gan_upfirdn_position(item, rows, columns, blocks, at)
    assert list(at) == [n - 1, 1000, 77, 5]
    offset = functions.gan_upfirdn_offset(rows, columns, 512, *at[:3], 16 * 5)
    assert offset == ((at[0] * rows + at[1]) * columns + at[2]) * 512 + 80
    assert functions.gan_channel_of(offset, 512) == 80
    assert functions.gan_channel_of(2**40 + 2, 3) == (2**40 + 2) % 3


@pytest.mark.parametrize("seed", range(6))
def test_taps_that_an_output_meets(functions, seed):
    """Against all taps tried one by one, also where a line has more than 2^31 pixels."""
    rng = np.random.default_rng(seed)
    size, up, down, taps = (int(v) for v in rng.integers([1, 1, 1, 1], [12, 5, 5, 33]))
    pad0 = int(rng.integers(-9, 40))
    far = 2**33 * up * down  # a shift that leaves the answer as it was
    for output in range(30):
        start = output * down - pad0
        met = [
            ((start + t) // up, t)
            for t in range(taps)
            if (start + t) % up == 0 and 0 <= (start + t) // up < size
        ]
        found = (ctypes.c_int64 * 3)()
        functions.gan_upfirdn_span(output, size, up, down, pad0, taps, found)
        assert [(found[0] + i, found[1] + i * up) for i in range(found[2])] == met
        functions.gan_upfirdn_span(output + far // down, size, up, down, pad0 + far, taps, found)
        assert [(found[0] + i, found[1] + i * up) for i in range(found[2])] == met
