"""Sample raw instructions from a generator: one shard of them.

    python -m scripts.generate_instructions --task tasks/mbpp.yaml \\
        --generator results/mbpp/generator --chat-format model --count 96 --shard 1 \\
        --engine auto --batch-size 128 --temperature 1.0 --top-k 100 --top-p 1.0 \\
        --max-new-tokens 128 --seed 42 --output results/mbpp/generations/1.jsonl

With `--method in_context --seeds results/mbpp/seeds.jsonl` the generator is a model that was not
fine-tuned: each text has a prompt of its own, plain text that shows up to eight of the seeds
(scripts/lib/generation/in_context.py), and --chat-format is of no effect.

Finished texts are kept under --cache, so that a killed run goes on where it was. Several processes
share a shard, a GPU each:

    python -m scripts.launch --gpus 2 --processes 2 -- scripts.generate_instructions ...
"""

import argparse
import hashlib
import time
from pathlib import Path

from scripts.lib import models
from scripts.lib.chat import user_turn_frame
from scripts.lib.console import Progress, counts, run_step, say, step_parser
from scripts.lib.errors import UserError
from scripts.lib.generation import engines, in_context
from scripts.lib.generation.kept import KeptTexts
from scripts.lib.generation.request import Request, SamplingSettings, text_seed
from scripts.lib.generation.shares import all_texts, name_of_texts, own_share, sample_own_part
from scripts.lib.gpus import narrow_to_own_gpu
from scripts.lib.ranks import rank
from scripts.lib.records import Generation, Seed, read_rows, write_rows
from scripts.lib.tasks import Task, load_task


def request_of(arguments: argparse.Namespace, task: Task, seeds: list[Seed]) -> Request:
    """What the engine is asked for; `seeds` are those of the method `in_context`, else none."""
    tokenizer = models.load_tokenizer(str(arguments.generator))
    chat_format = "none" if seeds else arguments.chat_format
    before_turn, after_turn = user_turn_frame(tokenizer, chat_format)
    closing = task.closing_marks(after_turn)
    prompt, rests = before_turn + task.prompt_prefix, {}
    if seeds:
        prompt = before_turn + in_context.HEADING
        closing += [mark for mark in in_context.marks(seeds) if mark not in closing]
        opening = task.spec["instruction"]["opening"]
        rests = {
            number: in_context.rest_of_prompt(
                seeds, opening, text_seed(arguments.seed, arguments.shard, number)
            )
            for number in range(arguments.count)
        }
    request = Request(
        model=str(arguments.generator),
        tokenizer=tokenizer,
        prompt=prompt,
        closing=closing,
        settings=SamplingSettings(
            **{name: getattr(arguments, name) for name in SamplingSettings.__dataclass_fields__}
        ),
        seed=arguments.seed,
        shard=arguments.shard,
        batch_size=arguments.batch_size,
        rests=rests,
    )
    if not request.prompt_ids:
        raise UserError(
            f"{task.path}: key 'instruction.prefix': the prompt is empty and the model needs a "
            "token to begin with: give it a word"
        )
    return request


def seeds_of(arguments: argparse.Namespace, task: Task) -> list[Seed]:
    """The seeds that prompts show: none but with the method `in_context`."""
    if arguments.method == "fine_tuned":
        return []
    if not arguments.seeds:
        raise UserError("the method in_context needs --seeds: name the task's seeds")
    seeds = list(read_rows(arguments.seeds, Seed))
    if not seeds:
        raise UserError(f"{arguments.seeds}: holds no seed: give the task some")
    task.check_seeds(seeds, arguments.seeds)
    return seeds


def what_decides_prompts(seeds: list[Seed]) -> list[str]:
    """What decides the texts' own prompts beside their seeds: nothing where there are none."""
    if not seeds:
        return []
    code = hashlib.sha256(in_context.code().read_bytes()).hexdigest()
    return [code, *(seed.instruction for seed in seeds)]


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--method", choices=["fine_tuned", "in_context"], default="fine_tuned")
    parser.add_argument("--seeds", type=Path, help="those that the method in_context shows")
    parser.add_argument("--chat-format", choices=["model", "llama2", "none"], required=True)
    parser.add_argument("--count", type=int, required=True, help="samples of this shard")
    parser.add_argument("--shard", type=int, required=True, help="number of this shard, from 1")
    parser.add_argument("--engine", choices=engines.CHOICES, required=True)
    parser.add_argument("--batch-size", type=int, required=True, help="texts at a time")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--top-k", type=int, required=True, help="0 switches it off")
    parser.add_argument("--top-p", type=float, required=True)
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/generations"))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    narrow_to_own_gpu()
    task = load_task(arguments.task)
    seeds = seeds_of(arguments, task)
    request = request_of(arguments, task, seeds)
    engine = engines.choose(arguments.engine)
    model_id = models.fingerprint(str(arguments.generator))
    name = name_of_texts(request, model_id, engine, *what_decides_prompts(seeds))
    kept = KeptTexts(arguments.cache / name)
    numbers = range(arguments.count)
    share = len(own_share(numbers))
    with Progress(f"generate shard {arguments.shard}", share, "texts") as progress:
        sample_own_part(engine, request, numbers, kept, progress.advance)
    if rank() != 0:
        return
    samples = all_texts(kept, numbers)
    write_rows(
        arguments.output,
        [
            Generation(
                id=f"{task.name}-{arguments.shard:04d}-{sample.number:06d}",
                task=task.name,
                text=task.spec["instruction"]["opening"] + sample.text,
                finished=sample.finished,
                tokens=sample.tokens,
                model=model_id,
                seed=sample.seed,
            )
            for sample in samples
        ],
    )
    cut_off = sum(not sample.finished for sample in samples)
    if cut_off > len(samples) / 10:
        say(
            f"warning: {cut_off} of {len(samples)} texts reach max_new_tokens "
            f"({arguments.max_new_tokens}) and will be dropped as 'unfinished': raise it in "
            "sampling.override of config.yaml, or null it there and raise it in the task's file"
        )
    counts(
        f"generate_instructions shard {arguments.shard}",
        time.monotonic() - started,
        texts=len(samples),
        finished=len(samples) - cut_off,
        tokens=sum(sample.tokens for sample in samples),
    )


if __name__ == "__main__":
    run_step(main)
