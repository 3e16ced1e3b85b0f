"""Select the seeds of a task: its own file of them, or rows of a dataset by their ids.

    python -m scripts.select_seeds --task tasks/gsm8k.yaml --set own \\
        --output results/gsm8k/seeds.jsonl

`--local` names a local copy of the dataset, which is asked for on the hub otherwise.
"""

import time
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.dataset_rows import dataset_name, field, load_rows, pick_rows, render
from scripts.lib.errors import UserError
from scripts.lib.records import Seed, write_rows
from scripts.lib.seeds import load_seed_file, seed_source
from scripts.lib.tasks import Task, load_task


def tests_of(row: dict, path: str, name: str) -> list[str]:
    """The tests in a field of a row. Raises `UserError` where they are no list of texts."""
    tests = field(row, path)
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise UserError(f"{name}: the field '{path}' is no list of texts, as tests must be")
    return tests


def dataset_seeds(task: Task, source: dict, local: Path | None) -> list[Seed]:
    """The seeds that a task selects from a dataset.

    Raises `UserError` where the dataset, a row or a field is missing, or a seed breaks the task's
    own format rules.
    """
    name = str(local or dataset_name(source["dataset"]))
    rows = load_rows(source["dataset"], local)
    try:
        picked = pick_rows(rows, source.get("by", "row"), source["ids"], name)
        seeds = [
            Seed(
                instruction=render(source["instruction"], row),
                tests=tests_of(row, source["tests"], name) if source.get("tests") else [],
            )
            for row in picked
        ]
    except KeyError as error:
        raise UserError(
            f"{name}: a row lacks the field {error}, which {task.path} names under 'seeds'"
        ) from error
    task.check_seeds(seeds, name)
    return seeds


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--set", required=True, help="name of the set of seeds")
    parser.add_argument("--local", type=Path, help="local copy of the set's dataset")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    source = seed_source(task, arguments.set)
    seeds = (
        load_seed_file(task, task.path.parent / source)
        if isinstance(source, str)
        else dataset_seeds(task, source, arguments.local)
    )
    write_rows(arguments.output, seeds)
    counts("select_seeds", time.monotonic() - started, seeds=len(seeds))


if __name__ == "__main__":
    run_step(main)
