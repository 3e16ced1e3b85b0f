"""Let a model respond to the problems of a benchmark, with the prompts that a student learns from.

    python -m scripts.respond_to_problems --task tasks/mbpp.yaml \\
        --problems results/mbpp/problems/mbpp.jsonl --model results/mbpp/student \\
        --chat-format model --limit 100 --samples 0 --temperature 0.8 --top-k 0 --top-p 0.95 \\
        --max-new-tokens 512 --likelihood false --engine auto --batch-size 64 --seed 42 \\
        --output results/mbpp/responses/mbpp/student.jsonl

Each problem gets one greedy response, and `--samples` sampled ones beside it. `--model` is what
`train` wrote, a model directory or a hub id. Finished responses are kept under --cache by their
prompt: a killed run goes on where it was, so does one with a larger limit or more samples, and
benchmarks with the same prompts share them. Several processes share the work, as in
generate_instructions.
"""

import argparse
import gc
import hashlib
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib import models
from scripts.lib.chat import answered_turn, user_turn_frame
from scripts.lib.console import Progress, counts, run_step, say, step_parser, truth
from scripts.lib.errors import UserError
from scripts.lib.evaluation.problems import first_problems
from scripts.lib.generation import engines
from scripts.lib.generation.kept import KeptTexts
from scripts.lib.generation.options import likelihoods_of, options_of
from scripts.lib.generation.request import Request, Sample, SamplingSettings, places_of
from scripts.lib.generation.shares import all_texts, name_of_texts, own_share, sample_own_part
from scripts.lib.gpus import narrow_to_own_gpu
from scripts.lib.ranks import rank
from scripts.lib.records import Problem, Response, read_rows, write_rows
from scripts.lib.tasks import Task, load_task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Samples of a prompt that have numbers of their own.
MOST_SAMPLES = 1 << 20


@dataclass(frozen=True)
class Asked:
    """A problem, and the text that the model reads of it."""

    problem: Problem
    prompt: str

    def number(self, sample: int) -> int:
        """The number of a response: it depends on the prompt and on nothing else of the problem.

        Responses to one prompt are next to each other.
        """
        return self._digest * MOST_SAMPLES + sample

    @cached_property
    def _digest(self) -> int:
        return int.from_bytes(hashlib.sha256(self.prompt.encode()).digest()[:16])


def asked_of(
    task: Task, problems: list[Problem], tokenizer: "PreTrainedTokenizerBase", chat_format: str
) -> list[Asked]:
    """The problems with the prompts that `train` gives a student."""
    asked = []
    for problem in problems:
        question = task.prompt(problem.instruction, problem.shown_tests)
        prompt, _ = answered_turn(tokenizer, chat_format, question, "reply")
        asked.append(Asked(problem, prompt))
    return asked


def closing_mark(task: Task) -> list[str]:
    """The mark with which a response to a code task ends, such as `[/PYTHON]`, if it has one.

    It counts on a line of its own: a model that repeats its prompt first names the mark in a
    sentence.
    """
    if task.spec["kind"] != "code":
        return []
    before, _, behind = task.spec["instruction"]["response"].rpartition("{solution}")
    mark = behind.rstrip()
    return [mark] if mark.strip() and mark.startswith("\n") and mark not in before else []


def request_of(
    arguments: argparse.Namespace,
    task: Task,
    tokenizer: "PreTrainedTokenizerBase",
    asked: list[Asked],
    samples: int,
) -> Request:
    """What the engine is asked for: so many samples of each problem, 0 for the greedy response."""
    before_turn, _ = user_turn_frame(tokenizer, arguments.chat_format)
    shared = before_turn + task.spec["instruction"]["prefix"]
    if not all(one.prompt.startswith(shared) for one in asked):
        shared = ""
    settings = SamplingSettings(
        **{name: getattr(arguments, name) for name in SamplingSettings.__dataclass_fields__}
    )
    if not samples:
        settings = SamplingSettings(0.0, 0, 1.0, settings.max_new_tokens)
    return Request(
        model=arguments.model,
        tokenizer=tokenizer,
        prompt=shared,
        closing=closing_mark(task),
        settings=settings,
        # Nothing is drawn for a greedy response: it is kept for every seed.
        seed=arguments.seed if samples else 0,
        shard=0,
        batch_size=arguments.batch_size,
        rests={
            one.number(sample): one.prompt.removeprefix(shared)
            for one in asked
            for sample in range(samples or 1)
        },
        keep_mark=True,
    )


def with_room(request: Request) -> Request:
    """The request without the responses whose prompts leave the model no room for a whole one.

    Raises `UserError` where no response is left.
    """
    adapter = models.adapter_settings(request.model)
    base = adapter["base_model_name_or_path"] if adapter else request.model
    places = places_of(models.load_config(base))
    numbers = sorted(request.rests)
    fitting = [n for n in numbers if not places or request.length_of([n]) <= places]
    if not fitting:
        raise UserError(
            f"the model {request.model} reads at most {places} tokens, and each prompt with a "
            f"response of max_new_tokens {request.settings.max_new_tokens} may have more: lower "
            "that"
        )
    if len(fitting) < len(numbers) and rank() == 0:
        say(
            f"warning: {len(numbers) - len(fitting)} of {len(numbers)} responses stay empty: the "
            f"model reads at most {places} tokens, and prompt and response may have more"
        )
    return replace(request, rests={number: request.rests[number] for number in fitting})


def responses(
    request: Request, model_id: str, cache: Path, engine: str, title: str
) -> dict[int, Sample]:
    """The responses by their numbers; of other processes than the first, none."""
    kept = KeptTexts(cache / name_of_texts(request, model_id, engine))
    request = with_room(request)
    numbers = sorted(request.rests)
    with Progress(title, len(own_share(numbers)), "responses") as progress:
        sample_own_part(engine, request, numbers, kept, progress.advance)
    return dict(zip(numbers, all_texts(kept, numbers), strict=True)) if rank() == 0 else {}


def measures_likelihood(arguments: argparse.Namespace, task: Task) -> bool:
    """Whether the likelihood of options is asked for and says something of this task.

    Behind a reasoning that is left out no model has learnt to name an option: there it does not.
    """
    if not arguments.likelihood or task.spec["kind"] != "choice":
        return False
    if "{solution}" not in task.spec["instruction"]["response"]:
        return True
    if rank() == 0:
        say(
            f"warning: {task.path}: the likelihood of options is not measured: a response has its "
            "reasoning before its answer ('instruction.response' holds {solution})"
        )
    return False


def likelihoods_by_number(
    arguments: argparse.Namespace,
    task: Task,
    tokenizer: "PreTrainedTokenizerBase",
    asked: list[Asked],
    model_id: str,
) -> dict[int, list[float]]:
    """The log-likelihoods of the options by the numbers of the greedy responses."""
    questions = [
        options_of(task, one.problem, one.prompt, tokenizer, arguments.chat_format) for one in asked
    ]
    values = likelihoods_of(arguments.model, model_id, questions, arguments.cache)
    return {
        one.number(0): values.get(question.number, [])
        for one, question in zip(asked, questions, strict=True)
    }


def rows_of(
    asked: list[Asked],
    samples: int,
    found: dict[int, Sample],
    decoding: str,
    model_id: str,
    likelihoods: dict[int, list[float]],
) -> list[list[Response]]:
    """The rows of each problem; a response that had no room is empty and unfinished."""
    return [
        [
            Response(
                benchmark=one.problem.benchmark,
                problem=one.problem.id,
                decoding=decoding,
                sample=sample,
                text=text.text,
                tokens=text.tokens,
                finished=text.finished,
                log_likelihoods=likelihoods.get(one.number(sample), []),
                model=model_id,
            )
            for sample in range(samples)
            for text in [found.get(one.number(sample), Sample(0, 0, "", 0, False))]
        ]
        for one in asked
    ]


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--model", required=True, help="directory or hub id")
    parser.add_argument("--chat-format", choices=["model", "llama2", "none"], required=True)
    parser.add_argument("--limit", type=int, required=True, help="problems, 0 for all")
    parser.add_argument("--samples", type=int, required=True, help="beside the greedy response")
    parser.add_argument("--temperature", type=float, required=True, help="of the samples")
    parser.add_argument("--top-k", type=int, required=True, help="0 switches it off")
    parser.add_argument("--top-p", type=float, required=True)
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument(
        "--likelihood",
        type=truth,
        required=True,
        help="true or false: also of the options; of no effect but for tasks of the kind choice",
    )
    parser.add_argument("--engine", choices=engines.CHOICES, required=True)
    parser.add_argument("--batch-size", type=int, required=True, help="responses at a time")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/responses"))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    if arguments.samples and arguments.temperature <= 0:
        raise UserError("samples need a temperature above 0: with 0 all would be the greedy one")
    if arguments.samples > MOST_SAMPLES:
        raise UserError(f"samples: at most {MOST_SAMPLES} of a problem can be told apart")
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    started = time.monotonic()
    narrow_to_own_gpu()
    task = load_task(arguments.task)
    problems = list(read_rows(arguments.problems, Problem))
    if not problems:
        raise UserError(f"{arguments.problems}: holds no problem: fetch it again")
    tokenizer = models.load_tokenizer(arguments.model)
    model_id = models.fingerprint(arguments.model)
    asked = asked_of(
        task, first_problems(problems, arguments.limit), tokenizer, arguments.chat_format
    )
    engine = engines.choose(arguments.engine)
    options: dict[int, list[float]] = {}
    if measures_likelihood(arguments, task):
        options = likelihoods_by_number(arguments, task, tokenizer, asked, model_id)
    decodings = [("greedy", 0), *([("sampled", arguments.samples)] if arguments.samples else [])]
    rows: list[list[Response]] = [[] for _ in asked]
    for decoding, samples in decodings:
        # The model of what was before leaves the device.
        gc.collect()
        request = request_of(arguments, task, tokenizer, asked, samples)
        title = f"respond, {decoding}"
        found = responses(request, model_id, arguments.cache, engine, title)
        named = options if decoding == "greedy" else {}
        of_each = rows_of(asked, samples or 1, found, decoding, model_id, named)
        rows = [before + more for before, more in zip(rows, of_each, strict=True)]
    if rank() != 0:
        return
    whole = [row for of_one in rows for row in of_one]
    write_rows(arguments.output, whole)
    counts(
        "respond_to_problems",
        time.monotonic() - started,
        problems=len(asked),
        of_all=len(problems),
        responses=len(whole),
        finished=sum(row.finished for row in whole),
        tokens=sum(row.tokens for row in whole),
    )


if __name__ == "__main__":
    run_step(main)
