"""The kind `math`: an instruction is a problem, a reply reasons and ends with one answer.

`answer` of the task says what an answer is: a `number` (GSM8K), or any `expression` (MATH).
"""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

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
from scripts.lib.tasks.statement import statements, without_cut_off_line

# What a generator writes when it runs into the next turn.
_TAG = re.compile(r"\[/?INST\]?|<<?/?SYS>>?", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=[{\d])")
# Words, but not products such as `2xy`.
_PROSE = re.compile(r"[^\W\d_]{3,}|\b(?:or|is|so|if|as|to|by|of|in|it|no)\b", re.IGNORECASE)
_DOLLAR = re.compile(r"(?<!\\)\$")
_STEPS = re.compile(r"^\s*let['\u2019]s think step by step\.?\s*", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?P<signs>[-+\u2212]?\s*[$\u20ac\u00a3]?\s*[-+\u2212]?)\s*"
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+)"
    r"(?:\s*/\s*(?P<denominator>\d+))?",
    re.IGNORECASE,
)
# A unit, as in "42 dollars" or "3 square feet per hour", but no explanation.
_UNIT = re.compile(r"\s*(?:%|\u00b0|[^\W\d_]+\.?(?:\s*/\s*|\s+|$)){0,4}\s*")
_NOT_A_UNIT = re.compile(
    r"\b(?:because|since|so|or|and|as|but|which|if|when"
    r"|k|hundred|thousand|million|billion|trillion|dozen|less|fewer|more|than)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Final:
    """The end of a reply: what stands before its answer, what it states, and what that is."""

    reasoning: str
    stated: str | None = None
    answer: str = ""


@dataclass(frozen=True)
class _Box:
    start: int
    end: int
    content: str


def _boxes(text: str) -> list[_Box] | None:
    """All boxes of a text, `None` where the last one is not closed: its answer is not whole."""
    boxes: list[_Box] = []
    closed = _closing_braces(text)
    for match in _BOX.finditer(text):
        start = match.end()
        if text[start] != "{":
            boxes.append(_Box(match.start(), start + 1, text[start]))
        elif start in closed:
            content = text[start + 1 : closed[start]].strip()
            boxes.append(_Box(match.start(), closed[start] + 1, content))
        else:
            return None
    return boxes


def _final(form: str, text: str) -> _Final:
    """The answer that a reply ends with.

    A box counts for more than a statement, unless the statement stands behind it. Of several
    statements the last one that states an answer counts. Two different boxes in one statement are
    no answer.
    """
    boxes = _boxes(text)
    if boxes is None:
        return _Final(text.strip())
    box = boxes[-1] if boxes else None
    stated = None
    for statement in statements(text):
        if box and box.start >= statement.end:
            break
        if box and box.start >= statement.start:
            inside = {other.content for other in boxes if other.start >= statement.start}
            if len(inside) > 1:
                return _Final(text.strip())
            answer = canonical_answer(form, box.content, boxed=True)
            return _Final(statement.before, box.content, answer)
        if answer := canonical_answer(form, statement.text):
            return _Final(statement.before, statement.text, answer)
        stated = statement.text if stated is None else stated
    if box:
        return _Final(text.strip(), box.content, canonical_answer(form, box.content, boxed=True))
    return _Final(text.strip(), stated)


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` or `\fbox{...}` of a text holds; `None` where there is none.

    Braces may be nested, and `\boxed 5` holds one digit. When the last box is not closed, there is
    none.
    """
    boxes = _boxes(text)
    return boxes[-1].content if boxes else None


def _closing_braces(text: str) -> dict[int, int]:
    """Where each brace that is closed is closed; escaped braces are no braces."""
    opened: list[int] = []
    closed: dict[int, int] = {}
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closed[opened.pop()] = match.start()
    return closed


def _without_boxes(text: str) -> str:
    """A text with its boxes opened: the box of a response is the one around its last answer."""
    closed = _closing_braces(text)
    frames: set[int] = set()
    for match in _BOX.finditer(text):
        start = match.end()
        frames.update(range(match.start(), start + (text[start] == "{")))
        if start in closed:
            frames.add(closed[start])
    return "".join(sign for at, sign in enumerate(text) if at not in frames)


def _without_marks(answer: str) -> str:
    """An answer without what stands around it: Markdown, dollar signs of LaTeX, a full stop."""
    previous = None
    while answer != previous:
        previous = answer
        answer = answer.strip().strip("*_`").rstrip(".?").strip()
        for left, right in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
            inner = answer[len(left) : -len(right)].strip()
            framed = answer.startswith(left) and answer.endswith(right)
            # Not "$5$ or $6$".
            if framed and len(answer) > len(left + right) and not _DOLLAR.search(inner):
                answer = inner
    return answer


def canonical_answer(form: str, answer: str, boxed: bool = False) -> str:
    """An answer in its canonical form, an empty string where it has not the wanted `form`.

    A `number` loses its currency, its unit and its thousands separators: `$1,200.50` is `1200.5`,
    `.5` is `0.5`, `1/2` stays, `nan` and `inf` are no numbers, and neither is a number with an
    explanation, or of another order (`3 million`). An `expression` is what a reply states; `nan`,
    `inf` and `none` are none, and prose is none, unless a box says where the answer begins and ends
    (`boxed`).
    """
    answer = _without_marks(answer)
    if form == "expression":
        return _canonical_expression(answer, boxed)
    answer = re.sub(r"(?<!\\)\$([^$]+)(?<!\\)\$", r"\1", answer).rstrip("!")
    answer = answer.replace("\\$", "$").replace("\\%", "%").replace("\\,", "").replace("{,}", ",")
    answer = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1", answer)
    if answer.startswith("(") and answer.endswith(")"):
        answer = answer[1:-1]
    if re.search(r"\b(?:or|and)\b", answer, re.IGNORECASE):
        return ""
    answer = answer.rpartition("=")[2].strip()
    found = _NUMBER.match(answer)
    if not found:
        return ""
    rest = answer[found.end() :]
    if not _UNIT.fullmatch(rest) or _NOT_A_UNIT.search(rest):
        return ""
    sign = "-" if set(found["signs"]) & {"-", "\u2212"} else ""
    number, denominator = _plain(found["number"]), _plain(found["denominator"] or "1")
    if number is None or denominator in (None, "0"):
        return ""
    if found["denominator"]:
        return f"{sign}{number}/{denominator}"
    return "0" if number == "0" else sign + number


def _canonical_expression(answer: str, boxed: bool) -> str:
    if answer.lower() in ("nan", "inf", "-inf", "infinity", "none"):
        return ""
    if _DOLLAR.search(answer) or "**" in answer:
        return ""
    bare = re.sub(r"\\(?:text|mbox|mathrm|textbf)\s*\{[^{}]*\}|\\[a-zA-Z]+", " ", answer)
    return "" if not boxed and _PROSE.search(bare) else answer


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


def _without_cut_off_answer(reply: str, finish_reason: str) -> str:
    """A reply that the limit of tokens cut off up to its last whole line, or its closed box."""
    boxes = _boxes(reply)
    if boxes is None or (boxes and boxes[-1].start > reply.rfind("\n")):
        return reply
    return without_cut_off_line(reply, finish_reason)


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
        `not_a_number` and `not_an_expression` (not what the task wants), `no_reasoning`, and
        `truncated` when the limit of tokens cut off the answer.
        """
        if not reply.strip():
            return ParsedReply(reason="empty")
        form = task.spec["answer"]
        final = _final(form, _without_cut_off_answer(reply, finish_reason))
        reasoning = _without_boxes(_STEPS.sub("", final.reasoning)).strip()
        if final.stated is None:
            reason = "no_answer"
        elif not final.stated.strip():
            reason = "empty_answer"
        elif not final.answer:
            reason = f"not_{'a_number' if form == 'number' else 'an_expression'}"
        elif not reasoning:
            return ParsedReply(reason="no_reasoning")
        else:
            return ParsedReply(output=reasoning, answer=final.answer)
        return ParsedReply(reason="truncated" if finish_reason == "length" else reason)

    def read_response(self, task: Task, instruction: str, response: str) -> str:
        """The answer of a task model's response in its canonical form, empty where it has none."""
        return _final(task.spec["answer"], response).answer

    def verdict(self, task: Task, problem: Problem, answer: str, judges: Judges) -> tuple[str, str]:
        """Whether an answer equals that of the problem, as mathematics."""
        return (RIGHT if judges.equal(problem.answer, answer) else WRONG), ""


KIND = Math()
