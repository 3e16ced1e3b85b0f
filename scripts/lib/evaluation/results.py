"""The results of `evaluate_model`: reading them, and what two of them must share to be compared."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.errors import UserError
from scripts.lib.records import Score
from scripts.lib.sandbox import TIMEOUT

Result = dict[str, Any]

# What a message shows of a wrong solution.
SHOWN = 80


def read_result(path: Path) -> Result:
    """A result of `evaluate_model`. Raises `UserError` where it is none."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if {"benchmark", "protocol", "problems", "metrics"} <= result.keys():
            return result
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read as JSON: remove it and run again") from error
    raise UserError(f"{path}: is no result of evaluate_model: remove it and run again")


def check_reference(reference: Result, path: Path, scores: Sequence[Score] = ()) -> None:
    """Raise `UserError` where the benchmark's own solutions are not all right.

    Of their `scores`, where they are at hand, it shows two.
    """
    greedy = next(iter(reference["metrics"].values()))
    wrong = reference["problems"] - greedy["right"]
    if not wrong:
        return
    shown = [
        f"{score.problem} is {score.verdict}: {score.detail or repr(score.answer[:SHOWN])}"
        for score in scores
        if not score.right
    ]
    why = "; ".join(shown[:2]) or "its rows (.jsonl) say why"
    remedy = f"mend {reference['benchmark']} under 'evaluation' of the task's file"
    if TIMEOUT in reference.get("verdicts", ()):
        remedy += ", or raise 'verification.timeout' where the machine is slow"
    raise UserError(
        f"{path}: {wrong} of {reference['problems']} solutions of the benchmark itself are judged "
        f"wrong, so no score can be trusted ({why}): {remedy}"
    )


def check_alike(first: Result, second: Result, path: Path, decoding: bool = True) -> None:
    """Raise `UserError` where two results must not be compared.

    Without `decoding` it does not count how the responses were made.
    """
    keys = ["name", "split", "rows", "shots", "prompt", "scoring"]
    if decoding:
        keys = sorted({*first["protocol"], *second["protocol"]})
    else:
        keys.remove("name")
    differing = [key for key in keys if first["protocol"].get(key) != second["protocol"].get(key)]
    keys = ("benchmark", "problems", "of", "inputs_left_out")
    differing += [key for key in keys if first.get(key) != second.get(key)]
    if differing:
        raise UserError(
            f"{path}: was measured by another protocol, '{differing[0]}' differs: remove it and "
            "run again"
        )
