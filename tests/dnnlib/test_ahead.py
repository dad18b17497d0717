"""Work ahead in threads: in order, and no further ahead than asked for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dnnlib.ahead import map_ahead


def test_results_come_in_order() -> None:
    def slow_when_even(number: int) -> int:
        time.sleep(0.01 * (number % 2 == 0))
        return 10 * number

    with ThreadPoolExecutor(3) as pool:
        assert list(map_ahead(slow_when_even, range(9), pool, 3)) == [10 * n for n in range(9)]
        assert list(map_ahead(slow_when_even, [], pool, 3)) == []


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_no_further_ahead_than_asked_for(ahead: int) -> None:
    asked = []

    def items():
        for number in range(1000):
            asked.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        found = map_ahead(lambda number: number, items(), pool, ahead)
        for taken in range(5):
            assert next(found) == taken
            assert len(asked) == taken + 1 + ahead
        found.close()
        assert len(asked) == 5 + ahead


def test_an_error_comes_in_its_place_and_ends_the_work() -> None:
    done = []

    def fail_at_2(number: int) -> int:
        done.append(number)
        if number == 2:
            raise OSError("two")
        return number

    with ThreadPoolExecutor(1) as pool:
        found = map_ahead(fail_at_2, range(1000), pool, 1)
        assert [next(found), next(found)] == [0, 1]
        with pytest.raises(OSError, match="two"):
            next(found)
    assert max(done) <= 4


def test_what_has_not_begun_is_cancelled() -> None:
    gate = threading.Event()
    begun = []

    def wait(number: int) -> int:
        begun.append(number)
        gate.wait(10)
        return number

    with ThreadPoolExecutor(1) as pool:
        gate.set()
        found = map_ahead(wait, range(9), pool, 5)
        next(found)
        gate.clear()
        found.close()
        gate.set()
    assert len(begun) < 9
