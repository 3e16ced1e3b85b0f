"""The kind `code`: what a reply holds, and which tests prove something."""

import ast
from pathlib import Path

import pytest

from scripts.lib.tasks import Task, load_task
from scripts.lib.tasks.code import functions_to_test, nothing_proved, program, real_tests

TASKS = Path(__file__).parents[2] / "tasks"
MBPP, HUMANEVAL = load_task(TASKS / "mbpp.yaml"), load_task(TASKS / "humaneval.yaml")
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
    parsed = MBPP.kind.parse_reply(MBPP, "", reply, "stop", min_tests=2)
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
    parsed = MBPP.kind.parse_reply(MBPP, "", reply, finish_reason, min_tests=2)
    assert parsed.reason == reason


def test_imports_helpers_and_decorators_stay_in_the_solution() -> None:
    solution = (
        "import functools\nLIMIT = 3\n@functools.cache\ndef helper(n):\n    return n + LIMIT\n"
        "def triple(n):\n    # why\n    return helper(n)"
    )
    reply = f"```python\n{solution}\n```\n\n```python\n{TESTS[0]}\n```"
    parsed = MBPP.kind.parse_reply(MBPP, "", reply, "stop", min_tests=1)
    assert parsed.output == solution


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
        "assert (lambda: triple(1))",
        "assert triple(1) or True",
        "assert [triple(1) for _ in range(3)]",
        "assert f'{triple(1)}'",
        "assert triple(1) == triple(1) + 0",
        "assert {triple(1)} is not None",
        "assert not [triple(1)]",
        "assert triple(2) == 6; import os",
    ],
)
def test_a_test_that_proves_nothing_is_refused(test: str) -> None:
    functions = functions_to_test(MBPP, "", SOLUTION)
    assert nothing_proved(functions, [TESTS[0], test])
    assert real_tests(functions, [TESTS[0], test]) == (TESTS[0],)


def test_real_tests_are_accepted() -> None:
    real = [
        *TESTS, "assert not triple(0)", "assert abs(triple(-1)) == 3",
        "assert triple(1) > triple(0)",
        "assert triple(1) == 3 or triple(1) == 4", "assert triple(2) is not None",
        "assert [triple(1), triple(2)] == [3, 6]",
        "assert all(triple(n) == 3 * n for n in range(9))",
    ]  # fmt: skip
    assert nothing_proved(functions_to_test(MBPP, "", SOLUTION), real) == ""
    assert nothing_proved({"triple"}, []) == "no tests"


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
def test_the_format_rules_of_a_sentence(text: str, reason: str) -> None:
    assert MBPP.kind.read_instruction(MBPP, text).reason == reason


DOCSTRING = 'def add(a: int, b: int) -> int:\n    """Return the sum of the two given numbers.'


@pytest.mark.parametrize(
    "text",
    [
        DOCSTRING,
        DOCSTRING + "\n\n    ",
        DOCSTRING + '"""',
        DOCSTRING + '\n    """\n',
        "from typing import List\nimport math\n\n\n" + DOCSTRING,
        "def helper(n):\n    return n\n\n\n" + DOCSTRING,
        DOCSTRING.replace('"""', "'''"),
    ],
    ids=["open", "spaces", "closed", "closed below", "imports", "helper", "single quotes"],
)
def test_a_signature_with_a_docstring_is_read(text: str) -> None:
    parsed = HUMANEVAL.kind.read_instruction(HUMANEVAL, text)
    assert parsed.reason == ""
    assert parsed.text.endswith(('numbers.\n    """', "numbers.\n    '''"))
    assert HUMANEVAL.kind.read_instruction(HUMANEVAL, parsed.text) == parsed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write a function that adds two numbers.", "no_docstring"),
        ("def add(a, b):\n    return a + b", "no_docstring"),
        (DOCSTRING + '"""\n    return a + b', "trailing_text"),
        (DOCSTRING + '"""\n    x = """more', "body"),
        (DOCSTRING.replace("(a", "((a"), "not_python"),
        ('class A:\n    """Do something with the two given numbers.', "no_docstring"),
        ('def f():\n    """', "no_docstring"),
        ("@cache\n" + DOCSTRING, "pattern"),
        ('def f():\n    """Add.', "too_short"),
    ],
)
def test_a_broken_signature_keeps_its_reason(text: str, reason: str) -> None:
    assert HUMANEVAL.kind.read_instruction(HUMANEVAL, text).reason == reason


STUB = DOCSTRING + '\n    """'


def test_tests_become_the_examples_of_a_docstring() -> None:
    tests = ["assert add(1, 2) == 3", "assert add(1, 2) > 0", "assert add(0, 0) == 0", "assert 1"]
    assert HUMANEVAL.kind.with_tests(HUMANEVAL, STUB, tests) == (
        DOCSTRING + "\n\n    >>> add(1, 2)\n    3\n    >>> add(1, 2) > 0\n    True\n"
        '    >>> add(0, 0)\n    0\n    """'
    )
    assert HUMANEVAL.kind.with_tests(HUMANEVAL, STUB, []) == STUB
    assert MBPP.kind.with_tests(MBPP, "Write a function.", tests) == "Write a function."


def test_similarity_is_measured_on_what_a_function_does() -> None:
    with_examples = HUMANEVAL.kind.with_tests(HUMANEVAL, STUB, ["assert add(1, 2) == 3"])
    essence = HUMANEVAL.kind.essence(HUMANEVAL, with_examples)
    assert essence == HUMANEVAL.kind.essence(HUMANEVAL, STUB)
    assert essence == "add: Return the sum of the two given numbers."


def test_a_reply_to_a_signature_must_define_its_function() -> None:
    reply = "```python\ndef {0}(a, b):\n    return a + b\nassert {0}(1, 2) == 3\n```"

    def reason(name: str) -> str:
        text = reply.format(name)
        return HUMANEVAL.kind.parse_reply(HUMANEVAL, STUB, text, "stop", min_tests=1).reason

    assert reason("add") == ""
    assert reason("plus") == "other_function"


def test_a_solution_runs_behind_what_stands_before_its_signature() -> None:
    stub = "import math\n\ndef helper(n):\n    return n\n\n" + STUB
    assert program(HUMANEVAL, stub, "SOLUTION") == (
        "import math\ndef helper(n):\n    return n\nSOLUTION"
    )
    assert program(MBPP, "Write a function.", "SOLUTION") == "SOLUTION"


@pytest.mark.parametrize("task", [MBPP, HUMANEVAL], ids=["mbpp", "humaneval"])
@pytest.mark.parametrize(
    "response",
    [
        "[PYTHON]\nx = 1\n[/PYTHON]",
        "Sure:\n```python\nx = 1\n```",
        "x = 1",
        "[PYTHON]\nx = 1",
        "```\nx = 1\n```\nYour code should start with a [PYTHON] tag and end with a [/PYTHON]",
        "[PYTHON]\nhm\n[/PYTHON]\n[PYTHON]\nx = 1\n[/PYTHON]",
        "```python\nx = 1\n\nprint([x, x,",
        "x = 1\n\nIt gives x a value.",
        # The stub that the prompt shows, and behind it the code.
        '```python\ndef f(n):\n    """Double n."""\n```\nSo:\n```python\nx = 1\n```',
    ],
)
def test_the_code_of_a_response_is_found(task: Task, response: str) -> None:
    assert task.kind.read_response(task, "", response) == "x = 1"


@pytest.mark.parametrize(
    "response",
    [
        "I cannot.",
        "[PYTHON]\nx = (\ny = 2\n[/PYTHON]",
        "```\nx = (\ny\n```\nSo it is.",
        "def f(",
        'def f(n):\n    """Double n."""\n    ...\n',
        "",
    ],
)
def test_broken_code_that_is_whole_is_none(response: str) -> None:
    assert MBPP.kind.read_response(MBPP, "", response) == ""


@pytest.mark.parametrize(
    "test",
    [
        "assert triple(1) == " + "1+" * 2000 + "1",
        "assert " + "not " * 3000 + "triple(1)",
        "assert triple(1)" + ".a" * 3000,
        "assert triple(1) == 0x" + "f" * 5000,
        "assert triple(1) == " + "(" * 150 + "1" + ")" * 150,
    ],
)
def test_a_monstrous_test_costs_only_itself(test: str) -> None:
    reply = f"```python\n{SOLUTION}\n```\n```python\n{TESTS[0]}\n```\n```python\n{test}\n```"
    parsed = MBPP.kind.parse_reply(MBPP, "", reply, "stop", min_tests=1)
    assert parsed.reason == ""
    assert parsed.tests[0] == TESTS[0]


@pytest.mark.parametrize("text", ["[\n", " ", "x = [\n", "```python\n", "_", "#", "def f(:\n"])
def test_a_reply_of_nothing_but_signs_takes_no_time(text: str) -> None:
    assert MBPP.kind.parse_reply(MBPP, "", text * 3000, "stop", min_tests=1).reason


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    # solution\n    return x",
        'def f(x):\n    """\n    Answer:\n    """\n    return x',
        "f = lambda x: x",
        "import sys\nsys.setrecursionlimit(9999)\ndef f(x):\n    return x",
    ],
)
def test_a_solution_stays_whole(code: str) -> None:
    reply = f"```python\n{code}\nprint(f(1))\nf(2)\nassert f(1) == 1\n```"
    parsed = MBPP.kind.parse_reply(MBPP, "", reply, "stop", min_tests=1)
    assert (parsed.reason, parsed.output, parsed.tests) == ("", code, ("assert f(1) == 1",))


def test_examples_are_what_a_docstring_can_hold() -> None:
    def shown(test: str) -> list[str]:
        text = HUMANEVAL.kind.with_tests(HUMANEVAL, STUB, [test])
        ast.parse(text)
        return [line.strip() for line in text.partition(">>> ")[2].splitlines()[:2]]

    assert shown("assert 3 == add(1, 2)") == ["add(1, 2)", "3"]
    assert shown("assert add(1, 2) == 2 + 1") == ["add(1, 2) == 2 + 1", "True"]
    assert shown("assert add('\"\"\"', 'b') == 3") == []
    assert shown("assert add('a', 'b') == 'a\\nb'") == []


def test_nothing_stands_before_an_import_from_the_future() -> None:
    stub = "import math\n\n\n" + STUB
    solution = "from __future__ import annotations\n\ndef add(a, b):\n    return a + b"
    code = program(HUMANEVAL, stub, solution)
    compile(code, "solution", "exec")
    assert "import math" in code
