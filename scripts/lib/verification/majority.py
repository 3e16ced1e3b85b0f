"""Verification of answers by a majority of an instruction's replies.

Self-consistency (Wang et al., arXiv 2203.11171): replies that reason differently and end with the
same answer support each other.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from scripts.lib.records import Label
from scripts.lib.verification.outcome import PASSED, Outcome

# Numbers of the groups of equal answers, one an answer.
Grouping = Callable[[Sequence[str]], list[int]]


def equal_texts(answers: Sequence[str]) -> list[int]:
    """Groups of answers with the same text: each answer's group is its first occurrence."""
    return [answers.index(answer) for answer in answers]


def by_majority(labels: list[Label], asked: int, majority: float, group: Grouping) -> list[Outcome]:
    """The outcomes of an instruction's replies: the answer that a majority gives passes.

    `asked` counts all replies, those without an answer too; the most frequent answer passes when
    its share of them reaches `majority` (above one half). Verdicts: `minority`, `no_majority`.
    """
    groups = group([label.answer for label in labels])
    sizes = Counter(groups)
    winner, support = max(sizes.items(), key=lambda item: (item[1], -item[0]))
    if support / asked < majority:
        detail = f"the most frequent answer has {support} of {asked} replies"
        return [Outcome("no_majority", detail, sizes[number]) for number in groups]
    agreed = labels[groups.index(winner)].answer
    return [
        Outcome(PASSED, support=support)
        if number == winner
        else Outcome("minority", f"{support} of {asked} replies say {agreed}", sizes[number])
        for number in groups
    ]
