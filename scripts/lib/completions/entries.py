"""The entries of a journal: replies, requests that stay without one, and what each has cost."""

import json
from datetime import UTC, datetime
from typing import Any

from scripts.lib.completions.budget import Amount, amount_of
from scripts.lib.completions.pricing import NOTHING, Price, Usage, usage_of
from scripts.lib.completions.request import CompletionRequest

_START = b'{"key": "'
_KEY = slice(len(_START), len(_START) + 64)


def now_text() -> str:
    """The time, for an entry."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def reply_entry(
    request: CompletionRequest,
    response: dict[str, Any],
    name: str,
    *,
    headers: dict[str, str],
    price: Price | None,
    discount: float,
    attempts: list[dict[str, Any]],
    lost: Usage,
) -> dict[str, Any]:
    """The entry of a reply to `request`, which was asked for `name`: see `Journal.record`."""
    paid, usage = price and price.times(discount), usage_of(response, request.most)
    return {
        "key": request.key,
        "received": now_text(),
        "for": name,
        "request": {**request.body(), "identity": request.model_identity}
        | {"sample": request.sample},
        "response": response,
        "used": usage.as_dict(),
        "headers": headers,
        "price": paid and {**paid.as_dict(), "dollars": paid.dollars(usage)},
        "attempts": attempts,
        "lost": lost.as_dict() if lost.requests else None,
    }


def failure_entry(
    key: str,
    model: str,
    name: str,
    reason: str,
    *,
    price: dict[str, Any] | None,
    attempts: list[dict[str, Any]],
    lost: Usage,
) -> dict[str, Any]:
    """The entry of a request without a reply: see `Journal.record_failure`."""
    return {
        "failed": key,
        "received": now_text(),
        "for": name,
        "model": model,
        "reason": reason,
        "attempts": attempts,
        "price": price,
        "lost": lost.as_dict(),
    }


def cost_alone(reply: dict[str, Any]) -> dict[str, Any]:
    """A second reply to a request as a failure: its tokens were paid for."""
    failure = failure_entry(
        reply["key"],
        reply["request"]["model"],
        reply.get("for", ""),
        "second reply",
        price=reply.get("price"),
        attempts=[],
        lost=used_in(reply) + lost_in(reply),
    )
    return failure | {"received": reply["received"]}


def used_in(entry: dict[str, Any]) -> Usage:
    """What the reply of an entry took, or at most took where the endpoint did not say it."""
    if "failed" in entry:
        return NOTHING
    used = entry.get("used")
    return Usage(**used) if used else usage_of(entry["response"], NOTHING)


def lost_in(entry: dict[str, Any]) -> Usage:
    """The most that the tries of an entry have cost without a reply."""
    return Usage(**lost) if (lost := entry.get("lost")) else NOTHING


def cost_in(entry: dict[str, Any], price: Price | None = None) -> Amount:
    """What an entry has cost, with its tries that gave no reply.

    The dollars are those of its own time; `price` is for one that knows none.
    """
    if own := entry.get("price"):
        price = Price(own["input"], own["output"], own["source"])
    return amount_of(used_in(entry) + lost_in(entry), price)


def line_of(entry: dict[str, Any], secrets: tuple[str, ...] = ()) -> bytes:
    """The line of an entry, in which the secrets are blotted out."""
    # Half of a surrogate pair cannot be written as UTF-8: JSON's own escapes can hold it.
    try:
        line = json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        line = json.dumps(entry).encode()
    for secret in secrets:
        written = json.dumps(secret)[1:-1].encode()
        if written in line:
            line = line.replace(written, b"[key]")
    return line + b"\n"


def key_in(line: bytes) -> str | None:
    """The key of a reply's line; `None` for a failure's.

    Raises `ValueError`, `LookupError` or `TypeError` for a broken line.
    """
    if line.startswith(_START) and line.endswith(b"}\n"):
        return line[_KEY].decode("ascii")
    entry = json.loads(line)
    if "failed" in entry:
        return None
    # Entries of the first form had the parsed completion beside the response.
    return entry["key"] if "key" in entry else entry["completion"]["key"]
