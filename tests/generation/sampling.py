"""What the tests of the engines share: a request for texts of a tiny model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.lib.generation.request import Request, Sample, SamplingSettings
from scripts.lib.models import load_tokenizer

SETTINGS = SamplingSettings(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=24)


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
