"""Where the seeds of a task come from."""

from pathlib import Path
from typing import Any

from scripts.lib.errors import UserError
from scripts.lib.records import Seed, read_rows
from scripts.lib.tasks import Task

MINIMUM_SEEDS = 2


def seed_source(task: Task, name: str) -> str | dict[str, Any]:
    """What a set of seeds is: a file beside the task's YAML file, or rows of a dataset.

    A task with one set has it under every name. Raises `UserError` where the task has named sets
    and none of this name.
    """
    source = task.spec["seeds"]
    if isinstance(source, str) or "dataset" in source:
        return source
    if name not in source:
        raise UserError(
            f"{task.path}: has no set of seeds '{name}', which config.yaml asks for under the key "
            f"'seeds': it has {', '.join(source)}"
        )
    return source[name]


def load_seed_file(task: Task, path: Path) -> list[Seed]:
    """The seeds of a file.

    Raises `UserError` where it is missing, a row is broken, fewer than two rows are left, or a
    seed breaks the task's own format rules.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: '{task.path}' names it under the key 'seeds'")
    seeds = list(read_rows(path, Seed))
    if len(seeds) < MINIMUM_SEEDS:
        raise UserError(
            f"{path}: holds {len(seeds)} seed(s): give at least {MINIMUM_SEEDS}, better 10"
        )
    task.check_seeds(seeds, path)
    return seeds
