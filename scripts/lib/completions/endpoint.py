"""The endpoint of a step: opened when the first reply is missing, asked with care, then closed."""

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.completions.admission import Admission
from scripts.lib.completions.batches import BatchRun, requests_in_batches
from scripts.lib.completions.budget import Budget
from scripts.lib.completions.client import Client, Failure, Patience, Report
from scripts.lib.completions.concurrency import AdaptiveLimit
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import ApiKey, load_keys, move_to_aborted
from scripts.lib.completions.local_server import check_that_it_samples, serve
from scripts.lib.completions.pricing import Price, find_price
from scripts.lib.completions.request import Completion, CompletionRequest, completion_of
from scripts.lib.completions.settings import ClientSettings
from scripts.lib.completions.stops import CanaryFailed, TooManyFailed
from scripts.lib.completions.transport import Transport
from scripts.lib.console import Progress, say
from scripts.lib.errors import UserError
from scripts.lib.models import check_model_name

OPENAI_URL = "https://api.openai.com/v1"
# Open requests at a time: of a local server at first and at most, of another one at first, at most.
LOCAL_IN_FLIGHT, FIRST_IN_FLIGHT, MOST_IN_FLIGHT = 16, 16, 512
OWN_HARDWARE = Price(0.0, 0.0, "own hardware")
SHOWN_REPLIES, SHOWN_CHARACTERS = 2, 400


def remote_url() -> str:
    """The base URL of the endpoint that is not local."""
    return (os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")


@dataclass(frozen=True)
class Question:
    """What a step asks for.

    `of_use` says whether a completion can be used, for the canary and the progress.
    """

    step: str
    requests: list[CompletionRequest]
    of_use: Callable[[CompletionRequest, Completion], bool] = lambda request, completion: True


class Endpoint:
    """Gets replies into a journal. A context manager; nothing is opened while none is missing.

    `kind` is `local` (a model that is served as long as the block runs) or `openai`. `sampled`
    says that some request has a temperature above 0.
    """

    def __init__(
        self,
        kind: str,
        model: str,
        settings: ClientSettings,
        *,
        server_log: Path,
        sampled: bool,
    ) -> None:
        self._kind, self._model = kind, model
        self._settings, self._server_log, self._sampled = settings, server_log, sampled
        self._stack = ExitStack()
        self._client: Client | None = None
        self._batches: BatchRun | None = None
        self._valid = self._received = 0

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *of_error: Any) -> None:
        try:
            self._update_key_file()
        finally:
            self._stack.close()

    @property
    def dollars(self) -> float:
        """Dollars spent on the replies so far, 0 where the price is unknown."""
        return self._client.budget.spent.dollars if self._client else 0.0

    def ask(self, question: Question, journal: Journal) -> dict[str, Failure]:
        """Get every reply that the journal lacks; returns why some are still missing.

        Raises a `UserError` with an exit status of its own where the run must stop: see
        `scripts.lib.completions.stops`. What was paid for is in the journal.
        """
        journal.refresh()
        missing = journal.missing(question.requests)
        if not missing:
            return {}
        client = self._client or self._open(question.requests, journal)
        number = len(missing)
        failed: list[Failure] = []
        replied: list[CompletionRequest] = []
        alone, local = self._settings.canary.replies, self._kind == "local"
        with Progress(question.step, number, "replies") as progress:

            def on_reply(request: CompletionRequest, response: dict[str, Any]) -> None:
                completion = completion_of(request.key, request.model, response)
                self._received += 1
                self._valid += question.of_use(request, completion)
                progress.advance(note=self._note)
                if local:
                    replied.append(request)
                    if len(replied) == alone < number:
                        self._check_canary(question, replied, journal)

            rest = question.requests
            in_batches = requests_in_batches(journal, client.name, missing.keys())
            self._check_open_batches(in_batches)
            # On our own hardware nothing is paid for a reply, but much for an idle server.
            if not local and alone < len(rest) and not in_batches:
                first, rest = rest[:alone], rest[alone:]
                failed += self._finish(client.complete(first, journal, on_reply))
                self._check_canary(question, first, journal)
            failed += self._finish(self._complete(client, rest, journal, on_reply))
        self._check_failures(failed, len({request.key for request in question.requests}))
        return {failure.request.key: failure for failure in failed}

    def _complete(
        self,
        client: Client,
        requests: list[CompletionRequest],
        journal: Journal,
        on_reply: Callable[[CompletionRequest, dict[str, Any]], None],
    ) -> Report:
        if self._batches is None:
            return client.complete(requests, journal, on_reply)
        return self._batches.complete(requests, journal, on_reply)

    def _finish(self, report: Report) -> list[Failure]:
        if report.stop is not None:
            reasons = _by_reason(report.failed)
            say(
                f"stopped: {report.done} replies received"
                f"{', ' + reasons if reasons else ''}, {report.not_sent} not asked for"
            )
            raise report.stop
        return report.failed

    def _note(self) -> str:
        assert self._client is not None
        requests, tokens = self._client.meter.a_minute(time.monotonic())
        parts = [
            f"{self._valid / max(1, self._received):.0%} valid",
            f"{requests:,.0f} requests/min",
            f"{tokens:,.0f} tokens/min",
            f"{self._client.meter.open} in flight",
        ]
        if self.dollars:
            parts.append(f"${self.dollars:.2f}")
        return ", ".join(parts)

    def _check_canary(
        self, question: Question, first: list[CompletionRequest], journal: Journal
    ) -> None:
        """Stop before money is spent on replies of which nobody can make use."""
        replies = [(request, journal[request.key]) for request in first if request.key in journal]
        useless = [reply for request, reply in replies if not question.of_use(request, reply)]
        useful = len(replies) - len(useless)
        if not replies or useful >= self._settings.canary.parsed * len(replies):
            return
        for completion in useless[:SHOWN_REPLIES]:
            say(f"a reply of no use:\n{completion.text[:SHOWN_CHARACTERS]}\n---")
        raise CanaryFailed(
            f"only {useful} of the first {len(replies)} replies can be used, see two of the others "
            "above: mend the task's request or take another model, or lower "
            "label.client.canary.parsed; nothing more was asked for"
        )

    def _check_open_batches(self, number: int) -> None:
        """Do not pay again, one by one, for what an open batch is paid for already."""
        if number and self._batches is None:
            raise UserError(
                f"{number} of the missing replies are in open batches: set label.client.mode to "
                "batch and run again to collect them, or remove their files in the folder "
                "'batches' of the journal to ask for them once more"
            )

    def _check_failures(self, failed: list[Failure], number: int) -> None:
        if len(failed) <= self._settings.max_failed * number:
            return
        raise TooManyFailed(
            f"{len(failed)} of {number} requests have no reply ({_by_reason(failed)}; the last: "
            f"{failed[-1].detail}): run the same command again to ask for them alone, or raise "
            "label.client.max_failed"
        )

    # Opening.

    def _open(self, requests: list[CompletionRequest], journal: Journal) -> Client:
        settings = self._settings
        if self._kind == "local":
            url, keys = self._serve(requests), [ApiKey(1, "local")]
            in_flight = settings.in_flight or LOCAL_IN_FLIGHT
            # We know what the server bears: it is ours, and of this machine.
            concurrency, price = AdaptiveLimit(in_flight, in_flight), OWN_HARDWARE
        else:
            url, keys = remote_url(), load_keys(os.environ, settings.key_file)
            in_flight = settings.in_flight or MOST_IN_FLIGHT
            concurrency = AdaptiveLimit(FIRST_IN_FLIGHT, in_flight)
            price = find_price(self._model, url, settings.price)
        self._client = Client(
            lambda: Transport(url, settings.timeout, in_flight),
            Admission(keys, concurrency, settings.requests_per_minute, settings.tokens_per_minute),
            Budget(settings.budget, price, journal.spent(price)),
            Patience(settings.attempts, settings.outage, settings.drain),
            name=url,
        )
        if settings.mode == "batch" and self._kind != "local":
            self._batches = BatchRun(
                base_url=url,
                keys=keys,
                budget=self._client.budget,
                poll=settings.batch.poll,
                discount=settings.batch.discount,
                attempts=settings.attempts,
                timeout=settings.timeout,
                outage=settings.outage,
            )
        return self._client

    def _serve(self, requests: list[CompletionRequest]) -> str:
        check_model_name(self._model)
        if self._sampled:
            check_that_it_samples(self._model)
        in_flight = self._settings.in_flight or LOCAL_IN_FLIGHT
        tokens = tokens_in_flight(requests, in_flight)
        return self._stack.enter_context(serve(self._model, self._server_log, tokens))

    def _update_key_file(self) -> None:
        if self._client is None or not self._settings.update_key_file:
            return
        if self._settings.key_file is not None:
            retired = [lane.key for lane in self._client.admission.lanes if lane.retired]
            move_to_aborted(self._settings.key_file, retired)


def _by_reason(failed: list[Failure]) -> str:
    reasons = Counter(failure.reason for failure in failed)
    return ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))


def tokens_in_flight(requests: list[CompletionRequest], in_flight: int) -> int:
    """About how many tokens the open requests hold together; a token is two characters or more."""
    longest = max(sum(len(content) for _, content in request.messages) for request in requests)
    return in_flight * (longest // 2 + requests[0].max_tokens)
