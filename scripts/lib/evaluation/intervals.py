"""Intervals of scores, and the difference of two models on the same problems.

`wilson` is for a share of right responses (Wilson, 1927), the bootstrap over problems (percentiles)
for all else. A score lies between 0 and 1. Where no problem differs from another one, resamples
cannot differ either, and a bootstrap would be certain; the bound of Clopper and Pearson on what has
not been seen once in so many problems stands there instead.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

RESAMPLES = 10_000
CONFIDENCE = 0.95
# The quantiles between which a bootstrap's interval lies.
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
# The quantile of the normal distribution that leaves 2.5 % above it.
_Z = 1.959963984540054
# Numbers drawn at a time: 64 MB of them.
_PORTION = 1 << 23

WILSON = f"Wilson, {CONFIDENCE:.0%}"
BOOTSTRAP = f"bootstrap over problems, {RESAMPLES:,} resamples, {CONFIDENCE:.0%}"
PAIRED = (
    f"paired bootstrap over problems, {RESAMPLES:,} resamples, {CONFIDENCE:.0%}; p by flipping the "
    "signs of the differences at random"
)

Interval = tuple[float, float]


def wilson(right: int, of: int) -> Interval:
    """The interval of a share of `right` ones among `of`. Raises `ValueError` for no share."""
    if not 0 <= right <= of or of < 1:
        raise ValueError(f"{right} of {of} is no share")
    share, spread = right / of, _Z**2 / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    # Rounding must not leave the share outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def unseen_share(count: int) -> float:
    """The largest share of something that is compatible with its being seen in none of `count`.

    The upper bound of Clopper and Pearson (1934).
    """
    return 1 - TAILS[0] ** (1 / count)


def bootstrap_mean(values: Sequence[float], seed: int) -> Interval:
    """The interval of the mean of the problems' scores.

    Raises `ValueError` where there is no score, or one is not between 0 and 1.
    """
    return _interval(_checked(values, 0.0), 0.0, seed)


def paired_difference(
    first: Sequence[float], second: Sequence[float], seed: int
) -> tuple[float, Interval, float]:
    """How much higher the mean of `first` is than that of `second`, its interval, and a p-value.

    Both hold the scores of the same problems in the same order. The p-value is two-sided, of the
    hypothesis that it is random which of the two scores of a problem is whose: its smallest value
    is 1 / (`RESAMPLES` + 1). Raises `ValueError` as `bootstrap_mean` does, and for lists of
    different lengths.
    """
    import numpy

    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores cannot be paired with {len(second)}")
    differences = _checked(first, 0.0) - _checked(second, 0.0)
    value = float(differences.mean())
    generator = numpy.random.default_rng([seed, 1])
    flipped = numpy.concatenate(
        [
            generator.choice((-1.0, 1.0), (count, len(differences))) @ differences
            for count in _portions(len(differences))
        ]
    )
    # Sums of the same numbers in another order differ in their last digits.
    as_far = int((abs(flipped) >= abs(differences.sum()) - 1e-9).sum())
    return value, _interval(differences, -1.0, seed), (as_far + 1) / (RESAMPLES + 1)


def _checked(values: Sequence[float], low: float) -> "numpy.ndarray":
    import numpy

    found = numpy.asarray(values, dtype=float)
    if not len(found) or not ((found >= low) & (found <= 1)).all():
        raise ValueError("scores are wanted, each between 0 and 1, and at least one")
    return found


def _portions(columns: int) -> list[int]:
    """The resamples in portions that are drawn at a time."""
    size = max(1, min(RESAMPLES, _PORTION // columns))
    whole, rest = divmod(RESAMPLES, size)
    return [size] * whole + ([rest] if rest else [])


def _interval(values: "numpy.ndarray", low: float, seed: int) -> Interval:
    """The interval of the mean of values between `low` and 1."""
    import numpy

    mean = float(values.mean())
    if (values == values[0]).all():
        unseen = unseen_share(len(values))
        return max(low, mean - unseen), min(1.0, mean + unseen)
    generator = numpy.random.default_rng([seed, 0])
    means = numpy.concatenate(
        [
            values[generator.integers(0, len(values), (count, len(values)))].mean(axis=1)
            for count in _portions(len(values))
        ]
    )
    lower, upper = numpy.quantile(means, TAILS)
    return min(mean, float(lower)), max(mean, float(upper))
