"""Sum up what a task has cost: dollars and tokens of replies, GPU hours and processor hours.

    python -m scripts.sum_up_cost --task-name mbpp --benchmarks benchmarks/mbpp \\
        --logs logs/mbpp --gpus train_generator=1 generate_instructions=1 \\
        --journal .cache/completions --table results/mbpp/report/cost.csv \\
        --output results/mbpp/report/cost.json

`--gpus` says how many GPUs a job of a step asks for. A job's log tells how many it had (0 where
the processor stood in for them); where it does not, those that it asked for count, and the result
says so.
"""

import argparse
import time
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.files import write_json
from scripts.lib.plots import save_table
from scripts.lib.report.cost import cost_of, jobs_in, replies_in


def gpus_of_step(text: str) -> tuple[str, int]:
    """A step and its number of GPUs, as `--gpus` names them."""
    step, found, number = text.partition("=")
    if not found or not step or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: give it as STEP=NUMBER")
    return step, int(number)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task-name", required=True)
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of the task's")
    parser.add_argument("--logs", type=Path, required=True, help="folder of the task's")
    parser.add_argument("--gpus", type=gpus_of_step, nargs="*", default=[], metavar="STEP=NUMBER")
    parser.add_argument("--journal", type=Path, required=True, help="folder of all replies")
    parser.add_argument("--table", type=Path, required=True, help="CSV, a row a step")
    parser.add_argument("--output", type=Path, required=True, help="JSON")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    jobs = list(jobs_in(arguments.benchmarks, arguments.logs, dict(arguments.gpus)))
    cost = cost_of(arguments.task_name, jobs, replies_in(arguments.journal, arguments.task_name))
    save_table(arguments.table, cost["steps"])
    write_json(arguments.output, cost)
    counts(
        "sum_up_cost",
        time.monotonic() - started,
        jobs=len(jobs),
        replies=sum(row["replies"] for row in cost["replies"]),
    )


if __name__ == "__main__":
    run_step(main)
