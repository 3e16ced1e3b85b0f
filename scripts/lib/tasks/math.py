"""The kind `math`: an instruction is a problem, a reply reasons and ends with one answer.

`answer` of the task says what an answer is: a `number` (GSM8K), or any `expression` (MATH).
"""

import re
from decimal import Decimal, InvalidOperation

from scripts.lib.tasks import (
    Judges,
    Kind,
    ParsedInstruction,
    ParsedReply,
    Reference,
    Task,
    format_reason,
)
from scripts.lib.tasks.statement import split_at_answer

# What a generator writes when it runs into the next turn.
_TAG = re.compile(r"\[/?INST\]?|<<?/?SYS>>?", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=[{\d])")
_STEPS = re.compile(r"^\s*let['\u2019]s think step by step\.?\s*", re.IGNORECASE)
_NUMBER = re.compile(
    r"[-+\u2212]?\s*[$\u20ac\u00a3]?\s*"
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+)"
    r"(?:\s*/\s*(?P<denominator>\d+))?",
    re.IGNORECASE,
)
# A unit, as in "42 dollars" or "3 square feet per hour", but no explanation.
_UNIT = re.compile(r"\s*(?:%|\u00b0|[^\W\d_]+\.?(?:\s*/\s*|\s+|$)){0,4}\s*")
_NOT_A_UNIT = re.compile(r"\b(?:because|since|so|or|and|as|but|which|if|when)\b", re.IGNORECASE)


def _split(reply: str) -> tuple[str, str | None]:
    """A reply's reasoning, and its answer, which is `None` where it states none.

    The last box of a reply is its answer, whatever else it states.
    """
    reasoning, stated = split_at_answer(reply)
    boxed = last_boxed(reply)
    if boxed is None:
        return reasoning, stated
    in_statement = stated is not None and last_boxed(stated) == boxed
    return reasoning if in_statement else reply.strip(), boxed


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` or `\fbox{...}` of a text holds; `None` where there is none.

    Braces may be nested, and `\boxed 5` holds one digit. A box that is not closed does not count.
    """
    for box in reversed(list(_BOX.finditer(text))):
        start = box.end()
        if text[start] != "{":
            return text[start]
        end = _closing_brace(text, start)
        if end is not None:
            return text[start + 1 : end].strip()
    return None


def _closing_brace(text: str, start: int) -> int | None:
    """Where the brace that opens at `start` is closed; escaped braces are no braces."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    return None


def _without_boxes(text: str) -> str:
    """A text with its boxes opened: the box of a response is the one around its last answer."""
    while (box := _BOX.search(text)) is not None:
        end = _closing_brace(text, box.end()) if text[box.end()] == "{" else None
        inner = text[box.end() + 1 : end] if end else text[box.end() :]
        text = text[: box.start()] + inner + (text[end + 1 :] if end else "")
    return text


def _without_marks(answer: str) -> str:
    """An answer without what stands around it: Markdown, dollar signs of LaTeX, a full stop."""
    answer = answer.strip().strip("*_`").strip()
    answer = answer.removesuffix(".").strip()
    for left, right in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if len(answer) > len(left) and answer.startswith(left) and answer.endswith(right):
            answer = answer[len(left) : -len(right)].strip()
    return answer.removesuffix(".").strip()


def canonical_answer(form: str, answer: str) -> str:
    """An answer in its canonical form, an empty string where it has not the wanted `form`.

    A `number` loses its currency, its unit and its thousands separators: `$1,200.50` is `1200.5`,
    `.5` is `0.5`, `1/2` stays, `nan` and `inf` are no numbers, and neither is a number with an
    explanation. An `expression` is what a reply states; `nan`, `inf` and `none` are none.
    """
    answer = _without_marks(answer)
    if form == "expression":
        return "" if answer.lower() in ("nan", "inf", "-inf", "infinity", "none") else answer
    answer = answer.replace("\\$", "$").replace("\\%", "%").replace("\\,", "").replace("{,}", ",")
    answer = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1", answer).rpartition("=")[2].strip()
    found = _NUMBER.match(answer)
    if not found:
        return ""
    rest = answer[found.end() :]
    if not _UNIT.fullmatch(rest) or _NOT_A_UNIT.search(rest):
        return ""
    sign = "-" if answer[0] in "-\u2212" else ""
    number, denominator = _plain(found["number"]), _plain(found["denominator"] or "1")
    if number is None or denominator in (None, "0"):
        return ""
    if found["denominator"]:
        return f"{sign}{number}/{denominator}"
    return "0" if number == "0" else sign + number


def _plain(number: str) -> str | None:
    """A decimal number without separators, exponent and superfluous zeros."""
    try:
        value = Decimal(number.replace(",", ""))
    except InvalidOperation:
        return None
    if abs(value.adjusted()) > 30:
        return None
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class Math(Kind):
    """Problems and their answers."""

    def read_instruction(self, task: Task, text: str, key: str = "") -> ParsedInstruction:
        """Read a problem: tags of the chat format are taken out, runs of spaces made one.

        Reasons: those of `format_reason`.
        """
        text = re.sub(r"[ \t]+", " ", _TAG.sub(" ", text)).strip()
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
        """Read the reasoning and the final answer out of a reply.

        The reasons of a reply without use: `empty`, `no_answer`, `empty_answer` (an empty box),
        `not_a_number` (where the task wants one), `no_reasoning`, and `truncated` when the limit of
        tokens cut off the answer.
        """
        if not reply.strip():
            return ParsedReply(reason="empty")
        before, stated = _split(reply)
        reasoning = _without_boxes(_STEPS.sub("", before)).strip()
        if stated is None:
            return ParsedReply(reason="truncated" if finish_reason == "length" else "no_answer")
        answer = canonical_answer(task.spec["answer"], stated)
        if not stated.strip():
            return ParsedReply(reason="truncated" if finish_reason == "length" else "empty_answer")
        if not answer:
            return ParsedReply(reason="not_a_number")
        if not reasoning:
            return ParsedReply(reason="no_reasoning")
        return ParsedReply(output=reasoning, answer=answer)

    def read_response(self, task: Task, response: str) -> str:
        """The answer of a task model's response in its canonical form, empty where it has none."""
        _, stated = _split(response)
        return canonical_answer(task.spec["answer"], stated or "")

    def is_right(self, task: Task, response: str, reference: Reference, judges: Judges) -> bool:
        """Whether the answer of a response equals the reference's, as mathematics."""
        answer = self.read_response(task, response)
        return bool(answer) and judges.equal(reference.answer, answer)


KIND = Math()
