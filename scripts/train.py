"""Fine-tune a model on a task: the role `generator` learns to write instructions.

    python -m scripts.train --role generator --task tasks/mbpp.yaml \\
        --seeds results/mbpp/seeds.jsonl --learn instruction \\
        --model results/models/smollm2-135m-instruct --chat-format model --method lora \\
        --epochs 12 --learning-rate 5e-4 --batch-size 5 --warmup-ratio 0.1 --max-length 512 \\
        --lora-rank 16 --lora-alpha 32 --lora-dropout 0 --seed 42 \\
        --output results/mbpp/generator --curve results/mbpp/generator_curve.jsonl
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import jsonlines

from scripts.lib.chat import exchange, user_turn_frame
from scripts.lib.console import Progress, counts, run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_directory, atomic_file
from scripts.lib.models import load_tokenizer
from scripts.lib.records import Seed, read_rows
from scripts.lib.sft import Example, TrainingSettings, fine_tune, save_tuned_model
from scripts.lib.tasks import Task, load_task
from scripts.lib.tasks.form import closing_position

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def generator_example(task: Task, frame: tuple[str, str], whole: str, learn: str) -> Example:
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
        return Example(prompt=prompt, target=whole.removeprefix(prompt))
    _, end = closing_position(whole, task.closing_marks(after_turn), len(prompt))
    return Example(prompt=prompt, target=whole[len(prompt) : end if end >= 0 else len(whole)])


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
    for seed in seeds:
        prompt = task.prompt(seed.instruction, seed.tests)
        whole = exchange(tokenizer, chat_format, prompt, placeholder)
        examples.append(generator_example(task, frame, whole, learn))
    return examples


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--role", choices=["generator"], required=True)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--learn", choices=["instruction", "format"], required=True)
    parser.add_argument("--model", required=True, help="directory or hub id of the base model")
    parser.add_argument("--chat-format", choices=["model", "llama2", "none"], required=True)
    parser.add_argument("--method", choices=["lora", "full"], required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--batch-size", type=int, required=True, help="examples an optimizer step")
    parser.add_argument("--warmup-ratio", type=float, required=True)
    parser.add_argument("--max-length", type=int, required=True, help="tokens of an example")
    parser.add_argument("--lora-rank", type=int, required=True)
    parser.add_argument("--lora-alpha", type=int, required=True)
    parser.add_argument("--lora-dropout", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="directory of the tuned model")
    parser.add_argument("--curve", type=Path, required=True, help="JSON Lines, a row a step")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    settings = TrainingSettings(
        **{name: getattr(arguments, name) for name in TrainingSettings.__dataclass_fields__}
    )
    task = load_task(arguments.task)
    tokenizer = load_tokenizer(arguments.model)
    seeds = list(read_rows(arguments.seeds, Seed))
    examples = generator_examples(task, seeds, tokenizer, arguments.chat_format, arguments.learn)
    steps = -(-len(examples) // settings.batch_size) * settings.epochs

    with atomic_directory(arguments.output) as directory:
        with Progress(f"train {arguments.role}", steps, "steps") as progress:
            model, curve = fine_tune(
                arguments.model,
                tokenizer,
                examples,
                settings,
                directory,
                lambda loss: progress.advance(note=lambda: f"loss {loss:.3f}"),
            )
        save_tuned_model(model, tokenizer, directory)
    with atomic_file(arguments.curve) as stream:
        jsonlines.Writer(stream).write_all(curve)
    counts(
        f"train {arguments.role}",
        time.monotonic() - started,
        seeds=len(examples),
        steps=len(curve),
        first_loss=round(curve[0]["loss"], 3),
        last_loss=round(curve[-1]["loss"], 3),
    )


if __name__ == "__main__":
    run_step(main)
