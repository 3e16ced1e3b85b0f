"""Means, intervals and differences over the random seeds and the problems of a study.

Both are samples: other seeds would give other students, other problems other scores. So both are
drawn anew in each of the bootstrap's resamples, crossed: each drawn seed meets each drawn problem
(Owen, "The pigeonhole bootstrap", 2007). Arms are compared pair by pair, the same seed on the same
problem. A handful of seeds shows their spread poorly: such intervals are rather too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.lib.evaluation.intervals import CONFIDENCE, RESAMPLES, TAILS, unseen_share

if TYPE_CHECKING:
    import numpy

# Resamples that are in the memory at a time.
PORTION = 500
METHOD = f"bootstrap over seeds and problems, {RESAMPLES:,} resamples, {CONFIDENCE:.0%}"


@dataclass(frozen=True)
class Effect:
    """A mean with its interval, and the two-sided p-value of its being 0."""

    value: float
    interval: tuple[float, float]
    p: float


def effect(scores: "numpy.ndarray", seed: int, low: float = 0.0) -> Effect:
    """The mean of `scores` (random seeds, problems), or of differences of such scores.

    `low` is the least that one can be: 0, or -1 for a difference. A p-value is twice the smaller
    share of the resamples on one side of 0, those on it counted on both; it is never below
    1 / `RESAMPLES`. Where all scores are the same, the interval is the bound of Clopper and Pearson
    on what has not been seen once in so many problems.
    """
    import numpy

    mean = float(scores.mean())
    if (scores == scores.flat[0]).all():
        unseen = unseen_share(scores.shape[1])
        nothing = 1.0 if mean == 0 else 1 / RESAMPLES
        return Effect(mean, (max(low, mean - unseen), min(1.0, mean + unseen)), nothing)
    generator = numpy.random.default_rng(seed)
    means = numpy.concatenate(
        [_resampled_means(scores, PORTION, generator) for _ in range(RESAMPLES // PORTION)]
    )
    bounds = numpy.quantile(means, TAILS)
    # Sums of the same numbers in another order differ in their last digits.
    near = 1e-12
    share = min(float((means <= near).mean()), float((means >= -near).mean()))
    p = min(1.0, max(2 * share, 1 / RESAMPLES))
    return Effect(mean, (float(bounds[0]), float(bounds[1])), p)


def _resampled_means(
    scores: "numpy.ndarray", count: int, generator: "numpy.random.Generator"
) -> "numpy.ndarray":
    seeds, problems = scores.shape
    of_seeds = generator.multinomial(seeds, [1 / seeds] * seeds, count)
    of_problems = generator.multinomial(problems, [1 / problems] * problems, count)
    return ((of_seeds @ scores) * of_problems).sum(axis=1) / (seeds * problems)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979), in their order."""
    adjusted = [1.0] * len(values)
    reached = 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=lambda at: values[at])):
        reached = max(reached, min(1.0, (len(values) - rank) * values[at]))
        adjusted[at] = reached
    return adjusted
