"""What EleutherAI's lm-evaluation-harness (lm-eval 0.4.13) is asked for, and what is refused.

Its tasks that judge code run what the model has written in a process of the user's, with no sandbox
about it. Cheap to import: the workflow asks it before anything runs.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.errors import UserError

# How the names of the harness's own tasks begin that it marks as unsafe.
UNSAFE_FAMILIES = ("cruxeval", "humaneval", "longproc", "mbpp")
_UNSAFE_LINE = re.compile(r"^\s*(unsafe_code:\s*true|-?\s*metric:.*code_eval)\b", re.I | re.M)


def is_file(task: str) -> bool:
    """Whether a task is named by a file that describes it; the harness knows no other suffix."""
    return task.endswith(".yaml")


def refusal(task: str) -> UserError:
    """What is said of a task that would run code."""
    return UserError(
        f"lm_eval.tasks: {task}: the harness runs the code that a model writes WITHOUT a sandbox, "
        "with your rights and the network: measure it by our own evaluation "
        "(results/{task}_eval.json), or set lm_eval.confirm_unsafe_code: true"
    )


def check_tasks(tasks: Sequence[str], include_path: str | None, confirmed: bool) -> list[str]:
    """Check what the harness is to run, as far as that can be told without it.

    `include_path` is a folder of further tasks; `confirmed` says that the user lets the harness run
    code that a model has written. Returns the files among it all: descriptions of tasks and the
    content of the folder. Raises `UserError` for tasks that are none or that would run code.
    """
    if not tasks:
        raise UserError(
            "lm_eval.tasks: names no task: name tasks of the harness, or YAML files of your own "
            "(docs/lm-eval.md)"
        )
    files = [task for task in tasks if is_file(task)]
    for task in tasks:
        if is_file(task) and not Path(task).is_file():
            raise UserError(f"lm_eval.tasks: {task}: no such file: mend the path")
        if task.endswith((".yml", ".json")):
            raise UserError(
                f"lm_eval.tasks: {task}: the harness reads files named *.yaml: rename it"
            )
    if include_path is not None:
        if not Path(include_path).is_dir():
            raise UserError(f"lm_eval.include_path: {include_path}: no such folder: mend the path")
        files += _content(Path(include_path))
    if not confirmed:
        for task in tasks:
            if _would_run_code(task, include_path):
                raise refusal(task)
    return list(dict.fromkeys(files))


def _content(folder: Path) -> list[str]:
    """The files of a folder, without hidden ones and what Python compiles."""
    return sorted(
        str(path)
        for path in folder.rglob("*")
        if path.is_file()
        and not any(
            part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts
        )
    )


def _would_run_code(task: str, include_path: str | None) -> bool:
    """Whether a task is known to run code; of others the harness itself knows when it starts."""
    if is_file(task):
        text = Path(task).read_text(encoding="utf-8", errors="replace")
        return bool(_UNSAFE_LINE.search(text))
    # A folder of the user's may give such a name to something else.
    return include_path is None and task.lower().startswith(UNSAFE_FAMILIES)
