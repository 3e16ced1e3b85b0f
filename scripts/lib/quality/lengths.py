"""How long instructions are, and how far two distributions of lengths are apart.

Lengths are whole numbers, so samples are histograms: drawing texts again, and shuffling them among
two sets, are draws of histograms.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from scripts.lib.evaluation.intervals import CONFIDENCE
from scripts.lib.quality.estimates import (
    PERMUTATIONS,
    RESAMPLES,
    Estimate,
    p_value,
    rounded,
)

# As in the paper's notebooks, which count with NLTK's `word_tokenize`: words (with what a hyphen or
# a slash joins), numbers, the ends of contractions, and signs; runs of dots and of dashes are one.
_WORD = re.compile(
    r"""n['\u2019]t\b | ['\u2019](?:s|re|ve|ll|d|m)\b | \.{2,} | --+ | `` | ''
    | \d+(?:[.,:]\d+)* (?:[-/\w]*\w)?
    | (?:(?!n['\u2019]t\b)\w)+ (?:[-/.](?=\w)(?:(?!n['\u2019]t\b)\w)+)*
    | \S""",
    re.VERBOSE | re.IGNORECASE,
)
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

# Of the process ||(F* - F) - (G* - G)||: see `distances`.
Draws = numpy.ndarray


def words(text: str) -> list[str]:
    """The word tokens of a text, much as NLTK's `word_tokenize` gives them."""
    return _WORD.findall(text)


@dataclass(frozen=True)
class Lengths:
    """The lengths of some texts as a histogram, and histograms of the texts drawn again."""

    counts: numpy.ndarray
    drawn: numpy.ndarray

    @property
    def cumulated(self) -> numpy.ndarray:
        return _cumulated(self.counts)


def measure(lengths: Sequence[int], size: int, generator: numpy.random.Generator) -> Lengths:
    """Histograms of lengths below `size`.

    Raises `ValueError` where there is no length.
    """
    if not lengths:
        raise ValueError("no text has a length")
    counts = numpy.bincount(lengths, minlength=size)
    return Lengths(
        counts, generator.multinomial(len(lengths), counts / len(lengths), size=RESAMPLES)
    )


def _cumulated(counts: numpy.ndarray) -> numpy.ndarray:
    """The shares of lengths up to each one; the last axis holds the lengths."""
    return counts.cumsum(axis=-1) / counts.sum(axis=-1, keepdims=True)


def _means(counts: numpy.ndarray) -> numpy.ndarray:
    return counts @ numpy.arange(counts.shape[-1]) / counts.sum(axis=-1)


def _quantiles(counts: numpy.ndarray, share: float) -> numpy.ndarray:
    """The shortest length that a share of the texts does not exceed."""
    return (_cumulated(counts) >= share - 1e-12).argmax(axis=-1)


def mean_length(lengths: Lengths) -> Estimate:
    return Estimate(float(_means(lengths.counts)), _means(lengths.drawn))


def summary(lengths: Lengths) -> dict[str, Any]:
    """The mean and the median with intervals, and quantiles."""
    median = Estimate(float(_quantiles(lengths.counts, 0.5)), _quantiles(lengths.drawn, 0.5))
    return {
        "mean": mean_length(lengths).row(),
        "median": median.row(),
        "quantiles": {str(share): int(_quantiles(lengths.counts, share)) for share in QUANTILES},
    }


def distances(
    lengths: Lengths, target: Lengths, generator: numpy.random.Generator
) -> dict[str, Any]:
    """How far the lengths are from the target's.

    `wasserstein` is the least mean number of words by which texts would have to change, `ks` the
    greatest difference of the shares of texts up to a length (Kolmogorov-Smirnov). Both are norms
    of the difference of the two distribution functions, so by the triangle inequality neither errs
    by more than the norm of that difference's own error. Its 95 % quantile over the bootstrap is
    the half width: an interval that also covers where the distributions are (nearly) the same,
    where percentiles of the bootstrapped distance never would. `if_same` is what two samples of
    these sizes from one distribution have on average, `p` that of the permutation test.
    """
    gap = lengths.cumulated - target.cumulated
    errors = _cumulated(lengths.drawn) - _cumulated(target.drawn) - gap
    both = lengths.counts + target.counts
    mixed = generator.multivariate_hypergeometric(both, lengths.counts.sum(), size=PERMUTATIONS)
    shuffled = _cumulated(mixed) - _cumulated(both - mixed)
    rows = {}
    for name, norm in (("wasserstein", _area), ("ks", _peak)):
        value, spread = float(norm(gap)), float(numpy.quantile(norm(errors), CONFIDENCE))
        rows[name] = {
            "value": rounded(value),
            "interval": [rounded(max(0.0, value - spread)), rounded(value + spread)],
            "if_same": rounded(norm(shuffled).mean()),
            "p": p_value(value, norm(shuffled)),
        }
    difference = mean_length(lengths) - mean_length(target)
    return {"difference_of_means": difference.row(), **rows}


def _area(gap: numpy.ndarray) -> numpy.ndarray:
    return numpy.abs(gap).sum(axis=-1)


def _peak(gap: numpy.ndarray) -> numpy.ndarray:
    return numpy.abs(gap).max(axis=-1)
