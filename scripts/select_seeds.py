"""Select the seeds of a task: its own file of them, or rows of a dataset by their ids.

    python -m scripts.select_seeds --task tasks/gsm8k.yaml --set own \\
        --output results/gsm8k/seeds.jsonl

`--local` names a local copy of the dataset, which is asked for on the hub otherwise. With `--count`
as many of them are drawn, by `--seed`.
"""

import random
import time
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.dataset_rows import dataset_name, load_rows, pick_rows, render, texts_of
from scripts.lib.errors import UserError
from scripts.lib.records import Seed, write_rows
from scripts.lib.seeds import load_seed_file, seed_source
from scripts.lib.tasks import Task, load_task


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
                tests=texts_of(row, source["tests"], name) if source.get("tests") else [],
            )
            for row in picked
        ]
    except KeyError as error:
        raise UserError(
            f"{name}: a row lacks the field {error}, which {task.path} names under 'seeds'"
        ) from error
    task.check_seeds(seeds, name)
    return seeds


def drawn(seeds: list[Seed], count: int | None, seed: int) -> list[Seed]:
    """That many of the seeds, in their order; all of them where `count` is `None`.

    Raises `UserError` where there are fewer.
    """
    if count is None:
        return seeds
    if count > len(seeds):
        raise UserError(
            f"{count} seeds are asked for and there are {len(seeds)}: lower 'seed_rows' (of a "
            "study: 'study.seed_rows') in config.yaml"
        )
    chosen = sorted(random.Random(seed).sample(range(len(seeds)), count))
    return [seeds[at] for at in chosen]


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--set", required=True, help="name of the set of seeds")
    parser.add_argument("--local", type=Path, help="local copy of the set's dataset")
    parser.add_argument("--count", type=int, help="how many are drawn; without it, all are taken")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
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
    seeds = drawn(seeds, arguments.count, arguments.seed)
    write_rows(arguments.output, seeds)
    counts("select_seeds", time.monotonic() - started, seeds=len(seeds))


if __name__ == "__main__":
    run_step(main)
