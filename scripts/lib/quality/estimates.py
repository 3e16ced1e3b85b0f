"""Numbers with their uncertainty: values, intervals, and the p-values of permutation tests."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy

from scripts.lib.evaluation.intervals import TAILS, wilson

# How often texts are drawn again with replacement for an interval, and shuffled for a test.
RESAMPLES = 2000
PERMUTATIONS = 2000


@dataclass(frozen=True)
class Estimate:
    """A value, and what it would have been for texts drawn again from those at hand."""

    value: float
    replicates: numpy.ndarray

    def interval(self) -> list[float]:
        """The percentile bootstrap interval."""
        return [rounded(bound) for bound in numpy.quantile(self.replicates, TAILS)]

    def row(self) -> dict[str, Any]:
        return {"value": rounded(self.value), "interval": self.interval()}

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two, whose replicates belong together or are independent."""
        return Estimate(self.value - other.value, self.replicates - other.replicates)


def rounded(number: float) -> float:
    """A number to six significant digits: the last bits of a matrix product are not a result."""
    return float(f"{number:.6g}")


def generator(seed: int, *names: str) -> numpy.random.Generator:
    """A generator of its own for each purpose, so that none depends on what was drawn before."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return numpy.random.default_rng(int.from_bytes(digest[:8], "big"))


def p_value(value: float, shuffled: numpy.ndarray) -> float:
    """The share of shuffles that give at least `value`, which counts as one of them itself.

    So a test at level a rejects two samples of one distribution in at most a share a of cases
    (Phipson and Smyth 2010, doi 10.2202/1544-6115.1585). What differs by rounding is the same.
    """
    slack = 1e-9 * max(1.0, abs(value))
    return rounded((1 + numpy.count_nonzero(shuffled >= value - slack)) / (1 + len(shuffled)))


def weights(count: int, generator: numpy.random.Generator) -> numpy.ndarray:
    """How large a share each of `count` texts has in samples drawn with replacement, one a row."""
    return generator.multinomial(count, numpy.full(count, 1 / count), size=RESAMPLES) / count


def mean(values: numpy.ndarray, generator: numpy.random.Generator) -> Estimate:
    """The mean of the values of texts."""
    return Estimate(float(values.mean()), weights(len(values), generator) @ values)


def share(right: int, of: int) -> dict[str, Any]:
    """A share of texts with Wilson's interval; none where there is no text."""
    if of == 0:
        return {"value": None, "interval": None}
    return {
        "value": rounded(right / of),
        "interval": [rounded(bound) for bound in wilson(right, of)],
    }
