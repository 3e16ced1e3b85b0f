"""Where a reply states its answer: "The answer is: 42", "#### 42", "**Answer:** (B) moon"."""

import re
from dataclasses import dataclass

# Possessive quantifiers: a reply of nothing but spaces or stars must not take minutes.
_STATEMENT = re.compile(
    r"\b(?:the\s++)?(?:final\s++|correct\s++|best\s++)?"
    r"answer\s*+(?:[*_]++\s*+)?(?:is\b|would\s++be\b|:|=)(?P<named>[^\n]*+)"
    # GSM8K's own mark; with more words behind it it is a heading.
    r"|^[ \t]*+\#{4}[ \t]*+(?P<marked>[^\s#]\S*+)[ \t]*+$",
    re.IGNORECASE | re.MULTILINE,
)
_MARKS = " \t:*_"
_MARKS_ON_A_LINE = re.compile(r"(?:\A|\n)[ \t#*_]++\Z")


@dataclass(frozen=True)
class Statement:
    """What a reply states as its answer, in which part of the reply, and what it says before."""

    before: str
    text: str
    start: int
    end: int


def statements(reply: str) -> list[Statement]:
    """The statements of an answer in a reply, the last one first.

    An answer may stand on the line behind its announcement ("Answer:").
    """
    return [_statement(reply, match) for match in reversed(list(_STATEMENT.finditer(reply)))]


def _statement(reply: str, match: re.Match[str]) -> Statement:
    stated = match["marked"] if match["named"] is None else match["named"]
    end = match.end()
    text = stated.lstrip(_MARKS).rstrip()
    if not text:
        gap = len(reply[end:]) - len(reply[end:].lstrip())
        line = reply[end + gap :].partition("\n")[0]
        text, end = line.strip().lstrip(_MARKS), end + gap + len(line)
    before = _MARKS_ON_A_LINE.sub("", reply[: match.start()]).strip()
    return Statement(before, text, match.start(), end)


def without_cut_off_line(reply: str, finish_reason: str) -> str:
    """A reply without its last line where the limit of tokens cut it off: half of 1,200 is 1.

    Empty where that line was to state an answer: what an earlier one states is not the last word.
    """
    if finish_reason != "length":
        return reply
    whole, _, cut_off = reply.rpartition("\n")
    return "" if statements(cut_off) else whole
