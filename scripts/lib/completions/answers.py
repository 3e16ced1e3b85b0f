"""What an endpoint's answer means: a reply, or what went wrong and what to do about it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from scripts.lib.completions.request import NotACompletion, completion_of


@dataclass(frozen=True)
class Answer:
    """What came over the wire. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Unanswered(Exception):
    """No answer came; `charged` says whether the endpoint may have worked, and be paid, for it."""

    def __init__(self, message: str, charged: bool) -> None:
        super().__init__(message)
        self.charged = charged


class Meaning(Enum):
    """What to do about an answer."""

    REPLY = "reply"
    RATE_LIMITED = "rate limit"  # ask again later, with this key or another
    KEY_SPENT = "no quota left"  # never again with this key
    KEY_REFUSED = "key refused"  # never again with this key
    FORBIDDEN = "forbidden"  # the key or the request: what others are told shows which
    WRONG_TARGET = "unknown model or path"  # ask nothing more
    REFUSED = "refused"  # never again this request
    OVERLOADED = "overloaded"  # again, and fewer at a time
    PASSING = "passing fault"  # again


@dataclass(frozen=True)
class Verdict:
    """What an answer means; `message` is the endpoint's own, on one line.

    `response` is the decoded body of a reply, `retry_after` (seconds) what the endpoint asks for.
    `charged` says that tokens may have been paid for although no reply came, `reached` whether the
    endpoint has heard of the request at all.
    """

    meaning: Meaning
    message: str = ""
    retry_after: float | None = None
    response: dict[str, Any] | None = None
    charged: bool = False
    reached: bool = True


# Error codes and types of accounts that cannot pay, and of limits that pass.
QUOTA_CODES = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "access_terminated",
    "insufficient_balance",
}
# Words decide only where no code does: limits that pass speak of accounts and quotas, too.
QUOTA_WORDS = ("exceeded your current quota", "account is not active", "insufficient balance")
PASSES_WORDS = ("try again in", "retry in", "per min", "per day")
# A 403 that is about what a request says, and a 429 that no waiting helps.
FLAGGED_WORDS = ("flagged", "moderation", "content policy", "content_policy")
TOO_LARGE_WORDS = ("request too large", "must be reduced")


def judge(answer: Answer) -> Verdict:
    """Say what an answer to a chat completion request means."""
    body = _decoded(answer.content)
    error, status = _error(body), answer.status
    if status == 200 and not error:
        return _reply(body)
    message = one_line(error.get("message") or answer.content.decode("utf-8", "replace"))
    if status == 200:
        # Some gateways put the failure of a model behind them into an answer of their own.
        code = error.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
    retry_after = _retry_after(answer.headers)
    meaning = _meaning(status, error, message, waits=retry_after is not None)
    return Verdict(meaning, f"HTTP {status}: {message}", retry_after)


def _meaning(status: int, error: dict[str, Any], message: str, waits: bool) -> Meaning:
    if status == 402:
        return Meaning.KEY_SPENT
    if _names_quota(error) or (
        status in (403, 429) and _speaks_of_quota(error, message.lower(), waits)
    ):
        return Meaning.KEY_SPENT
    if status == 401:
        return Meaning.KEY_REFUSED
    if status == 403:
        flagged = any(words in message.lower() for words in FLAGGED_WORDS)
        return Meaning.REFUSED if flagged else Meaning.FORBIDDEN
    if status == 429:
        too_large = any(words in message.lower() for words in TOO_LARGE_WORDS)
        return Meaning.REFUSED if too_large else Meaning.RATE_LIMITED
    if status in (404, 405, 501):
        return Meaning.WRONG_TARGET
    if status in (503, 529):
        return Meaning.OVERLOADED
    if status in (408, 409, 425) or status >= 500 or status < 400:
        return Meaning.PASSING
    return Meaning.REFUSED


def _names_quota(error: dict[str, Any]) -> bool:
    """Whether the code of an error is one of accounts that cannot pay."""
    return bool({str(error.get("code")), str(error.get("type"))} & QUOTA_CODES)


def _speaks_of_quota(error: dict[str, Any], message: str, waits: bool) -> bool:
    """Whether an error without a code says that an account cannot pay, and need not wait."""
    passes = waits or any(words in message for words in PASSES_WORDS)
    named = isinstance(error.get("code"), str)
    return not (passes or named) and any(words in message for words in QUOTA_WORDS)


def _reply(body: Any) -> Verdict:
    try:
        completion_of("", "", body)
    except NotACompletion as error:
        return Verdict(Meaning.PASSING, str(error), charged=True)
    return Verdict(Meaning.REPLY, response=body)


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _error(body: Any) -> dict[str, Any]:
    """The error of a body: `{"error": {...}}`, `{"error": "..."}`, the same in a list, or none."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


def one_line(text: Any) -> str:
    """A text without line breaks. It is cut only when no key is left in it: see `redacted`."""
    return " ".join(str(text).split())


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            # "nan" and "inf" are floats, too.
            if 0 <= (seconds := float(headers.get(name, "")) * unit) < float("inf"):
                return seconds
        except ValueError:
            continue
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")


def duration(text: str) -> float | None:
    """Seconds of a duration as OpenAI writes it ("6m0s", "1.5s", "20ms"), `None` for other text."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not any(found.groups()):
        return None
    try:
        hours, minutes, seconds, thousandths = (float(part or 0) for part in found.groups())
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


@dataclass(frozen=True)
class Limit:
    """What an endpoint says about one of its limits: how much a minute, and how much is left."""

    a_minute: float
    remaining: float | None


# A limit that takes longer than a minute to be whole again is one of a day or a month.
LONGEST_RESET_SECONDS = 90.0


def limit_in(headers: Mapping[str, str], what: str) -> Limit | None:
    """The limit of `requests` or `tokens` in an answer's headers; `None` where there is none.

    Limits that are not of a minute cannot be paced by: they show when they are reached.
    """
    limit = _number(headers.get(f"x-ratelimit-limit-{what}"))
    if not limit:
        return None
    reset = duration(headers.get(f"x-ratelimit-reset-{what}", ""))
    if reset is not None and reset > LONGEST_RESET_SECONDS:
        return None
    return Limit(limit, _number(headers.get(f"x-ratelimit-remaining-{what}")))


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


KEPT_HEADERS = ("x-request-id", "openai-processing-ms", "openai-version")


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that a journal keeps: identity of the request, time of processing, limits."""
    return {
        name: value
        for name, value in headers.items()
        if name in KEPT_HEADERS or name.startswith("x-ratelimit-")
    }
