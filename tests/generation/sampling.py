"""What the tests of the engines share: requests, and transformers' own probabilities."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from scipy.stats import chi2
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from scripts.lib.generation.request import Request, Sample, SamplingSettings
from scripts.lib.models import load_tokenizer

SETTINGS = SamplingSettings(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=24)
GREEDY = SamplingSettings(temperature=0.0, top_k=0, top_p=1.0, max_new_tokens=24)
# What stands behind the shared prompt, by number: of several lengths, some of them the same.
RESTS = {
    number: " a function to" + " add two numbers of a list" * (number // 3 % 5)
    for number in range(30)
}


def request_of(model: Path, **changes: Any) -> Request:
    """A request that asks `model` for texts, with other values where named."""
    values = {
        "model": str(model),
        "tokenizer": load_tokenizer(str(model)),
        "prompt": "<s>user\nWrite",
        "closing": ["\n"],
        "settings": SETTINGS,
        "seed": 42,
        "shard": 1,
        "batch_size": 8,
    }
    return Request(**{**values, **changes})


def by_number(groups: Iterable[list[Sample]]) -> dict[int, Sample]:
    """What an engine yields, by the texts' numbers; each may come once only."""
    samples = [sample for group in groups for sample in group]
    found = {sample.number: sample for sample in samples}
    assert len(found) == len(samples)
    return found


def of_transformers(logits: torch.Tensor, wanted: SamplingSettings) -> torch.Tensor:
    """The probabilities that transformers' own processors leave, as `generate` applies them."""
    processors = LogitsProcessorList([TemperatureLogitsWarper(wanted.temperature)])
    if wanted.top_k:
        processors.append(TopKLogitsWarper(wanted.top_k))
    if wanted.top_p < 1:
        processors.append(TopPLogitsWarper(wanted.top_p))
    return processors(None, logits.float()).softmax(-1)


def chi_square(probabilities: torch.Tensor, tokens: torch.Tensor) -> float:
    """How probable tokens as far from these probabilities as `tokens` are (Pearson's test).

    Tokens that are expected fewer than five times make one cell. None of probability 0 may come.
    """
    expected = probabilities.double() * len(tokens)
    seen = torch.bincount(tokens, minlength=len(expected)).double()
    assert seen[expected == 0].sum() == 0
    common = expected >= 5
    statistic = ((seen - expected)[common] ** 2 / expected[common]).sum().item()
    cells = int(common.sum())
    rare = expected[~common].sum()
    if rare >= 5:
        statistic += ((seen[~common].sum() - rare) ** 2 / rare).item()
        cells += 1
    return float(chi2.sf(statistic, cells - 1))
