"""Supervised fine-tuning with the loss on a part of each text only.

The paper fine-tunes on ten samples (section 3.1), so the work lies in what is learnt: the tokens
of `target`, never those of `prompt`.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError
from scripts.lib.models import ADAPTER_CONFIG, device_and_dtype, load_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100


@dataclass(frozen=True)
class Example:
    """A text to learn from: `prompt` is read, `target` is learnt."""

    prompt: str
    target: str


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is tuned. Full parameters want a learning rate near 1e-6, LoRA one near 5e-4.

    `batch_size` is the number of examples of one optimizer step; `warmup_ratio` the share of the
    steps over which the learning rate rises.
    """

    method: str
    epochs: int
    learning_rate: float
    batch_size: int
    warmup_ratio: float
    max_length: int
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    seed: int


def encode(
    tokenizer: "PreTrainedTokenizerBase", example: Example, max_length: int
) -> dict[str, list[int]]:
    """Token ids and labels of an example; labels of the prompt's tokens are ignored.

    Prompt and target are tokenized apart, as they are when the model is sampled. Raises `UserError`
    for an example without a trainable token within `max_length`.
    """
    prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
    target = tokenizer(example.target, add_special_tokens=False)["input_ids"]
    if not target or len(prompt) >= max_length:
        raise UserError(
            f"no token of '{example.target[:60]}' can be learnt within max_length {max_length} "
            f"(its prompt has {len(prompt)} tokens): raise training.max_length in config.yaml"
        )
    ids = (prompt + target)[:max_length]
    labels = ([IGNORED] * len(prompt) + target)[:max_length]
    return {"input_ids": ids, "labels": labels}


def collate(rows: list[dict[str, list[int]]], pad_id: int) -> dict[str, "torch.Tensor"]:
    """Pad encoded examples on the right to tensors of shape (rows, longest row)."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[list[int]], filler: int) -> "torch.Tensor":
        return torch.tensor([value + [filler] * (width - len(value)) for value in values])

    ids = [row["input_ids"] for row in rows]
    return {
        "input_ids": padded(ids, pad_id),
        "labels": padded([row["labels"] for row in rows], IGNORED),
        "attention_mask": padded([[1] * len(row) for row in ids], 0),
    }


def _with_lora(model: "PreTrainedModel", settings: TrainingSettings) -> "PreTrainedModel":
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )


def _curve_callback(curve: list[dict[str, Any]], on_step: Any) -> Any:
    """Collect the training curve, and stop a run that learns nothing or diverges."""
    from transformers import TrainerCallback

    class Curve(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
            check_loss(loss, norm, state.global_step)
            curve.append(
                {
                    "step": state.global_step,
                    "epoch": round(float(logs["epoch"]), 4),
                    "loss": loss,
                    "learning_rate": float(logs["learning_rate"]),
                    "gradient_norm": norm,
                }
            )
            on_step(loss)

    return Curve()


def check_loss(loss: float, gradient_norm: float, step: int) -> None:
    """Raise `UserError` for a loss of 0, infinity or nan: nothing is learnt any more."""
    if loss == 0 or not math.isfinite(loss) or not math.isfinite(gradient_norm):
        raise UserError(
            f"training stopped at step {step}: the loss is {loss}, the gradient's norm "
            f"{gradient_norm}: lower training.learning_rate in config.yaml"
        )


def fine_tune(
    model_name: str,
    tokenizer: "PreTrainedTokenizerBase",
    examples: list[Example],
    settings: TrainingSettings,
    scratch: Path,
    on_step: Any,
) -> tuple["PreTrainedModel", list[dict[str, Any]]]:
    """Tune a model on the targets of the examples.

    `on_step(loss)` is called after each optimizer step. Returns the tuned model (a PEFT model for
    `lora`) and the training curve, one row a step. Raises `UserError` for examples that cannot be
    learnt and for a loss of 0, infinity or nan.
    """
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

    set_seed(settings.seed)
    rows = [encode(tokenizer, example, settings.max_length) for example in examples]
    device, dtype = device_and_dtype()
    # Weights stay in float32 while they are trained; autocast computes in `dtype`.
    model = load_model(model_name, dtype=torch.float32)
    if settings.method == "lora":
        model = _with_lora(model, settings)
    steps = math.ceil(len(rows) / settings.batch_size) * settings.epochs
    curve: list[dict[str, Any]] = []
    arguments = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        warmup_steps=math.ceil(steps * settings.warmup_ratio),
        lr_scheduler_type="linear",
        optim="adamw_torch",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=device == "cpu",
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
    )
    # Several visible GPUs would each take a whole batch, and so make another one of it.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        callbacks=[_curve_callback(curve, on_step)],
    )
    # Its printer would write a line a step beside ours.
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return model, curve


def save_tuned_model(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", directory: Path
) -> None:
    """Write an adapter or full weights, and the tokenizer; the same model gives the same bytes."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    # PEFT lists the modules in the order of a Python set, which differs from run to run.
    config = directory / ADAPTER_CONFIG
    if config.exists():
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings["target_modules"] = sorted(settings["target_modules"])
        config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
