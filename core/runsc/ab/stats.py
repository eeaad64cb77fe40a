"""Medians, their confidence intervals, and when a difference is one (the percentile bootstrap; B. Efron,
1979).

Times on a shared machine have long tails, so nothing here assumes a distribution.
"""

from __future__ import annotations

from random import Random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: How often samples are drawn anew; the interval's ends then wobble by some per cent of its width.
ROUNDS = 2000
#: The interval leaves out this much at each end.
TAIL = 0.025

FASTER = "faster"
SLOWER = "slower"
SAME = "no difference beyond the noise"
UNKNOWN = "too few runs to tell"

#: Fewer runs than this have no interval worth the name.
FEWEST = 4


def median(values: Sequence[float]) -> float:
    """The median of some values, at least one."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def interval(values: Sequence[float], rounds: int = ROUNDS) -> tuple[float, float]:
    """The 95 % confidence interval of the median."""
    random = Random(1)
    medians = sorted(median(random.choices(values, k=len(values))) for _ in range(rounds))
    return medians[int(rounds * TAIL)], medians[int(rounds * (1 - TAIL)) - 1]


class Comparison:
    """One variant beside the baseline: ``ratio`` of the medians, its interval, and what to say of it."""

    __slots__ = ("high", "low", "ratio", "verdict")

    def __init__(self, ratio: float, low: float, high: float, verdict: str) -> None:
        self.ratio = ratio
        self.low = low
        self.high = high
        self.verdict = verdict


def compare(values: Sequence[float], baseline: Sequence[float], rounds: int = ROUNDS) -> Comparison:
    """``values`` beside ``baseline``. Below 1 is faster, where the values are times.

    A difference is one only if the interval of the ratio leaves 1 out."""
    ratio = median(values) / max(median(baseline), 1e-12)
    if min(len(values), len(baseline)) < FEWEST:
        return Comparison(ratio, 0.0, float("inf"), UNKNOWN)
    random = Random(2)
    ratios = sorted(
        median(random.choices(values, k=len(values)))
        / max(median(random.choices(baseline, k=len(baseline))), 1e-12)
        for _ in range(rounds)
    )
    low, high = ratios[int(rounds * TAIL)], ratios[int(rounds * (1 - TAIL)) - 1]
    verdict = FASTER if high < 1 else SLOWER if low > 1 else SAME
    return Comparison(ratio, low, high, verdict)
