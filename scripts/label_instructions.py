"""Ask a labelling model for the answer to every instruction, several times.

    python -m scripts.label_instructions --task tasks/mbpp.yaml \\
        --instructions results/mbpp_instructions.jsonl --endpoint local \\
        --model results/models/smollm2-135m-instruct --replies 2 --min-tests 1 --seed 42 \\
        --parameters '{"max_tokens": 96, "temperature": 0.4}' --client "$CLIENT_JSON" \\
        --journal .cache/completions --server-log logs/mbpp/label_server.log \\
        --output results/mbpp_labeled.jsonl

With `--endpoint local` the model is served on this machine for as long as the step runs; with
`--endpoint openai` it is asked for at OPENAI_BASE_URL with the keys of the environment or of a key
file. Every reply is in the journal before it counts, so that a run which is killed or refused goes
on where it was. `--client` is the section `label.client` of the config as JSON. With `--estimate`
nothing is sent: the output is what the missing replies will cost.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.completions.batches import batches_of, keys_in_batches
from scripts.lib.completions.budget import Caps
from scripts.lib.completions.client import Failure
from scripts.lib.completions.endpoint import OWN_HARDWARE, Endpoint, remote_url
from scripts.lib.completions.estimate import (
    Estimate,
    Terms,
    as_dict,
    estimate,
    total,
    within_budget,
)
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.pricing import Price, find_price
from scripts.lib.completions.question import Question
from scripts.lib.completions.request import Completion, CompletionRequest
from scripts.lib.completions.settings import ClientSettings
from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.files import write_json
from scripts.lib.kept_work import name_of_work
from scripts.lib.models import fingerprint
from scripts.lib.records import Instruction, Label, read_rows, write_rows
from scripts.lib.tasks import ParsedReply, Task, load_task
from scripts.lib.tasks.form import fill


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


@dataclass(frozen=True)
class Requests:
    """Makes the requests of a task to the labelling model.

    `identity` is what is behind the model's name, `parameters` are those of the chat completions
    API.
    """

    task: Task
    model: str
    identity: str
    parameters: dict[str, Any]

    def of_reply(self, asked: Asked) -> CompletionRequest:
        """The request for a reply."""
        question = self.task.kind.question(self.task, asked.instruction.instruction, asked.key)
        return self._request(chat_messages(self.task, question), self.parameters, asked.number)

    def of_judgement(self, asked: Asked, reply: str, sample: int = 0) -> CompletionRequest:
        """The request to the judge of a reply; a judgement is no matter of chance."""
        parameters = dict(self.parameters)
        if "temperature" in parameters:
            parameters["temperature"] = 0.0
        messages = judge_messages(self.task, asked.instruction.instruction, reply)
        return self._request(messages, parameters, sample)

    def _request(
        self, messages: tuple[tuple[str, str], ...], parameters: dict[str, Any], sample: int
    ) -> CompletionRequest:
        return CompletionRequest(
            self.model, self.identity, messages, tuple(parameters.items()), sample
        )


def terms_of(arguments: argparse.Namespace) -> Terms:
    """What replies cost: see `Terms`."""
    settings = arguments.client
    if arguments.endpoint == "local":
        return Terms(OWN_HARDWARE)
    price = find_price(arguments.model, remote_url(), settings.price)
    if settings.mode == "batch":
        return Terms(price, alone=settings.canary.replies, discount=settings.batch.discount)
    return Terms(price)


def estimates(
    requests: Requests,
    all_asked: list[Asked],
    journal: Journal,
    terms: Terms,
    min_tests: int,
) -> list[Estimate]:
    """What the missing replies will cost, and where there is a judge, the missing judgements.

    Of a reply that is missing the judge's request is thought as long as the reply itself is.
    """
    of_replies = [requests.of_reply(asked) for asked in all_asked]
    in_batches = keys_in_batches(journal.folder, remote_url())
    replies = estimate(of_replies, journal, terms, in_batches=in_batches)
    if "judge" not in requests.task.spec:
        return [replies]
    to_judge, more = [], {}
    for asked, request in zip(all_asked, of_replies, strict=True):
        if completion := journal.get(request.key):
            parsed = parsed_reply(requests.task, asked, completion, min_tests)
            if not parsed.reason:
                to_judge.append(requests.of_judgement(asked, parsed.output))
        else:
            # Told apart by the number of the reply, whose text is not known.
            awaited = requests.of_judgement(asked, "", sample=asked.number)
            to_judge.append(awaited)
            more[awaited.key] = replies.length
    return [replies, estimate(to_judge, journal, terms, "judgements", more, in_batches)]


def write_estimate(
    found: list[Estimate], price: Price | None, caps: Caps, journal: Journal, output: Path
) -> None:
    """Print what the missing replies will cost, and whether that fits; write it to a file."""
    write_json(output, as_dict(found, price))
    say(f"price: {price.source if price else 'unknown: set label.client.price'}")
    for line in (line for one in found for line in one.lines()):
        say(line)
    costs = total(found)
    if len(found) > 1:
        say("; ".join(f"{case} in all: {cost}" for case, cost in costs.items()))
    spent = sum((state.most_amount for state in batches_of(journal)), start=journal.spent(price))
    for line in within_budget(caps, spent, costs):
        say(line)


@dataclass
class Labelling:
    """Asks the labelling model of a task, and knows what came of it."""

    requests: Requests
    min_tests: int
    journal: Journal
    endpoint: Endpoint

    def replies(self, all_asked: list[Asked]) -> tuple[list[CompletionRequest], dict[str, Failure]]:
        """Get the replies to all instructions into the journal: the requests, and the failures."""
        requests = [self.requests.of_reply(asked) for asked in all_asked]
        asked_by_key = dict(zip((request.key for request in requests), all_asked, strict=True))

        def defect(request: CompletionRequest, completion: Completion) -> str:
            return self.parsed(asked_by_key[request.key], completion).reason

        return requests, self.endpoint.ask(
            Question("label_instructions", requests, defect), self.journal
        )

    def parsed(self, asked: Asked, completion: Completion) -> ParsedReply:
        """What a completion holds as the reply to an instruction."""
        return parsed_reply(self.requests.task, asked, completion, self.min_tests)

    def judgements(self, all_asked: list[Asked], parsed: list[ParsedReply]) -> list[str]:
        """What the judge says of each reply, "" for those that could not be parsed.

        A judge that gives no answer has not accepted.
        """
        texts = [""] * len(parsed)
        if "judge" not in self.requests.task.spec:
            return texts
        wanted = {
            at: self.requests.of_judgement(all_asked[at], reply.output)
            for at, reply in enumerate(parsed)
            if not reply.reason
        }
        self.endpoint.ask(Question("judge replies", list(wanted.values())), self.journal)
        for at, request in wanted.items():
            if judged := self.journal.get(request.key):
                texts[at] = judged.text
        return texts


def label_all(labelling: Labelling, all_asked: list[Asked]) -> list[Label]:
    """The rows of all replies, sorted by id.

    A request that stays without a reply gives a row with the reason why.
    """
    requests, failures = labelling.replies(all_asked)
    completions = [
        labelling.journal.get(request.key) or Completion(request.key, "", "", 0, 0, "")
        for request in requests
    ]
    parsed = [
        ParsedReply(reason=failures[request.key].reason)
        if request.key in failures
        else labelling.parsed(asked, completion)
        for asked, request, completion in zip(all_asked, requests, completions, strict=True)
    ]
    judgements = labelling.judgements(all_asked, parsed)
    labels = [
        make_label(labelling.requests.task, *of_reply)
        for of_reply in zip(all_asked, requests, completions, parsed, judgements, strict=True)
    ]
    return sorted(labels, key=lambda label: label.id)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--endpoint", choices=["local", "openai"], required=True)
    parser.add_argument("--model", required=True, help="model name, or directory if local")
    parser.add_argument("--replies", type=int, required=True, help="replies an instruction")
    parser.add_argument("--min-tests", type=int, required=True, help="distinct tests of a reply")
    parser.add_argument("--seed", type=int, required=True, help="of the order of options")
    parser.add_argument("--parameters", type=json.loads, required=True, help="of a request, JSON")
    parser.add_argument("--client", type=ClientSettings.from_json, required=True, help="JSON")
    parser.add_argument("--journal", type=Path, required=True, help="folder of all replies")
    parser.add_argument("--server-log", type=Path, required=True)
    parser.add_argument("--estimate", action="store_true", help="send nothing: what will it cost?")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    instructions = list(read_rows(arguments.instructions, Instruction))
    local = arguments.endpoint == "local"
    identity = fingerprint(arguments.model) if local else arguments.model
    requests = Requests(task, arguments.model, identity, arguments.parameters)
    all_asked = replies_to_ask(instructions, arguments.replies, arguments.seed)
    # What costs nothing has no budget: the runs of a study wait for no other one.
    claim = name_of_work(str(arguments.output.resolve()), (), ()) if local else None
    with Journal(
        arguments.journal, task.name, writes=not arguments.estimate, claim=claim
    ) as journal:
        if arguments.estimate:
            terms = terms_of(arguments)
            found = estimates(requests, all_asked, journal, terms, arguments.min_tests)
            write_estimate(found, terms.price, arguments.client.budget, journal, arguments.output)
            return
        known = len(journal)
        with Endpoint(
            arguments.endpoint,
            arguments.model,
            arguments.client,
            server_log=arguments.server_log,
            sampled=arguments.parameters.get("temperature") != 0,
        ) as endpoint:
            labelling = Labelling(requests, arguments.min_tests, journal, endpoint)
            labels = label_all(labelling, all_asked)
        newly_asked, dollars = len(journal) - known, journal.spent(None).dollars
    write_rows(arguments.output, labels)
    reasons = Counter(label.reason for label in labels)
    counts(
        "label_instructions",
        time.monotonic() - started,
        replies=len(labels),
        newly_asked=newly_asked,
        parsed=reasons.pop("", 0),
        **{f"invalid_as_{reason}": number for reason, number in sorted(reasons.items())},
        completion_tokens=sum(label.completion_tokens for label in labels),
        **({"dollars": f"{dollars:.4f}"} if dollars else {}),
    )


if __name__ == "__main__":
    run_step(main)
