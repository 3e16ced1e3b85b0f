"""The problems of a benchmark, made of the rows of a dataset as a task's file says."""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.lib.dataset_rows import (
    Row,
    dataset_name,
    field,
    load_rows,
    render,
    rows_between,
    text_sha256,
    texts_of,
)
from scripts.lib.errors import UserError
from scripts.lib.evaluation.mbpp_plus import is_task
from scripts.lib.records import Problem
from scripts.lib.tasks import Task
from scripts.lib.tasks.code import TESTS_SHOWN

Benchmark = dict[str, Any]

_CODE_IS_JUDGED_BY = ("tests", "test", "calls")


def benchmark_named(task: Task, name: str) -> Benchmark:
    """The section of a task's file about a benchmark.

    Raises `UserError` where there is none, where two have the name, or where it does not say in one
    way what responses are judged by.
    """
    benchmarks = task.spec["evaluation"]
    names = [benchmark["name"] for benchmark in benchmarks]
    if twice := [given for given, times in Counter(names).items() if times > 1]:
        raise UserError(
            f"{task.path}: key 'evaluation': two benchmarks are named {twice[0]}: rename one"
        )
    if name not in names:
        known = ", ".join(names) or "none"
        raise UserError(
            f"{task.path}: key 'evaluation': holds no benchmark {name} (there is: {known}): "
            "describe it there (docs/evaluation.md), or name another one"
        )
    benchmark = benchmarks[names.index(name)]
    wanted = _CODE_IS_JUDGED_BY if task.spec["kind"] == "code" else ("answer",)
    given = [key for key in (*_CODE_IS_JUDGED_BY, "answer") if key in benchmark]
    if len(given) != 1 or given[0] not in wanted:
        raise UserError(
            f"{task.path}: key 'evaluation': {name} is judged by "
            f"{' and '.join(given) or 'nothing'}: a task of the kind "
            f"{task.spec['kind']} wants one of {', '.join(wanted)}"
        )
    if given == ["calls"] and not benchmark["solution"]:
        raise UserError(
            f"{task.path}: key 'evaluation': {name} has 'calls' and no 'solution', whose "
            "results are the right ones: name its field"
        )
    return benchmark


def read_problems(task: Task, benchmark: Benchmark, file: Path | None) -> list[Problem]:
    """The problems of a benchmark, from a file or the hub, in the order of its rows.

    Raises `UserError` where they cannot be had, a row lacks a field, or two have the same id.
    """
    source = str(file or dataset_name(benchmark["dataset"]))
    hint = f" (it is in {benchmark['obtain']})" if benchmark["obtain"] else ""
    try:
        all_rows = load_rows(benchmark["dataset"], file)
        rows = rows_between(all_rows, benchmark.get("rows"))
        problems = [
            _problem(task, benchmark, row, number, source) for number, row in enumerate(rows)
        ]
    except UserError as error:
        raise UserError(f"{error}{hint}") from error
    except (ValueError, SyntaxError) as error:
        raise UserError(
            f"{source}: a row is not as {task.path} says under 'evaluation': {error}: mend "
            f"{benchmark['name']} there, or take another copy{hint}"
        ) from error
    except KeyError as error:
        name = dataset_name(benchmark["dataset"])
        raise UserError(
            f"{source}: a row lacks the field {error}, which {task.path} names under 'evaluation': "
            f"name a copy that has it under 'datasets', '{name}', in config.yaml{hint}"
        ) from error
    if not problems:
        raise UserError(
            f"{source}: none of its {len(all_rows)} rows lies between those that {task.path} names "
            f"for {benchmark['name']}: mend 'rows' there, or take another copy"
        )
    if twice := [at for at, times in Counter(row.id for row in problems).items() if times > 1]:
        raise UserError(
            f"{source}: two problems have the id {twice[0]}: mend 'id' of {benchmark['name']} in "
            f"{task.path}"
        )
    return problems


def _problem(task: Task, benchmark: Benchmark, row: Row, number: int, source: str) -> Problem:
    identity = _identity(benchmark["id"], row, number)
    instruction = _instruction(benchmark, row, f"{source}, {identity}")
    tests = texts_of(row, benchmark["tests"], source) if "tests" in benchmark else []
    judging = [render(benchmark["test"], row)] if "test" in benchmark else tests
    shown = _assertions(field(row, benchmark["shown"])) if "shown" in benchmark else tests
    answer = ""
    if "answer" in benchmark:
        answer = task.kind.reference_answer(task, instruction, render(benchmark["answer"], row))
        if not answer:
            raise UserError(
                f"{source}, {identity}: no answer is found by 'answer' of {benchmark['name']} in "
                f"{task.path}: mend it"
            )
    solution = _unix(render(benchmark["solution"], row))
    if task.spec["kind"] == "text":
        # An answer is a whole text.
        solution = solution or answer
    calls = _calls(benchmark["calls"], row) if "calls" in benchmark else {}
    if calls.get("rules") == "mbpp" and not is_task(identity):
        raise UserError(
            f"{source}, {identity}: 'calls.rules: mbpp' of {benchmark['name']} in {task.path} is "
            "for the problems of EvalPlus, whose ids are as Mbpp/2: mend 'id' there, or leave "
            "'rules' out where these are others"
        )
    return Problem(
        benchmark=benchmark["name"],
        id=identity,
        instruction=instruction,
        shown_tests=shown[:TESTS_SHOWN],
        tests=judging,
        setup=_unix(str(field(row, benchmark["setup"]))) if "setup" in benchmark else "",
        prefix=_unix(render(benchmark["prefix"], row)),
        calls=calls,
        answer=answer,
        solution=solution,
    )


def _identity(template: str, row: Row, number: int) -> str:
    if template.startswith("sha256:"):
        return text_sha256(str(field(row, template.removeprefix("sha256:"))))[:12]
    return render(template, row) if template else str(number)


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def _instruction(benchmark: Benchmark, row: Row, where: str) -> str:
    text = _unix(render(benchmark["instruction"], row))
    if benchmark["pattern"]:
        found = re.search(benchmark["pattern"], text)
        if not found:
            raise UserError(f"{where}: holds no instruction: mend 'pattern' of {benchmark['name']}")
        text = found[1]
    # Indentation at the beginning belongs to code.
    return text.strip("\n").rstrip()


def _assertions(tests: Any) -> list[str]:
    """The tests that a prompt shows: a list of them, or those of a program, without its imports."""
    if isinstance(tests, list):
        return [str(test) for test in tests]
    program = _unix(str(tests))
    found = (node for node in ast.parse(program).body if isinstance(node, ast.Assert))
    return [ast.get_source_segment(program, node) or "" for node in found]


def _calls(calls: dict[str, Any], row: Row) -> dict[str, Any]:
    return {
        "entry_point": field(row, calls["entry_point"]),
        "inputs": [given for name in calls["inputs"] for given in field(row, name)],
        "atol": field(row, calls["atol"]) if "atol" in calls else 0,
        "rules": calls["rules"],
    }


def first_problems(problems: Iterable[Problem], limit: int) -> list[Problem]:
    """The first `limit` problems of a random order that is always the same; all where it is 0.

    The order is that of the SHA-256 of their ids, so a larger limit contains a smaller one, and two
    benchmarks with the same ids agree. They stand in their old order.
    """
    problems = list(problems)
    if not limit:
        return problems
    in_random_order = sorted(problems, key=lambda row: hashlib.sha256(row.id.encode()).digest())
    chosen = {row.id for row in in_random_order[:limit]}
    return [row for row in problems if row.id in chosen]
