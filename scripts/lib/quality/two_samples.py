"""Whether two sets of texts are draws from one distribution, by their embeddings.

Two tests beside each other: the maximum mean discrepancy says how far apart the sets are, a
classifier says how often a text can be told which of the two it comes from. Both shuffle the texts
among the sets, which needs no assumption but that the texts of a set are independent.
"""

from dataclasses import dataclass
from typing import Any

import numpy

from scripts.lib.quality.estimates import (
    PERMUTATIONS,
    Estimate,
    p_value,
    share,
    weights,
)

# Fewer texts of a set say nothing of its distribution.
LEAST = 10
# Texts whose pairwise distances give the width of the kernel.
WIDTH_TEXTS = 1000
FOLDS = 5
# What is added to the squared singular values of some hundred unit vectors.
RIDGE = 1.0
# Shuffles at a time, which bounds the memory.
BLOCK = 500


def kernel_width(vectors: numpy.ndarray, generator: numpy.random.Generator) -> float:
    """The median distance of two of the vectors (the median heuristic).

    All sets that are compared give their vectors here, so that the values have one scale and the
    width does not know which vector is whose, as the shuffles demand.
    """
    if len(vectors) > WIDTH_TEXTS:
        vectors = vectors[generator.choice(len(vectors), WIDTH_TEXTS, replace=False)]
    squares = _squared_distances(vectors, vectors)[numpy.triu_indices(len(vectors), 1)]
    width = float(numpy.sqrt(numpy.median(squares))) if len(squares) else 0.0
    return width or 1.0


def _squared_distances(first: numpy.ndarray, second: numpy.ndarray) -> numpy.ndarray:
    first, second = first.astype(numpy.float64), second.astype(numpy.float64)
    lengths = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
    return numpy.maximum(lengths - 2 * first @ second.T, 0.0)


def kernel(first: numpy.ndarray, second: numpy.ndarray, width: float) -> numpy.ndarray:
    """The Gaussian kernel of each vector of the one set with each of the other."""
    return numpy.exp(-_squared_distances(first, second) / (2 * width**2))


def pair_means(shares: numpy.ndarray, similarities: numpy.ndarray) -> numpy.ndarray:
    """Mean similarity of two different texts, for each row of the texts' shares.

    A text that was drawn twice makes no pair with itself, so the mean is unbiased; where one text
    was drawn alone, there is no other pair.
    """
    pairs = 1 - (shares**2).sum(axis=1)
    all_pairs = numpy.einsum("ij,ij->i", shares @ similarities, shares)
    with_itself = shares**2 @ similarities.diagonal()
    alone = pairs < 1e-12
    return numpy.where(alone, with_itself, (all_pairs - with_itself) / (pairs + alone))


@dataclass(frozen=True)
class Sample:
    """The vectors of a set, and the shares that its texts have when they are drawn again."""

    vectors: numpy.ndarray
    drawn: numpy.ndarray

    @staticmethod
    def of(vectors: numpy.ndarray, generator: numpy.random.Generator) -> "Sample":
        return Sample(vectors.astype(numpy.float64), weights(len(vectors), generator))


def discrepancy(first: Sample, second: Sample, width: float) -> Estimate:
    """The squared maximum mean discrepancy of two sets, unbiased: so it may fall below 0.

    Gretton et al. 2012 (JMLR 13), lemma 6, with the Gaussian kernel.
    """
    own = kernel(first.vectors, first.vectors, width)
    other = kernel(second.vectors, second.vectors, width)
    across = kernel(first.vectors, second.vectors, width)

    def squared(shares: numpy.ndarray, others: numpy.ndarray) -> numpy.ndarray:
        between = numpy.einsum("ij,ij->i", shares @ across, others)
        return pair_means(shares, own) + pair_means(others, other) - 2 * between

    whole = squared(*(numpy.full((1, len(s.vectors)), 1 / len(s.vectors)) for s in (first, second)))
    return Estimate(float(whole[0]), squared(first.drawn, second.drawn))


def discrepancy_test(
    first: Sample, second: Sample, width: float, generator: numpy.random.Generator
) -> float:
    """The p-value of the discrepancy among shuffles of the texts."""
    vectors = numpy.concatenate([first.vectors, second.vectors])
    similarities = kernel(vectors, vectors, width)
    numpy.fill_diagonal(similarities, 0.0)
    count, size = len(vectors), len(first.vectors)
    sums, total = similarities.sum(axis=1), similarities.sum()

    def squared(inside: numpy.ndarray) -> numpy.ndarray:
        within = numpy.einsum("ij,ij->i", inside @ similarities, inside)
        across = inside @ sums - within
        others, rest = total - within - 2 * across, count - size
        return (
            within / (size * (size - 1)) + others / (rest * (rest - 1)) - 2 * across / (size * rest)
        )

    value = squared((numpy.arange(count) < size).astype(numpy.float64)[None])[0]
    shuffled = []
    for start in range(0, PERMUTATIONS, BLOCK):
        ranks = generator.random((min(BLOCK, PERMUTATIONS - start), count)).argsort(axis=1)
        shuffled.append(squared((ranks < size).astype(numpy.float64)))
    return p_value(float(value), numpy.concatenate(shuffled))


def classifier_test(
    first: numpy.ndarray, second: numpy.ndarray, generator: numpy.random.Generator
) -> dict[str, Any]:
    """How often a linear classifier tells which of two sets an unseen text is from.

    The classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545), over five folds:
    0.5 where the sets are alike, 1 where they are apart. As many texts of the larger set are drawn
    as the smaller one has. The classifier is fitted by ridge regression, whose predictions are
    linear in the labels, so thousands of shuffles cost one matrix product. Labels are shuffled
    within the folds, which keeps these balanced. The interval is Wilson's.
    """
    size = min(len(first), len(second))
    chosen = [vectors[generator.permutation(len(vectors))[:size]] for vectors in (first, second)]
    vectors = numpy.concatenate(chosen).astype(numpy.float64)
    labels = numpy.repeat([1.0, -1.0], size)
    fold = numpy.tile(numpy.arange(size) % FOLDS, 2)
    members = [numpy.flatnonzero(fold == number) for number in range(FOLDS)]
    shuffled = numpy.empty((2 * size, PERMUTATIONS + 1))
    shuffled[:, 0] = labels
    for inside in members:
        own = numpy.tile(labels[inside], (PERMUTATIONS, 1))
        shuffled[inside, 1:] = generator.permuted(own, axis=1).T
    right = numpy.zeros(PERMUTATIONS + 1)
    for inside in members:
        outside = numpy.setdiff1d(numpy.arange(2 * size), inside)
        known = vectors[outside] - vectors[outside].mean(axis=0)
        unseen = vectors[inside] - vectors[outside].mean(axis=0)
        gram = known @ known.T + RIDGE * numpy.eye(len(outside))
        predicted = (unseen @ known.T) @ numpy.linalg.solve(gram, shuffled[outside])
        right += (predicted * shuffled[inside] > 0).sum(axis=0)
    return {
        "accuracy": share(int(right[0]), 2 * size),
        "p": p_value(float(right[0]), right[1:]),
        "texts_of_each": size,
    }
