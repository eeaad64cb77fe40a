"""Medians, intervals and verdicts."""

from __future__ import annotations

from random import Random

import pytest

from runsc.ab.stats import FASTER, SAME, SLOWER, UNKNOWN, compare, interval, median


@pytest.mark.parametrize(
    ("values", "expected"), [([3], 3), ([1, 2], 1.5), ([5, 1, 3], 3), ([4, 1, 3, 2], 2.5)]
)
def test_median(values: list[float], expected: float) -> None:
    assert median(values) == expected


def test_interval_holds_the_median_and_narrows_with_more_runs() -> None:
    random = Random(7)
    few = [random.gauss(10, 1) for _ in range(8)]
    many = few + [random.gauss(10, 1) for _ in range(200)]
    for values in (few, many):
        low, high = interval(values)
        assert low <= median(values) <= high
    assert interval(many)[1] - interval(many)[0] < interval(few)[1] - interval(few)[0]


def test_a_clear_difference_is_one() -> None:
    random = Random(3)
    slow = [random.gauss(10, 0.3) for _ in range(10)]
    fast = [random.gauss(5, 0.3) for _ in range(10)]
    assert compare(fast, slow).verdict == FASTER
    assert compare(slow, fast).verdict == SLOWER
    assert compare(fast, slow).ratio == pytest.approx(0.5, rel=0.1)


def test_noise_is_no_difference() -> None:
    """Of twenty comparisons of the same thing with itself at most a few may claim one (5 % are expected)."""
    random = Random(11)
    claims = 0
    for _ in range(20):
        one, two = ([random.lognormvariate(0, 0.4) for _ in range(12)] for _ in range(2))
        claims += compare(one, two, rounds=500).verdict != SAME
    assert claims <= 3


def test_few_runs_tell_nothing() -> None:
    assert compare([1.0] * 3, [9.0] * 10).verdict == UNKNOWN
