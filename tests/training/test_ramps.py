"""Numbers that change in the course of a run."""

import numpy as np
import pytest

from training.ramps import parse_ramp, value_at


def test_a_number_is_a_constant():
    assert parse_ramp("2.5") == 2.5
    assert value_at(2.5, 0) == value_at(2.5, 1e6) == 2.5


def test_between_points_it_is_what_numpy_interpolates():
    ramp = parse_ramp("5@60,15@80,0@100")
    assert ramp == "5@60,15@80,0@100"
    for kimg in (0, 59.9, 60, 61, 79.5, 80, 90, 100, 500):
        expected = np.interp(kimg, [60, 80, 100], [5, 15, 0])
        assert value_at(ramp, kimg) == pytest.approx(expected)


def test_one_point_is_a_constant():
    assert value_at(parse_ramp("3@10"), 0) == value_at("3@10", 99) == 3


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "nan", "inf", "5@", "@5", "5@60,", "5@80,15@60", "5@60,7@60", "-1@5", "5@-1"],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="expected|convert|order"):
        parse_ramp(text)
