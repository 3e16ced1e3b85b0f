"""The kind `choice`: what is no option, options in another order, and the answer that follows."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.tasks import load_task
from scripts.lib.tasks.choice import LETTERS, Question, order, shuffled, split_question

TASKS = Path(__file__).parents[2] / "tasks"
CSQA = load_task(TASKS / "csqa.yaml")
OPTIONS = ("river", "moon", "the U.S.A.", "find A good cook", "Washington D.C.")
QUESTION = Question("Where did the astronaut land before he went home?", OPTIONS)


@pytest.mark.parametrize(
    "stem",
    [
        "Where can you find A good place to swim?",
        "He lives in the U.S.A. and drives where?",
        "She left Washington D.C. early. Where is she?",
        "What is plan A. and what is plan B. of a cook?",
    ],
)
def test_an_article_or_an_abbreviation_is_no_option(stem: str) -> None:
    question = Question(stem, OPTIONS)
    assert split_question(question.text()) == question


@pytest.mark.parametrize(
    "text",
    [
        "Where is it? A. sea B. lake C. D.C. area D. hill E. town",
        "Where is it?\nA) sea\nB) lake\nC) D.C. area\nD) hill\nE) town",
        "Where is it?\n(A) sea\n(B) lake\n(C) D.C. area\n(D) hill\n(E) town\nF. island",
        "Where is it?\nA. sea\nB. lake\nC. D.C. area\nD. hill\nE. town\n\n"
        "A. sea\nB. lake\nC. x\nD. y\nE. z",
        "Where is it?\n  A. sea\n  B. lake\n  C. D.C. area\n  D. hill\n  E. town\n\nAnswer: A",
    ],
)
def test_options_are_read_in_other_layouts(text: str) -> None:
    question = split_question(text)
    assert question == Question("Where is it?", ("sea", "lake", "D.C. area", "hill", "town"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Where did the astronaut land?", "options"),
        ("Where did the astronaut land?\nA. a\nB. b\nC. c\nD. d", "options"),
        ("Where did the astronaut land?\nA. a\nC. b\nB. c\nD. d\nE. e", "options"),
        ("Where did the astronaut land?\nA. a\nB. b\nC. c\nD. A\nE. e", "same_options"),
        ("Where did the astronaut land?\nA. a\nB. b\nC. c\nD.  \nE. e", "empty_option"),
        ("Where?\nA. a\nB. b\nC. c\nD. d\nE. e", "too_short"),
    ],
)
def test_a_broken_question_keeps_its_reason(text: str, reason: str) -> None:
    found = CSQA.kind.read_instruction(CSQA, text).reason
    # An option without words may also look like one option too few.
    assert found == reason or {found, reason} == {"options", "empty_option"}


def test_options_are_shuffled_by_the_key_and_only_by_it() -> None:
    one = CSQA.kind.read_instruction(CSQA, QUESTION.text(), "42 csqa-1").text
    assert one == CSQA.kind.read_instruction(CSQA, QUESTION.text(), "42 csqa-1").text
    others = {CSQA.kind.read_instruction(CSQA, QUESTION.text(), str(at)).text for at in range(40)}
    assert len(others) > 20
    assert {split_question(text).stem for text in others} == {QUESTION.stem}
    assert all(set(split_question(text).options) == set(OPTIONS) for text in others)
    # Every option comes to stand under every letter.
    first = {split_question(text).options[0] for text in others}
    assert first == set(OPTIONS)
    assert CSQA.kind.read_instruction(CSQA, QUESTION.text(), "").text == QUESTION.text()


@given(st.text())
def test_an_order_is_one_of_all_options(key: str) -> None:
    assert sorted(order(key)) == list(range(len(LETTERS)))


@given(key=st.text(min_size=1), right=st.integers(0, 4))
def test_the_answer_follows_its_option(key: str, right: int) -> None:
    instruction = QUESTION.text()
    asked = split_question(CSQA.kind.question(CSQA, instruction, key))
    assert asked == shuffled(QUESTION, key)
    letter = LETTERS[asked.options.index(OPTIONS[right])]
    reply = f"That is known.\nThe answer is {letter}."
    parsed = CSQA.kind.parse_reply(CSQA, instruction, reply, "stop", key=key)
    assert parsed.answer == f"{LETTERS[right]}. {OPTIONS[right]}"
    assert parsed.output == "That is known."


@pytest.mark.parametrize(
    "reply",
    [
        "B", "b", "(B)", "B.", "B. moon", "**B. moon**", "moon", "Moon.", "The answer is B",
        "Nonetheless, it is far.\nThe answer is B. moon", "None of the others fits.\n### Answer: B",
        "### The answer is (B) moon", "Answer: option B", "#### B", "[B]", "Answer:\nB",
        "The answer is the moon.", r"The answer is \boxed{B}", "The answer is B, since it shines",
        "The answer is A. No, it shines at night.\nThe answer is B",
    ],
)  # fmt: skip
def test_a_reply_is_read_tolerantly(reply: str) -> None:
    parsed = CSQA.kind.parse_reply(CSQA, QUESTION.text(), reply, "stop")
    assert (parsed.reason, parsed.answer) == ("", "B. moon")


@pytest.mark.parametrize(
    ("reply", "finish_reason", "reason"),
    [
        ("", "stop", "empty"),
        ("None", "stop", "none"),
        ("No option fits.\nThe answer is None", "stop", "none"),
        ("I cannot say.", "stop", "no_answer"),
        ("A dog would know.", "stop", "no_answer"),
        ("The answer is a dog", "stop", "no_answer"),
        ("The answer is F", "stop", "no_answer"),
        ("The answer is B or C", "stop", "no_answer"),
        ("The answer is B and C are far, but D is near.", "stop", "no_answer"),
        ("The answer is B vitamins", "stop", "no_answer"),
        ("The answer is C is wrong, because D", "stop", "no_answer"),
        ("The answer is e.g. a dog", "stop", "no_answer"),
        # Letter and words name different options.
        ("The answer is A. moon", "stop", "no_answer"),
        ("### E. coli matters\nSo I say.", "stop", "no_answer"),
        ("It shines.\nThe answer is A", "length", "truncated"),
        ("The moon is", "length", "truncated"),
    ],
)
def test_an_unusable_reply_keeps_its_reason(reply: str, finish_reason: str, reason: str) -> None:
    assert CSQA.kind.parse_reply(CSQA, QUESTION.text(), reply, finish_reason).reason == reason


def test_a_response_names_the_option() -> None:
    assert CSQA.response("because", "D. hill") == "The answer is: D. hill"
    for response in ("The answer is: B. moon", "The answer is: the moon", "B", "(B) moon"):
        assert CSQA.kind.read_response(CSQA, QUESTION.text(), response) == "B"
    assert CSQA.kind.read_response(CSQA, QUESTION.text(), "hm") == ""
    assert CSQA.kind.reference_answer(CSQA, QUESTION.text(), "The answer is B") == "B. moon"


def test_where_reasoning_is_trained_on_the_order_stays() -> None:
    from dataclasses import replace

    spec = {**CSQA.spec, "instruction": {**CSQA.spec["instruction"], "response": "{solution}"}}
    task = replace(CSQA, spec=spec)
    assert task.kind.question(task, QUESTION.text(), "key") == QUESTION.text()
