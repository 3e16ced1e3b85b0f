"""The section `instruction` of a task as text: prompts, responses, and where an instruction ends.

Whatever changes here changes what generators learn and write: their steps depend on this module.
"""

import re
from typing import Any

Form = dict[str, Any]


def fill(template: str, **values: str) -> str:
    """Put values in place of `{name}`; other braces, of code or of LaTeX, stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


def prompt_prefix(form: Form) -> str:
    """The constant text before every instruction, the forced opening included."""
    return form["prefix"] + form["opening"]


def prompt(form: Form, question: str, tests: list[str]) -> str:
    """The whole prompt of a question: what a task model is trained and evaluated on."""
    return form["prefix"] + question + fill(form["suffix"], tests="\n".join(tests))


def response(form: Form, solution: str, answer: str) -> str:
    """The whole response that a task model is trained on."""
    return fill(form["response"], solution=solution, answer=answer)


def closing_marks(form: Form, after_turn: str) -> list[str]:
    """The texts that end an instruction: the task's own, and the end of the user turn."""
    end = after_turn.strip()
    return [*form["closing"], *([end] if end else [])]


def closing_position(text: str, marks: list[str], start: int = 0) -> tuple[int, int]:
    """Where the first of the closing marks behind `start` begins and ends, (-1, -1) without one."""
    found = [(text.find(mark, start), len(mark)) for mark in marks]
    at, length = min(((at, length) for at, length in found if at >= 0), default=(-1, 0))
    return at, at + length


def cut_at_closing_mark(text: str, marks: list[str], start: int = 0) -> str:
    """A raw text up to its first closing mark behind `start`, without spaces around it."""
    at, _ = closing_position(text, marks, start)
    return (text if at < 0 else text[:at]).strip()
