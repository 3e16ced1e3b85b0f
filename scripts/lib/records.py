"""The rows of each stage, and how they are read and written.

Every stage reads and writes JSON Lines, one typed record a stage. The columns of a file are always
the same and always in the same order, so that a file loads with `datasets.load_dataset("json")`.
"""

import types
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import jsonlines

from scripts.lib.errors import UserError
from scripts.lib.files import atomic_file


@dataclass(frozen=True)
class Seed:
    """One of the samples that describe a task.

    `instruction` is the bare instruction; `tests` are statements that a right answer passes; tasks
    without tests leave them out.
    """

    instruction: str
    tests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BenchmarkItem:
    """The text of one problem of a benchmark, which no training row may hold.

    `benchmark` is the benchmark's name, `id` the problem's own id there.
    """

    benchmark: str
    id: str
    text: str


@dataclass(frozen=True)
class Generation:
    """One raw text that the instruction generator wrote, from its opening to its closing mark.

    `finished` tells whether the text reached a closing mark or the end-of-sequence token before
    the limit of tokens.
    """

    id: str
    task: str
    text: str
    finished: bool
    tokens: int
    model: str
    seed: int


@dataclass(frozen=True)
class Instruction:
    """An instruction that passed every filter.

    `neighbour` is the nearest of the seeds and of the instructions kept before it, `similarity`
    their cosine.
    """

    id: str
    task: str
    instruction: str
    neighbour: str
    similarity: float
    model: str


@dataclass(frozen=True)
class Drop:
    """A generation that was filtered out, with its reason.

    `neighbour` is the seed or kept instruction that it is too near to (with their cosine), or the
    benchmark's problem that it overlaps; empty where it is not well-formed.
    """

    id: str
    task: str
    text: str
    reason: str
    neighbour: str
    similarity: float


@dataclass(frozen=True)
class Label:
    """One reply of the labelling model to one instruction.

    `reason` is empty when the reply could be parsed, else it says why it could not. `output` is
    the solution: code, reasoning, or a text; `answer` the final answer of a task that has one (a
    number, an expression, or a letter, which follows the options' order in `instruction`);
    `tests` the assertions of a code task. `judgement` is the reply of the judge that the task asks
    for, if it does. Token counts are those that the endpoint reported.
    """

    id: str
    task: str
    instruction_id: str
    instruction: str
    reply_number: int
    reply: str
    output: str
    answer: str
    tests: list[str]
    reason: str
    judgement: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    generator: str
    label_model: str
    request: str


@dataclass(frozen=True)
class Verified:
    """One training row that passed its verification.

    `messages` holds the same pair as `instruction` and `output` in the chat form that trainers
    read. `verification` says which way the row was verified (`own_tests`, `agreement`, `majority`,
    `single_reply`, `well_formed` or `judge`), `support` how many of the instruction's `replies`
    stand behind it (with `agreement`: of those with tests of their own).
    The columns from `instruction_id` on say where the row came from.
    """

    id: str
    task: str
    instruction: str
    output: str
    answer: str
    tests: list[str]
    messages: list[dict[str, str]]
    verification: str
    support: int
    replies: int
    instruction_id: str
    bare_instruction: str
    reply_number: int
    generator: str
    sampling: dict[str, Any]
    label_model: str
    label_sampling: dict[str, Any]
    request: str
    sandbox: str


@dataclass(frozen=True)
class Rejection:
    """A label that did not become a training row: `verdict` says why, `detail` says more.

    `sandbox` is what isolated its code, where it was executed.
    """

    id: str
    task: str
    instruction_id: str
    reply_number: int
    verdict: str
    detail: str
    sandbox: str


@dataclass(frozen=True)
class Problem:
    """One problem of a benchmark, and what a response to it is scored by.

    `instruction` and `shown_tests` make its prompt, as they do a training row's. Code is judged by
    `tests` after `setup`, or, in place of them, by `calls` (`entry_point`, `inputs`, `atol`), whose
    right results the `solution` gives; `prefix` is code that the tests' helpers come from. Other
    kinds are judged by `answer`. `solution` is the benchmark's own, empty where it has none.
    """

    benchmark: str
    id: str
    instruction: str
    shown_tests: list[str]
    tests: list[str]
    setup: str
    prefix: str
    calls: dict[str, Any]
    answer: str
    solution: str


@dataclass(frozen=True)
class Response:
    """A model's response to a problem of a benchmark.

    `decoding` is `greedy` or `sampled`, `sample` the number of the sample, 0 for the greedy one.
    `finished` tells whether it ended before the limit of tokens. `log_likelihoods` are those of the
    options of a choice task, in order, where they were asked for: sums over the tokens of the
    response that names the option.
    """

    benchmark: str
    problem: str
    decoding: str
    sample: int
    text: str
    tokens: int
    finished: bool
    log_likelihoods: list[float]
    model: str


@dataclass(frozen=True)
class Score:
    """Whether a response is right.

    `answer` is what was read out of it, empty where it holds none; `verdict` is that of the
    executor, or `right`, `wrong` and `no_answer`; `detail` says more.
    """

    benchmark: str
    problem: str
    decoding: str
    sample: int
    answer: str
    right: bool
    verdict: str
    detail: str


Record = TypeVar("Record")


def _matches(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the type of a record's column."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_matches(value, choice) for choice in get_args(hint))
    if origin is list:
        return isinstance(value, list) and all(_matches(item, get_args(hint)[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


@cache
def _columns(record: type) -> tuple[dict[str, Any], set[str]]:
    """The types of a record's columns by their names, and the names of those that it must have."""
    required = {
        column.name
        for column in fields(record)
        if column.default is MISSING and column.default_factory is MISSING
    }
    return get_type_hints(record), required


def parse_row(row: Any, record: type[Record]) -> Record:
    """Make a record of a row.

    Raises `ValueError` that names the column when one is missing, unknown or of another type.
    """
    if not isinstance(row, dict):
        raise ValueError("is not an object")
    hints, required = _columns(record)
    if missing := [name for name in hints if name in required - row.keys()]:
        raise ValueError(f"lacks '{missing[0]}'")
    if unknown := [name for name in row if name not in hints]:
        raise ValueError(f"has the unknown column '{unknown[0]}'")
    for name, hint in hints.items():
        if name in row and not _matches(row[name], hint):
            wanted = getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)
            raise ValueError(f"'{name}' is not of type {wanted}")
    return record(**row)


def read_rows(path: str | Path, record: type[Record]) -> Iterator[Record]:
    """Yield the records of a JSON Lines file, in its order.

    Raises `UserError` that names the file and the line when a row is broken.
    """
    try:
        stream = open(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    with stream:
        try:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _read_row(path, number, line, record)
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is not UTF-8 text: write it anew as UTF-8") from error


def _read_row(path: str | Path, number: int, line: str, record: type[Record]) -> Record:
    try:
        return parse_row(jsonlines.Reader([line]).read(), record)
    except jsonlines.InvalidLineError as error:
        raise UserError(
            f"{path}, line {number}: is not valid JSON: mend or remove the line"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}, line {number}: {error}: mend the line") from error


def write_rows(path: str | Path, rows: Iterable[Any]) -> int:
    """Write records as JSON Lines, complete or not at all, and return their number."""
    count = 0
    with atomic_file(path) as stream:
        writer = jsonlines.Writer(stream)
        for row in rows:
            writer.write(asdict(row))
            count += 1
    return count
