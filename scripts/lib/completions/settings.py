"""How requests are sent: the section `label.client` of the config."""

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.lib.completions.budget import Caps
from scripts.lib.errors import UserError


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
            key_file=_expanded(key_file) if key_file else None,
            **values,
        )


def _expanded(path: str) -> Path:
    """A path in which `~` is a home; where there is no such user, the path as it is."""
    return Path(os.path.expanduser(path))


def check_client(section: dict[str, Any], source: str) -> None:
    """Raise `UserError` for settings with which a remote endpoint could not be asked.

    `section` is `label.client` of the config, `source` where it comes from. A plan finds them
    before hours of training do.
    """
    price, key = section["price"], f"{source}: key 'label.client"
    if (price["input"] is None) != (price["output"] is None):
        raise UserError(f"{key}.price': holds one of 'input' and 'output': set both")
    priced = price["input"] is not None or find_spec("genai_prices") is not None
    if section["budget"]["dollars"] is not None and not priced:
        raise UserError(
            f"{key}.budget.dollars': needs a price: set label.client.price, or install genai-prices"
        )
    if section["key_file"] and not _expanded(section["key_file"]).is_file():
        raise UserError(f"{key}.key_file': there is no file {section['key_file']}: mend the path")
