"""Verify every reply and keep what passes as training rows.

    python -m scripts.verify_samples --task tasks/mbpp.yaml --labeled results/mbpp_labeled.jsonl \\
        --dropped results/mbpp/dropped.jsonl --method own_tests --support 2 --majority 0.6 \\
        --rows-per-instruction 1 --sampling '{"temperature": 1.0}' \\
        --label-sampling '{"temperature": 0.7}' --timeout 3 --memory-mb 1024 --workers 2 \\
        --sandbox-level auto \\
        --verified results/mbpp_verified.jsonl --rejected results/mbpp/rejected.jsonl \\
        --funnel results/mbpp/funnel.json

Code is executed in a sandbox, with each reply's own tests (`--method own_tests`) or all solutions
with all replies' tests (`agreement`). Answers of math and choice tasks pass by a majority of the
replies. Texts pass when they are well-formed, and their judge, if there is one, accepts them. With
`none` every reply that could be parsed passes, whatever the task, as in the paper.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.console import Progress, counts, run_step, say, step_parser
from scripts.lib.errors import UserError
from scripts.lib.files import write_json
from scripts.lib.funnel import UNVERIFIED, build_funnel, table
from scripts.lib.records import Drop, Label, Rejection, Verified, read_rows, write_rows
from scripts.lib.sandbox import (
    ERROR,
    FAIL,
    PASS,
    Job,
    Sandbox,
    SandboxSettings,
    add_sandbox_options,
    open_sandbox,
)
from scripts.lib.tasks import Task, load_task
from scripts.lib.tasks.code import TESTS_SHOWN, functions_to_test, program
from scripts.lib.tasks.text import accepted
from scripts.lib.threads import in_order
from scripts.lib.verification import PASSED, Outcome, keep_first
from scripts.lib.verification.answers import AnswerGrouper
from scripts.lib.verification.execution import by_agreement, by_own_tests
from scripts.lib.verification.majority import by_majority, equal_texts


@dataclass(frozen=True)
class Settings(SandboxSettings):
    """How replies are verified; see `verification` in config.yaml."""

    method: str
    support: int
    majority: float
    rows_per_instruction: int


# How the executor's verdicts are called in rows. `not_judged` says nothing about the reply.
NOT_JUDGED = "not_judged"
VERDICTS = {PASS: PASSED, FAIL: "failed", ERROR: NOT_JUDGED}


# Share of the replies that may stay without a judgement.
MAX_NOT_JUDGED = 0.01


@dataclass(frozen=True)
class Verification:
    """A way of verifying: its name, what isolates it, and the judge of an instruction's replies.

    `judge` takes the replies that could be parsed and the number of all replies; `abort` has it
    judge nothing more.
    """

    name: str
    sandbox: str
    judge: Callable[[list[Label], int], list[Outcome]]
    abort: Callable[[], None] = lambda: None

    def name_for(self, replies: int) -> str:
        """The way that stands in a row: a majority of one reply has checked nothing."""
        return "single_reply" if self.name == "majority" and replies == 1 else self.name


@contextmanager
def open_verification(task: Task, settings: Settings) -> Iterator[Verification]:
    """The way in which a task's replies are verified.

    Raises `UserError` where code would have to be executed without isolation.
    """
    kind = task.spec["kind"]
    if settings.method == UNVERIFIED:
        yield Verification(UNVERIFIED, "", _unverified)
    elif kind == "code":
        with open_sandbox(settings) as sandbox:
            yield _execution(task, settings, sandbox)
    elif kind == "text":
        yield _well_formed(task)
    elif kind == "choice":
        yield _majority(settings, equal_texts)
    else:
        with AnswerGrouper() as group_equal:
            yield _majority(settings, group_equal)


def _majority(settings: Settings, group: Callable) -> Verification:
    def judge(labels: list[Label], asked: int) -> list[Outcome]:
        return by_majority(labels, asked, settings.majority, group)

    return Verification("majority", "", judge)


def _unverified(labels: list[Label], asked: int) -> list[Outcome]:
    return [Outcome(PASSED, support=1, tests=tuple(label.tests)) for label in labels]


def _execution(task: Task, settings: Settings, sandbox: Sandbox) -> Verification:
    # By label: the executor failed, and nothing is known about its code.
    unknown: dict[str, str] = {}

    def run(label: Label, tests: list[str]) -> tuple[str, str]:
        code = program(task, label.instruction, label.output)
        found = sandbox.run(Job(label.id, code, tests))
        if found.verdict == ERROR:
            unknown[label.id] = found.reason
        return VERDICTS.get(found.verdict, found.verdict), found.reason

    def functions_of(label: Label) -> set[str]:
        return functions_to_test(task, label.instruction, label.output)

    def judge(labels: list[Label], asked: int) -> list[Outcome]:
        if settings.method == "agreement":
            outcomes = by_agreement(labels, run, functions_of, settings.support)
        else:
            outcomes = [by_own_tests(label, run, functions_of) for label in labels]
        return [
            Outcome(NOT_JUDGED, unknown[label.id]) if label.id in unknown else outcome
            for label, outcome in zip(labels, outcomes, strict=True)
        ]

    return Verification(settings.method, sandbox.description, judge, sandbox.abort)


def _well_formed(task: Task) -> Verification:
    judged = "judge" in task.spec

    def verdict(label: Label) -> Outcome:
        if judged and not accepted(task, label.judgement):
            return Outcome("judged_wrong", " ".join(label.judgement.split())[:300])
        return Outcome(PASSED, support=1)

    return Verification(
        "judge" if judged else "well_formed", "", lambda labels, asked: list(map(verdict, labels))
    )


def outcomes_of(
    verification: Verification, labels: list[Label], rows: int
) -> list[tuple[Label, Outcome]]:
    """The outcome of each reply to one instruction; `invalid` where it could not be parsed."""
    parsed = [label for label in labels if not label.reason]
    judged = verification.judge(parsed, len(labels)) if parsed else []
    contents = [(label.output, label.answer, *label.tests) for label in parsed]
    outcome_of = dict(
        zip((label.id for label in parsed), keep_first(judged, contents, rows), strict=True)
    )
    return [
        (label, outcome_of.get(label.id) or Outcome("invalid", label.reason)) for label in labels
    ]


def by_instruction(labels: list[Label]) -> list[list[Label]]:
    """The replies of each instruction, in order."""
    groups: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        groups[label.instruction_id].append(label)
    return list(groups.values())


def verify_all(
    verification: Verification, labels: list[Label], rows: int, workers: int
) -> Iterator[tuple[Label, Outcome, int]]:
    """Each reply with its outcome and the number of replies to its instruction."""
    groups = by_instruction(labels)
    judged = in_order(
        lambda group: outcomes_of(verification, group, rows),
        groups,
        # Enough instructions at a time that no worker of the sandbox is ever idle.
        4 * workers,
        verification.abort,
    )
    with Progress("verify_samples", len(groups), "instructions") as progress, closing(judged):
        for outcomes in judged:
            progress.advance()
            for label, outcome in outcomes:
                yield label, outcome, len(outcomes)


def training_row(
    task: Task,
    label: Label,
    outcome: Outcome,
    replies: int,
    verification: Verification,
    sampling: dict[str, Any],
    label_sampling: dict[str, Any],
) -> Verified:
    """The training row of a reply that passed."""
    shown = list(outcome.tests[:TESTS_SHOWN])
    prompt = task.prompt(label.instruction, shown)
    response = task.response(label.output, label.answer)
    return Verified(
        id=label.id,
        task=task.name,
        instruction=prompt,
        output=response,
        answer=label.answer,
        tests=list(outcome.tests),
        messages=[
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ],
        verification=verification.name_for(replies),
        support=outcome.support,
        replies=replies,
        instruction_id=label.instruction_id,
        bare_instruction=label.instruction,
        reply_number=label.reply_number,
        generator=label.generator,
        sampling=sampling,
        label_model=label.label_model,
        label_sampling=label_sampling,
        request=label.request,
        sandbox=verification.sandbox,
    )


def rejection(task: Task, label: Label, outcome: Outcome, verification: Verification) -> Rejection:
    """The row of a reply that did not pass."""
    return Rejection(
        id=label.id,
        task=task.name,
        instruction_id=label.instruction_id,
        reply_number=label.reply_number,
        verdict=outcome.verdict,
        detail=outcome.detail,
        sandbox=verification.sandbox,
    )


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--labeled", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True, help="of the filter, for the funnel")
    parser.add_argument("--method", choices=["own_tests", "agreement", UNVERIFIED], required=True)
    parser.add_argument("--support", type=int, required=True, help="replies that must agree")
    parser.add_argument("--majority", type=float, required=True, help="share of the replies")
    parser.add_argument("--rows-per-instruction", type=int, required=True)
    parser.add_argument("--sampling", type=json.loads, required=True, help="JSON, for the record")
    parser.add_argument("--label-sampling", type=json.loads, required=True, help="the same")
    add_sandbox_options(parser)
    parser.add_argument("--verified", type=Path, required=True)
    parser.add_argument("--rejected", type=Path, required=True)
    parser.add_argument("--funnel", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    settings = Settings.of(arguments)
    labels = list(read_rows(arguments.labeled, Label))
    drops = list(read_rows(arguments.dropped, Drop))
    verified: list[Verified] = []
    rejected: list[Rejection] = []
    with open_verification(task, settings) as verification:
        for label, outcome, replies in verify_all(
            verification, labels, settings.rows_per_instruction, arguments.workers
        ):
            if outcome.verdict == PASSED:
                verified.append(
                    training_row(
                        task,
                        label,
                        outcome,
                        replies,
                        verification,
                        arguments.sampling,
                        arguments.label_sampling,
                    )
                )
            else:
                rejected.append(rejection(task, label, outcome, verification))
    if unchecked := sum(row.verification == "single_reply" for row in verified):
        say(
            f"warning: the answers of {unchecked} rows are not checked, since their instructions "
            "have one reply: raise label.replies"
        )
    verdicts = Counter(row.verdict for row in rejected)
    if unjudged := [row for row in rejected if row.verdict == NOT_JUDGED]:
        problem = f"the sandbox failed on {len(unjudged)} of {len(labels)} replies"
        if len(unjudged) > max(1, MAX_NOT_JUDGED * len(labels)):
            raise UserError(f"{problem} ({unjudged[0].detail}): mend that, and run the step again")
        say(f"warning: {problem}, {arguments.rejected} says why; nothing is known about them")
    funnel = build_funnel(task.name, drops, labels, verified, rejected)
    say(table(funnel))
    if not verified:
        raise UserError(
            f"none of {len(labels)} replies passed "
            f"({', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}): "
            "raise sampling.margin or label.replies, or use a stronger label.model"
        )
    write_rows(arguments.rejected, rejected)
    write_json(arguments.funnel, funnel)
    write_rows(arguments.verified, verified)
    counts(
        "verify_samples",
        time.monotonic() - started,
        replies=len(labels),
        rows=len(verified),
        **dict(sorted(verdicts.items())),
    )


if __name__ == "__main__":
    run_step(main)
