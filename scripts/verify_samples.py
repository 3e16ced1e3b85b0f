"""Run every label's tests in a sandbox and keep what passes.

    python -m scripts.verify_samples --task tasks/mbpp.yaml --labeled results/mbpp_labeled.jsonl \\
        --sampling '{"temperature": 1.0}' --label-sampling '{"temperature": 0.7}' \\
        --timeout 5 --memory-mb 1024 --workers 2 \\
        --verified results/mbpp_verified.jsonl --rejected results/mbpp/rejected.jsonl
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scripts.lib.console import Progress, counts, run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.records import Label, Rejection, Verified, read_rows, write_rows
from scripts.lib.sandbox import Limits, Sandbox, SandboxUnavailable, open_sandbox
from scripts.lib.tasks import Task, load_task


def judge(task: Task, label: Label, sandbox: Sandbox, limits: Limits) -> tuple[str, str]:
    """The verdict on a label and its detail; the verdict `passed` makes it a training row.

    `invalid` is a reply that could not be parsed, `vacuous` one whose tests prove nothing; the
    other verdicts are the sandbox's.
    """
    if label.reason:
        return "invalid", label.reason
    if nothing_proved := task.kind.vacuous(label):
        return "vacuous", nothing_proved
    execution = sandbox.run(label.output, label.tests, limits)
    return execution.verdict, execution.detail


def training_row(
    task: Task,
    label: Label,
    sampling: dict[str, Any],
    label_sampling: dict[str, Any],
    sandbox: Sandbox,
) -> Verified:
    """The training row of a label that passed."""
    prompt, response = task.prompt(label.instruction, label.tests), task.response(label.output)
    return Verified(
        id=label.id,
        task=task.name,
        instruction=prompt,
        output=response,
        tests=label.tests,
        messages=[
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ],
        instruction_id=label.instruction_id,
        bare_instruction=label.instruction,
        reply_number=label.reply_number,
        generator=label.generator,
        sampling=sampling,
        label_model=label.label_model,
        label_sampling=label_sampling,
        request=label.request,
        sandbox=sandbox.description,
    )


def judge_all(
    task: Task, labels: list[Label], sandbox: Sandbox, limits: Limits, workers: int
) -> Iterator[tuple[Label, tuple[str, str]]]:
    """Each label with its verdict and detail, in the order of the labels."""
    with (
        ThreadPoolExecutor(workers) as executor,
        Progress("verify_samples", len(labels), "labels") as progress,
    ):
        verdicts = executor.map(lambda label: judge(task, label, sandbox, limits), labels)
        for label, verdict in zip(labels, verdicts, strict=True):
            progress.advance()
            yield label, verdict


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--labeled", type=Path, required=True)
    parser.add_argument("--sampling", type=json.loads, required=True, help="JSON, for the record")
    parser.add_argument("--label-sampling", type=json.loads, required=True, help="the same")
    parser.add_argument("--timeout", type=float, required=True, help="seconds of one label's run")
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--verified", type=Path, required=True)
    parser.add_argument("--rejected", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    labels = list(read_rows(arguments.labeled, Label))
    try:
        sandbox = open_sandbox()
    except SandboxUnavailable as error:
        raise UserError(f"model-written code is not run without a sandbox: {error}") from error
    limits = Limits(wall_seconds=arguments.timeout, memory_bytes=arguments.memory_mb << 20)

    seen: set[tuple[str, ...]] = set()
    verified: list[Verified] = []
    rejected: list[Rejection] = []
    verdicts: Counter[str] = Counter()
    for label, (verdict, detail) in judge_all(task, labels, sandbox, limits, arguments.workers):
        content = (label.instruction_id, label.output, *label.tests)
        if verdict == "passed" and content in seen:
            verdict, detail = "duplicate", "the same answer with the same tests passed before"
        seen.add(content)
        verdicts[verdict] += 1
        if verdict == "passed":
            verified.append(
                training_row(task, label, arguments.sampling, arguments.label_sampling, sandbox)
            )
        else:
            rejected.append(
                Rejection(
                    id=label.id,
                    task=task.name,
                    instruction_id=label.instruction_id,
                    reply_number=label.reply_number,
                    verdict=verdict,
                    detail=detail,
                )
            )
    if not verified:
        raise UserError(
            f"none of {len(labels)} labels passed its tests "
            f"({', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}): "
            "ask for more replies, or use a stronger label.model"
        )
    write_rows(arguments.rejected, rejected)
    write_rows(arguments.verified, verified)
    counts(
        "verify_samples",
        time.monotonic() - started,
        labels=len(labels),
        different_instructions=len({row.instruction_id for row in verified}),
        **dict(sorted(verdicts.items())),
    )


if __name__ == "__main__":
    run_step(main)
