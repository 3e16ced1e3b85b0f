"""What a training will take, before its model is loaded: memory of each device, and time.

Weights are counted on the meta device, where they take no room. What activations take is worked out
for the usual block, attention and a gated feed-forward layer; docs/performance.md has how far off
that was where it was measured. A run is refused only where the estimate is well above what is free.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError
from scripts.lib.memory import free_bytes
from scripts.lib.models import device_and_dtype, load_config
from scripts.lib.training.batches import check_shares
from scripts.lib.training.examples import Row
from scripts.lib.training.settings import TrainingSettings

if TYPE_CHECKING:
    import torch

GIB = 2**30
# Beyond this much more than what is free, a run cannot fit even where the estimate is far off.
CLEARLY_OVER = 1.3
# Python, the libraries, and on a GPU its context.
PROCESS_BYTES = 0.6 * GIB
# Bytes of a weight in NF4 with its constants quantized as well (arXiv 2305.14314, section 3).
NF4_BYTES = 4.127 / 8
# A trained weight in float32, its gradient, and the two moments that Adam keeps.
TRAINED_BYTES = 16
# Logits of a learnt token, by entry of the vocabulary: in the computing precision and in float32,
# their logarithms, and the gradients of all of these.
LOGIT_BYTES = 16
# Share of the rate of large matrix products that a whole training step reaches.
EFFICIENCY = 0.5
RATE_SECONDS = 0.1


@dataclass(frozen=True)
class ModelSize:
    """Counts of a model: all its weights, those in its linear layers, those that are trained.

    `width` is the size of a token between two layers, `inner` that inside of the feed-forward
    layer, `key_width` that of its keys. `head` are the weights that make logits of a token.
    """

    parameters: int
    linear: int
    trained: int
    layers: int
    width: int
    inner: int
    key_width: int
    vocabulary: int
    head: int


@dataclass(frozen=True)
class Estimate:
    """Bytes and seconds of a training. `free` is what each device has for it."""

    size: ModelSize
    tokens: int
    bytes: float
    free: float
    seconds: float
    remedies: list[tuple[str, float]]

    def __str__(self) -> str:
        return (
            f"{_short(self.size.parameters)} parameters, {_short(self.size.trained)} of them "
            f"trained, {self.tokens:,} tokens; about {self.bytes / GIB:.1f} GiB of "
            f"{self.free / GIB:.1f} GiB, about {_duration(self.seconds)}"
        )


def _short(number: int) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def model_size(model: str, settings: TrainingSettings) -> ModelSize:
    """Count a model's weights from its configuration alone."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = load_config(model)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
        parameters = skeleton.num_parameters()
        head = skeleton.get_output_embeddings()
        layers = [
            module.weight.shape
            for module in skeleton.modules()
            if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
        ]
    adapters = sum(settings.lora_rank * (rows + columns) for rows, columns in layers)
    text = config.get_text_config()
    # A model without attention has none of these; what it has instead is about as wide.
    heads = getattr(text, "num_attention_heads", None) or 1
    head_width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelSize(
        parameters=parameters,
        linear=sum(rows * columns for rows, columns in layers),
        trained=parameters if settings.method == "full" else adapters,
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        key_width=head_width * (getattr(text, "num_key_value_heads", None) or heads),
        vocabulary=text.vocab_size,
        head=text.hidden_size * text.vocab_size,
    )


def activation_bytes(size: ModelSize, settings: TrainingSettings, item: int) -> float:
    """Bytes that a token leaves for the backward pass; `item` are those of a computed number.

    A layer keeps the inputs of its two norms in float32, what goes into its linear layers and its
    attention, and four tensors within the feed-forward layer. Where all weights are trained, the
    residual stream is in float32 and the normalized values are kept as well.
    """
    norms = (8 if settings.method != "full" else 24) * size.width
    layer = norms + item * (5 * size.width + 2 * size.key_width + 4 * size.inner)
    if settings.gradient_checkpointing:
        # The input of each layer, and one layer at a time in full.
        return 4 * size.width * size.layers + layer
    return layer * size.layers


def memory_bytes(
    size: ModelSize,
    rows: Sequence[Row],
    settings: TrainingSettings,
    processes: int,
    shards: bool,
    item: int,
) -> float:
    """The most that one device holds at a time, in bytes."""
    largest = sorted(len(row.tokens) for row in rows)[-_examples(settings, processes) :]
    learnt = sorted(row.learnt for row in rows)[-_examples(settings, processes) :]
    frozen = 0.0
    if settings.method == "lora":
        frozen = item * size.parameters
    elif settings.method == "qlora":
        frozen = NF4_BYTES * size.linear + item * (size.parameters - size.linear)
    # In a lower precision, autocast keeps a copy of what is trained.
    copies = item * size.trained if item < 4 else 0
    held = frozen + TRAINED_BYTES * size.trained
    if shards:
        # The copies are those of one layer at a time, gathered ahead of time for the next.
        held = held / processes + 2 * item * size.linear / size.layers + item * size.head
    else:
        held += copies + (4 * size.trained if processes > 1 else 0)
    return (
        PROCESS_BYTES
        + held
        + sum(largest) * activation_bytes(size, settings, item)
        + sum(learnt) * LOGIT_BYTES * size.vocabulary
    )


def _examples(settings: TrainingSettings, processes: int) -> int:
    """How many examples a micro-batch has at most."""
    return -(-settings.batch_size // (processes * settings.accumulation))


def floating_point_operations(
    size: ModelSize, rows: Sequence[Row], settings: TrainingSettings
) -> float:
    """Multiplications and additions of a whole training: two a weight a token and pass.

    The backward pass takes twice the forward one, half of it for gradients of weights, which frozen
    ones do without. Logits are made of learnt tokens alone.
    """
    passes = 3.0 if settings.method == "full" else 2.0
    again = 1.0 if settings.gradient_checkpointing else 0.0
    tokens, learnt = sum(len(row.tokens) for row in rows), sum(row.learnt for row in rows)
    body = 2 * size.linear * tokens * (passes + again)
    return settings.epochs * (body + 2 * size.head * learnt * passes)


def measured_rate(size: ModelSize, dtype: "torch.dtype", device: str) -> float:
    """Floating-point operations a second of matrix products like the model's, on this device."""
    import torch

    left = torch.ones(512, size.width, dtype=dtype, device=device)
    right = torch.ones(size.width, size.inner, dtype=dtype, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    best, ends = float("inf"), time.perf_counter() + RATE_SECONDS
    while (started := time.perf_counter()) < ends:
        left @ right
        wait()
        # The others were kept from the device by something else.
        best = min(best, time.perf_counter() - started)
    return 2 * left.numel() * right.shape[1] / best


def shards_weights(processes: int) -> bool:
    """Whether `accelerate launch` was told to spread weights over the processes (FSDP)."""
    return processes > 1 and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def estimate(
    model: str, rows: Sequence[Row], settings: TrainingSettings, processes: int
) -> Estimate:
    """Estimate a training that `processes` share, on this machine's devices."""
    device, dtype = device_and_dtype()
    check_shares(settings, processes)

    def needs(shards: bool = shards_weights(processes), **changes: Any) -> float:
        changed = replace(settings, **changes)
        changed_size = model_size(model, changed)
        return memory_bytes(changed_size, rows, changed, processes, shards, dtype.itemsize)

    size, needed = model_size(model, settings), needs()
    free = free_bytes(device)
    rate = EFFICIENCY * processes * measured_rate(size, dtype, device)
    remedies = _remedies(needs, settings, processes) if needed > free else []
    return Estimate(
        size=size,
        tokens=settings.epochs * sum(len(row.tokens) for row in rows),
        bytes=needed,
        free=free,
        seconds=floating_point_operations(size, rows, settings) / rate,
        remedies=remedies,
    )


def _remedies(
    needs: Callable[..., float], settings: TrainingSettings, processes: int
) -> list[tuple[str, float]]:
    """Changes of the config that would help, with the bytes that they would leave."""
    changes: dict[str, dict[str, Any]] = {}
    if settings.method != "qlora":
        changes["method: qlora"] = {"method": "qlora"}
    if settings.method == "full":
        changes["method: lora"] = {"method": "lora"}
    if not settings.gradient_checkpointing:
        changes["gradient_checkpointing: true"] = {"gradient_checkpointing": True}
    if settings.accumulation < (most := settings.batch_size // processes):
        changes[f"accumulation: {most}"] = {"accumulation": most}
    if processes > 1:
        changes["parallel: fsdp"] = {"shards": True}
    needed = needs()
    left = [(f"training.{name}", needs(**change)) for name, change in changes.items()]
    return sorted((found for found in left if found[1] < 0.9 * needed), key=lambda found: found[1])


def check_fits(expected: Estimate) -> None:
    """Raise `UserError` with what would help where a training clearly cannot fit."""
    if expected.bytes <= CLEARLY_OVER * expected.free:
        return
    helps = "; ".join(f"{name} (about {left / GIB:.1f} GiB)" for name, left in expected.remedies)
    raise UserError(
        f"the training needs about {expected.bytes / GIB:.1f} GiB on each device and "
        f"{expected.free / GIB:.1f} GiB are free: set in config.yaml one or more of "
        f"{helps + '; ' if helps else ''}a smaller training.max_length; more training.gpus with "
        "training.parallel: fsdp; a smaller model"
    )
