"""What a verification says about each reply to an instruction."""

from dataclasses import dataclass

PASSED = "passed"


@dataclass(frozen=True)
class Outcome:
    """The verdict on one reply; only `passed` makes it a training row.

    `detail` says why it did not pass; `support` is the number of the instruction's replies that
    stand behind it; `tests` are the tests that a row keeps, of a code task.
    """

    verdict: str
    detail: str = ""
    support: int = 0
    tests: tuple[str, ...] = ()


def keep_first(
    outcomes: list[Outcome], contents: list[tuple[str, ...]], rows: int
) -> list[Outcome]:
    """The outcomes of one instruction with at most `rows` passes, all of different content.

    Later ones are `duplicate` (the same content passed before) or `surplus`.
    """
    seen: set[tuple[str, ...]] = set()
    kept = []
    for outcome, content in zip(outcomes, contents, strict=True):
        if outcome.verdict != PASSED:
            kept.append(outcome)
        elif content in seen:
            kept.append(Outcome("duplicate", "the same answer passed before", outcome.support))
        elif len(seen) == rows:
            kept.append(Outcome("surplus", f"{rows} row(s) of the instruction are kept"))
        else:
            seen.add(content)
            kept.append(outcome)
    return kept
