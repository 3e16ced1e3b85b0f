"""The set that a task's instructions ought to resemble, in the form that they have."""

from dataclasses import dataclass
from pathlib import Path

from scripts.lib.dataset_rows import load_rows, render, rows_between, source_of
from scripts.lib.errors import UserError
from scripts.lib.tasks import Task, form


@dataclass(frozen=True)
class Text:
    """An instruction with what its similarity is measured on. `id` names it in the data of plots.

    `read` tells whether the task's rules could read it; a text of the target set that they cannot
    stays as it is, since it is the rules that are narrower there.
    """

    id: str
    instruction: str
    essence: str
    read: bool = True


@dataclass(frozen=True)
class Target:
    """The target set. `note` says what a reader must know of it, or why there is no text."""

    name: str
    source: str
    note: str
    texts: list[Text]


def as_instruction(task: Task, text: str, number: int) -> Text:
    """A text of the target set in the form that generated instructions have.

    It is cut at the task's closing marks and read by its kind: HumanEval's examples, for one, are
    no part of an instruction.
    """
    rules = task.spec["instruction"]
    cut = form.cut_at_closing_mark(text, rules["closing"], len(rules["opening"]))
    instruction = task.kind.read_instruction(task, cut, str(number)).text
    if not instruction:
        return Text(str(number), cut, cut, read=False)
    return Text(str(number), instruction, task.kind.essence(task, instruction))


def load_target(task: Task, local: Path | None) -> Target:
    """The target set that a task's file describes: of the local copy, a package, or the hub.

    Without such a section, or where the set cannot be had, it is empty and says why. Raises
    `UserError` for a local copy that is broken, or a set whose rows lack a field.
    """
    described = task.spec.get("target")
    if described is None:
        return Target("", "", f"{task.path} has no section 'target'", [])
    name, note = described["name"], described["note"]
    source, file = source_of(described, local)
    try:
        rows = load_rows(described["dataset"], file)
    except UserError as error:
        if local:
            raise
        return Target(name, source, f"cannot be had, so nothing is compared with it: {error}", [])
    try:
        rows = rows_between(rows, described.get("rows"))
        texts = [render(described["text"], row) for row in rows]
    except KeyError as error:
        raise UserError(
            f"{source}: a row lacks the field {error}, which {task.path} names under 'target'"
        ) from error
    if not texts:
        raise UserError(f"{source}: holds no row that {task.path} asks for under 'target'")
    return Target(name, source, note, [as_instruction(task, *pair) for pair in _numbered(texts)])


def _numbered(texts: list[str]) -> list[tuple[str, int]]:
    return [(text, number) for number, text in enumerate(texts)]
