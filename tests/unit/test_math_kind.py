"""The kind `math`: which problems are well-formed, and what a reply's answer is.

The tables hold what the original implementation wrongly rejects and wrongly accepts.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.tasks import ParsedReply, load_task
from scripts.lib.tasks.math import canonical_answer, last_boxed

TASKS = Path(__file__).parents[2] / "tasks"
GSM8K, MATH = load_task(TASKS / "gsm8k.yaml"), load_task(TASKS / "math.yaml")


def read(task, reply: str, finish_reason: str = "stop") -> ParsedReply:
    return task.kind.parse_reply(task, "", reply, finish_reason)


@pytest.mark.parametrize(
    ("stated", "answer"),
    [
        ("42", "42"),
        ("$42", "42"),
        ("\\$42", "42"),
        ("$42$", "42"),
        ("**42**", "42"),
        ("42.", "42"),
        ("42 dollars", "42"),
        ("42 square feet per hour.", "42"),
        ("50%", "50"),
        ("50\\%", "50"),
        ("1/2", "1/2"),
        ("-3", "-3"),
        ("\u22123", "-3"),
        ("-0", "0"),
        (".5", "0.5"),
        ("0.50", "0.5"),
        ("1,200.50", "1200.5"),
        ("1{,}200", "1200"),
        ("1e3", "1000"),
        ("6 * 7 = 42", "42"),
        ("x = 42", "42"),
        ("42 \\text{ apples}", "42"),
        ("$1,000 dollars", "1000"),
        ("**42**.", "42"),
        ("**42 apples**.", "42"),
        ("$42$ apples", "42"),
        ("$-5", "-5"),
        ("(5)", "5"),
        ("42!", "42"),
        ("5 times", "5"),
        ("\n42", "42"),
        ("42\nI hope this answer is helpful.", "42"),
        ("42\n### Check\nIt fits.", "42"),
    ],
)
def test_a_number_loses_what_stands_around_it(stated: str, answer: str) -> None:
    assert "\n" in stated or canonical_answer("number", stated) == answer
    assert read(GSM8K, f"It is so.\nThe answer is {stated}").answer == answer


@pytest.mark.parametrize(
    "stated",
    [
        "nan", "inf", "-inf", "infinity", "", "forty-two", "many apples", "1/0", "12 or 13",
        "3 million", "3k", "2 dozen", "1 less than Tom", "x = 5 or x = 6", "5 more",
        "42 because 6 * 7 is 42", "42 since six times seven makes it", "3 apples and 4 pears",
        "1e999", "4 2", "1/0", "1/" + "3" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(stated: str) -> None:
    assert canonical_answer("number", stated) == ""
    assert read(GSM8K, f"It is so.\nThe answer is {stated}").reason in (
        "not_a_number",
        "empty_answer",
    )


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-9999, max_value=9999)
)
def test_a_canonical_number_is_canonical_and_the_same_number(number) -> None:
    canonical = canonical_answer("number", f"{number:,}")
    assert float(canonical) == float(number)
    assert canonical_answer("number", canonical) == canonical


@pytest.mark.parametrize(
    "reply",
    [
        "She has 6 * 7 = 42.\nThe answer is 42",
        "She has 6 * 7 = 42.\n### The answer is 42.",
        "She has 6 * 7 = 42.\n#### 42",
        "She has 6 * 7 = 42.\n**Answer:** 42",
        "She has 6 * 7 = 42.\nFinal answer: $42",
        "She has 6 * 7 = 42.\nThe final answer is $\\boxed{42}$.",
        "Let's think step by step.\nShe has 6 * 7 = 42.\nThe answer is: 42",
        "Let\u2019s think step by step.\nShe has 6 * 7 = 42.\nTHE ANSWER IS 42",
    ],
)
def test_a_reply_is_read_tolerantly(reply: str) -> None:
    assert read(GSM8K, reply) == ParsedReply(output="She has 6 * 7 = 42.", answer="42")


@pytest.mark.parametrize(
    ("reply", "finish_reason", "reason"),
    [
        ("", "stop", "empty"),
        ("She has 42.", "stop", "no_answer"),
        ("She has", "length", "truncated"),
        ("She has 42. The answer is", "length", "truncated"),
        ("She has 42.\nThe answer is\n", "stop", "empty_answer"),
        ("So it is.\nThe answer is $\\boxed{}$", "stop", "empty_answer"),
        ("The answer is 42", "stop", "no_reasoning"),
    ],
)
def test_an_unusable_reply_keeps_its_reason(reply: str, finish_reason: str, reason: str) -> None:
    assert read(GSM8K, reply, finish_reason).reason == reason


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        (r"so \boxed{4} or \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\fbox{3}", "3"),
        (r"\boxed 5", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\sqrt}", r"\sqrt"),
        (r"\boxed{}", ""),
        (r"\boxed{1} and \boxed{2", None),
        ("none", None),
    ],
)
def test_the_last_box_is_found(text: str, boxed: str | None) -> None:
    assert last_boxed(text) == boxed


@pytest.mark.parametrize(
    ("reply", "output", "answer"),
    [
        (r"We get $x = 4$. The answer is $\boxed{4}$", "We get $x = 4$.", "4"),
        (r"We get $\boxed{\frac12}$ here.", r"We get $\frac12$ here.", r"\frac12"),
        (r"So $\boxed{1, 2}$.", "So $1, 2$.", "1, 2"),
        (r"So it is $\fbox{3}$.", "So it is $3$.", "3"),
        (r"So it is. The answer is $\sqrt{2}$.", "So it is.", r"\sqrt{2}"),
        (r"So $\boxed{7}$. The answer is hence clear.", "So $7$. The answer is hence clear.", "7"),
        (r"It is \boxed{\text{even}}.", r"It is \text{even}.", r"\text{even}"),
    ],
)
def test_an_expression_is_what_a_reply_states(reply: str, output: str, answer: str) -> None:
    assert read(MATH, reply) == ParsedReply(output=output, answer=answer)


@pytest.mark.parametrize("stated", ["", "nan", "None", r"\boxed{}"])
def test_what_is_no_expression_is_refused(stated: str) -> None:
    assert read(MATH, f"So it is.\nThe answer is {stated}").reason != ""


@pytest.mark.parametrize(
    ("task", "text", "reason"),
    [
        (GSM8K, "Ann has 3 apples and eats one of them. How many are left?", ""),
        (GSM8K, "Ann has 3 apples and eats one of them. Good for her.", "pattern"),
        (GSM8K, "How many?", "too_short"),
        (MATH, "", "too_short"),
        (MATH, "Find $x$ if   $x = 2$. [/INST", ""),
    ],
)
def test_the_format_rules_of_a_problem(task, text: str, reason: str) -> None:
    assert task.kind.read_instruction(task, text).reason == reason


def test_tags_and_runs_of_spaces_are_taken_out() -> None:
    parsed = MATH.kind.read_instruction(MATH, "Find  $x$\nif [INST] $x = 2$. [/INST]")
    assert parsed.text == "Find $x$\nif $x = 2$."


def test_responses_hold_the_reasoning_and_one_answer() -> None:
    assert GSM8K.response("It is so.", "42") == (
        "Let's think step by step.\nIt is so.\nThe answer is 42"
    )
    response = MATH.response("It is so.", r"\frac{1}{2}")
    assert response == "Let's think step by step.\nIt is so.\nThe answer is $\\boxed{\\frac{1}{2}}$"
    assert MATH.kind.read_response(MATH, "", response) == r"\frac{1}{2}"
    assert GSM8K.kind.read_response(GSM8K, "", "no idea") == ""


@pytest.mark.parametrize(
    ("reply", "finish_reason", "answer"),
    [
        # A statement behind the last box is the answer, a box behind the last statement too.
        ("The first is \\boxed{3}.\nThen 3*4.\nThe answer is 12", "stop", "12"),
        ("The answer is 3 at first.\nThen it is \\boxed{12}.", "stop", "12"),
        ("Let me solve it.\n## 2. Multiply\n6 * 7 = 42 marbles", "stop", ""),
        ("Let me solve it.\n#### Step 2: multiply\n6 * 7 = 42 marbles", "stop", ""),
        ("6 * 7 is it.\n#### 42", "stop", "42"),
        ("It is so.\nThe answer is \\boxed{2} or \\boxed{3}", "stop", ""),
        # What the limit of tokens has cut off is not taken for the whole.
        ("It is so.\nThe answer is 1", "length", ""),
        ("It is so.\nThe answer is 42\nSo we", "length", "42"),
        ("It is so.\nThe answer is 42\nThe answer is 42 / 3", "length", ""),
        ("\\boxed{7} is a step.\nThe answer is 1", "length", ""),
        ("It is so.\nThe answer is $\\boxed{42}$", "length", "42"),
        ("\\boxed{7} is a step.\nThe answer is $\\boxed{\\frac{1}{2", "length", ""),
        ("\\boxed{7} is a step.\nThe answer is $\\boxed{\\frac{1}{2", "stop", ""),
    ],
)
def test_the_answer_is_the_one_that_a_reply_ends_with(
    reply: str, finish_reason: str, answer: str
) -> None:
    parsed = read(GSM8K, reply, finish_reason)
    assert parsed.answer == answer
    assert bool(parsed.reason) is not bool(answer)


@pytest.mark.parametrize(
    ("stated", "answer"),
    [
        ("**$x=4$**.", "x=4"),
        ("$5$ or $6$", ""),
        ("clear from the diagram", ""),
        ("42 because 6*7", ""),
        (r"\text{Evelyn}", r"\text{Evelyn}"),
        (r"\boxed{Evelyn}", "Evelyn"),
        (r"$2\sqrt{3}$", r"2\sqrt{3}"),
        (r"$\frac{1}{2} \text{ cm}$", r"\frac{1}{2} \text{ cm}"),
        ("$12", ""),
    ],
)
def test_an_expression_is_no_prose(stated: str, answer: str) -> None:
    parsed = read(MATH, f"It is so.\nThe answer is {stated}")
    assert parsed.answer == answer
    assert parsed.reason == ("" if answer else "not_an_expression")


@pytest.mark.parametrize("text", ["_", "answer" + " " * 9, " ", "*", "#", "\\boxed{", "the ", "$"])
def test_a_reply_of_nothing_but_signs_takes_no_time(text: str) -> None:
    assert read(MATH, text * 5_000).answer == ""
