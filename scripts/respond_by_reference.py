"""Respond to the problems of a benchmark by its own solutions, in the form that a model is taught.

    python -m scripts.respond_by_reference --task tasks/mbpp.yaml \\
        --problems results/mbpp/problems/MBPP.jsonl --limit 0 \\
        --output results/mbpp/responses/MBPP/reference.jsonl

They take the same way as a model's responses, and must all be right: else the evaluation is broken,
and no score means anything.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.evaluation.problems import first_problems
from scripts.lib.evaluation.scores import GREEDY, REFERENCE
from scripts.lib.records import Problem, Response, read_rows, write_rows
from scripts.lib.tasks import Task, load_task


def responses_of(task: Task, problems: Iterable[Problem]) -> list[Response]:
    """The response to each problem that a model which knows its solution would give.

    Raises `UserError` for one without solution and answer.
    """
    found = []
    for problem in problems:
        if not problem.solution and not problem.answer:
            raise UserError(
                f"{problem.benchmark}, {problem.id}: has no solution: name its field as 'solution' "
                f"of {problem.benchmark} in {task.path}"
            )
        text = task.response(problem.solution, problem.answer)
        found.append(
            Response(problem.benchmark, problem.id, GREEDY, 0, text, 0, True, [], REFERENCE)
        )
    return found


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--limit", type=int, required=True, help="how many of them; 0: all")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    problems = first_problems(read_rows(arguments.problems, Problem), arguments.limit)
    responses = responses_of(task, problems)
    write_rows(arguments.output, responses)
    counts("respond_by_reference", time.monotonic() - started, responses=len(responses))


if __name__ == "__main__":
    run_step(main)
