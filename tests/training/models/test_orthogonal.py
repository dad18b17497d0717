"""A linear mapping becomes a rotation: pictures stay, and lost directions come back."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.tiny_networks import tiny_generator
from training.config import MAPPINGS
from training.models.orthogonal import is_linear, orthogonalise
from training.networks.generator import Generator

LINEAR = MAPPINGS["linear"]
ROOM = {"style_biases": True, "map_min_log2": 3, "map_max_log2": 3, "num_maps": 2}
BITS = tf.constant([[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 1], [1, 1, 0, 0]], tf.float32)


def generator(seed: int, rows: np.ndarray | None = None) -> Generator:
    """Linear, with every variable away from 0; `rows`: what bits add to styles."""
    made = tiny_generator(seed, **LINEAR, **ROOM)
    rng = np.random.default_rng(seed)
    for variable in made.named_trainables().values():
        variable.assign_add(rng.normal(0, 0.2, variable.shape))
    if rows is not None:
        made.mapping.layers[0].weight.assign(rows)
    return made


def pictures(network: Generator) -> np.ndarray:
    latents = tf.constant(np.random.default_rng(5).standard_normal([4, 8]), tf.float32)
    return network(latents, BITS).numpy()


def rows_of(network: Generator) -> np.ndarray:
    return network.mapping.layers[0].weight.numpy()


def gram(rows: np.ndarray) -> np.ndarray:
    product = rows @ rows.T
    return product / product[0, 0]


def test_pictures_stay() -> None:
    # Singular values within a factor of two, so that nothing counts as lost.
    rows = np.linalg.qr(np.random.default_rng(1).standard_normal([8, 4]))[0].T * 3
    rows *= [[1.0], [1.2], [0.9], [1.4]]
    before = [generator(1, rows + 0.05 * generator(3).mapping.layers[0].weight), generator(2, rows)]
    after = orthogonalise(before)
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_allclose(pictures(ours), pictures(theirs), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(gram(rows_of(ours)), np.eye(4), atol=1e-5)
        assert "G_mapping/Dense0/weight" not in ours.named_trainables()
    np.testing.assert_array_equal(rows_of(after[0]), rows_of(after[1]))
    assert np.abs(gram(rows) - np.eye(4)).max() > 0.4


def test_what_was_lost_comes_back() -> None:
    rows = rows_of(generator(1))
    rows[3] = rows[1]  # a picture cannot tell 0001 and 0100
    before = generator(1, rows)
    same = tf.constant([[0, 1, 0, 0], [0, 0, 0, 1]], tf.float32)
    latents = tf.ones([2, 8])
    first, second = before(latents, same).numpy()
    np.testing.assert_allclose(first, second, atol=1e-5)
    first, second = orthogonalise([before])[0](latents, same).numpy()
    assert np.abs(first - second).max() > 0.02


@pytest.mark.parametrize(
    "changes", [{"mapping_act": "lrelu"}, {"mapping_layers": 2}, {"fingerprint_size": 9}]
)
def test_only_one_linear_layer_becomes_a_rotation(changes: dict) -> None:
    assert is_linear(tiny_generator(**LINEAR))
    assert not is_linear(tiny_generator(**LINEAR | changes))
    assert not is_linear(orthogonalise([tiny_generator(**LINEAR)])[0])
