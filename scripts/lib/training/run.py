"""The training itself: the Trainer of transformers on packed rows, and its curve."""

import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError
from scripts.lib.models import device_and_dtype
from scripts.lib.ranks import rank, world_size
from scripts.lib.training.batches import MicroBatch, micro_batches, steps_per_epoch
from scripts.lib.training.checkpoints import checkpoint_callback, keep_only, last_checkpoint
from scripts.lib.training.examples import Row
from scripts.lib.training.methods import load_for_training
from scripts.lib.training.packing import attention_for, packed, padded
from scripts.lib.training.reports import PROJECT
from scripts.lib.training.settings import TrainingSettings

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, TrainingArguments


@dataclass(frozen=True)
class Tuned:
    """A tuned model, a PEFT model where adapters were trained, and its curve, one row a step.

    `weights` are those of a model whose own are spread over several processes, on the first of
    them; `None` where the model holds them itself.
    """

    model: "PreTrainedModel | PeftModel"
    weights: dict[str, "torch.Tensor"] | None
    curve: list[dict[str, Any]]


def fine_tune(
    model_name: str,
    rows: list[Row],
    settings: TrainingSettings,
    folder: Path,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    *,
    checkpoint_minutes: float = math.inf,
    report_to: str = "none",
    run_name: str | None = None,
    pack: bool = True,
) -> Tuned:
    """Tune a model on what is learnt of the rows, from the last whole checkpoint in `folder` on.

    All processes of a launch call this together. `on_step(step, loss)` is called after each
    optimizer step, and where a checkpoint is gone on from. `pack=False` pads rows that could be
    packed. Raises `UserError` for a loss of 0, infinity or nan.
    """
    import torch
    from transformers import PrinterCallback, set_seed

    batches = micro_batches(rows, settings, world_size(), rank())
    per_epoch = steps_per_epoch(len(rows), settings)
    set_seed(settings.seed)
    arguments = training_arguments(settings, per_epoch, folder)
    arguments.report_to = [] if report_to == "none" else [report_to]
    arguments.project, arguments.run_name = PROJECT, run_name
    model, base = load_for_training(model_name, settings)
    attention = attention_for(base, arguments.device.type) if pack else None
    if attention:
        base.set_attn_implementation(attention)
    if rank() == 0:
        keep_only(folder, last_checkpoint(folder))
    if world_size() > 1:
        torch.distributed.barrier()
    trainer = packing_trainer(takes_positions(base))(
        model=model,
        args=arguments,
        train_dataset=batches,
        data_collator=lambda batch: (packed if attention else padded)(batch[0]),
        callbacks=[_watch(per_epoch, on_step), checkpoint_callback(folder, checkpoint_minutes)],
    )
    # Its printer would write a line a step beside ours.
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    weights = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    return Tuned(model, weights, curve_of(trainer.state.log_history))


def add_up_in_order() -> None:
    """Have a GPU's sums come out the same twice where it can; a CPU's do anyway.

    To be called before anything is computed: libraries of a GPU look at this once.
    """
    if device_and_dtype()[0] != "cuda":
        return
    import torch

    os.environ["FLASH_ATTENTION_DETERMINISTIC"] = "1"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def training_arguments(
    settings: TrainingSettings, per_epoch: int, folder: Path
) -> "TrainingArguments":
    """The arguments of the Trainer. It is given all epochs as one, each step with its own rows."""
    import torch
    from transformers import TrainingArguments

    device, dtype = device_and_dtype()
    names = {"constant": "constant_with_warmup"}
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        gradient_accumulation_steps=settings.accumulation,
        warmup_steps=math.ceil(per_epoch * settings.epochs * settings.warmup_ratio),
        lr_scheduler_type=names.get(settings.scheduler, settings.scheduler),
        optim="adamw_torch",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=device == "cpu",
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=False,
    )
    # Several visible GPUs of one process would each take a whole batch.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def takes_positions(model: "PreTrainedModel") -> bool:
    """Whether a model can be asked for the logits of some positions only."""
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters


def packing_trainer(by_position: bool) -> type:
    """A Trainer on micro-batches that are dealt out already.

    `by_position` has the model make logits only where a token is learnt: over a whole batch they
    take more memory than anything else.
    """
    import torch
    from torch.utils.data import DataLoader
    from transformers import Trainer

    class PackingTrainer(Trainer):
        # Its loss is a share of the whole step's already.
        loss_is_scaled_for_ga = True

        def get_train_dataloader(self) -> DataLoader[MicroBatch]:
            return DataLoader(self.train_dataset, batch_size=1, collate_fn=self.data_collator)

        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            if self.is_fsdp_enabled and self.args.bf16:
                self.accelerator.state.fsdp_plugin.mixed_precision_policy = _fsdp_precision()

        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> torch.Tensor:
            """The micro-batch's share of the mean loss of all learnt tokens of the step."""
            kept, targets = inputs.pop("kept"), inputs.pop("targets")
            step_tokens = inputs.pop("step_tokens")
            if by_position and len(inputs["input_ids"]) == 1:
                logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits[0]
            else:
                logits = model(**inputs, use_cache=False).logits.flatten(0, 1)[kept]
            loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
            # Gradients are averaged over the processes, and their sum is wanted.
            return loss / step_tokens * self.args.world_size

    return PackingTrainer


def _fsdp_precision() -> Any:
    """Compute in bfloat16, add gradients of all processes up in float32."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


def check_loss(loss: float, gradient_norm: float, step: int) -> None:
    """Raise `UserError` for a loss of 0, infinity or nan: nothing is learnt any more."""
    if loss == 0 or not math.isfinite(loss) or not math.isfinite(gradient_norm):
        raise UserError(
            f"training stopped at step {step}: the loss is {loss}, the gradient's norm "
            f"{gradient_norm}: lower training.learning_rate in config.yaml"
        )


def _watch(per_epoch: int, on_step: Callable[[int, float], None]) -> Any:
    """Tell of each step, and stop a run that learns nothing or diverges."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for entry in state.log_history[-1:]:
                on_step(state.global_step, entry["loss"])

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # To the Trainer all epochs are one.
            state.epoch = state.global_step / per_epoch

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            # In float16 a gradient may be infinite: the scale is lowered, the step is left out.
            norm = 0.0 if args.fp16 else logs["grad_norm"]
            check_loss(logs["loss"], norm, state.global_step)
            on_step(state.global_step, logs["loss"])

    return Watch()


def curve_of(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The training curve, from what the Trainer has logged and kept in its checkpoints."""
    return [
        {
            "step": entry["step"],
            "epoch": round(entry["epoch"], 4),
            "loss": entry["loss"],
            "learning_rate": entry["learning_rate"],
            "gradient_norm": entry["grad_norm"],
        }
        for entry in history
        if "loss" in entry
    ]
