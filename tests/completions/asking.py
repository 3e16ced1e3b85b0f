"""What the tests of the label client share: requests, clients, a clock that skips waiting."""

import asyncio
import selectors
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from scripts.lib.completions.admission import Admission
from scripts.lib.completions.budget import NO_AMOUNT, Amount, Budget, Caps
from scripts.lib.completions.client import Client, Patience, Report
from scripts.lib.completions.concurrency import AdaptiveLimit
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import ApiKey
from scripts.lib.completions.pricing import Price
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.completions.transport import Transport


def request(text: str = "hello", sample: int = 0, **changes: object) -> CompletionRequest:
    """A request, equal to another one of the same arguments."""
    values = {
        "model": "m",
        "model_identity": "m",
        "messages": (("user", text),),
        "parameters": (("max_tokens", 5), ("temperature", 0.5)),
        "sample": sample,
    }
    return CompletionRequest(**{**values, **changes})


def requests(number: int, max_tokens: int = 50) -> list[CompletionRequest]:
    """Some requests, no two of them equal."""
    return [
        request(f"question {at}", parameters=(("max_tokens", max_tokens),)) for at in range(number)
    ]


def client_of(
    url: str,
    keys: tuple[str, ...] = ("sk-test",),
    *,
    in_flight: int = 8,
    timeout: float = 20.0,
    caps: Caps = Caps(),  # noqa: B008
    price: Price | None = None,
    spent: Amount = NO_AMOUNT,
    **patience: Any,
) -> Client:
    """A client with real connections."""
    numbered = [ApiKey(number, key) for number, key in enumerate(keys, start=1)]
    return Client(
        lambda: Transport(url, timeout, in_flight),
        Admission(numbered, AdaptiveLimit(in_flight, in_flight)),
        Budget(caps, price, spent),
        Patience(**{"attempts": 3, "outage": 30.0, "drain": 5.0, **patience}),
        name=url,
    )


def ask(client: Client, folder: Path, asked: list[CompletionRequest], **options: Any) -> Report:
    """Ask for completions, with the journal of a folder."""
    with Journal(folder, "test") as journal:
        return client.complete(asked, journal, **options)


def asked_again(folder: Path, asked: list[CompletionRequest]) -> list[CompletionRequest]:
    """The requests that the journal of a folder lacks."""
    with Journal(folder, "test", writes=False) as journal:
        return [one for one in asked if one.key not in journal]


class _SkippingSelector(selectors.SelectSelector):
    """Does not wait: what it would have waited for has passed on the loop's clock."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.skipped += timeout
        # Without a timeout only another thread can bring something.
        return ready or super().select(0.001 if timeout is None else 0)


def run_skipping(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop whose clock starts at 0, and never wait in real time."""

    def new_loop() -> asyncio.SelectorEventLoop:
        selector = _SkippingSelector()
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.skipped  # type: ignore[method-assign]
        return loop

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)
