"""Judging responses to problems: code in the sandbox, answers in processes of their own."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from scripts.lib.console import Progress
from scripts.lib.errors import UserError
from scripts.lib.evaluation.mbpp_plus import as_taken
from scripts.lib.evaluation.scores import GREEDY, LIKELIHOOD
from scripts.lib.files import atomic_file
from scripts.lib.kept_work import name_of_work
from scripts.lib.records import Problem, Response, Score
from scripts.lib.sandbox import (
    Calls,
    Job,
    Sandbox,
    SandboxAborted,
    SandboxSettings,
    open_sandbox,
)
from scripts.lib.sandbox.inside import codec
from scripts.lib.sandbox.inside.compare import NOT_NONE
from scripts.lib.tasks import RIGHT, WRONG, Judges, Task
from scripts.lib.tasks.choice import LETTERS
from scripts.lib.threads import in_order
from scripts.lib.verification.answers import AnswerGrouper

# Processor seconds of a benchmark's own solution for the results that it is asked for.
SOLUTION_SECONDS = 60.0


@dataclass(frozen=True)
class Settings(SandboxSettings):
    """How responses are judged.

    `cache` is the folder that keeps what the solutions of benchmarks return.
    """

    cache: Path


@dataclass
class Judging:
    """Judges, what isolates the code that they run, and what their work has brought to light.

    `left_out` counts by problem the inputs for which the benchmark's own solution returns nothing,
    and which no response is therefore judged by. `abort` has the judges judge nothing more.
    """

    judges: Judges
    sandbox: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    abort: Callable[[], None] = lambda: None


@contextmanager
def open_judging(task: Task, settings: Settings, problems: Sequence[Problem]) -> Iterator[Judging]:
    """The judges of responses to problems. Raises `UserError` where code cannot be isolated."""
    kind = task.spec["kind"]
    if kind == "code":
        with open_sandbox(settings) as sandbox:
            yield _execution(sandbox, settings, problems)
    elif kind == "math":
        with AnswerGrouper() as group_equal:

            def equal(first: str, second: str) -> bool:
                return group_equal([first, second]) == [0, 0]

            # Without its processes nobody waits for a comparison.
            yield Judging(Judges(_no_run, equal), abort=group_equal.__exit__)
    else:
        yield Judging(Judges(_no_run, _no_equal))


def _no_run(problem: Problem, code: str) -> tuple[str, str]:
    raise AssertionError("no code is run for a task of this kind")


def _no_equal(first: str, second: str) -> bool:
    raise AssertionError("no mathematical answers are compared for a task of this kind")


def _execution(sandbox: Sandbox, settings: Settings, problems: Sequence[Problem]) -> Judging:
    left_out: dict[str, int] = {}
    calls = {}
    called = [problem for problem in problems if problem.calls]
    asked = in_order(
        lambda problem: _calls_of(sandbox, settings, problem),
        called,
        2 * settings.workers,
        sandbox.abort,
    )
    with Progress("solutions", len(called), "problems") as progress, closing(asked):
        for problem, (found, missing) in zip(called, asked, strict=True):
            progress.advance()
            calls[problem.id] = found
            if missing:
                left_out[problem.id] = missing

    def run(problem: Problem, code: str) -> tuple[str, str]:
        job = Job(
            problem.id,
            code,
            problem.tests,
            setup=problem.setup,
            prefix=problem.prefix,
            timeout=settings.timeout,
            calls=calls.get(problem.id),
        )
        verdict = sandbox.run(job)
        return verdict.verdict, verdict.reason

    return Judging(Judges(run, _no_equal), sandbox.description, left_out, sandbox.abort)


def _calls_of(sandbox: Sandbox, settings: Settings, problem: Problem) -> tuple[Calls, int]:
    """The calls that responses are judged by, and the number of those that had to be left out.

    What the solution returns is computed once: it is kept under a digest of all that decides it.
    Where inputs are left out it is not kept: a loaded machine may be the reason.
    """
    asked = problem.calls
    inputs = asked["inputs"]
    if asked["rules"] == "mbpp":
        inputs = as_taken(problem.id, inputs)
    decides = [_code(), asked, problem.solution, problem.id, settings.memory_mb]
    path = settings.cache / f"{name_of_work(decides, [], [])}.json"
    kept = _read_kept(path, len(inputs))
    if kept is None:
        kept = _returned(sandbox, problem, inputs)
        if len(kept[0]) == len(inputs):
            with atomic_file(path) as stream:
                stream.write(codec.dumps(codec.encode(kept)).decode())
    numbers, expected = kept
    found = Calls(
        asked["entry_point"],
        [inputs[number] for number in numbers],
        expected,
        asked["atol"],
        asked["rules"],
    )
    return found, len(inputs) - len(numbers)


@cache
def _code() -> str:
    """A digest of all that decides what a solution returns, but for the solution itself."""
    folder = Path(__file__).parent
    files = [folder / "mbpp_plus.py", *sorted((folder.parent / "sandbox").rglob("*.py"))]
    return name_of_work(sys.version, files, ["numpy"])


def _read_kept(path: Path, inputs: int) -> list[list[Any]] | None:
    """The numbers of the inputs and what is returned for them, `None` where they are not kept."""
    try:
        numbers, expected = codec.decode(codec.loads(path.read_bytes()))
        valid = len(numbers) == len(expected) and all(0 <= number < inputs for number in numbers)
    except (OSError, ValueError, TypeError, codec.NotData):
        return None
    return [numbers, expected] if valid else None


def _returned(sandbox: Sandbox, problem: Problem, inputs: list[Any]) -> list[list[Any]]:
    """What a solution returns for each input: the inputs' numbers and the values.

    Inputs for which it returns nothing within the limits are left out.
    """
    entry_point = problem.calls["entry_point"]

    def outputs(given: list[Any]) -> list[Any]:
        return sandbox.outputs(problem.solution, entry_point, given, SOLUTION_SECONDS)

    numbers = list(range(len(inputs)))
    try:
        values = outputs(inputs)
    except SandboxAborted:
        raise
    except RuntimeError:
        single = {number: _output(outputs, inputs[number]) for number in numbers}
        numbers = [number for number, found in single.items() if found]
        values = [single[number][0] for number in numbers]
    if not numbers:
        raise UserError(
            f"{problem.benchmark}, {problem.id}: its own solution returns nothing for any input: "
            "is 'solution' or 'calls.entry_point' of the task's file right?"
        )
    if entry_point in NOT_NONE:
        # What these return is not data, and is only to be something.
        values = [value is not None for value in values]
    return [numbers, values]


def _output(outputs: Any, given: Any) -> list[Any]:
    try:
        return outputs([given])
    except SandboxAborted:
        raise
    except RuntimeError:
        return []


def judge_all(
    task: Task,
    problems: Sequence[Problem],
    responses: Sequence[Response],
    judging: Judging,
    workers: int,
) -> list[Score]:
    """The scores of responses, in their order; those by likelihood come last."""
    asked = {problem.id: problem for problem in problems}

    def score(response: Response) -> Score:
        ruling = task.kind.judge(task, asked[response.problem], response.text, judging.judges)
        return Score(
            response.benchmark,
            response.problem,
            response.decoding,
            response.sample,
            ruling.answer,
            ruling.right,
            ruling.verdict,
            ruling.detail,
        )

    # Enough at a time that no worker of the sandbox is ever idle; answers are compared in a process
    # of each thread.
    threads = workers * (4 if judging.sandbox else 1)
    found = []
    judged = in_order(score, responses, threads, judging.abort)
    with Progress("evaluate_model", len(responses), "responses") as progress, closing(judged):
        for scored in judged:
            progress.advance()
            found.append(scored)
    return [*found, *_by_likelihood(task, asked, responses)]


def _by_likelihood(
    task: Task, asked: dict[str, Problem], responses: Sequence[Response]
) -> list[Score]:
    """The scores of the options that a model finds most likely; of equals the first one counts."""
    greedy = [row for row in responses if row.decoding == GREEDY]
    if not any(row.log_likelihoods for row in greedy):
        return []
    scores = []
    for response in greedy:
        problem, likelihoods = asked[response.problem], response.log_likelihoods
        if len(likelihoods) != len(LETTERS):
            raise UserError(
                f"{response.benchmark}, {response.problem}: {len(likelihoods)} likelihoods of "
                f"{len(LETTERS)} options: make the responses anew"
            )
        letter = LETTERS[likelihoods.index(max(likelihoods))]
        right = letter == task.kind.read_response(task, problem.instruction, problem.answer)
        detail = json.dumps([round(value, 4) for value in likelihoods])
        scores.append(
            Score(
                response.benchmark,
                response.problem,
                LIKELIHOOD,
                0,
                letter,
                right,
                RIGHT if right else WRONG,
                detail,
            )
        )
    return scores
