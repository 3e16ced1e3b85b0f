"""How requests are sent: the section `label.client` of the config."""

import json
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.completions.budget import Caps


@dataclass(frozen=True)
class Canary:
    """The first `replies` go alone, and at least the share `parsed` of them must be of use."""

    replies: int
    parsed: float


@dataclass(frozen=True)
class BatchSettings:
    """How the Batch API is used: looked at every `poll` seconds, at `discount` times the price."""

    poll: float
    discount: float


@dataclass(frozen=True)
class ClientSettings:
    """See config.yaml for the meaning of each value. None of them changes a reply."""

    mode: str
    in_flight: int | None
    timeout: float
    attempts: int
    outage: float
    drain: float
    requests_per_minute: float | None
    tokens_per_minute: float | None
    budget: Caps
    price: dict[str, float | None]
    canary: Canary
    max_failed: float
    key_file: Path | None
    update_key_file: bool
    batch: BatchSettings

    @classmethod
    def from_json(cls, text: str) -> "ClientSettings":
        """Read the section; its form was checked against the schema."""
        values = json.loads(text)
        key_file = values.pop("key_file")
        return cls(
            budget=Caps(**values.pop("budget")),
            canary=Canary(**values.pop("canary")),
            batch=BatchSettings(**values.pop("batch")),
            key_file=Path(key_file).expanduser() if key_file else None,
            **values,
        )
