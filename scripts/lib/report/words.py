"""How the report says numbers and the names of the workflow."""

from collections.abc import Mapping
from typing import Any

STAGES = {
    "sampled": "sampled",
    "well_formed": "well-formed",
    "unique": "unique",
    "clean": "not of a benchmark",
    "labelled": "with a reply",
    "valid": "reply could be read",
    "verified": "verified",
}

# Why a text or a reply was lost; names that explain themselves are left as they are.
REASONS = {
    "unfinished": "cut off by the limit of tokens",
    "pattern": "does not begin as the task's instructions do",
    "duplicate": "the same as a seed or an instruction kept before",
    "similar": "too near to a seed or an instruction kept before",
    "contaminated": "overlaps a problem of a benchmark",
    "failed": "its code fails its own tests",
    "timeout": "its code does not end in time",
    "vacuous": "its tests prove nothing",
    "invalid": "the reply could not be read",
    "surplus": "passed, and the instruction has its rows already",
    "not_judged": "the sandbox failed: nothing is known about it",
    "too_few_tests": "the reply has too few tests",
    "truncated": "cut off by the limit of tokens",
    "other_function": "the reply defines another function than its tests call",
}

MODELS = {"base": "base model", "student": "student", "reference": "reference solutions"}

MINUS = "\u2212"

# What a study sweeps.
VARIED = {"seed_rows": "samples", "epochs": "epochs"}


def percent(share: float, digits: int = 1) -> str:
    """A share in percent, with a minus that is one."""
    text = f"{100 * share:.{digits}f}"
    return (MINUS + text[1:] if text.startswith("-") else text) + " %"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign and without its unit."""
    text = percent(share).removesuffix(" %")
    return text if text.startswith(MINUS) else "+" + text


def interval(bounds: Any, form: Any = percent) -> str:
    """An interval in words; nothing where there is none."""
    if not bounds:
        return ""
    low, high = (form(bound) for bound in bounds)
    unit = " %" if high.endswith(" %") else ""
    return f"{low.removesuffix(unit)} to {high}"


def tally(numbers: Mapping[str, int]) -> str:
    """Numbers by name, the largest first: `5 pattern, 2 unfinished`."""
    ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {name}" for name, number in ranked if number)


def duration(seconds: float) -> str:
    """A span of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
