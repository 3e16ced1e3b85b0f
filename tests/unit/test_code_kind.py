"""The kind `code`: what a reply holds, and which tests prove something."""

from pathlib import Path

import pytest

from scripts.lib.records import Label
from scripts.lib.tasks import code, load_task

SOLUTION = "def triple(n):\n    return n * 3"
TESTS = ("assert triple(2) == 6", "assert triple(0) == 0")


@pytest.mark.parametrize(
    "reply",
    [
        f"Solution:\n```python\n{SOLUTION}\n```\nTest cases:\n```python\n"
        + "\n".join(TESTS)
        + "\n```",
        f"SOLUTION:\n\n```Python3\n{SOLUTION}\n```\n**test cases:**\n\n```py\n"
        + "\n".join(TESTS)
        + "\n```\nThis works because 3 * 2 is 6.",
        f" ``` python\n{SOLUTION}\n\n" + "\n".join(TESTS) + "\n```",
        f"### Solution\n{SOLUTION}\n### Tests\n" + "\n".join(TESTS),
        f"{SOLUTION}\n\n" + "\n".join(TESTS),
        f"```\n{SOLUTION}\nprint(triple(5))\n```\n```\n" + "\n".join([*TESTS, *TESTS]) + "\n```",
        f"```python\n{SOLUTION}\n```\n```python\n" + "\n".join(TESTS) + "\nassert triple(",
    ],
    ids=["asked", "odd case", "one block", "no fence", "bare", "repeated tests", "cut off"],
)
def test_a_reply_is_read_tolerantly(reply: str) -> None:
    parsed = code.parse_reply(reply, "stop", min_tests=2)
    assert parsed.reason == ""
    assert parsed.output == SOLUTION
    assert parsed.tests == TESTS


@pytest.mark.parametrize(
    ("reply", "finish_reason", "reason"),
    [
        ("", "stop", "empty"),
        ("I cannot do that, sorry.", "stop", "not_python"),
        ("```python\nx = 1\nassert x == 1\n```", "stop", "no_function"),
        (f"```python\n{SOLUTION}\n```", "stop", "too_few_tests"),
        (f"```python\n{SOLUTION}\n```", "length", "truncated"),
        (f"```python\n{SOLUTION}\n{TESTS[0]}\nassert triple(5)", "length", "truncated"),
        (f"```python\n{SOLUTION}\n{TESTS[0]}\n{TESTS[0]}\n```", "stop", "too_few_tests"),
    ],
)
def test_an_unusable_reply_keeps_its_reason(reply: str, finish_reason: str, reason: str) -> None:
    assert code.parse_reply(reply, finish_reason, min_tests=2).reason == reason


def test_imports_helpers_and_decorators_stay_in_the_solution() -> None:
    solution = (
        "import functools\nLIMIT = 3\n@functools.cache\ndef helper(n):\n    return n + LIMIT\n"
        "def triple(n):\n    # why\n    return helper(n)"
    )
    parsed = code.parse_reply(
        f"```python\n{solution}\n```\n{''}\n```python\n{TESTS[0]}\n```", "stop", 1
    )
    assert parsed.output == solution


def label(*tests: str) -> Label:
    return Label("i", "t", "i", "x", 0, "", SOLUTION, list(tests), "", "stop", 1, 1, "g", "m", "k")


@pytest.mark.parametrize(
    "test",
    [
        "assert True",
        "assert triple",
        "assert 1 == 1",
        "assert triple(2) == triple(2)",
        'assert (triple(2) == 7, "message")',
        "assert other(2) == 6",
        "triple(2)",
        "assert triple(2) == 6; import os",
    ],
)
def test_a_test_that_proves_nothing_is_refused(test: str) -> None:
    assert code.vacuous(label(TESTS[0], test))


def test_real_tests_are_accepted() -> None:
    assert code.vacuous(label(*TESTS, "assert not triple(0)", "assert abs(triple(-1)) == 3")) == ""
    assert code.vacuous(label()) == "no tests"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write a function to triple a number.", ""),
        ("Write a Python function to triple a number.", ""),
        ("Say something about all the numbers.", "opening"),
        ("Write a function to.", "too_short"),
        ("Write a function to " + "add " * 80, "too_long"),
        ("Write a poem about all the numbers.", "pattern"),
    ],
)
def test_the_format_rules_of_an_instruction(text: str, reason: str) -> None:
    task = load_task(Path(__file__).parents[2] / "tasks" / "mbpp.yaml")
    assert code.check_instruction(task, text) == reason
