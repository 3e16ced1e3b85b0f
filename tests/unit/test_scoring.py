"""Scoring a task model's responses by the kinds."""

from pathlib import Path

import pytest

from scripts.lib.tasks import Judges, Reference, load_task
from scripts.lib.verification.answers import group_equal

TASKS = Path(__file__).parents[2] / "tasks"


def passes(code: str, tests: tuple[str, ...]) -> bool:
    """What the sandbox does, for code that this file holds."""
    names: dict = {}
    try:
        for source in (code, *tests):
            exec(source, names)
    except Exception:
        return False
    return True


JUDGES = Judges(passes, lambda first, second: group_equal([first, second]) == [0, 0])
STUB = 'import math\n\n\ndef root(n: int) -> float:\n    """Return the square root.\n    """'
CHOICE = "Where do goats climb?\nA. sea\nB. cellar\nC. lake\nD. hill\nE. desk"
CODE = "[PYTHON]\ndef root(n):\n    return {}\n[/PYTHON]"


@pytest.mark.parametrize(
    ("name", "reference", "response", "right"),
    [
        ("mbpp", Reference("", tests=("assert root(4) == 2",)), CODE.format("n ** 0.5"), True),
        ("mbpp", Reference("", tests=("assert root(4) == 2",)), CODE.format("n"), False),
        ("mbpp", Reference("", tests=("assert root(4) == 2",)), "I cannot", False),
        # The stub's import stands before the solution.
        ("humaneval", Reference(STUB, tests=("assert root(4) == 2",)),
         CODE.format("math.sqrt(n)"), True),
        ("gsm8k", Reference("", answer="1200"), "So it is.\nThe answer is $1,200.00", True),
        ("gsm8k", Reference("", answer="1200"), "So it is.\nThe answer is 12", False),
        ("gsm8k", Reference("", answer="1200"), "So it is.", False),
        ("math", Reference("", answer="0.5"), r"Hence $\boxed{\frac{1}{2}}$.", True),
        ("math", Reference("", answer="0.5"), r"Hence $\boxed{}$.", False),
        ("csqa", Reference(CHOICE, answer="D. hill"), "The answer is: D. hill", True),
        ("csqa", Reference(CHOICE, answer="D"), "D", True),
        ("csqa", Reference(CHOICE, answer="D. hill"), "The answer is: A. sea", False),
        ("csqa", Reference(CHOICE, answer="D. hill"), "", False),
        ("csqa", Reference(CHOICE, answer="D. hill"), "The answer is: a hill", True),
        ("csqa", Reference(CHOICE, answer="A. sea"), "A goat would climb, so D.", False),
    ],
)  # fmt: skip
def test_a_response_is_right_or_wrong(
    name: str, reference: Reference, response: str, right: bool
) -> None:
    task = load_task(TASKS / f"{name}.yaml")
    assert task.kind.is_right(task, response, reference, JUDGES) is right
