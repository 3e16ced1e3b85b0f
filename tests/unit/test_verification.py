"""Which replies pass: by their own tests, by agreement, by a majority, by form."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.records import Label
from scripts.lib.tasks import load_task
from scripts.lib.tasks.code import functions_to_test
from scripts.lib.verification import PASSED, Outcome, keep_first
from scripts.lib.verification.answers import AnswerGrouper, group_equal
from scripts.lib.verification.execution import by_agreement, by_own_tests
from scripts.lib.verification.majority import by_majority, equal_texts
from scripts.verify_samples import Settings, Verification, open_verification, outcomes_of

MBPP = load_task(Path(__file__).parents[2] / "tasks" / "mbpp.yaml")


def label(number: int, output: str = "", answer: str = "", tests: tuple[str, ...] = ()) -> Label:
    return Label(
        id=f"t-{number}", task="t", instruction_id="t", instruction="x", reply_number=number,
        reply="", output=output, answer=answer, tests=list(tests), reason="", judgement="",
        finish_reason="stop", prompt_tokens=1, completion_tokens=1, generator="g",
        label_model="m", request="k",
    )  # fmt: skip


def run(label: Label, tests: list[str]) -> tuple[str, str]:
    """What the sandbox does, for code that this file holds."""
    names: dict = {}
    try:
        exec(label.output, names)
        for test in tests:
            exec(test, names)
    except AssertionError:
        return "failed", "wrong"
    except Exception as error:
        return "error", repr(error)
    return PASSED, ""


def functions_of(label: Label) -> set[str]:
    return functions_to_test(MBPP, "", label.output)


def solution(number: int, name: str, body: str, *expected: tuple[int, int]) -> Label:
    """A reply with a function of one number, and tests of (argument, value)."""
    code = f"def {name}(n):\n    return {body}"
    tests = tuple(f"assert {name}({argument}) == {value}" for argument, value in expected)
    return label(number, code, tests=tests)


def verdicts(outcomes: list[Outcome]) -> list[str]:
    return [outcome.verdict for outcome in outcomes]


def test_a_reply_that_agrees_with_itself_passes_its_own_tests_only() -> None:
    wrong = solution(0, "triple", "n * 2", (1, 2), (5, 10))
    assert by_own_tests(wrong, run, functions_of).verdict == PASSED
    right = solution(1, "triple", "n * 3", (1, 3), (5, 15))
    also_right = solution(2, "times_three", "n + n + n", (2, 6), (0, 0))
    outcomes = by_agreement([wrong, right, also_right], run, functions_of, support=2)
    assert verdicts(outcomes) == ["disagreement", PASSED, "surplus"]
    # Its own tests first, then those of the reply that calls the function by another name.
    assert outcomes[1].support == 2
    assert outcomes[1].tests == (
        "assert triple(1) == 3", "assert triple(5) == 15",
        "assert triple(0) == 0", "assert triple(2) == 6",
    )  # fmt: skip


def test_without_support_nothing_passes() -> None:
    replies = [
        solution(0, "f", "n * 2", (1, 2)),
        solution(1, "f", "n * 3", (1, 3)),
        solution(2, "f", "n * 4", (1, 4)),
    ]
    assert verdicts(by_agreement(replies, run, functions_of, support=2)) == [
        "unsupported", "disagreement", "disagreement",
    ]  # fmt: skip
    assert by_agreement(replies, run, functions_of, support=1)[0].verdict == PASSED


def test_a_reply_that_repeats_the_tests_of_another_adds_no_support() -> None:
    replies = [solution(at, "f", "n * 2", (1, 2), (5, 10)) for at in range(3)]
    assert set(verdicts(by_agreement(replies, run, functions_of, support=2))) == {"unsupported"}


def test_a_reply_whose_tests_another_one_has_too_adds_no_support() -> None:
    replies = [solution(0, "f", "n * 2", (1, 2), (5, 10)), solution(1, "f", "2 * n", (1, 2))]
    assert set(verdicts(by_agreement(replies, run, functions_of, support=2))) == {"unsupported"}


def test_tests_of_another_function_verify_no_stub() -> None:
    humaneval = load_task(MBPP.path.parent / "humaneval.yaml")
    stub = 'def triple(n: int) -> int:\n    """Return n times three."""'
    code = "def triple(n):\n    return 0\n\ndef is_even(n):\n    return n % 2 == 0"
    wrong = label(0, code, tests=("assert is_even(2)", "assert not is_even(3)"))
    assert functions_to_test(humaneval, stub, code) == {"triple"}
    outcome = by_own_tests(wrong, run, lambda label: functions_to_test(humaneval, stub, code))
    assert outcome.verdict == "vacuous"
    parsed = humaneval.kind.parse_reply(
        humaneval, stub, f"{code}\nassert is_even(2)", "stop", min_tests=1
    )
    assert parsed.reason == "too_few_tests"


def test_one_wrong_test_does_not_cost_the_right_solution() -> None:
    replies = [
        solution(0, "f", "n * 3", (1, 3), (2, 7)),
        solution(1, "f", "3 * n", (3, 9)),
        solution(2, "f", "n * 3 + 0", (4, 12)),
    ]
    outcomes = by_agreement(replies, run, functions_of, support=2)
    assert verdicts(outcomes) == [PASSED, "surplus", "surplus"]
    assert "assert f(2) == 7" not in outcomes[0].tests
    assert outcomes[0].support == 2


def test_tests_that_prove_nothing_count_for_nothing() -> None:
    vacuous = label(0, "def f(n):\n    return n", tests=("assert True", "assert f(1) == f(1)"))
    assert by_own_tests(vacuous, run, functions_of).verdict == "vacuous"
    other = solution(1, "f", "n", (1, 1))
    assert (
        verdicts(by_agreement([vacuous, other], run, functions_of, support=2))[1] == "unsupported"
    )
    no_call = label(2, "def f(n):\n    return n", tests=("assert True",))
    assert by_agreement([no_call], run, functions_of, support=1)[0].verdict == "vacuous"


def test_solutions_that_pass_nothing_fail() -> None:
    broken = solution(0, "f", "1 / 0", (1, 1))
    assert verdicts(by_agreement([broken], run, functions_of, support=1)) == ["failed"]


@given(st.permutations([(0, "n * 3", 3), (1, "3 * n", 3), (2, "n * 2", 2), (3, "n + 2 * n", 3)]))
def test_the_same_solutions_agree_whatever_their_order(replies) -> None:
    labels = [
        solution(at, "f", body, (at + 1, (at + 1) * factor))
        for at, (_, body, factor) in enumerate(replies)
    ]
    outcomes = by_agreement(labels, run, functions_of, support=2)
    assert verdicts(outcomes).count(PASSED) == 1
    assert outcomes[verdicts(outcomes).index(PASSED)].support == 3


def answers(*texts: str) -> list[Label]:
    return [label(at, "because", text) for at, text in enumerate(texts)]


def test_a_majority_passes_and_counts_all_replies() -> None:
    outcomes = by_majority(answers("4", "5", "4"), asked=3, majority=0.6, group=equal_texts)
    assert verdicts(outcomes) == [PASSED, "minority", PASSED]
    assert [outcome.support for outcome in outcomes] == [2, 1, 2]
    # Replies without an answer count as well.
    outcomes = by_majority(answers("4", "5", "4"), asked=4, majority=0.6, group=equal_texts)
    assert set(verdicts(outcomes)) == {"no_majority"}


@given(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=9), st.floats(0.51, 1))
def test_at_most_one_answer_passes_and_it_has_the_share(texts: list[str], majority: float) -> None:
    outcomes = by_majority(answers(*texts), len(texts), majority, equal_texts)
    passed = {
        text for text, outcome in zip(texts, outcomes, strict=True) if outcome.verdict == PASSED
    }
    assert len(passed) <= 1
    for text in passed:
        assert texts.count(text) / len(texts) >= majority


def test_a_majority_of_one_reply_is_not_called_a_majority() -> None:
    way = Verification("majority", "", lambda labels, asked: [])
    assert [way.name_for(replies) for replies in (1, 2)] == ["single_reply", "majority"]
    assert Verification("own_tests", "bwrap", way.judge).name_for(1) == "own_tests"


def test_rows_of_an_instruction_are_limited_and_different() -> None:
    passed = [Outcome(PASSED, support=1)] * 4
    contents = [("a",), ("a",), ("b",), ("c",)]
    kept = keep_first([*passed, Outcome("failed")], [*contents, ("d",)], rows=2)
    assert verdicts(kept) == [PASSED, "duplicate", PASSED, "surplus", "failed"]


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac12", r"\frac{1}{2}", True),
        ("1/2", "0.5", True),
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        ("x^2+1", "1+x^2", True),
        (r"\{1, 2\}", r"\{2,1\}", True),
        (r"90^\circ", "90", True),
        ("3", "4", False),
        (r"\frac{1}{2}", r"\frac{1}{3}", False),
        (r"\text{even}", r"\text{odd}", False),
        ("", "0", False),
        (r"\sqrt", r"\frac", False),
    ],
)
def test_answers_are_compared_as_mathematics(first: str, second: str, equal: bool) -> None:
    assert (group_equal([first, second]) == [0, 0]) is equal


def test_answers_are_compared_in_a_process_that_survives_what_is_thrown_at_it() -> None:
    with AnswerGrouper() as group:
        assert group(["7", "7"]) == [0, 0]
        assert group([r"\frac{1}{2}", "3", "0.5", "3.0"]) == [0, 1, 0, 1]
        # A power tower: no limit of time inside the process ends its computation.
        assert group([r"9^{9^{9^{9}}}", "1"]) == [0, 1]
        assert group(["2", "2.0"]) == [0, 0]


def test_grouping_does_not_depend_on_the_company() -> None:
    texts = ["1/2", "0.5", "3", "3.0", r"\frac{6}{2}"]
    for seed in range(5):
        shuffled = random.Random(seed).sample(texts, len(texts))
        groups = group_equal(shuffled)
        pairs = dict(zip(shuffled, groups, strict=True))
        assert pairs["1/2"] == pairs["0.5"] != pairs["3"] == pairs["3.0"]


def test_without_verification_every_reply_that_could_be_parsed_passes() -> None:
    settings = Settings(
        method="none", support=2, majority=0.6, rows_per_instruction=2, timeout=3, memory_mb=512,
        workers=1, sandbox_level="full", accept_risk=False,
    )  # fmt: skip
    # Of the second, its own test fails: nothing is executed, so that nobody knows.
    labels = [
        solution(0, "f", "n + 1", (1, 2)),
        solution(1, "f", "n", (1, 5)),
        replace(label(2), reason="not_python"),
        solution(3, "f", "n * 1", (1, 1)),
    ]
    with open_verification(MBPP, settings) as verification:
        found = outcomes_of(verification, labels, settings.rows_per_instruction)
        assert (verification.name_for(4), verification.sandbox) == ("none", "")
    assert [outcome.verdict for _, outcome in found] == [PASSED, PASSED, "invalid", "surplus"]
    assert found[1][1].tests == ("assert f(1) == 5",)
