"""Fingerprints of a run that sees few of them."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from training.config import setup_training_config
from training.draws import draw_known, known_fingerprints
from training.options import TrainOptions


def test_they_follow_from_the_seed() -> None:
    first = known_fingerprints(1, 50, 16)
    np.testing.assert_array_equal(first, known_fingerprints(1, 50, 16))
    assert (first != known_fingerprints(2, 50, 16)).mean() == pytest.approx(0.5, abs=0.1)
    assert first.mean() == pytest.approx(0.5, abs=0.1)


def test_each_is_as_likely() -> None:
    known = np.eye(4, dtype=np.uint8)
    drawn = draw_known(known, tf.constant([0, 7], tf.int64), [2, 2000]).numpy()
    assert drawn.shape == (2, 2000, 4)
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), 0.25, atol=0.03)


@pytest.mark.parametrize(("count", "bits"), [(17, 4), (1, 0), (2_000_000, 64)])
def test_too_many(count: int, bits: int) -> None:
    options = TrainOptions(dataset="d", watermark_size=bits, distinct_fingerprints=count)
    with pytest.raises(UserError, match=f"--distinct-fingerprints={count}.*choose fewer"):
        setup_training_config(options, 32, 3)
