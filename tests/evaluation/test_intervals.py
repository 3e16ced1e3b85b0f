"""Intervals: known values, laws, and how often they hold what they are to hold."""

import math

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.lib.evaluation import intervals
from scripts.lib.evaluation.intervals import bootstrap_mean, paired_difference, wilson


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605),
             (0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}  # fmt: skip
    for (right, of), interval in known.items():
        assert wilson(right, of) == pytest.approx(interval, abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_share_lies_in_its_interval(given: tuple[int, int]) -> None:
    right, of = given
    low, high = wilson(right, of)
    assert 0 <= low <= right / of <= high <= 1
    mirrored = wilson(of - right, of)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_what_is_no_share_is_refused() -> None:
    for right, of in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="no share"):
            wilson(right, of)


def test_a_bootstrap_is_near_the_normal_interval_and_the_same_each_time() -> None:
    values = [float(at % 10 < 3) for at in range(400)]
    low, high = bootstrap_mean(values, seed=1)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.006)
    assert bootstrap_mean(values, seed=1) == (low, high)
    uneven = [at / 7 % 1 for at in range(50)]
    assert bootstrap_mean(uneven, seed=1) != bootstrap_mean(uneven, seed=2)


def test_nothing_seen_is_not_certainty() -> None:
    # Clopper and Pearson for 0 of 100: up to 3.6 %.
    assert bootstrap_mean([0.0] * 100, seed=0) == pytest.approx((0.0, 0.0362), abs=1e-4)
    value, (low, high), p = paired_difference([0.0] * 100, [0.0] * 100, seed=0)
    assert (value, p) == (0.0, 1.0)
    assert (low, high) == pytest.approx((-0.0362, 0.0362), abs=1e-4)
    assert bootstrap_mean([0.4], seed=0) == (0.0, 1.0)


def test_portions_change_no_number_of_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    for portion in (1, 7, 700, 1 << 23):
        monkeypatch.setattr(intervals, "_PORTION", portion)
        assert sum(intervals._portions(7)) == intervals.RESAMPLES


@pytest.mark.parametrize(
    ("values", "others"),
    [([], []), ([0.5, 1.5], [0.5, 0.5]), ([0.5], [0.5, 0.5]), ([math.nan], [0.0]), ([-0.1], [0.0])],
)
def test_what_is_no_score_is_refused(values: list[float], others: list[float]) -> None:
    with pytest.raises(ValueError):
        paired_difference(values, others, seed=0)


def test_the_p_value_is_that_of_mcnemars_exact_test() -> None:
    # 8 problems only the first has right, 1 only the second: 2 * (1 + 9) / 2**9.
    first = [1.0] * 8 + [0.0] + [1.0] * 20 + [0.0] * 71
    second = [0.0] * 8 + [1.0] + [1.0] * 20 + [0.0] * 71
    value, (low, high), p = paired_difference(first, second, seed=3)
    assert value == pytest.approx(0.07)
    assert p == pytest.approx(20 / 512, abs=0.006)
    assert low > 0 and high < 0.15


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)


@settings(max_examples=15, deadline=None)
@given(scores)
def test_a_difference_turns_round_with_its_models(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    value, (low, high), p = paired_difference(first, second, seed=5)
    other, (other_low, other_high), other_p = paired_difference(second, first, seed=5)
    assert value == pytest.approx(-other, abs=1e-12)
    assert -1 <= low <= value <= high <= 1 and 0 < p <= 1
    assert (other_low, other_high) == pytest.approx((-high, -low), abs=0.02)
    assert p == pytest.approx(other_p, abs=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 500)
    generator = numpy.random.default_rng(7)
    held, false_alarms = 0, 0
    for number in range(300):
        first, second = generator.random((2, 100)) < [[0.3], [0.2]]
        _, (low, high), _ = paired_difference(first.tolist(), second.tolist(), number)
        held += low <= 0.1 <= high
        same = generator.random((2, 100)) < 0.2
        _, _, p = paired_difference(same[0].tolist(), same[1].tolist(), number)
        false_alarms += p < 0.05
    assert 0.90 <= held / 300 <= 0.99
    assert false_alarms / 300 <= 0.08
