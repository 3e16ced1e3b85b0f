"""Where a reply states its answer: "The answer is: 42", "#### 42", "**Answer:** (B) moon"."""

import re

_STATEMENT = re.compile(
    r"(?:[#*_]+\s*)?\b(?:the\s+)?(?:final\s+|correct\s+|best\s+)?"
    r"answer\s*[*_]*\s*(?:is\b|would\s+be\b|:|=)(?P<named>[^\n]*)"
    r"|#{2,4}(?P<marked>[^\n]*)",
    re.IGNORECASE,
)


def split_at_answer(reply: str) -> tuple[str, str | None]:
    """What a reply says before its last statement of an answer, and what that line states.

    The second is `None` where nothing is stated.
    """
    statements = list(_STATEMENT.finditer(reply))
    if not statements:
        return reply.strip(), None
    last = statements[-1]
    stated = last["named"] if last["named"] is not None else last["marked"]
    return reply[: last.start()].strip(), stated.lstrip(" \t:*_").rstrip()
