"""Our training against the plain Trainer of transformers with padding, turn by turn.

    python -m bench.training [--rounds 3] [--number 200] [--rows results/mbpp_verified.jsonl]

The embedded model learns from the same rows in the same order with the same LoRA, batch size and
optimizer, each time in a process of its own. Without --rows there are rows of the lengths that
labelled ones have, made of the words of tasks/*_seeds.jsonl. Tokens are those of the rows: padding
does not count. The ratios come last.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.lib.models import device_and_dtype, load_tokenizer
from scripts.lib.records import Verified, read_rows
from scripts.lib.training.batches import steps_of_training, steps_per_epoch
from scripts.lib.training.estimate import estimate
from scripts.lib.training.examples import Row, encode_all
from scripts.lib.training.run import fine_tune, training_arguments
from scripts.lib.training.settings import TrainingSettings
from scripts.train import student_examples

PROJECT = Path(__file__).parents[1]
MODEL = "results/models/smollm2-135m-instruct"
SETTINGS = TrainingSettings(
    method="lora",
    epochs=1,
    learning_rate=2e-4,
    batch_size=8,
    accumulation=1,
    scheduler="cosine",
    warmup_ratio=0.1,
    weight_decay=0.0,
    max_length=1024,
    gradient_checkpointing=False,
    lora_rank=16,
    lora_alpha=32,
    lora_dropout=0.0,
    seed=42,
)


def made_rows(number: int) -> list[Row]:
    """Rows whose prompts and replies have log-normal lengths, 50 and 100 tokens in the middle."""
    tokenizer = load_tokenizer(MODEL)
    texts = [path.read_text(encoding="utf-8") for path in sorted(PROJECT.glob("tasks/*.jsonl"))]
    tokens = tokenizer(" ".join(texts))["input_ids"]
    chance = random.Random(0)
    rows = []
    for _ in range(number):
        prompt, reply = (max(8, round(chance.lognormvariate(0, 0.6) * mid)) for mid in (50, 100))
        begin = chance.randrange(len(tokens) - prompt - reply)
        rows.append(Row(tokens[begin : begin + prompt + reply], start=prompt))
    return rows


def rows_of(path: Path, number: int) -> list[Row]:
    """The first rows of a file of verified ones."""
    tokenizer = load_tokenizer(MODEL)
    verified = list(read_rows(path, Verified))[:number]
    return encode_all(
        tokenizer, student_examples(verified, tokenizer, "model"), SETTINGS.max_length
    )[0]


def now() -> tuple[float, float]:
    """The time on the wall, and that of all this process's threads, in seconds."""
    return time.perf_counter(), time.process_time()


def ours(rows: list[Row], folder: Path) -> dict[str, list]:
    """The losses of all steps, and when each was over, of a training as the workflow does it."""
    marks = []
    tuned = fine_tune(MODEL, rows, SETTINGS, folder, lambda step, loss: marks.append(now()))
    return {"losses": [row["loss"] for row in tuned.curve], "marks": marks}


def plain(rows: list[Row], folder: Path) -> dict[str, list]:
    """The same for the Trainer of transformers as its documentation uses it."""
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        DataCollatorForSeq2Seq,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        set_seed,
    )

    set_seed(SETTINGS.seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(MODEL),
        LoraConfig(
            r=SETTINGS.lora_rank,
            lora_alpha=SETTINGS.lora_alpha,
            lora_dropout=SETTINGS.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    order = [at for step in steps_of_training(len(rows), SETTINGS) for at in step]
    dataset = [
        {
            "input_ids": rows[at].tokens,
            "attention_mask": [1] * len(rows[at].tokens),
            "labels": [-100] * rows[at].start + rows[at].tokens[rows[at].start :],
        }
        for at in order
    ]
    arguments = training_arguments(SETTINGS, steps_per_epoch(len(rows), SETTINGS), folder)
    arguments.per_device_train_batch_size = SETTINGS.batch_size
    arguments.train_sampling_strategy = "sequential"
    marks = []

    class Marks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(now())

    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=DataCollatorForSeq2Seq(load_tokenizer(MODEL)),
        callbacks=[Marks()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "marks": marks}


def in_a_process(side: str, file: Path) -> dict[str, Any]:
    """What one side does with the rows of a file, and the most memory that it had."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.training", "--side", side, "--encoded", str(file)],
        cwd=PROJECT,
        check=True,
        text=True,
        capture_output=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def one_side(side: str, file: Path) -> None:
    """Run one side and print what came of it."""
    rows = [Row(*row) for row in json.loads(file.read_text())]
    with tempfile.TemporaryDirectory() as folder:
        found = {"ours": ours, "plain": plain}[side](rows, Path(folder))
    # Neither loading nor the first step, in which buffers are made, is counted.
    steps = steps_of_training(len(rows), SETTINGS)[1:]
    tokens = sum(len(rows[at].tokens) for step in steps for at in step)
    wall, cpu = (
        last - first for first, last in zip(found["marks"][0], found["marks"][-1], strict=True)
    )
    found["tokens_per_second"] = tokens / wall
    found["tokens_per_cpu_second"] = tokens / cpu
    found["peak"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(found))


def _apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two curves at a step."""
    pairs = zip(one["losses"], other["losses"], strict=True)
    return max(abs(loss - other_loss) for loss, other_loss in pairs)


def compare(rows: list[Row], rounds: int) -> None:
    """Both sides in turn, and their ratios."""
    _, dtype = device_and_dtype()
    lengths = sorted(len(row.tokens) for row in rows)
    expected = estimate(MODEL, rows, SETTINGS, 1)
    print(
        f"{len(rows)} rows of {lengths[0]} to {lengths[-1]} tokens (median "
        f"{statistics.median(lengths):.0f}), {sum(lengths):,} in all, computed in {dtype}\n"
        f"estimate: {expected}",
        flush=True,
    )
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        file.write_text(json.dumps([[row.tokens, row.start] for row in rows]))
        for number in range(1, rounds + 1):
            for side, results in found.items():
                results.append(in_a_process(side, file))
                last = results[-1]
                print(
                    f"round {number}, {side}: {last['tokens_per_second']:.0f} tokens/s, "
                    f"{last['tokens_per_cpu_second']:.0f} a second of CPU, at most "
                    f"{last['peak'] / 2**30:.2f} GiB, loss {last['losses'][0]:.3f} to "
                    f"{last['losses'][-1]:.3f}",
                    flush=True,
                )
            apart = _apart(found["ours"][-1], found["plain"][-1])
            print(f"round {number}: curves at most {apart:.4f} apart", flush=True)
    for side in found:
        losses = " ".join(f"{loss:.3f}" for loss in found[side][0]["losses"])
        print(f"curve, {side}: {losses}")
    pairs = list(zip(found["ours"], found["plain"], strict=True))
    apart = max(_apart(*pair) for pair in pairs)
    ratios = [left["tokens_per_second"] / right["tokens_per_second"] for left, right in pairs]
    memory = max(left["peak"] for left, _ in pairs) / min(right["peak"] for _, right in pairs)
    holds = statistics.median(ratios) >= 1.5 and memory <= 1 and apart < 0.05
    print(f"largest difference of the curves: {apart:.4f}")
    print(f"memory, ours to plain: {memory:.2f}")
    print(
        f"tokens a second, ours to plain: {statistics.median(ratios):.2f} times "
        f"({', '.join(f'{ratio:.2f}' for ratio in ratios)}): "
        + ("as it must" if holds else "LESS THAN IT MUST"),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--rows", type=Path, help="verified rows, instead of made ones")
    parser.add_argument("--side", choices=["ours", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--encoded", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        one_side(arguments.side, arguments.encoded)
        return
    rows = rows_of(arguments.rows, arguments.number) if arguments.rows else None
    compare(rows or made_rows(arguments.number), arguments.rounds)


if __name__ == "__main__":
    main()
