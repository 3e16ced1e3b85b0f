"""Ask a labelling model for the answer to every instruction, several times.

    python -m scripts.label_instructions --task tasks/mbpp.yaml \\
        --instructions results/mbpp_instructions.jsonl --endpoint local \\
        --model results/models/smollm2-135m-instruct --replies 2 --min-tests 1 \\
        --temperature 0.4 --top-p 0.95 --max-tokens 96 --seed 42 --in-flight 16 \\
        --timeout 600 --attempts 5 \\
        --journal .cache/completions/mbpp.jsonl --server-log logs/mbpp/label_server.log \\
        --labeled results/mbpp_labeled.jsonl

With `--endpoint local` the model is served on this machine for as long as the step runs; with
`--endpoint openai` it is asked for at OPENAI_BASE_URL with OPENAI_API_KEY. Every reply is in the
journal before it counts, so that a run which is killed or refused goes on where it was.
"""

import argparse
import functools
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.completions.client import Endpoint, complete
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.local_server import check_that_it_samples, serve
from scripts.lib.completions.request import Completion, CompletionRequest
from scripts.lib.console import Progress, counts, run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.models import check_model_name, fingerprint
from scripts.lib.records import Instruction, Label, read_rows, write_rows
from scripts.lib.tasks import ParsedReply, Task, load_task
from scripts.lib.tasks.form import fill

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Asked:
    """One reply to be asked for: to which instruction, its number, and the key of its choices."""

    instruction: Instruction
    number: int
    key: str


def replies_to_ask(instructions: list[Instruction], replies: int, seed: int) -> list[Asked]:
    """All replies: first ones to all instructions first, then second ones, and so on."""
    return [
        Asked(instruction, number, key=f"{seed} {instruction.id} {number}")
        for number in range(replies)
        for instruction in instructions
    ]


def chat_messages(task: Task, question: str) -> tuple[tuple[str, str], ...]:
    """The chat that asks for an instruction's answer, as (role, content) pairs."""
    form = task.spec["label"]
    messages = [("system", form["system"])] if form["system"] else []
    for example in form["examples"]:
        messages.append(("user", fill(form["request"], instruction=example["instruction"])))
        messages.append(("assistant", example["reply"]))
    messages.append(("user", fill(form["request"], instruction=question)))
    return tuple(messages)


def judge_messages(task: Task, instruction: str, reply: str) -> tuple[tuple[str, str], ...]:
    """The chat that asks for a judgement of a reply, as (role, content) pairs."""
    form = task.spec["judge"]
    request = fill(form["request"], instruction=instruction, reply=reply)
    system = (("system", form["system"]),) if form["system"] else ()
    return (*system, ("user", request))


def make_label(
    task: Task,
    asked: Asked,
    request: CompletionRequest,
    completion: Completion,
    parsed: ParsedReply,
    judgement: str,
) -> Label:
    """The row of a reply."""
    return Label(
        id=f"{asked.instruction.id}-{asked.number:02d}",
        task=task.name,
        instruction_id=asked.instruction.id,
        instruction=asked.instruction.instruction,
        reply_number=asked.number,
        reply=completion.text,
        output=parsed.output,
        answer=parsed.answer,
        tests=list(parsed.tests),
        reason=parsed.reason,
        judgement=judgement,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        generator=asked.instruction.model,
        label_model=request.model,
        request=request.key,
    )


def parsed_reply(task: Task, asked: Asked, completion: Completion, min_tests: int) -> ParsedReply:
    """What a completion holds as the reply to an instruction.

    `unreadable` is one that breaks the parser: it is paid for, and must not end each run anew.
    """
    try:
        return task.kind.parse_reply(
            task,
            asked.instruction.instruction,
            completion.text,
            completion.finish_reason,
            min_tests,
            asked.key,
        )
    except (RecursionError, MemoryError, OverflowError):
        return ParsedReply(reason="unreadable")


def sampling_parameters(
    arguments: argparse.Namespace, temperature: float
) -> tuple[tuple[str, float | int], ...]:
    """The sampling parameters of a request, in the names of the chat completions API."""
    return (
        ("max_tokens", arguments.max_tokens),
        ("temperature", temperature),
        ("top_p", arguments.top_p),
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


class LazyEndpoint:
    """The endpoint that the arguments name, opened when something must be asked, then kept open.

    A context manager.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._stack = ExitStack()
        self._endpoint: Endpoint | None = None

    def __enter__(self) -> "LazyEndpoint":
        return self

    def __exit__(self, *of_error: Any) -> None:
        self._stack.close()

    def _open(self, requests: list[CompletionRequest]) -> Endpoint:
        arguments = self._arguments
        url, key = self._stack.enter_context(
            open_endpoint(
                arguments.endpoint,
                arguments.model,
                arguments.server_log,
                tokens_in_flight(requests, arguments.in_flight),
                sampled=arguments.temperature > 0,
            )
        )
        return Endpoint(
            base_url=url,
            api_key=key,
            in_flight=arguments.in_flight,
            timeout=arguments.timeout,
            attempts=arguments.attempts,
        )

    def ask(self, requests: list[CompletionRequest], journal: Journal, step: str) -> int:
        """Get every reply that the journal lacks into it, and return how many it lacked."""
        missing = [request for request in requests if journal.get(request.key) is None]
        if missing:
            self._endpoint = self._endpoint or self._open(requests)
            with Progress(step, len(missing), "replies") as progress:
                complete(self._endpoint, missing, journal, lambda reply: progress.advance())
        return len(missing)


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
    parser.add_argument("--seed", type=int, required=True, help="of the order of options")
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
    model = arguments.model
    request_of = functools.partial(
        CompletionRequest,
        model=model,
        model_identity=fingerprint(model) if arguments.endpoint == "local" else model,
    )
    all_asked = replies_to_ask(instructions, arguments.replies, arguments.seed)
    requests = [
        request_of(
            messages=chat_messages(
                task, task.kind.question(task, asked.instruction.instruction, asked.key)
            ),
            parameters=sampling_parameters(arguments, arguments.temperature),
            sample=asked.number,
        )
        for asked in all_asked
    ]
    with Journal(arguments.journal) as journal, LazyEndpoint(arguments) as endpoint:
        newly_asked = endpoint.ask(requests, journal, "label_instructions")
        completions = [journal[request.key] for request in requests]
        parsed = [
            parsed_reply(task, asked, completion, arguments.min_tests)
            for asked, completion in zip(all_asked, completions, strict=True)
        ]
        judgements = [""] * len(parsed)
        if "judge" in task.spec:
            wanted = {
                at: request_of(
                    messages=judge_messages(
                        task, all_asked[at].instruction.instruction, reply.output
                    ),
                    # A judgement is no matter of chance.
                    parameters=sampling_parameters(arguments, temperature=0.0),
                    sample=0,
                )
                for at, reply in enumerate(parsed)
                if not reply.reason
            }
            newly_asked += endpoint.ask(list(wanted.values()), journal, "judge replies")
            for at, request in wanted.items():
                judgements[at] = journal[request.key].text
    labels = [
        make_label(task, *of_reply)
        for of_reply in zip(all_asked, requests, completions, parsed, judgements, strict=True)
    ]
    labels.sort(key=lambda label: label.id)
    write_rows(arguments.labeled, labels)
    reasons = Counter(label.reason for label in labels)
    counts(
        "label_instructions",
        time.monotonic() - started,
        replies=len(labels),
        newly_asked=newly_asked,
        parsed=reasons.pop("", 0),
        **{f"invalid_as_{reason}": number for reason, number in sorted(reasons.items())},
        completion_tokens=sum(label.completion_tokens for label in labels),
    )


if __name__ == "__main__":
    run_step(main)
