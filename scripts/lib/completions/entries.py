"""The entries of a journal: requests that were sent, replies, failures, and what each has cost."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from scripts.lib.completions.budget import Amount, amount_of
from scripts.lib.completions.pricing import NOTHING, Price, Usage, usage_of
from scripts.lib.completions.request import CompletionRequest

# What the lines of replies, of failures and of requests that were sent begin with; the key follows.
REPLY, FAILED, SENT = "key", "failed", "sent"
_STARTS = {kind: f'{{"{kind}": "'.encode() for kind in (REPLY, FAILED, SENT)}
_KEY_LENGTH = 64


class Line(NamedTuple):
    """A line of a journal: what kind of entry it is, and the key of its request."""

    kind: str
    key: str
    content: bytes


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


def sent_entry(
    request: CompletionRequest, name: str, *, price: Price | None, lost: Usage
) -> dict[str, Any]:
    """The entry of a request that is being sent: see `Journal.record_sent`."""
    return {
        SENT: request.key,
        "received": now_text(),
        "for": name,
        "model": request.model,
        "price": price and price.as_dict(),
        "lost": lost.as_dict(),
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
        attempts=reply.get("attempts") or [],
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


class BrokenLine(ValueError):
    """A line that is no entry."""


def line_in(content: bytes) -> Line:
    """What a line holds. Raises `BrokenLine`."""
    for kind, start in _STARTS.items():
        end = len(start) + _KEY_LENGTH
        if content.startswith(start) and content[end : end + 1] == b'"' and content[-2:] == b"}\n":
            return Line(kind, content[len(start) : end].decode("ascii", "replace"), content)
    try:
        entry = json.loads(content)
        for kind in _STARTS:
            if kind in entry:
                return Line(kind, str(entry[kind]), content)
        # Entries of the first form had the parsed completion beside the response.
        return Line(REPLY, str(entry["completion"]["key"]), content)
    except (ValueError, LookupError, TypeError) as error:
        raise BrokenLine from error


def settled(lines: Iterable[Line]) -> Iterator[Line]:
    """The replies and failures of a file's lines.

    What was sent, and has no end in the file, was cut off by a kill or is in flight: a failure,
    since it may have been paid for.
    """
    unsettled: dict[str, bytes] = {}
    for line in lines:
        if line.kind == SENT:
            unsettled[line.key] = line.content
            continue
        unsettled.pop(line.key, None)
        yield line
    for key, content in unsettled.items():
        sent = json.loads(content)
        del sent[SENT]
        entry = {FAILED: key, **sent, "reason": "cut off", "attempts": []}
        yield Line(FAILED, key, line_of(entry))
