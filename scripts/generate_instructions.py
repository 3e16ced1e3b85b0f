"""Sample raw instructions from the fine-tuned generator: one shard of them.

    python -m scripts.generate_instructions --task tasks/mbpp.yaml \\
        --generator results/mbpp/generator --chat-format model --count 96 --shard 1 \\
        --engine auto --batch-size 128 --temperature 1.0 --top-k 100 --top-p 1.0 \\
        --max-new-tokens 128 --seed 42 --output results/mbpp/generations/1.jsonl

Finished texts are kept under --cache, so that a killed run goes on where it was. Several processes
share a shard, a GPU each:

    python -m scripts.launch --gpus 2 --processes 2 -- scripts.generate_instructions ...
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from scripts.lib import models
from scripts.lib.chat import user_turn_frame
from scripts.lib.console import Progress, counts, run_step, say, step_parser
from scripts.lib.errors import UserError
from scripts.lib.generation import engines
from scripts.lib.generation.kept import KeptTexts
from scripts.lib.generation.request import Request, Sample, SamplingSettings
from scripts.lib.gpus import narrow_to_own_gpu
from scripts.lib.kept_work import name_of_work
from scripts.lib.ranks import rank, world_size
from scripts.lib.records import Generation, write_rows
from scripts.lib.tasks import Task, form, load_task

# Those whose versions decide a text.
PACKAGES = ("torch", "transformers", "peft")
# Seconds between two looks for the texts of the other processes.
POLL_SECONDS = 0.5


def request_of(arguments: argparse.Namespace, task: Task) -> Request:
    """What the engine is asked for."""
    tokenizer = models.load_tokenizer(str(arguments.generator))
    before_turn, after_turn = user_turn_frame(tokenizer, arguments.chat_format)
    request = Request(
        model=str(arguments.generator),
        tokenizer=tokenizer,
        prompt=before_turn + task.prompt_prefix,
        closing=task.closing_marks(after_turn),
        settings=SamplingSettings(
            **{name: getattr(arguments, name) for name in SamplingSettings.__dataclass_fields__}
        ),
        seed=arguments.seed,
        shard=arguments.shard,
        batch_size=arguments.batch_size,
    )
    if not request.prompt_ids:
        raise UserError(
            f"{task.path}: key 'instruction.prefix': the prompt is empty and the model needs a "
            "token to begin with: give it a word"
        )
    return request


def folder_of(request: Request, model_id: str, engine: str) -> str:
    """The name of the folder of kept texts: a digest of everything that decides them."""
    inputs = {
        "model": model_id,
        "prompt": request.prompt,
        "closing": request.closing,
        "sampling": asdict(request.settings),
        "seed": request.seed,
        "shard": request.shard,
        "engine": engine,
        "precision": models.device_and_dtype(),
    }
    code = [*engines.files_of(engine), Path(form.__file__), Path(models.__file__)]
    return name_of_work(inputs, code, PACKAGES)


def own_share(count: int) -> range:
    """The numbers of the texts that fall to this process."""
    return range(rank(), count, world_size())


def sample_own_part(
    engine: str, request: Request, count: int, kept: KeptTexts, advance: Callable[[int], None]
) -> None:
    """Sample and keep the texts that fall to this process of those that are not there yet.

    `advance` is told how many are there of all texts that fall to it: first those that were kept,
    then those that end. Raises `UserError` where the engine ends without all of them.
    """
    texts = kept.read()
    share = own_share(count)
    own = {number for number in share if number not in texts}
    advance(len(share) - len(own))
    if not own:
        return
    if (there := sum(number < count for number in texts)) and rank() == 0:
        say(f"{there} of {count} texts are there from an earlier run")
    with kept.writer() as writer:
        for samples in engines.sample(engine, request, sorted(own)):
            writer.write(samples)
            own -= {sample.number for sample in samples}
            advance(len(samples))
    if own:
        raise UserError(
            f"{len(own)} texts did not come back from the engine '{engine}': run the same command "
            "again, those that came are kept"
        )


def all_texts(kept: KeptTexts, count: int) -> list[Sample]:
    """The texts of the shard by their numbers, once those of the other processes are there.

    A process that fails takes the others with it, so that this one does not wait for ever.
    """
    while True:
        texts = kept.read()
        if all(number in texts for number in range(count)):
            return [texts[number] for number in range(count)]
        time.sleep(POLL_SECONDS)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--generator", type=Path, required=True)
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
    request = request_of(arguments, task)
    engine = engines.choose(arguments.engine)
    model_id = models.fingerprint(str(arguments.generator))
    kept = KeptTexts(arguments.cache / folder_of(request, model_id, engine))
    share = len(own_share(arguments.count))
    with Progress(f"generate shard {arguments.shard}", share, "texts") as progress:
        sample_own_part(engine, request, arguments.count, kept, progress.advance)
    if rank() != 0:
        return
    samples = all_texts(kept, arguments.count)
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
