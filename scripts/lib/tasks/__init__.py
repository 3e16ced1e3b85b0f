"""Tasks are data: one YAML file and one JSON Lines file of seeds describe a task.

Code knows kinds of tasks (`code`, ...), one module a kind beside this file, and never a task.
"""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from scripts.lib.errors import UserError
from scripts.lib.records import Label, Seed, read_rows
from scripts.lib.schema import check_against_schema

SCHEMA = Path(__file__).parents[3] / "schemas" / "task.schema.yaml"
MINIMUM_SEEDS = 2


@dataclass(frozen=True)
class ParsedReply:
    """What a labelling model's reply holds: `reason` is empty, or says why it is of no use."""

    output: str = ""
    tests: tuple[str, ...] = ()
    reason: str = ""


class Kind(Protocol):
    """What the module of a kind offers."""

    def check_instruction(self, task: "Task", text: str) -> str:
        """The reason why a generated instruction breaks the task's format, or an empty string."""

    def parse_reply(self, reply: str, finish_reason: str, min_tests: int) -> ParsedReply:
        """Read a labelling model's reply, tolerantly; it must hold `min_tests` distinct tests."""

    def vacuous(self, label: Label) -> str:
        """The reason why a label's tests prove nothing, or an empty string."""


@dataclass(frozen=True)
class Task:
    """A task as its YAML file describes it (see docs/tasks.md)."""

    name: str
    path: Path
    spec: dict[str, Any]

    @property
    def kind(self) -> Kind:
        """The module that knows how this kind of task is parsed and checked."""
        return importlib.import_module(f"scripts.lib.tasks.{self.spec['kind']}")

    @property
    def prompt_prefix(self) -> str:
        """The constant text before every instruction, the forced opening included."""
        return self.spec["instruction"]["prefix"] + self.spec["instruction"]["opening"]

    def prompt(self, instruction: str, tests: list[str]) -> str:
        """The whole prompt of an instruction: what a task model is trained and evaluated on."""
        form = self.spec["instruction"]
        return form["prefix"] + instruction + fill(form["suffix"], tests="\n".join(tests))

    def response(self, solution: str) -> str:
        """The whole response that a task model is trained on."""
        return fill(self.spec["instruction"]["response"], solution=solution)

    def closing_position(self, text: str) -> int:
        """Where the first closing mark behind the opening begins, -1 when there is none."""
        start = len(self.spec["instruction"]["opening"])
        found = [text.find(mark, start) for mark in self.spec["instruction"]["closing"]]
        return min((position for position in found if position >= 0), default=-1)

    def seeds(self) -> list[Seed]:
        """The task's seeds.

        Raises `UserError` where the file is missing, a row is broken, fewer than two rows are left,
        or a seed does not begin with the task's opening.
        """
        path = self.seeds_path
        if not path.exists():
            raise UserError(f"{path} does not exist: '{self.path}' names it under the key 'seeds'")
        seeds = list(read_rows(path, Seed))
        if len(seeds) < MINIMUM_SEEDS:
            raise UserError(
                f"{path}: holds {len(seeds)} seed(s): give at least {MINIMUM_SEEDS}, better 10"
            )
        opening = self.spec["instruction"]["opening"]
        for number, seed in enumerate(seeds, start=1):
            if not seed.instruction.startswith(opening) or seed.instruction == opening:
                raise UserError(
                    f"{path}, seed {number}: does not begin with '{opening}' and go on, "
                    f"as 'instruction.opening' of {self.path} demands"
                )
        return seeds

    @property
    def seeds_path(self) -> Path:
        """The file of seeds, which stands beside the task's YAML file."""
        return self.path.parent / self.spec["seeds"]


def fill(template: str, **values: str) -> str:
    """Put values in place of `{name}`; other braces, of code or of LaTeX, stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


def load_task(path: str | Path) -> Task:
    """Read and validate a task's YAML file.

    Raises `UserError` where it is missing, not YAML, or does not follow the schema.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"{path} does not exist: describe the task '{path.stem}' there (see docs/tasks.md)"
        )
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: is not valid YAML: mend it") from error
    check_against_schema(spec, SCHEMA, path)
    return Task(name=path.stem, path=path, spec=spec)
