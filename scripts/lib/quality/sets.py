"""All statistics of some sets of texts, beside each other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy

from scripts.lib.quality import lengths as of_lengths
from scripts.lib.quality.estimates import PERMUTATIONS, RESAMPLES, Estimate, generator, rounded
from scripts.lib.quality.novelty import (
    nearest_cosines,
    nearest_summary,
    self_similarity,
    shared_with,
    vendi,
)
from scripts.lib.quality.target import Text
from scripts.lib.quality.two_samples import (
    LEAST,
    Sample,
    classifier_test,
    discrepancy,
    discrepancy_test,
    kernel_width,
)

TARGET, SEEDS = "target", "seeds"

METHODS = {
    "words": "word tokens, much as NLTK's word_tokenize counts them",
    "intervals": f"95 %: bootstrap over texts, {RESAMPLES:,} resamples, percentiles; Wilson",
    "wasserstein, ks": "interval: value +- the 95 % quantile of the bootstrapped error's norm",
    "p": f"permutation of texts among the two sets, {PERMUTATIONS:,} times",
    "discrepancy": "squared maximum mean discrepancy of embeddings, unbiased; Gaussian kernel, its "
    "width the median distance of all texts compared",
    "classifier": "ridge regression on embeddings, five folds, as many texts of either set",
}


@dataclass
class Set:
    """A set of texts: all of them, and those that are embedded, with their vectors."""

    texts: list[Text]
    chosen: list[Text]
    vectors: numpy.ndarray
    sample: Sample
    words: list[int] = field(default_factory=list)
    lengths: of_lengths.Lengths | None = None
    nearest: dict[str, numpy.ndarray] = field(default_factory=dict)
    estimates: dict[str, Estimate] = field(default_factory=dict)


def choose(texts: list[Text], most: int, seed: int, name: str) -> list[Text]:
    """At most so many of the texts, in random order; the first of them are also a random choice."""
    order = generator(seed, "choice", name).permutation(len(texts))[:most]
    return [texts[at] for at in order]


def make_sets(
    texts: dict[str, list[Text]],
    embed: Callable[[list[str]], numpy.ndarray],
    most: int,
    seed: int,
) -> dict[str, Set]:
    """The sets by their names: the corpora, and `target` and `seeds`, which may be empty.

    Raises `ValueError` for an empty corpus.
    """
    sets = {}
    counted = {
        name: [len(of_lengths.words(text.instruction)) for text in found]
        for name, found in texts.items()
    }
    size = 1 + max(max(words, default=0) for words in counted.values())
    for name, found in texts.items():
        if not found:
            if name not in (TARGET, SEEDS):
                raise ValueError(f"{name}: holds no instruction")
            continue
        chosen = choose(found, most, seed, name)
        vectors = embed([text.essence for text in chosen])
        drawn = generator(seed, "texts", name)
        sets[name] = Set(found, chosen, vectors, Sample.of(vectors, drawn), counted[name])
        words = generator(seed, "words", name)
        sets[name].lengths = of_lengths.measure(counted[name], size, words)
    return sets


def measure(sets: dict[str, Set], seed: int) -> dict[str, Any]:
    """The statistics of each set, and how pairs of corpora differ."""
    corpora = [name for name in sets if name not in (TARGET, SEEDS)]
    everything = numpy.concatenate([one.vectors for one in sets.values()])
    width = kernel_width(everything, generator(seed, "kernel"))
    equal = min(len(sets[name].chosen) for name in sets if name != SEEDS)
    results = {name: _of_one(name, sets, width, equal, seed) for name in sets}
    return {
        "kernel_width": rounded(width),
        "sets": results,
        "comparisons": [row for pair in combinations(corpora, 2) for row in _compare(sets, *pair)],
        "methods": METHODS,
    }


def _of_one(name: str, sets: dict[str, Set], width: float, equal: int, seed: int) -> dict[str, Any]:
    one = sets[name]
    assert one.lengths is not None
    nearest, shared = {}, None
    for other in (SEEDS, TARGET):
        if other not in sets:
            nearest[other] = None
            continue
        vectors = sets[other].vectors
        cosines = nearest_cosines(one.vectors, vectors, same=name == other)
        one.nearest[other] = cosines
        chance = generator(seed, "nearest", name, other)
        nearest[other] = nearest_summary(cosines, len(vectors) - (name == other), chance)
    if SEEDS in sets:
        shared = shared_with(
            [text.instruction for text in one.chosen],
            [text.instruction for text in sets[SEEDS].chosen],
            name == SEEDS,
            generator(seed, "shared", name),
        )
    one.estimates["mean_words"] = of_lengths.mean_length(one.lengths)
    alike = self_similarity(one.sample)
    if alike:
        one.estimates["self_similarity"] = alike
    against = None
    if TARGET in sets and name != TARGET:
        against = _against_target(name, one, sets[TARGET], width, seed)
    return {
        "texts": len(one.texts),
        "embedded": len(one.chosen),
        "words": of_lengths.summary(one.lengths),
        "self_similarity": alike.row() if alike else None,
        "vendi": vendi(one.vectors, equal, generator(seed, "vendi", name)),
        "nearest_seed": nearest[SEEDS],
        "nearest_target": nearest[TARGET],
        "shared_with_seeds": shared,
        "against_target": against,
    }


def _against_target(name: str, one: Set, target: Set, width: float, seed: int) -> dict[str, Any]:
    """How far a set is from the target set: lengths, and embeddings where there are enough."""
    assert one.lengths is not None and target.lengths is not None
    words = of_lengths.distances(one.lengths, target.lengths, generator(seed, "lengths", name))
    if min(len(one.chosen), len(target.chosen)) < LEAST:
        return {"words": words, "discrepancy": None, "classifier": None}
    apart = one.estimates["mmd2"] = discrepancy(one.sample, target.sample, width)
    chance = generator(seed, "discrepancy", name)
    p = discrepancy_test(one.sample, target.sample, width, chance)
    chance = generator(seed, "classifier", name)
    return {
        "words": words,
        "discrepancy": {"mmd2": apart.row(), "p": p},
        "classifier": classifier_test(one.vectors, target.vectors, chance),
    }


def _compare(sets: dict[str, Set], first: str, second: str) -> list[dict[str, Any]]:
    """The differences of two corpora; of `mmd2`, both to the same draws of the target set."""
    rows = []
    for measured, estimate in sets[first].estimates.items():
        if other := sets[second].estimates.get(measured):
            difference = (estimate - other).row()
            rows.append({"first": first, "second": second, "measure": measured, **difference})
    return rows
