"""The kind `text`: an instruction asks for anything, a reply is a text in the wanted form.

Nothing can be executed or compared, so a task may ask a judge (`judge` in its file).
"""

import re

from scripts.lib.records import Problem
from scripts.lib.tasks import (
    RIGHT,
    WRONG,
    Judges,
    Kind,
    ParsedInstruction,
    ParsedReply,
    Task,
    format_reason,
)

# Stands for the text in a response's template.
_TEXT = "\0"


def accepted(task: Task, judgement: str) -> bool:
    """Whether the judge's reply accepts an answer: `judge.accept` of the task matches in it."""
    return bool(re.search(task.spec["judge"]["accept"], judgement.strip(), re.IGNORECASE))


def _pattern(text: str) -> str:
    """A regular expression for a text with any spaces, or an end, where it has some."""
    return r"(?:\s+|\A|\Z)".join(re.escape(word) for word in re.split(r"\s+", text))


class Text(Kind):
    """Free answers."""

    def read_instruction(self, task: Task, text: str, key: str = "") -> ParsedInstruction:
        """Read an instruction. Reasons: those of `format_reason`."""
        reason = format_reason(task, text)
        return ParsedInstruction(reason=reason) if reason else ParsedInstruction(text)

    def parse_reply(
        self,
        task: Task,
        instruction: str,
        reply: str,
        finish_reason: str,
        min_tests: int = 0,
        key: str = "",
    ) -> ParsedReply:
        """Take a reply that is well-formed as it is.

        The reasons of a reply without use: `empty`, `truncated` (the limit of tokens cut it off),
        `too_short` and `too_long` (in words), and `pattern`, by the section `reply` of the task.
        """
        text, rules = reply.strip(), task.spec["reply"]
        words = len(text.split())
        if not text:
            reason = "empty"
        elif finish_reason == "length":
            reason = "truncated"
        elif words < rules["min_words"]:
            reason = "too_short"
        elif words > rules["max_words"]:
            reason = "too_long"
        elif not re.search(rules["pattern"], text):
            reason = "pattern"
        else:
            return ParsedReply(output=text)
        return ParsedReply(reason=reason)

    def read_response(self, task: Task, instruction: str, response: str) -> str:
        """A response's text: without what `instruction.response` of the task puts around it.

        Case and spaces do not count there either, nor does a response that is the text alone.
        """
        before, _, after = task.response(_TEXT, "").partition(_TEXT)
        text = re.sub(rf"{_pattern(after.rstrip())}\s*\Z", "", response, flags=re.IGNORECASE)
        text = re.sub(rf"\A\s*{_pattern(before.lstrip())}", "", text, flags=re.IGNORECASE)
        return text.strip()

    def verdict(self, task: Task, problem: Problem, answer: str, judges: Judges) -> tuple[str, str]:
        """Whether a text is that of the problem, but for spaces and case."""
        equal = answer.casefold().split() == problem.answer.casefold().split()
        return (RIGHT if equal else WRONG), ""


KIND = Text()
