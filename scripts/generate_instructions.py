"""Sample raw instructions from the fine-tuned generator: one shard of them.

    python -m scripts.generate_instructions --task tasks/mbpp.yaml \\
        --generator results/mbpp/generator --chat-format model --count 96 --shard 1 \\
        --batch-size 32 --temperature 1.0 --top-k 100 --top-p 1.0 --max-new-tokens 128 \\
        --seed 42 --output results/mbpp/generations/1.jsonl

Finished batches are kept under --cache, so that a killed run goes on where it was.
"""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from scripts.lib import sampling
from scripts.lib.chat import user_turn_frame
from scripts.lib.console import Progress, counts, run_step, say, step_parser
from scripts.lib.models import fingerprint, load_tokenizer, load_tuned_model
from scripts.lib.records import Generation, read_rows, write_rows
from scripts.lib.sampling import SamplingSettings, batch_seed, batches, sample_batch
from scripts.lib.tasks import form, load_task


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--chat-format", choices=["model", "llama2", "none"], required=True)
    parser.add_argument("--count", type=int, required=True, help="samples of this shard")
    parser.add_argument("--shard", type=int, required=True, help="number of this shard, from 1")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--top-k", type=int, required=True, help="0 switches it off")
    parser.add_argument("--top-p", type=float, required=True)
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/generations"))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    settings = SamplingSettings(
        **{name: getattr(arguments, name) for name in SamplingSettings.__dataclass_fields__}
    )
    task = load_task(arguments.task)
    tokenizer = load_tokenizer(str(arguments.generator))
    before_turn, after_turn = user_turn_frame(tokenizer, arguments.chat_format)
    prompt = before_turn + task.prompt_prefix
    closing = task.closing_marks(after_turn)
    model_id = fingerprint(str(arguments.generator))
    identity = {
        "task": task.name,
        "opening": task.spec["instruction"]["opening"],
        "model": model_id,
        "prompt": prompt,
        "closing": closing,
        "sampling": asdict(settings),
        "seed": arguments.seed,
        "shard": arguments.shard,
        "batch_size": arguments.batch_size,
        "code": hashlib.sha256(
            b"".join(Path(module.__file__).read_bytes() for module in (sampling, form))
        ).hexdigest(),
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    cache = arguments.cache / key

    rows: list[Generation] = []
    model = None
    with Progress(f"generate shard {arguments.shard}", arguments.count, "texts") as progress:
        for number, batch in batches(arguments.count, arguments.batch_size):
            kept = cache / f"{number:05d}-{batch}.jsonl"
            if not kept.exists():
                model = model or load_tuned_model(arguments.generator)
                seed = batch_seed(arguments.seed, arguments.shard, number)
                first = number * arguments.batch_size
                samples = sample_batch(model, tokenizer, prompt, closing, settings, batch, seed)
                write_rows(
                    kept,
                    [
                        Generation(
                            id=f"{task.name}-{arguments.shard:04d}-{first + at:06d}",
                            task=task.name,
                            text=task.spec["instruction"]["opening"] + sample.text,
                            finished=sample.finished,
                            tokens=sample.tokens,
                            model=model_id,
                            seed=seed,
                        )
                        for at, sample in enumerate(samples)
                    ],
                )
            rows.extend(read_rows(kept, Generation))
            progress.advance(batch)
    write_rows(arguments.output, rows)
    cut_off = sum(not row.finished for row in rows)
    if cut_off > len(rows) / 10:
        say(
            f"warning: {cut_off} of {len(rows)} texts reach max_new_tokens "
            f"({settings.max_new_tokens}) and will be dropped as 'unfinished': raise it in "
            "sampling.override of config.yaml, or null it there and raise it in the task's file"
        )
    counts(
        f"generate_instructions shard {arguments.shard}",
        time.monotonic() - started,
        texts=len(rows),
        finished=len(rows) - cut_off,
        tokens=sum(row.tokens for row in rows),
    )


if __name__ == "__main__":
    run_step(main)
