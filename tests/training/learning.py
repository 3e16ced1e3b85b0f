"""What the tests of training share: settings, rows, a model that is trained on them."""

import json
import random
from pathlib import Path

from scripts.lib.training.examples import Row
from scripts.lib.training.settings import TrainingSettings


def settings(**changes: object) -> TrainingSettings:
    """Settings for a model of ten thousand parameters, with some of them changed."""
    values = {
        "method": "lora",
        "epochs": 2,
        "learning_rate": 1e-2,
        "batch_size": 4,
        "accumulation": 1,
        "scheduler": "cosine",
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "max_length": 64,
        "gradient_checkpointing": False,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "seed": 3,
    }
    return TrainingSettings(**{**values, **changes})


def random_rows(number: int, seed: int = 0, vocabulary: int = 300) -> list[Row]:
    """Rows of mixed length."""
    chance = random.Random(seed)
    rows = []
    for _ in range(number):
        length = chance.randint(5, 40)
        tokens = [chance.randrange(5, vocabulary) for _ in range(length)]
        rows.append(Row(tokens, start=chance.randint(1, length - 2)))
    return rows


def other_models() -> dict:
    """Small models of other makers: other attention, sliding windows, states."""
    from transformers import (
        BloomConfig,
        Gemma2Config,
        GPT2Config,
        MambaConfig,
        MistralConfig,
        Qwen3Config,
    )  # fmt: skip

    small = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    return {
        "sliding window": MistralConfig(**small, sliding_window=7),
        "one layer in two slides": Qwen3Config(
            **small,
            use_sliding_window=True,
            sliding_window=7,
            max_window_layers=1,
            layer_types=["full_attention", "sliding_attention"],
        ),
        "learnt positions": GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4),
        "capped attention": Gemma2Config(**small),
        "own attention": BloomConfig(vocab_size=320, hidden_size=32, n_layer=2, n_head=4),
        "state": MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2),
    }


def verified_row(number: int, words: int) -> dict:
    """A verified row as the workflow writes it, whose reply has so many words."""
    instruction = f"Write a function to add the number {number} to a list."
    output = " ".join(["def add(xs): return xs"] + ["plus"] * words)
    return {
        "id": f"toy-{number}",
        "task": "toy",
        "instruction": instruction,
        "output": output,
        "answer": "",
        "tests": [],
        "messages": [
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": output},
        ],
        "verification": "own_tests",
        "support": 1,
        "replies": 1,
        "instruction_id": f"i-{number}",
        "bare_instruction": instruction,
        "reply_number": 1,
        "generator": "g",
        "sampling": {},
        "label_model": "m",
        "label_sampling": {},
        "request": "r",
        "sandbox": "full",
    }


def write_verified(path: Path, number: int, words: int = 8) -> Path:
    """A file of verified rows."""
    rows = [verified_row(at, words + at % 5) for at in range(number)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def train_arguments(model: Path, rows: Path, folder: Path, **changes: object) -> list[str]:
    """The command-line arguments of a student's training, whose results go to `folder`."""
    options = {
        "role": "student",
        "rows": rows,
        "model": model,
        "chat_format": "model",
        "method": "lora",
        "epochs": 3,
        "learning_rate": 0.01,
        "batch_size": 4,
        "accumulation": 1,
        "scheduler": "cosine",
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "max_length": 256,
        "gradient_checkpointing": False,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "seed": 3,
        "checkpoint_minutes": 0,
        "report_to": "none",
        "output": folder / "student",
        "curve": folder / "curve.jsonl",
        "misfits": folder / "misfits.jsonl",
        **changes,
    }
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def results_of(folder: Path) -> dict[str, bytes]:
    """The bytes of all files that a training has written."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
