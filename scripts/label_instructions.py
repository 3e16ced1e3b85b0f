"""Ask a labelling model for the answer to every instruction, several times.

    python -m scripts.label_instructions --task tasks/mbpp.yaml \\
        --instructions results/mbpp_instructions.jsonl --endpoint local \\
        --model results/models/smollm2-135m-instruct --replies 2 --min-tests 1 \\
        --temperature 0.4 --top-p 0.95 --max-tokens 96 --in-flight 16 --timeout 600 --attempts 5 \\
        --journal .cache/completions/mbpp.jsonl --server-log logs/mbpp/label_server.log \\
        --labeled results/mbpp_labeled.jsonl

With `--endpoint local` the model is served on this machine for as long as the step runs; with
`--endpoint openai` it is asked for at OPENAI_BASE_URL with OPENAI_API_KEY. Every reply is in the
journal before it counts, so that a run which is killed or refused goes on where it was.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.lib.completions.client import Endpoint, complete
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.local_server import check_that_it_samples, serve
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.console import Progress, counts, run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.models import check_model_name, fingerprint
from scripts.lib.records import Instruction, Label, read_rows, write_rows
from scripts.lib.tasks import Task, fill, load_task

OPENAI_URL = "https://api.openai.com/v1"


def chat_messages(task: Task, instruction: str) -> tuple[tuple[str, str], ...]:
    """The chat that asks for an instruction's answer, as (role, content) pairs."""
    form = task.spec["label"]
    messages = [("system", form["system"])] if form["system"] else []
    for example in form["examples"]:
        messages.append(("user", fill(form["request"], instruction=example["instruction"])))
        messages.append(("assistant", example["reply"]))
    messages.append(("user", fill(form["request"], instruction=instruction)))
    return tuple(messages)


def build_requests(
    task: Task,
    instructions: list[Instruction],
    model: str,
    model_identity: str,
    parameters: dict[str, float | int],
    replies: int,
) -> list[tuple[Instruction, CompletionRequest]]:
    """One request a reply: first replies of all instructions first, then second ones, and so on."""
    return [
        (
            instruction,
            CompletionRequest(
                model=model,
                model_identity=model_identity,
                messages=chat_messages(task, instruction.instruction),
                parameters=tuple(sorted(parameters.items())),
                sample=sample,
            ),
        )
        for sample in range(replies)
        for instruction in instructions
    ]


def make_label(
    task: Task,
    instruction: Instruction,
    request: CompletionRequest,
    journal: Journal,
    min_tests: int,
) -> Label:
    """The row of a reply that the journal holds."""
    completion = journal.get(request.key)
    if completion is None:
        raise UserError(f"the journal lacks the reply {request.key}: run the same command again")
    parsed = task.kind.parse_reply(completion.text, completion.finish_reason, min_tests)
    return Label(
        id=f"{instruction.id}-{request.sample:02d}",
        task=task.name,
        instruction_id=instruction.id,
        instruction=instruction.instruction,
        reply_number=request.sample,
        reply=completion.text,
        output=parsed.output,
        tests=list(parsed.tests),
        reason=parsed.reason,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        generator=instruction.model,
        label_model=request.model,
        request=request.key,
    )


@contextmanager
def open_endpoint(
    endpoint: str, model: str, server_log: Path, cache_tokens: int, sampled: bool
) -> Iterator[tuple[str, str]]:
    """Yield base URL and key of the endpoint; a local one runs as long as the block."""
    if endpoint == "local":
        check_model_name(model)
        if sampled:
            check_that_it_samples(model)
        with serve(model, server_log, cache_tokens) as url:
            yield url, "local"
        return
    # The key is read here and nowhere else: it never reaches params, argv, logs or files.
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key:
        raise UserError(
            "OPENAI_API_KEY is not set: export it, or set 'label.endpoint: local' in config.yaml"
        )
    yield os.environ.get("OPENAI_BASE_URL") or OPENAI_URL, key


def tokens_in_flight(requests: list[CompletionRequest], in_flight: int) -> int:
    """About how many tokens the open requests hold together; a token is two characters or more."""
    longest = max(sum(len(content) for _, content in request.messages) for request in requests)
    return in_flight * (longest // 2 + dict(requests[0].parameters)["max_tokens"])


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--endpoint", choices=["local", "openai"], required=True)
    parser.add_argument("--model", required=True, help="model name, or directory if local")
    parser.add_argument("--replies", type=int, required=True, help="replies an instruction")
    parser.add_argument("--min-tests", type=int, required=True, help="distinct tests of a reply")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--top-p", type=float, required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True, help="open requests at a time")
    parser.add_argument("--timeout", type=float, required=True, help="seconds of one request")
    parser.add_argument("--attempts", type=int, required=True, help="tries of one request")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--server-log", type=Path, required=True)
    parser.add_argument("--labeled", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    instructions = list(read_rows(arguments.instructions, Instruction))
    local = arguments.endpoint == "local"
    requests = build_requests(
        task,
        instructions,
        arguments.model,
        fingerprint(arguments.model) if local else arguments.model,
        {
            "temperature": arguments.temperature,
            "top_p": arguments.top_p,
            "max_tokens": arguments.max_tokens,
        },
        arguments.replies,
    )
    with Journal(arguments.journal) as journal:
        missing = [request for _, request in requests if journal.get(request.key) is None]
        if missing:
            with (
                open_endpoint(
                    arguments.endpoint,
                    arguments.model,
                    arguments.server_log,
                    tokens_in_flight(missing, arguments.in_flight),
                    sampled=arguments.temperature > 0,
                ) as (url, key),
                Progress("label_instructions", len(missing), "replies") as progress,
            ):
                endpoint = Endpoint(
                    base_url=url,
                    api_key=key,
                    in_flight=arguments.in_flight,
                    timeout=arguments.timeout,
                    attempts=arguments.attempts,
                )
                complete(endpoint, missing, journal, lambda reply: progress.advance())
        labels = [
            make_label(task, instruction, request, journal, arguments.min_tests)
            for instruction, request in requests
        ]
    labels.sort(key=lambda label: label.id)
    write_rows(arguments.labeled, labels)
    reasons = Counter(label.reason for label in labels)
    counts(
        "label_instructions",
        time.monotonic() - started,
        replies=len(labels),
        newly_asked=len(missing),
        parsed=reasons.pop("", 0),
        **{f"invalid_as_{reason}": number for reason, number in sorted(reasons.items())},
        completion_tokens=sum(label.completion_tokens for label in labels),
    )


if __name__ == "__main__":
    run_step(main)
