"""Scoring a task model's responses by the kinds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.records import Problem
from scripts.lib.tasks import NO_ANSWER, Judges, Task, load_task
from scripts.lib.verification.answers import group_equal

TASKS = Path(__file__).parents[2] / "tasks"


def problem(instruction: str = "", answer: str = "", tests: tuple[str, ...] = ()) -> Problem:
    return Problem("B", "1", instruction, [], list(tests), "", "", {}, answer, "")


def run(asked: Problem, code: str) -> tuple[str, str]:
    """What the sandbox does, for code that this file holds."""
    names: dict = {}
    try:
        for source in (code, *asked.tests):
            exec(source, names)
    except Exception as error:
        return "fail", str(error)
    return "pass", ""


JUDGES = Judges(run, lambda first, second: group_equal([first, second]) == [0, 0])
STUB = 'import math\n\n\ndef root(n: int) -> float:\n    """Return the square root.\n    """'
CHOICE = "Where do goats climb?\nA. sea\nB. cellar\nC. lake\nD. hill\nE. desk"
CODE = "[PYTHON]\ndef root(n):\n    return {}\n[/PYTHON]"


@pytest.mark.parametrize(
    ("name", "asked", "response", "right"),
    [
        ("mbpp", problem("", tests=("assert root(4) == 2",)), CODE.format("n ** 0.5"), True),
        ("mbpp", problem("", tests=("assert root(4) == 2",)), CODE.format("n"), False),
        ("mbpp", problem("", tests=("assert root(4) == 2",)), "I cannot", False),
        # The stub's import stands before the solution.
        ("humaneval", problem(STUB, tests=("assert root(4) == 2",)),
         CODE.format("math.sqrt(n)"), True),
        ("gsm8k", problem("", answer="1200"), "So it is.\nThe answer is $1,200.00", True),
        ("gsm8k", problem("", answer="1200"), "So it is.\nThe answer is 12", False),
        ("gsm8k", problem("", answer="1200"), "So it is.", False),
        ("math", problem("", answer="0.5"), r"Hence $\boxed{\frac{1}{2}}$.", True),
        ("math", problem("", answer="0.5"), r"Hence $\boxed{}$.", False),
        ("csqa", problem(CHOICE, answer="D. hill"), "The answer is: D. hill", True),
        ("csqa", problem(CHOICE, answer="D"), "D", True),
        ("csqa", problem(CHOICE, answer="D. hill"), "The answer is: A. sea", False),
        ("csqa", problem(CHOICE, answer="D. hill"), "", False),
        ("csqa", problem(CHOICE, answer="D. hill"), "The answer is: a hill", True),
        ("csqa", problem(CHOICE, answer="A. sea"), "A goat would climb, so D.", False),
    ],
)  # fmt: skip
def test_a_response_is_right_or_wrong(
    name: str, asked: Problem, response: str, right: bool
) -> None:
    task = load_task(TASKS / f"{name}.yaml")
    assert task.kind.judge(task, asked, response, JUDGES).right is right


TEMPLATE = "\nThe answer: {solution}\n[/TEXT]"


@pytest.mark.parametrize(
    ("template", "response", "answer"),
    [
        ("{solution}", " New  York\n", "New  York"),
        ("{answer}", "York", "York"),
        (TEMPLATE, "\nThe answer: York\n[/TEXT]", "York"),
        (TEMPLATE, "the  answer:\nYork", "York"),
        (TEMPLATE, "York", "York"),
        (TEMPLATE, "York\n[/TEXT]\n", "York"),
        (TEMPLATE, "It is York. The answer: York", "It is York. The answer: York"),
        ("The {solution}", "Theodore", "Theodore"),
        (TEMPLATE, "\nThe answer: \n[/TEXT]", ""),
    ],
)
def test_a_text_is_read_by_the_template_of_its_task(
    template: str, response: str, answer: str
) -> None:
    task = text_task(template)
    assert task.kind.read_response(task, "", response) == answer


@given(
    st.sampled_from(["{solution}", TEMPLATE, "So: {solution}", "({solution})"]),
    st.text(min_size=1).filter(str.strip),
)
def test_a_text_comes_back_out_of_its_template(template: str, text: str) -> None:
    task = text_task(template)
    assert task.kind.read_response(task, "", task.response(text, "")) == text.strip()


def text_task(template: str) -> Task:
    return Task("t", Path("t.yaml"), {"kind": "text", "instruction": {"response": template}})


@pytest.mark.parametrize(
    ("name", "response"),
    [
        ("mbpp", "I cannot"), ("mbpp", "[PYTHON]\n# pass\n[/PYTHON]"), ("mbpp", "def f(:"),
        ("mbpp", "7"), ("gsm8k", "So it is."), ("csqa", "hm"), ("csqa", ""),
    ],
)  # fmt: skip
def test_a_response_without_an_answer_is_told_from_a_wrong_one(name: str, response: str) -> None:
    task = load_task(TASKS / f"{name}.yaml")
    asked = problem(CHOICE, "A. sea", ("assert f(1)",))
    ruling = task.kind.judge(task, asked, response, JUDGES)
    assert (ruling.answer, ruling.verdict, ruling.right) == ("", NO_ANSWER, False)
