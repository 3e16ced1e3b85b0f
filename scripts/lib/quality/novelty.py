"""How new texts are, and how diverse: nearest neighbours, similarity within a set, shared words."""

from typing import Any

import numpy

from scripts.lib.dedup import normalise
from scripts.lib.quality.estimates import Estimate, mean, rounded, share
from scripts.lib.quality.two_samples import Sample, pair_means

# The cosine from which on a text counts as a near copy: the paper's filter takes it.
NEAR = 0.8
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Words in a row whose share is told; a run of LONG is what decontamination drops.
GRAM, LONG = 4, 10
# Subsets whose mean is the Vendi score at a given number of texts.
SUBSETS = 20


def nearest_cosines(vectors: numpy.ndarray, others: numpy.ndarray, same: bool) -> numpy.ndarray:
    """The cosine of each text and the nearest of the others.

    `same` says that both are one set, in which a text is not its own neighbour. Empty where a text
    has no other.
    """
    cosines = vectors.astype(numpy.float64) @ others.T.astype(numpy.float64)
    if same:
        numpy.fill_diagonal(cosines, -numpy.inf)
    enough = len(others) > (1 if same else 0)
    return cosines.max(axis=1) if enough else numpy.zeros(0)


def nearest_summary(
    cosines: numpy.ndarray, others: int, generator: numpy.random.Generator
) -> dict[str, Any] | None:
    """Of the cosines of texts and their nearest of so many `others`: mean, quantiles, near copies.

    The more others, the nearer is the nearest one: compare only what has equally many.
    """
    if not len(cosines):
        return None
    quantiles = numpy.quantile(cosines, QUANTILES)
    return {
        "others": others,
        "mean": mean(cosines, generator).row(),
        "quantiles": {str(at): rounded(q) for at, q in zip(QUANTILES, quantiles, strict=True)},
        "near_copies": share(int((cosines >= NEAR).sum()), len(cosines)),
    }


def self_similarity(sample: Sample) -> Estimate | None:
    """The mean cosine of two different texts of a set, `None` for fewer than two texts."""
    if len(sample.vectors) < 2:
        return None
    cosines = sample.vectors @ sample.vectors.T
    whole = numpy.full((1, len(cosines)), 1 / len(cosines))
    return Estimate(float(pair_means(whole, cosines)[0]), pair_means(sample.drawn, cosines))


def vendi_score(vectors: numpy.ndarray) -> float:
    """How many texts that have nothing in common would be as diverse as these.

    The exponential of the entropy of the cosines' eigenvalues (Friedman and Dieng 2023, arXiv
    2210.02410): 1 where all texts are the same, their number where all are orthogonal.
    """
    eigenvalues = numpy.linalg.eigvalsh(vectors @ vectors.T) / len(vectors)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    return float(numpy.exp(-(eigenvalues * numpy.log(eigenvalues)).sum()))


def vendi(
    vectors: numpy.ndarray, texts: int, generator: numpy.random.Generator
) -> dict[str, Any] | None:
    """The Vendi score of so many of the texts, the mean over random subsets.

    It grows with the number of texts, so only scores at one number can be compared.
    """
    if not 0 < texts <= len(vectors):
        return None
    subsets = [generator.permutation(len(vectors))[:texts] for _ in range(SUBSETS)]
    scores = [vendi_score(vectors[subset].astype(numpy.float64)) for subset in subsets]
    return {"value": rounded(float(numpy.mean(scores))), "texts": texts}


def grams(text: str, size: int) -> set[tuple[str, ...]]:
    """The runs of `size` words of a text, whatever their case and punctuation."""
    words = normalise(text).split()
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def shared_with(
    texts: list[str], others: list[str], same: bool, generator: numpy.random.Generator
) -> dict[str, Any] | None:
    """The words in a row that texts have in common with others (the seeds).

    `share_of_runs`: which part of a text's runs of four words any of the others holds, on average;
    `longest`: of the longest run that a text shares, quantiles over the texts; `long_runs`: the
    share of texts with a run of ten. `same` says that both are one set, in which a text is compared
    with all but itself. What asks for a task ("Write a function to") counts: the target's own
    figures say how much that is.
    """
    if not texts or len(others) < (2 if same else 1):
        return None
    shares, longest = [], []
    held: dict[int, list[set[tuple[str, ...]]]] = {}
    for number, text in enumerate(texts):
        rivals = [at for at in range(len(others)) if not (same and at == number)]

        def common(size: int, text: str = text, rivals: list[int] = rivals) -> tuple[int, int]:
            sets = held.setdefault(size, [grams(other, size) for other in others])
            own = grams(text, size)
            return sum(any(run in sets[at] for at in rivals) for run in own), len(own)

        found, of = common(GRAM)
        shares.append(found / of if of else 0.0)
        size = 0
        while common(size + 1)[0]:
            size += 1
        longest.append(size)
    return {
        "share_of_runs": mean(numpy.array(shares), generator).row(),
        "longest": {str(at): float(numpy.quantile(longest, at)) for at in (0.5, 0.95, 1.0)},
        "long_runs": share(sum(size >= LONG for size in longest), len(longest)),
    }
