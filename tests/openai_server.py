"""An HTTP server on loopback that behaves like the OpenAI API: limits, faults, files, batches.

Tests run it in a thread (`with OpenAIServer(...) as server`); benchmarks and tests that kill
things run it as a process: `python -m tests.openai_server --port P` prints `ready PORT` when it
listens. The process ends on SIGTERM or when its stdin closes, so that it never outlives the test
that started it: start it with a pipe as stdin (with /dev/null it ends at once). It is steered over
HTTP: GET /stats?seconds=N, POST /control with a JSON object of settings, POST /reset.
"""

import argparse
import asyncio
import concurrent.futures
import hashlib
import itertools
import json
import math
import random
import secrets
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache, partial
from typing import Any, NamedTuple

from aiohttp import web

REPLY = "Here is the answer:\n```python\ndef add(a, b):\n    return a + b\n```"
INVALID, RATE_LIMITED = "invalid_request_error", "rate_limit_exceeded"
# A template costs a fifth of what `json.dumps` of the whole does.
COMPLETION = (
    '{"id":"chatcmpl-%s","object":"chat.completion","created":%d,"model":%s,"choices":[{"index":0,'
    '"message":{"role":"assistant","content":%s,"refusal":null,"annotations":[]},'
    '"logprobs":null,"finish_reason":"%s"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,'
    '"total_tokens":%d},"service_tier":"default","system_fingerprint":"fp_test"}'
)
quoted = lru_cache(maxsize=256)(json.dumps)
canonical = json.JSONEncoder(sort_keys=True).encode


def error_json(message: str, kind: str, code: str | None = None, param: str | None = None) -> str:
    """An error in the API's format."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error})


class Refusal(Exception):
    """An answer with an HTTP error status; `error` is what `error_json` takes."""

    def __init__(self, status: int, *error: str | None, headers: dict[str, str] | None = None):
        super().__init__(*error)
        self.status, self.headers = status, headers or {}
        self.content = error_json(*error).encode()


RATE_LIMIT = error_json("Rate limit reached for requests", "requests", RATE_LIMITED)
SERVER_ERROR = error_json("The server had an error while processing your request.", "server_error")
TOO_LONG = "This model's maximum context length is 8192 tokens."
NOT_THIS_NAME = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead."
)
NO_QUOTA = "You exceeded your current quota, please check your plan and billing details."
# The faults that are a status and a body.
ANSWERS = {
    "429": (429, RATE_LIMIT),
    "429_retry_after": (429, RATE_LIMIT),
    "500": (500, SERVER_ERROR),
    "503": (503, error_json("The engine is currently overloaded.", "server_error")),
    "400": (400, error_json(TOO_LONG, INVALID, "context_length_exceeded", "messages")),
    "max_tokens": (400, error_json(NOT_THIS_NAME, INVALID, "unsupported_parameter", "max_tokens")),
    "402": (402, error_json("Insufficient Balance", INVALID)),
    "405": (405, "Method Not Allowed"),
    "403": (403, error_json("You may not send this.", "request_forbidden", "forbidden")),
    "quota": (429, error_json(NO_QUOTA, "insufficient_quota", "insufficient_quota")),
    "garbage": (200, "upstream connect error"),
    "empty_choices": (200, '{"id":"chatcmpl-0","object":"chat.completion","choices":[]}'),
    "error_in_200": (200, SERVER_ERROR),
    "html_502": (502, "<html><head><title>502 Bad Gateway</title></head></html>"),
}
# What is answered to a key that is not good. The real API shows a masked key; the whole one
# proves that it is redacted.
KEY_REFUSALS = {
    "invalid": (401, "Incorrect API key provided: {key}", INVALID, "invalid_api_key"),
    "forbidden": (403, "You may not use this model.", "request_forbidden", "forbidden"),
    "quota": (429, NO_QUOTA, "insufficient_quota", "insufficient_quota"),
}


def duration(seconds: float) -> str:
    """A duration in the format of the x-ratelimit-reset headers: 20ms, 1.2s, 6m0s."""
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"


def retry_headers(seconds: float) -> dict[str, str]:
    """The API's two headers that say when to come back: whole seconds, and the exact time."""
    whole, exact = math.ceil(seconds), math.ceil(seconds * 1000)
    return {"retry-after": str(whole), "retry-after-ms": str(exact)}


def prompt_tokens(body: dict) -> int:
    """Tokens of a request's messages, at four characters a token."""
    return max(1, sum(len(message.get("content") or "") for message in body["messages"]) // 4)


def token_cap(body: dict) -> int | None:
    """The most tokens that a request allows its completion."""
    return body.get("max_tokens") or body.get("max_completion_tokens")


def body_hash(body: Any) -> str:
    """What identifies a request's body in the records: the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(body).encode()).hexdigest()


def value_for(setting: Any, body: dict) -> Any:
    """A setting that may be a function of the request's body."""
    return setting(body) if callable(setting) else setting


class Meter:
    """What a key took of a limit per minute.

    A token bucket, which is full at first and refills continuously up to `capacity`; or, if
    `sliding`, what was taken in the last 60 seconds counts in full.
    """

    def __init__(self, sliding: bool) -> None:
        self.limit = self.capacity = 0.0
        self._sliding, self._used, self._at = sliding, 0.0, time.monotonic()
        self._taken: deque[list[float]] = deque()

    def left(self, now: float) -> float:
        """What may be taken at once."""
        if self._sliding:
            while self._taken and self._taken[0][0] <= now - 60:
                self._used -= self._taken.popleft()[1]
        else:
            self._used = max(0.0, self._used - (now - self._at) * self.limit / 60)
            self._at = now
        return self.capacity - self._used

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much can be taken; infinite if never."""
        missing = amount - self.left(now)
        if missing <= 1e-9:
            return 0.0
        if amount > self.capacity:
            return math.inf
        if not self._sliding:
            return missing * 60 / self.limit
        if amount == self.capacity:  # When all is free again, which every answer tells.
            return self._taken[-1][0] + 60 - now
        freed = itertools.accumulate(taken for _, taken in self._taken)
        found = (entry for entry, sum_ in zip(self._taken, freed, strict=True) if sum_ >= missing)
        return next(found, self._taken[-1])[0] + 60 - now

    def take(self, amount: float, now: float) -> list[float]:
        """Charge; what comes back can be given to `correct`."""
        self._used += amount
        taken = [now, amount]
        if self._sliding:
            self._taken.append(taken)
        return taken

    def correct(self, taken: list[float], amount: float, now: float) -> None:
        """Charge `amount` in place of what was taken, if that still counts."""
        self.left(now)
        if not self._sliding or taken[0] > now - 60:
            self._used += amount - taken[1]
            taken[1] = amount


@dataclass
class KeyState:
    """What the server thinks of an API key: "good", "quota", "invalid" or "forbidden".

    It turns to "quota" when `quota_after` requests were admitted; those still are answered, so
    that the number of successes is exact under any concurrency.
    """

    status: str = "good"
    quota_after: int | None = None
    admitted: int = 0


class Entry(NamedTuple):
    """One decision about one request: `status` is an HTTP status, a fault or "disconnected"."""

    time: float
    status: int | str
    key: str
    body: str
    tokens: int


@dataclass(slots=True)
class Call:
    """A request while it is worked on."""

    key: str
    started: float
    body: str = ""
    meters: dict[str, Meter] = field(default_factory=dict)
    recorded: bool = False


@dataclass
class File:
    """A file and the key that it belongs to; `public` is what the API tells of it."""

    key: str
    content: bytes
    public: dict[str, Any]


@dataclass
class Batch:
    """A batch and the key that it belongs to; `public` is what the API tells of it."""

    key: str
    fate: str
    rows: list[dict]
    errors: list[dict]
    public: dict[str, Any]

    def move(self, status: str, **changes: Any) -> None:
        """Give the batch another status."""
        self.public |= {"status": status, f"{status}_at": int(time.time()), **changes}


def read_batch(content: bytes, endpoint: str, most: int) -> tuple[list[dict], list[dict]]:
    """The rows of a batch's input, and the errors for which the API would fail it."""
    lines = content.splitlines()
    rows: list[dict] = []
    errors: list[dict] = []
    seen: set[str] = set()

    def wrong(code: str, message: str, line: int | None = None, param: str | None = None) -> None:
        errors.append({"code": code, "message": message, "line": line, "param": param})

    if not lines:
        wrong("empty_file", "The input file is empty.")
    if len(lines) > most:
        wrong("too_many_tasks", f"The batch has {len(lines)} requests, the limit is {most}.")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            name, model, method = row["custom_id"], row["body"]["model"], row["method"]
            prompt_tokens(row["body"])
        except (ValueError, LookupError, TypeError, AttributeError):
            wrong("invalid_json_line", "This line is not a valid request.", number)
            continue
        rows.append(row)
        if name in seen:
            wrong("duplicate_custom_id", f"custom_id {name} was used before.", number, "custom_id")
        if model != rows[0]["body"]["model"]:
            wrong("mismatched_model", "All requests must have one model.", number, "body.model")
        if method != "POST" or row.get("url") != endpoint:
            wrong("invalid_url", f"The method and URL must be POST {endpoint}.", number, "url")
        seen.add(name)
    return rows, errors


def batch_row(name: str, status: int, body: str, error: dict | None = None) -> bytes:
    """A line of a batch's output or error file; `body` is JSON, and empty where none came."""
    number = secrets.token_hex(8)
    response = f'{{"status_code":{status},"request_id":"req_{number}","body":{body}}}'
    line = f'{{"id":"batch_req_{number}","custom_id":{json.dumps(name)},'
    line += f'"response":{response if body else "null"},"error":{json.dumps(error)}}}\n'
    return line.encode()


def page(items: list[dict], query: Mapping[str, str]) -> dict[str, Any]:
    """One page of a list of the API: `limit` items behind the one whose id is `after`."""
    names = [item["id"] for item in items]
    start = names.index(query["after"]) + 1 if query.get("after") in names else 0
    end = start + int(query.get("limit", 20))
    data = items[start:end]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    more = {"first_id": first, "last_id": last, "has_more": end < len(items)}
    return {"object": "list", "data": data, **more}


def api_key(request: web.BaseRequest) -> str:
    """The key that a request carries."""
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def reset_connection(request: web.BaseRequest) -> None:
    """Drop the client's connection; with SO_LINGER 0 it sees a reset, not an orderly end."""
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


@dataclass
class Settings:
    """What a test may set, before or while the server runs."""

    keys: dict[str, KeyState] | None = None  # Any key is good where it is None.
    model: str = "test-model"
    reply: str | Callable[[dict], str] = REPLY
    # A token for four characters of the reply where it is None.
    completion_tokens: int | Callable[[dict], int] | None = None
    latency: float | Callable[[dict], float] = 0.0
    capacity: int | None = None  # So many requests are processed at once, and others queue.
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    window: str = "bucket"  # Which holds `burst_seconds`' worth, or "sliding".
    burst_seconds: float = 60.0
    charge: str = "actual"  # Which refunds what the estimate was too high by, or "upper".
    retry_after: bool = True
    faults: dict[str, float] = field(default_factory=dict)  # Probabilities by kind.
    fault_seed: int = 0  # Counts from the next `reset` on.
    # (body, how often it was seen before) -> kind or None, in place of the draw.
    fault_for: Callable[[dict, int], str | None] | None = None
    fault_retry_after: float = 0.05
    slow_seconds: float = 1.0
    # (method, path) -> kind or None for files and batches, with two more kinds: "lost", where the
    # work is done and the connection reset in place of the answer; "cut", a content's first line.
    resource_fault: Callable[[str, str], str | None] | None = None
    keep_bodies: bool = True
    batch_seconds: float = 0.2
    batch_max_requests: int = 50_000
    # Ordinal -> "completed", "expired", "cancelled", "failed" or "token_limit".
    batch_fate: Callable[[int], str] | None = None
    batch_share: float = 0.5  # The share of an expired or cancelled batch that was finished.
    # custom_id -> the HTTP status of a row that fails; 200 is an answer that is no completion.
    batch_row_fault: Callable[[str], int | None] | None = None


class OpenAIServer(Settings):
    """The server, from its construction to `close`; it takes `Settings` and an optional port.

    Records: `log` (an `Entry` for each decision), `counts` (by status, a number, or by fault, a
    string; "slow" counts beside the 200 that follows), `answered` (complete replies by hash of the
    body), `requests` (every body that arrived, if `keep_bodies`), `in_flight` and `peak_in_flight`
    (those that queue included), `files`, `batches`, `batched` (how often a custom_id was
    submitted, whatever became of the batch).
    """

    def __init__(self, port: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.in_flight = 0
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self._ids = itertools.count()
        self._gate: tuple[int | None, asyncio.Semaphore | None] = (None, None)
        self._tasks: set[asyncio.Task] = set()
        self.reset()
        listening: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(port, listening)), daemon=True
        )
        self._thread.start()
        self.port = listening.result()
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "OpenAIServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop all connections and free the port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def reset(self) -> None:
        """Clear the records and start faults and rate limits anew; files and batches stay."""
        self.log: list[Entry] = []
        self.counts: Counter[int | str] = Counter()
        self.answered: Counter[str] = Counter()
        self.batched: Counter[str] = Counter()
        self.requests: list[dict] = []
        self.peak_in_flight = self.in_flight
        self.first_request: float | None = None
        self._seen: Counter[str] = Counter()
        self._random = random.Random(self.fault_seed)
        self._all_meters: dict[tuple[str, str, str], Meter] = {}

    async def _serve(self, port: int, listening: concurrent.futures.Future[int]) -> None:
        """Listen until `close`."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # The low-level server does without the router of an application. A handler whose client
        # went away is cancelled, and a file of a batch can have 200 MB.
        server = web.Server(
            self._handle,
            request_factory=partial(web.BaseRequest, loop=self._loop, client_max_size=2**30),
            handler_cancellation=True,
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
            await site.start()
            listening.set_result(runner.addresses[0][1])
        except OSError as error:
            listening.set_exception(error)
            return
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/v1/chat/completions":
            return await self._chat(request)
        try:
            match request.method, request.path:
                case "GET", "/health":
                    value: Any = {"status": "ok"}
                case "GET", "/stats":
                    value = self.stats(float(request.query.get("seconds", "inf")))
                case "POST", "/control":
                    value = self._control(await request.json())
                case "POST", "/reset":
                    value = self.reset()
                case _:
                    return await self._resource(request)
        except Refusal as refusal:
            content, status = refusal.content, refusal.status
            return web.Response(status=status, body=content, content_type="application/json")
        return web.json_response(value)

    def stats(self, seconds: float = math.inf) -> dict[str, Any]:
        """The records in short; successes, 429s and tokens are of the first so many seconds."""
        start = self.first_request or 0.0
        early = [entry for entry in self.log if entry.time <= start + seconds]
        statuses = Counter(str(entry.status).removesuffix("_retry_after") for entry in early)
        return {
            "counts": {
                f"fault_{status}" if isinstance(status, str) else str(status): count
                for status, count in dict(self.counts).items()
            },
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "entries": len(self.log),
            "successes": statuses["200"],
            "refusals": statuses["429"],
            "tokens": sum(entry.tokens for entry in early),
            "repeated": [body for body, times in dict(self.answered).items() if times > 1],
            "cpu_seconds": time.process_time(),
        }

    def _control(self, settings: dict[str, Any]) -> None:
        """Set settings from JSON, all or none of them."""
        if unknown := settings.keys() - {setting.name for setting in fields(Settings)}:
            raise Refusal(400, f"Unknown settings: {sorted(unknown)}", INVALID)
        if settings.get("keys"):
            settings["keys"] = {key: KeyState(**state) for key, state in settings["keys"].items()}
        for name, value in settings.items():
            setattr(self, name, value)

    # Keys, limits and faults

    def _authenticate(self, key: str) -> KeyState:
        """The state of a key, unless it is refused."""
        if self.keys is None:
            return KeyState()
        state = self.keys.get(key) or KeyState("invalid")
        if state.status != "good":
            status, message, *rest = KEY_REFUSALS[state.status]
            raise Refusal(status, message.format(key=key), *rest)
        return state

    def _meters(self, key: str) -> dict[str, Meter]:
        """The meters of a key for the limits that are set, by name."""
        meters: dict[str, Meter] = {}
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            return meters
        sliding = self.window == "sliding"
        minutes = 1 if sliding else self.burst_seconds / 60
        limits = {"requests": self.requests_per_minute, "tokens": self.tokens_per_minute}
        for name, limit in limits.items():
            if limit is not None:
                place = (key, name, self.window)
                if place not in self._all_meters:
                    self._all_meters[place] = Meter(sliding)
                meters[name] = meter = self._all_meters[place]
                meter.limit, meter.capacity = limit, limit * minutes
        return meters

    def _admit(self, call: Call, model: str, tokens: int) -> list[float] | None:
        """Charge a request to the key's limits, or refuse it; what comes back is for `correct`."""
        now, amounts = time.monotonic(), {"requests": 1, "tokens": tokens}
        for name, meter in call.meters.items():
            if wait := meter.wait(amounts[name], now):
                never = wait == math.inf
                message = (
                    f"{'Request too large' if never else 'Rate limit reached'} for {model} in "
                    f"organization org-x on {name} per min ({name[0].upper()}PM): Limit "
                    f"{meter.limit:.0f}, Requested {amounts[name]}."
                )
                if not never:
                    message += f" Please try again in {duration(wait)}."
                headers = retry_headers(wait) if self.retry_after and not never else {}
                raise Refusal(429, message, name, RATE_LIMITED, headers=headers)
        taken = {name: meter.take(amounts[name], now) for name, meter in call.meters.items()}
        return taken.get("tokens")

    def _fault(self, body: dict, seen: int) -> str | None:
        """The fault that befalls a request."""
        if self.fault_for is not None:
            return self.fault_for(body, seen)
        if self.faults:
            drawn = self._random.random()
            for kind, probability in self.faults.items():
                drawn -= probability
                if drawn < 0:
                    return kind
        return None

    async def _fail(
        self, kind: str, request: web.BaseRequest, call: Call, body: dict
    ) -> web.StreamResponse:
        """Do what a fault does."""
        self._record(kind, call)
        if kind in ANSWERS:
            status, text = ANSWERS[kind]
            headers = retry_headers(self.fault_retry_after) if kind == "429_retry_after" else {}
            if kind == "html_502":
                headers = {"Content-Type": "text/html"}
            return self._response(status, text.encode(), call, headers)
        if kind == "hang":
            # Until the client goes away or the server closes: both cancel this.
            await self._loop.create_future()
        if kind == "truncated":
            content = self._completion(body)[0].encode()
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            response.content_length = len(content)
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            if request.transport is not None:
                request.transport.close()
            return response
        if kind == "reset":
            reset_connection(request)
            return web.Response()
        raise ValueError(f"no such fault: {kind}")

    # Chat completions

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        call = Call(api_key(request), time.monotonic())
        self.first_request = self.first_request or call.started
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            return await self._complete(request, call)
        except Refusal as refusal:
            self._record(refusal.status, call)
            return self._response(refusal.status, refusal.content, call, refusal.headers)
        except asyncio.CancelledError:
            if not call.recorded:
                self._record("disconnected", call)
            raise
        finally:
            self.in_flight -= 1

    async def _complete(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """Answer a request for a chat completion."""
        raw = await request.read()
        try:
            body = json.loads(raw)
            model, estimate = body["model"], prompt_tokens(body) + (token_cap(body) or 0)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            message = "We could not parse the JSON body of your request."
            raise Refusal(400, message, INVALID) from error
        call.body = body_hash(body)
        if self.keep_bodies:
            self.requests.append(body)
        state = self._authenticate(call.key)
        call.meters = self._meters(call.key)
        seen = self._seen[call.body]
        self._seen[call.body] += 1
        fault = self._fault(body, seen)
        if fault is not None and fault != "slow":
            return await self._fail(fault, request, call, body)
        taken = self._admit(call, model, estimate)
        state.admitted += 1
        if state.quota_after is not None and state.admitted >= state.quota_after:
            state.status = "quota"
        seconds = value_for(self.latency, body)
        if fault == "slow":
            self.counts["slow"] += 1
            seconds += self.slow_seconds
        if self.capacity is None:
            if seconds:
                await asyncio.sleep(seconds)
        else:
            if self._gate[0] != self.capacity:
                self._gate = (self.capacity, asyncio.Semaphore(self.capacity))
            async with self._gate[1]:
                await asyncio.sleep(seconds)
        content, tokens = self._completion(body)
        if taken is not None and self.charge == "actual":
            call.meters["tokens"].correct(taken, tokens, time.monotonic())
        self._record(200, call, tokens)
        self.answered[call.body] += 1
        return self._response(200, content.encode(), call)

    def _completion(self, body: dict) -> tuple[str, int]:
        """The JSON of the completion of a request, and the tokens of both together."""
        text = value_for(self.reply, body)
        tokens = value_for(self.completion_tokens, body)
        tokens = max(1, len(text) // 4) if tokens is None else tokens
        prompt, most, finish = prompt_tokens(body), token_cap(body), "stop"
        if most is not None and tokens > most:
            text, tokens, finish = text[: 4 * most], most, "length"
        both, model, reply = prompt + tokens, quoted(body["model"]), quoted(text)
        parts = (next(self._ids), time.time(), model, reply, finish, prompt, tokens, both)
        return COMPLETION % parts, both

    def _record(self, status: int | str, call: Call, tokens: int = 0) -> None:
        self.log.append(Entry(time.monotonic(), status, call.key, call.body, tokens))
        self.counts[status] += 1
        call.recorded = True

    def _response(
        self, status: int, content: bytes, call: Call, headers: dict[str, str] | None = None
    ) -> web.Response:
        """An answer with the headers that the API adds."""
        now = time.monotonic()
        added = {
            "Content-Type": "application/json",
            "x-request-id": f"req_{next(self._ids)}",
            "openai-processing-ms": str(int((now - call.started) * 1000)),
        }
        for name, meter in call.meters.items():
            added[f"x-ratelimit-limit-{name}"] = f"{meter.limit:.0f}"
            added[f"x-ratelimit-remaining-{name}"] = str(max(0, int(meter.left(now) + 1e-9)))
            added[f"x-ratelimit-reset-{name}"] = duration(meter.wait(meter.capacity, now))
        if headers:
            added |= headers
        return web.Response(status=status, body=content, headers=added)

    # Models, files and batches

    async def _resource(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request about models, files or batches."""
        key = api_key(request)
        self._authenticate(key)
        fault = self.resource_fault and self.resource_fault(request.method, request.path)
        if fault and fault not in ("lost", "cut"):
            body = {"model": self.model, "messages": []}
            return await self._fail(fault, request, Call(key, time.monotonic()), body)
        match request.method, *request.path.strip("/").split("/")[1:]:
            case "GET", "models":
                one = {"id": self.model, "object": "model", "created": 1, "owned_by": "test"}
                value: Any = {"object": "list", "data": [one]}
            case "POST", "files":
                value = await self._upload(request, key)
            case "GET", "files", name:
                value = self._owned(self.files, name, key).public
            case "GET", "files", name, "content":
                value = self._owned(self.files, name, key).content
                if fault == "cut":
                    value = value[: value.index(b"\n") + 1]
            case "DELETE", "files", name:
                self._owned(self.files, name, key)
                del self.files[name]
                value = {"id": name, "object": "file", "deleted": True}
            case "POST", "batches":
                value = self._create_batch(await request.json(), key).public
            case "GET", "batches":
                owned = [batch.public for batch in self.batches.values() if batch.key == key]
                value = page(owned[::-1], request.query)
            case "GET", "batches", name:
                value = self._owned(self.batches, name, key).public
            case "POST", "batches", name, "cancel":
                value = self._cancel(self._owned(self.batches, name, key)).public
            case _:
                raise Refusal(404, f"Invalid URL ({request.path})", INVALID)
        if fault == "lost":
            self._record(fault, Call(key, time.monotonic()))
            reset_connection(request)
        return web.Response(body=value) if isinstance(value, bytes) else web.json_response(value)

    def _owned(self, things: dict[str, Any], name: str, key: str) -> Any:
        """A key's file or batch; those of others do not exist for it."""
        if name not in things or things[name].key != key:
            raise Refusal(404, f"No such object: {name}", INVALID, None, "id")
        return things[name]

    def _add_file(self, key: str, content: bytes, filename: str, purpose: str) -> File:
        public = {
            "id": f"file-{secrets.token_hex(8)}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        file = self.files[public["id"]] = File(key, content, public)
        return file

    async def _upload(self, request: web.BaseRequest, key: str) -> dict[str, Any]:
        form = await request.post()
        part, purpose = form.get("file"), form.get("purpose")
        if not isinstance(part, web.FileField) or not isinstance(purpose, str):
            raise Refusal(400, "'file' and 'purpose' are required", INVALID)
        return self._add_file(key, part.file.read(), part.filename, purpose).public

    def _create_batch(self, asked: dict[str, Any], key: str) -> Batch:
        file = self._owned(self.files, asked["input_file_id"], key)
        rows, errors = read_batch(file.content, asked["endpoint"], self.batch_max_requests)
        self.batched.update(row["custom_id"] for row in rows)
        fate = self.batch_fate(len(self.batches)) if self.batch_fate else "completed"
        now = int(time.time())
        public = {
            **{name: asked[name] for name in ("endpoint", "input_file_id", "completion_window")},
            "id": f"batch_{secrets.token_hex(8)}",
            "object": "batch",
            "metadata": asked.get("metadata"),
            "status": "validating",
            "created_at": now,
            "expires_at": now + 86_400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }
        batch = self.batches[public["id"]] = Batch(key, fate, rows, errors, public)
        task = asyncio.create_task(self._run_batch(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return batch

    def _cancel(self, batch: Batch) -> Batch:
        if batch.public["status"] not in ("validating", "in_progress", "finalizing", "cancelling"):
            message = f"Cannot cancel a batch with status '{batch.public['status']}'."
            raise Refusal(409, message, INVALID)
        batch.move("cancelling")
        return batch

    async def _run_batch(self, batch: Batch) -> None:
        """Take a batch through its statuses to its fate, or to "cancelled" when asked to."""
        public, quarter = batch.public, self.batch_seconds / 4
        await asyncio.sleep(quarter)
        errors = batch.errors
        if not errors and batch.fate in ("failed", "token_limit"):
            code = "token_limit_exceeded" if batch.fate == "token_limit" else "server_error"
            message = "Enqueued token limit reached." if "token" in code else "It failed."
            errors = [{"code": code, "message": message, "line": None, "param": None}]
        if errors:
            batch.move("failed", errors={"object": "list", "data": errors})
            return
        public["request_counts"] |= {"total": len(batch.rows)}
        if public["status"] == "validating":
            batch.move("in_progress")
        await asyncio.sleep(2 * quarter)
        if public["status"] == "in_progress":
            batch.move("cancelling" if batch.fate == "cancelled" else "finalizing")
        await asyncio.sleep(quarter)
        await self._finish(batch)

    async def _finish(self, batch: Batch) -> None:
        """Write a batch's files, whose lines are in no order, as those of the real API."""
        end = "cancelled" if batch.public["status"] == "cancelling" else batch.fate
        rows = random.Random(batch.public["id"]).sample(batch.rows, len(batch.rows))
        finished = len(rows) if end == "completed" else int(len(rows) * self.batch_share)
        unfinished = {"code": f"batch_{end}", "message": f"The batch was {end} before this row."}
        outputs: list[bytes] = []
        errors: list[bytes] = []
        for place, row in enumerate(rows):
            name = row["custom_id"]
            if place >= finished:
                errors.append(batch_row(name, 0, "", unfinished))
            elif status := self.batch_row_fault and self.batch_row_fault(name):
                body = (
                    error_json("This row failed.", INVALID) if status != 200 else '{"choices":[]}'
                )
                errors.append(batch_row(name, status, body))
            else:
                outputs.append(batch_row(name, 200, self._completion(row["body"])[0]))
            if place % 200 == 199:
                await asyncio.sleep(0)  # Other requests are answered meanwhile.
        files = {
            f"{kind}_file_id": self._add_file(
                batch.key, b"".join(lines), f"{batch.public['id']}_{kind}.jsonl", "batch_output"
            ).public["id"]
            for kind, lines in (("output", outputs), ("error", errors))
            if lines
        }
        counts = {"total": len(rows), "completed": len(outputs), "failed": len(errors)}
        batch.move(end, request_counts=counts, **files)


def main() -> None:
    """Serve until SIGTERM or the end of stdin."""
    parser = argparse.ArgumentParser(description="A local server that behaves like OpenAI's API.")
    number = {"port": int, "completion-tokens": int, "reply-length": int, "faults": json.loads}
    for name in ("requests-per-minute", "tokens-per-minute", "latency", *number):
        parser.add_argument(f"--{name}", type=number.get(name, float))
    parser.add_argument("--window", choices=("bucket", "sliding"))
    parser.add_argument("--charge", choices=("actual", "upper"))
    options = {
        name: value for name, value in vars(parser.parse_args()).items() if value is not None
    }
    if length := options.pop("reply_length", None):
        options["reply"] = ("word " * (length // 5 + 1))[:length]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with OpenAIServer(keep_bodies=False, **options) as server:
        print("ready", server.port, flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
