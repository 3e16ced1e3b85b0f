"""Fine-tune a model: a `generator` learns to write instructions, a `student` to follow them.

    python -m scripts.train --role generator --rows results/mbpp/seeds.jsonl \\
        --task tasks/mbpp.yaml --learn instruction \\
        --model results/models/smollm2-135m-instruct --chat-format model --method lora \\
        --epochs 10 --learning-rate 5e-4 --batch-size 5 --accumulation 1 --scheduler cosine \\
        --warmup-ratio 0.1 --weight-decay 0 --max-length 512 --gradient-checkpointing false \\
        --lora-rank 16 --lora-alpha 32 --lora-dropout 0 --seed 42 --checkpoint-minutes 10 \\
        --report-to none --output results/mbpp/generator \\
        --curve results/mbpp/generator_curve.jsonl \\
        --misfits results/mbpp/generator_misfits.jsonl

A student's rows are verified ones, and it needs neither --task nor --learn. Several processes share
a training when `accelerate launch` starts it; `scripts.launch` does that, and claims their GPUs.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import jsonlines

from scripts.lib.chat import answered_turn, exchange, user_turn_frame
from scripts.lib.console import Progress, counts, run_step, say, step_parser, truth
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_directory, atomic_file
from scripts.lib.locks import locked
from scripts.lib.models import load_config, load_tokenizer
from scripts.lib.ranks import rank, world_size
from scripts.lib.records import Seed, Verified, read_rows, write_rows
from scripts.lib.tasks import Task, load_task
from scripts.lib.tasks.form import closing_position
from scripts.lib.training.batches import steps_per_epoch
from scripts.lib.training.checkpoints import checkpoint_folder
from scripts.lib.training.estimate import check_fits, estimate, shards_weights
from scripts.lib.training.examples import Example, Row, encode_all
from scripts.lib.training.reports import prepare_reports
from scripts.lib.training.run import add_up_in_order, fine_tune
from scripts.lib.training.save import save_tuned_model
from scripts.lib.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def generator_example(
    task: Task, frame: tuple[str, str], name: str, whole: str, learn: str
) -> Example:
    """What is learnt of one seed: the constant prompt is read, what follows it is the target.

    `frame` are the texts around a user turn, `whole` is the seed in the format of the task: its
    prompt, and the placeholder as the response. With `learn` `format` all of that is learnt, as in
    the original; with `instruction` only up to the first closing mark: that is where sampling
    stops, and what would follow it is the same for every seed. Raises `UserError` where the model's
    chat template does not keep the prompt as it is.
    """
    before_turn, after_turn = frame
    prompt = before_turn + task.prompt_prefix
    if not whole.startswith(prompt):
        raise UserError(
            f"{task.path}: the chat template changes the prompt of '{whole[:80]}': "
            "set 'generator.chat_format: llama2' in config.yaml"
        )
    if learn == "format":
        return Example(name, prompt, whole.removeprefix(prompt))
    _, end = closing_position(whole, task.closing_marks(after_turn), len(prompt))
    return Example(name, prompt, whole[len(prompt) : end if end >= 0 else len(whole)])


def generator_examples(
    task: Task,
    seeds: list[Seed],
    tokenizer: "PreTrainedTokenizerBase",
    chat_format: str,
    learn: str,
) -> list[Example]:
    """One example a seed."""
    frame = user_turn_frame(tokenizer, chat_format)
    placeholder = task.spec["instruction"]["placeholder"]
    examples = []
    for number, seed in enumerate(seeds, start=1):
        prompt = task.prompt(seed.instruction, seed.tests)
        whole = exchange(tokenizer, chat_format, prompt, placeholder)
        examples.append(generator_example(task, frame, f"seed {number}", whole, learn))
    return examples


def student_examples(
    rows: list[Verified], tokenizer: "PreTrainedTokenizerBase", chat_format: str
) -> list[Example]:
    """One example a verified row: the question is read, the answer and its end are learnt."""
    examples = []
    for row in rows:
        user, assistant = (message["content"] for message in row.messages)
        prompt, target = answered_turn(tokenizer, chat_format, user, assistant)
        examples.append(Example(row.id, prompt, target, needs_its_end=True))
    return examples


def examples_of_role(
    arguments: argparse.Namespace, tokenizer: "PreTrainedTokenizerBase"
) -> list[Example]:
    """What the role learns from its rows."""
    if arguments.role == "student":
        verified = list(read_rows(arguments.rows, Verified))
        return student_examples(verified, tokenizer, arguments.chat_format)
    if not arguments.task or not arguments.learn:
        raise UserError("the role generator needs --task and --learn: name both")
    seeds = list(read_rows(arguments.rows, Seed))
    task = load_task(arguments.task)
    return generator_examples(task, seeds, tokenizer, arguments.chat_format, arguments.learn)


def check_places(model: str, rows: list[Row]) -> None:
    """Raise `UserError` where a row has more tokens than the model has places."""
    places = getattr(load_config(model).get_text_config(), "max_position_embeddings", None)
    longest = max(len(row.tokens) for row in rows)
    if places and longest > places:
        raise UserError(
            f"the model {model} reads at most {places} tokens, and a row has {longest}: lower "
            f"training.max_length in config.yaml to {places}"
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one run at a time use a folder of checkpoints; another one waits, and then goes on."""
    if rank() != 0:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        yield


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = step_parser(__doc__)
    parser.add_argument("--role", choices=["generator", "student"], required=True)
    parser.add_argument("--rows", type=Path, required=True, help="seeds, or verified rows")
    parser.add_argument("--task", type=Path)
    parser.add_argument("--learn", choices=["instruction", "format"])
    parser.add_argument("--model", required=True, help="directory or hub id of the base model")
    parser.add_argument("--chat-format", choices=["model", "llama2", "none"], required=True)
    parser.add_argument("--method", choices=["lora", "qlora", "full"], required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--batch-size", type=int, required=True, help="examples an optimizer step")
    parser.add_argument(
        "--accumulation",
        type=int,
        required=True,
        help="micro-batches of a process an optimizer step",
    )
    parser.add_argument("--scheduler", choices=["cosine", "linear", "constant"], required=True)
    parser.add_argument("--warmup-ratio", type=float, required=True)
    parser.add_argument("--weight-decay", type=float, required=True)
    parser.add_argument("--max-length", type=int, required=True, help="tokens of an example")
    parser.add_argument("--gradient-checkpointing", type=truth, required=True, help="true or false")
    parser.add_argument("--lora-rank", type=int, required=True)
    parser.add_argument("--lora-alpha", type=int, required=True)
    parser.add_argument("--lora-dropout", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--checkpoint-minutes", type=float, required=True)
    parser.add_argument(
        "--report-to", choices=["none", "tensorboard", "wandb", "trackio"], required=True
    )
    parser.add_argument("--output", type=Path, required=True, help="directory of the tuned model")
    parser.add_argument("--curve", type=Path, required=True, help="JSON Lines, a row a step")
    parser.add_argument(
        "--misfits", type=Path, required=True, help="JSON Lines: what max_length cuts or leaves out"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    started = time.monotonic()
    step = f"train {arguments.role}"
    settings = TrainingSettings(
        **{name: getattr(arguments, name) for name in TrainingSettings.__dataclass_fields__}
    )
    tensorboard_folder = arguments.curve.with_name(f"{arguments.role}_tensorboard")
    prepare_reports(arguments.report_to, tensorboard_folder)
    add_up_in_order()
    tokenizer = load_tokenizer(arguments.model)
    examples = examples_of_role(arguments, tokenizer)
    rows, misfits = encode_all(tokenizer, examples, settings.max_length)
    check_places(arguments.model, rows)
    expected = estimate(arguments.model, rows, settings, world_size())
    if rank() == 0:
        say(f"{step}: {expected}")
    check_fits(expected)

    parallel = (world_size(), shards_weights(world_size()))
    folder = checkpoint_folder(arguments.model, rows, settings, parallel)
    steps = steps_per_epoch(len(rows), settings) * settings.epochs
    done = 0

    with alone_in(folder), Progress(step, steps, "steps") as progress:

        def on_step(number: int, loss: float) -> None:
            nonlocal done
            progress.advance(number - done, note=lambda: f"loss {loss:.3f}")
            done = number

        tuned = fine_tune(
            arguments.model,
            rows,
            settings,
            folder,
            on_step,
            checkpoint_minutes=arguments.checkpoint_minutes,
            report_to=arguments.report_to,
            run_name=str(arguments.output),
        )
    if rank() == 0:
        with atomic_directory(arguments.output) as directory:
            save_tuned_model(tuned, tokenizer, directory)
        with atomic_file(arguments.curve) as stream:
            jsonlines.Writer(stream).write_all(tuned.curve)
        write_rows(arguments.misfits, misfits)
        shutil.rmtree(folder, ignore_errors=True)
    left_out = sum(found.reason != "cut" for found in misfits)
    counts(
        step,
        time.monotonic() - started,
        examples=len(rows),
        cut_at_max_length=len(misfits) - left_out,
        left_out=left_out,
        steps=len(tuned.curve),
        first_loss=round(tuned.curve[0]["loss"], 3),
        last_loss=round(tuned.curve[-1]["loss"], 3),
    )


if __name__ == "__main__":
    run_step(main)
