"""Tasks are data: one YAML file and ten samples describe a task.

Code knows kinds of tasks (`code`, `math`, `choice`, `text`), one module a kind beside this file,
and never a task.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.lib.errors import UserError
from scripts.lib.records import Problem, Seed
from scripts.lib.schema import check_against_schema
from scripts.lib.tasks import form

SCHEMA = Path(__file__).parents[3] / "schemas" / "task.schema.yaml"


@dataclass(frozen=True)
class ParsedInstruction:
    """What a generated text holds: an instruction in its canonical form, or why it holds none."""

    text: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ParsedReply:
    """What a labelling model's reply holds: `reason` is empty, or says why it is of no use.

    `output` is the solution, the reasoning or the text, `answer` the final answer where the kind
    has one, `tests` the assertions of a code task.
    """

    output: str = ""
    answer: str = ""
    tests: tuple[str, ...] = ()
    reason: str = ""


# Verdicts on a response: the executor's own (`pass`, `fail`, ...) on code, and these.
RIGHT, WRONG, NO_ANSWER = "right", "wrong", "no_answer"


@dataclass(frozen=True)
class Ruling:
    """What a response to a problem holds, and whether that is right.

    `answer` is what was read out of it, empty where it holds none; `detail` says more.
    """

    answer: str
    verdict: str
    detail: str = ""

    @property
    def right(self) -> bool:
        """Whether the response counts as right."""
        return self.verdict in (RIGHT, "pass")


@dataclass(frozen=True)
class Judges:
    """What judging needs and no kind does by itself.

    `run` gives the verdict on a program, and its detail, by what judges a problem (in a sandbox);
    `equal` says whether two mathematical answers are equal (in a process that may be killed).
    """

    run: Callable[[Problem, str], tuple[str, str]]
    equal: Callable[[str, str], bool]


class Kind(ABC):
    """What the module of a kind offers, as its `KIND`.

    `key` is a text that says which random choice is meant, where a kind makes one: the same key
    gives the same choice.
    """

    @abstractmethod
    def read_instruction(self, task: "Task", text: str, key: str = "") -> ParsedInstruction:
        """Read an instruction out of a generated text that was cut at its closing mark."""

    def essence(self, task: "Task", instruction: str) -> str:
        """The part of an instruction that tells it from others: what similarity is measured on."""
        return instruction

    def question(self, task: "Task", instruction: str, key: str = "") -> str:
        """An instruction as the labelling model is asked it."""
        return instruction

    def with_tests(self, task: "Task", instruction: str, tests: list[str]) -> str:
        """An instruction with the tests that it shows by itself (a docstring's examples)."""
        return instruction

    @abstractmethod
    def parse_reply(
        self,
        task: "Task",
        instruction: str,
        reply: str,
        finish_reason: str,
        min_tests: int = 0,
        key: str = "",
    ) -> ParsedReply:
        """Read the reply to a `question` with the same key, tolerantly."""

    @abstractmethod
    def read_response(self, task: "Task", instruction: str, response: str) -> str:
        """What is judged of a task model's response to an instruction: its code, its answer, its
        letter, its text. Empty where it holds none."""

    def reference_answer(self, task: "Task", instruction: str, text: str) -> str:
        """The right answer of a problem as `Task.response` takes it, out of a benchmark's text.

        Empty where there is none.
        """
        return self.read_response(task, instruction, text)

    def judge(self, task: "Task", problem: Problem, response: str, judges: Judges) -> Ruling:
        """Whether a task model's response to a problem is right."""
        answer = self.read_response(task, problem.instruction, response)
        if not answer:
            return Ruling("", NO_ANSWER)
        return Ruling(answer, *self.verdict(task, problem, answer, judges))

    @abstractmethod
    def verdict(
        self, task: "Task", problem: Problem, answer: str, judges: Judges
    ) -> tuple[str, str]:
        """The verdict on what was read out of a response, which is not empty, and its detail."""


@dataclass(frozen=True)
class Task:
    """A task as its YAML file describes it (see docs/own-task.md)."""

    name: str
    path: Path
    spec: dict[str, Any]

    @property
    def kind(self) -> Kind:
        """The module that knows how this kind of task is parsed and checked."""
        return importlib.import_module(f"scripts.lib.tasks.{self.spec['kind']}").KIND

    @property
    def prompt_prefix(self) -> str:
        """The constant text before every instruction, the forced opening included."""
        return form.prompt_prefix(self.spec["instruction"])

    def prompt(self, instruction: str, tests: list[str]) -> str:
        """The whole prompt of an instruction: what a task model is trained and evaluated on."""
        question = self.kind.with_tests(self, instruction, tests)
        return form.prompt(self.spec["instruction"], question, tests)

    def response(self, solution: str, answer: str) -> str:
        """The whole response that a task model is trained on."""
        return form.response(self.spec["instruction"], solution, answer)

    def closing_marks(self, after_turn: str) -> list[str]:
        """The texts that end an instruction: the task's own, and the end of the user turn."""
        return form.closing_marks(self.spec["instruction"], after_turn)

    def check_seeds(self, seeds: list[Seed], source: str | Path) -> None:
        """Raise `UserError` for a seed that a generated instruction would be dropped for.

        `source` is what the line names.
        """
        opening = self.spec["instruction"]["opening"]
        for number, seed in enumerate(seeds, start=1):
            if not seed.instruction.startswith(opening) or seed.instruction == opening:
                raise UserError(
                    f"{source}, seed {number}: does not begin with '{opening}' and go on, "
                    f"as 'instruction.opening' of {self.path} demands"
                )
            cut = form.cut_at_closing_mark(
                seed.instruction, self.spec["instruction"]["closing"], len(opening)
            )
            if reason := self.kind.read_instruction(self, cut, "").reason:
                raise UserError(
                    f"{source}, seed {number}: is dropped as '{reason}' by the rules of the kind "
                    f"'{self.spec['kind']}' and the section 'filter' of {self.path}: mend either"
                )


def format_reason(task: Task, text: str) -> str:
    """The reason why a text breaks the rules that all kinds share, or an empty string.

    `opening`, `too_short` and `too_long` (in words), and `pattern` where `filter.pattern` does not
    match.
    """
    rules = task.spec["filter"]
    if not text.startswith(task.spec["instruction"]["opening"]):
        return "opening"
    words = len(text.split())
    if words < rules["min_words"]:
        return "too_short"
    if words > rules["max_words"]:
        return "too_long"
    if not re.search(rules["pattern"], text):
        return "pattern"
    return ""


def load_task(path: str | Path) -> Task:
    """Read and validate a task's YAML file.

    Raises `UserError` where it is missing, not YAML, or does not follow the schema.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"{path} does not exist: describe the task '{path.stem}' there (see docs/own-task.md)"
        )
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: is not valid YAML: mend it") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text: write it anew as UTF-8") from error
    check_against_schema(spec, SCHEMA, path)
    return Task(name=path.stem, path=path, spec=spec)
