"""How a model is tuned."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """What the result of a training depends on, beside the model and its examples.

    `method` is `lora`, `qlora` or `full`; full parameters want a learning rate near 1e-6, LoRA one
    near 5e-4. `batch_size` is the number of examples of one optimizer step, however many processes
    share it and in however many micro-batches (`accumulation`) each of them takes its share.
    `warmup_ratio` is the share of the steps over which the learning rate rises, `scheduler` how it
    falls from there: `cosine`, `linear`, or `constant`. `max_length` counts the tokens of an
    example. `gradient_checkpointing` computes activations twice instead of keeping them.
    """

    method: str
    epochs: int
    learning_rate: float
    batch_size: int
    accumulation: int
    scheduler: str
    warmup_ratio: float
    weight_decay: float
    max_length: int
    gradient_checkpointing: bool
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    seed: int
