"""Sampling many texts from one constant prompt."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from scripts.lib.tasks.form import closing_position

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn; `top_k` 0 and `top_p` 1 switch those filters off."""

    temperature: float
    top_k: int
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Sample:
    """One sampled text without its prompt, up to its closing mark.

    `finished` is false where the token limit cut it off.
    """

    text: str
    tokens: int
    finished: bool


def batch_seed(seed: int, shard: int, batch: int) -> int:
    """The random seed of one batch of one shard, the same however the other batches went."""
    import numpy

    return int(numpy.random.SeedSequence([seed, shard, batch]).generate_state(1)[0])


def sample_batch(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompt: str,
    closing: list[str],
    settings: SamplingSettings,
    count: int,
    seed: int,
) -> list[Sample]:
    """Sample `count` continuations of `prompt`, each until a closing mark, its end or the limit.

    The same arguments give the same texts on the same machine.
    """
    import torch

    prompt_ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    inputs = prompt_ids.repeat(count, 1).to(model.device)
    torch.manual_seed(seed)
    with torch.inference_mode():
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=True,
            # The model's own generation config must not add filters that the task did not ask for.
            repetition_penalty=1.0,
            **asdict(settings),
            stop_strings=closing,
            tokenizer=tokenizer,
            pad_token_id=tokenizer.pad_token_id,
        )
    special = [mark for mark in closing if mark in tokenizer.all_special_tokens]
    ends = {
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        *tokenizer.convert_tokens_to_ids(special),
    }
    return [_sample(tokenizer, row, closing, ends) for row in output[:, inputs.shape[1] :].tolist()]


def _sample(
    tokenizer: "PreTrainedTokenizerBase", ids: list[int], closing: list[str], ends: set[int | None]
) -> Sample:
    length = next((at for at, token in enumerate(ids) if token in ends), len(ids))
    text = tokenizer.decode(ids[:length], skip_special_tokens=True)
    # The token that completes a closing mark may bring more than the mark.
    end, _ = closing_position(text, closing)
    finished = length < len(ids) or end >= 0
    return Sample(text=text if end < 0 else text[:end], tokens=length, finished=finished)


def batches(count: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Split `count` samples into (batch number, size) pairs."""
    for number, start in enumerate(range(0, count, batch_size)):
        yield number, min(batch_size, count - start)
