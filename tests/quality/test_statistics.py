"""The statistics of instructions: intervals that cover, tests that keep their level and see."""

from collections.abc import Iterator

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import Ridge

from scripts.lib.quality import estimates, lengths, two_samples
from scripts.lib.quality.estimates import generator, p_value, weights
from scripts.lib.quality.novelty import (
    nearest_cosines,
    nearest_summary,
    self_similarity,
    shared_with,
    vendi_score,
)
from scripts.lib.quality.two_samples import (
    FOLDS,
    Sample,
    classifier_test,
    discrepancy,
    discrepancy_test,
    kernel,
    kernel_width,
    pair_means,
)

SIZE = 90
LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=30)
REPEATS = 60
# 5 % of the repeats, and what chance adds to it once in thousands of times.
RARE = REPEATS * 0.05 + 3 * (REPEATS * 0.05 * 0.95) ** 0.5


@pytest.fixture(autouse=True, scope="module")
def few_draws() -> Iterator[None]:
    """The least p-value is 1 %: the laws are the same, and the tests are quick."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (two_samples, lengths):
            patch.setattr(module, "PERMUTATIONS", 99)
        for module in (estimates, lengths):
            patch.setattr(module, "RESAMPLES", 300)
        yield


def unit_vectors(generator: numpy.random.Generator, count: int, shift: float) -> numpy.ndarray:
    """Random directions, of which the first is preferred by `shift`."""
    vectors = generator.normal(size=(count, 12))
    vectors[:, 0] += shift
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def skewed(generator: numpy.random.Generator, count: int, mean: float) -> list[int]:
    return generator.gamma(4, mean / 4, size=count).astype(int).clip(0, SIZE - 1).tolist()


def measured(numbers: list[int], number: int, name: str) -> lengths.Lengths:
    return lengths.measure(numbers, SIZE, generator(number, name))


def test_words_are_counted_as_in_the_papers_notebooks() -> None:
    for text, words in [
        ("Write a function to add.", "Write|a|function|to|add|."),
        ("It doesn't cost $1,000.50", "It|does|n't|cost|$|1,000.50"),
        ("Ann's well-known a/b list...", "Ann|'s|well-known|a/b|list|..."),
        ("", ""),
    ]:
        assert "|".join(lengths.words(text)) == words


@settings(max_examples=25)
@given(LENGTHS, LENGTHS)
def test_the_distances_of_lengths_are_scipys(first: list[int], second: list[int]) -> None:
    found = lengths.distances(measured(first, 0, "a"), measured(second, 0, "b"), generator(0))
    back = lengths.distances(measured(second, 0, "b"), measured(first, 0, "a"), generator(0))
    expected = {
        "wasserstein": stats.wasserstein_distance(first, second),
        "ks": max(
            abs(numpy.mean(numpy.array(first) <= at) - numpy.mean(numpy.array(second) <= at))
            for at in range(41)
        ),
    }
    for name, value in expected.items():
        low, high = found[name]["interval"]
        assert found[name]["value"] == pytest.approx(value, rel=1e-5, abs=1e-9)
        assert found[name]["value"] == back[name]["value"]
        assert 0 <= low <= found[name]["value"] <= high and 0 < found[name]["p"] <= 1
    summary = lengths.summary(measured(first, 0, "a"))
    assert summary["mean"]["value"] == pytest.approx(numpy.mean(first), rel=1e-5)
    assert summary["median"]["value"] == sorted(first)[(len(first) - 1) // 2]


@pytest.mark.parametrize(("mean", "distance"), [(20.0, 0.0), (21.0, 1.0), (26.0, 6.0)])
def test_intervals_of_lengths_cover_even_where_nothing_differs(
    mean: float, distance: float
) -> None:
    covered = {"wasserstein": 0, "difference_of_means": 0}
    truth = {"wasserstein": distance, "difference_of_means": 20.0 - mean}
    rng = generator(1, "coverage")
    for number in range(REPEATS):
        first, second = skewed(rng, 60, 20.0), skewed(rng, 200, mean)
        samples = measured(first, number, "a"), measured(second, number, "b")
        found = lengths.distances(*samples, generator(number))
        for name, value in truth.items():
            low, high = found[name]["interval"]
            # Rounding down to whole words moves what is true a little.
            covered[name] += low - 0.02 <= value <= high + 0.02
    assert REPEATS - min(covered.values()) <= RARE


def test_the_test_of_lengths_keeps_its_level_and_sees_a_difference() -> None:
    rng = generator(2, "level")
    rejected = {0.0: {"wasserstein": 0, "ks": 0}, 10.0: {"wasserstein": 0, "ks": 0}}
    for shift, counts in rejected.items():
        for number in range(REPEATS if shift == 0 else 20):
            first, second = skewed(rng, 60, 20.0), skewed(rng, 90, 20.0 + shift)
            samples = measured(first, number, "a"), measured(second, number, "b")
            found = lengths.distances(*samples, generator(number))
            for name in counts:
                counts[name] += found[name]["p"] <= 0.05
    assert max(rejected[0.0].values()) <= RARE
    assert min(rejected[10.0].values()) >= 18


def test_both_tests_of_embeddings_keep_their_level_and_see_a_difference() -> None:
    rng = generator(3, "level")
    rejected = {0.0: [0, 0], 3.0: [0, 0]}
    for shift, counts in rejected.items():
        for number in range(REPEATS if shift == 0 else 20):
            first, second = unit_vectors(rng, 25, 0.0), unit_vectors(rng, 40, shift)
            samples = [Sample(vectors, numpy.zeros(0)) for vectors in (first, second)]
            width = kernel_width(numpy.concatenate([first, second]), generator(number))
            counts[0] += discrepancy_test(*samples, width, generator(number, "m")) <= 0.05
            counts[1] += classifier_test(first, second, generator(number, "c"))["p"] <= 0.05
    assert max(rejected[0.0]) <= RARE
    assert min(rejected[3.0]) >= 18


def test_the_interval_of_the_discrepancy_covers() -> None:
    rng = generator(4, "coverage")
    width = 1.2
    for shift in (0.0, 1.0):
        many = unit_vectors(rng, 1000, 0.0), unit_vectors(rng, 1000, shift)
        truth = sum(
            sign * kernel(many[a], many[b], width)[~numpy.eye(1000, dtype=bool)].mean()
            for a, b, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -2))
        )
        covered = 0
        for number in range(40):
            samples = [
                Sample.of(unit_vectors(rng, 60, by), generator(number, str(by), name))
                for by, name in ((0.0, "a"), (shift, "b"))
            ]
            low, high = discrepancy(*samples, width).interval()
            covered += low <= truth <= high
        assert covered >= 34


@settings(max_examples=30)
@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 1000))
def test_the_discrepancy_is_the_unbiased_one(first: int, second: int, seed: int) -> None:
    rng = generator(seed, "naive")
    own, other = rng.normal(size=(first, 3)), rng.normal(size=(second, 3))

    def between(one: numpy.ndarray, another: numpy.ndarray) -> float:
        return float(numpy.exp(-((one - another) ** 2).sum() / (2 * 0.7**2)))

    def within(vectors: numpy.ndarray) -> float:
        pairs = [(i, j) for i in range(len(vectors)) for j in range(len(vectors)) if i != j]
        return float(numpy.mean([between(vectors[i], vectors[j]) for i, j in pairs]))

    across = float(numpy.mean([between(one, another) for one in own for another in other]))
    samples = [Sample.of(vectors, generator(seed)) for vectors in (own, other)]
    expected = within(own) + within(other) - 2 * across
    assert discrepancy(*samples, 0.7).value == pytest.approx(expected)


def test_the_classifier_is_ridge_regression_on_texts_that_it_has_not_seen() -> None:
    rng = generator(5, "ridge")
    vectors = numpy.concatenate([unit_vectors(rng, 20, 0.0), unit_vectors(rng, 20, 1.0)])
    labels = numpy.repeat([1.0, -1.0], 20)

    class InOrder:
        """Chance that leaves the texts in order and shuffles no label."""

        def permutation(self, count: int) -> numpy.ndarray:
            return numpy.arange(count)

        def permuted(self, values: numpy.ndarray, axis: int) -> numpy.ndarray:
            return values

    found = classifier_test(vectors[:20], vectors[20:], InOrder())  # type: ignore[arg-type]
    fold = numpy.tile(numpy.arange(20) % FOLDS, 2)
    right = sum(
        (
            Ridge(alpha=1.0).fit(vectors[fold != n], labels[fold != n]).predict(vectors[fold == n])
            * labels[fold == n]
            > 0
        ).sum()
        for n in range(FOLDS)
    )
    assert found["accuracy"]["value"] == right / 40
    assert found["p"] == 1.0


def test_a_p_value_counts_the_value_itself_among_the_shuffles() -> None:
    assert p_value(2.0, numpy.array([0.0, 1.0, 2.0 - 1e-12])) == 0.5
    assert p_value(2.0, numpy.zeros(99)) == 0.01


def test_a_text_drawn_twice_makes_no_pair_with_itself() -> None:
    similarities = numpy.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]])
    shares = numpy.array([[1 / 3, 1 / 3, 1 / 3], [2 / 3, 1 / 3, 0.0], [0.0, 1.0, 0.0]])
    assert pair_means(shares, similarities) == pytest.approx([0.4, 0.2, 1.0])
    drawn = weights(3, generator(0))
    assert drawn.shape == (300, 3) and drawn.sum(axis=1) == pytest.approx(1.0)


def test_texts_that_are_all_the_same_differ_from_nothing() -> None:
    same = numpy.tile(unit_vectors(generator(0), 1, 0.0), (12, 1))
    sample = Sample.of(same, generator(0))
    assert kernel_width(same, generator(0)) > 0
    assert discrepancy(sample, sample, 1.0).value == pytest.approx(0.0)
    assert discrepancy_test(sample, sample, 1.0, generator(0)) == 1.0
    alike = self_similarity(sample)
    assert alike is not None and alike.value == pytest.approx(1.0)
    assert vendi_score(same) == pytest.approx(1.0)
    assert vendi_score(numpy.eye(7)) == pytest.approx(7.0)
    assert self_similarity(Sample.of(same[:1], generator(0))) is None


def test_a_text_is_not_its_own_neighbour() -> None:
    vectors = numpy.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    assert nearest_cosines(vectors, vectors, same=True) == pytest.approx([0.6, 0.8, 0.8])
    assert nearest_cosines(vectors, vectors, same=False) == pytest.approx([1, 1, 1])
    found = nearest_summary(nearest_cosines(vectors, vectors, same=True), 2, generator(0))
    assert found is not None and found["near_copies"]["value"] == pytest.approx(2 / 3, abs=1e-5)
    assert not len(nearest_cosines(vectors[:1], vectors[:1], same=True))
    assert nearest_summary(numpy.zeros(0), 0, generator(0)) is None


def test_shared_runs_of_words_are_counted_whatever_the_case() -> None:
    seeds = ["Write a function to add two numbers.", "Write a function to sort a list."]
    texts = ["write A function, to add three numbers", "Reverse the words"]
    found = shared_with(texts, seeds, False, generator(0))
    assert found is not None
    # Two of the four runs of four words of the first text, none of the second.
    assert found["share_of_runs"]["value"] == 0.25
    assert found["longest"] == {"0.5": 2.5, "0.95": 4.75, "1.0": 5.0}
    own = shared_with(seeds, seeds, True, generator(0))
    assert own is not None and own["longest"]["1.0"] == 4.0
    assert shared_with(texts, [], False, generator(0)) is None
