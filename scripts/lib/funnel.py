"""The funnel: how many instructions are left after each stage, and why the others fell out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from scripts.lib.records import Drop, Label, Rejection, Verified

NOT_UNIQUE = ("duplicate", "similar")
NOT_CLEAN = ("contaminated",)
# The way of verification of rows that were not verified.
UNVERIFIED = "none"


@dataclass(frozen=True)
class Stage:
    """One stage: how many instructions are left, and the reasons of those that were lost there.

    `of_previous` and `of_sampled` are percentages.
    """

    stage: str
    count: int
    of_previous: float
    of_sampled: float
    reasons: dict[str, int]


def build_funnel(
    task: str,
    drops: Iterable[Drop],
    labels: list[Label],
    verified: list[Verified],
    rejections: list[Rejection],
) -> dict[str, Any]:
    """The funnel of a task from its stages' rows.

    All stages count instructions: `sampled`, `well_formed`, `unique`, `clean`, `labelled` (with a
    reply), `valid` (with a reply that could be parsed), `verified` (with a row; left out where the
    rows were taken without any verification). The reasons of
    the last two are those of the replies to the instructions that were lost. `rows` are the
    training rows, `replies` the sums over all replies, `sandbox` what isolated the code of a code
    task.
    """
    dropped = Counter(drop.reason for drop in drops)
    labelled = {label.instruction_id for label in labels}
    valid = {label.instruction_id for label in labels if not label.reason}
    rows = {row.instruction_id for row in verified}
    later = {**dict.fromkeys(NOT_UNIQUE, "unique"), **dict.fromkeys(NOT_CLEAN, "clean")}
    lost: dict[str, dict[str, int]] = {"well_formed": {}, "unique": {}, "clean": {}}
    for reason, number in sorted(dropped.items()):
        lost[later.get(reason, "well_formed")][reason] = number
    invalid, unverified = labelled - valid, valid - rows
    lost["valid"] = _reasons(label.reason for label in labels if label.instruction_id in invalid)
    lost["verified"] = _reasons(
        rejection.verdict for rejection in rejections if rejection.instruction_id in unverified
    )
    sampled = len(labelled) + dropped.total()
    left = {"sampled": sampled}
    for stage in ("well_formed", "unique", "clean"):
        left[stage] = list(left.values())[-1] - sum(lost[stage].values())
    left |= {"labelled": len(labelled), "valid": len(valid)}
    if not verified or any(row.verification != UNVERIFIED for row in verified):
        left["verified"] = len(rows)
    return {
        "task": task,
        "stages": [asdict(stage) for stage in _stages(left, lost)],
        "rows": len(verified),
        "sandbox": ", ".join(sorted({row.sandbox for row in (*verified, *rejections)} - {""})),
        "replies": {
            "asked": len(labels),
            "parsed": sum(not label.reason for label in labels),
            "prompt_tokens": sum(label.prompt_tokens for label in labels),
            "completion_tokens": sum(label.completion_tokens for label in labels),
        },
    }


def _reasons(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items()))


def _stages(left: dict[str, int], lost: dict[str, dict[str, int]]) -> list[Stage]:
    stages, before = [], left["sampled"]
    for name, count in left.items():
        stages.append(
            Stage(
                stage=name,
                count=count,
                of_previous=round(100 * count / before, 1) if before else 0.0,
                of_sampled=round(100 * count / left["sampled"], 1) if left["sampled"] else 0.0,
                reasons=lost.get(name, {}),
            )
        )
        before = count
    return stages


def table(funnel: dict[str, Any]) -> str:
    """A funnel as a table for the terminal."""
    lines = [f"{funnel['task']:<12} {'left':>7} {'of stage':>9} {'of all':>7}  lost"]
    for stage in funnel["stages"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in stage["reasons"].items())
        lines.append(
            f"  {stage['stage']:<10} {stage['count']:>7} {stage['of_previous']:>8.1f}% "
            f"{stage['of_sampled']:>6.1f}%  {reasons}".rstrip()
        )
    replies = funnel["replies"]
    lines.append(
        f"  {funnel['rows']} rows of {replies['asked']} replies, {replies['parsed']} parsed"
    )
    if funnel.get("sandbox"):
        lines.append(f"  executed in {funnel['sandbox']}")
    return "\n".join(lines)
