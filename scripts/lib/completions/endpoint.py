"""The endpoint of a step: opened when the first reply is missing, asked with care, then closed."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts.lib.completions.admission import Admission
from scripts.lib.completions.batch_api import BatchApi
from scripts.lib.completions.batches import BatchClient, keys_in_batches
from scripts.lib.completions.budget import Budget
from scripts.lib.completions.client import Client, Failure, Patience
from scripts.lib.completions.concurrency import AdaptiveLimit
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import ApiKey, load_keys, move_to_aborted
from scripts.lib.completions.local_server import check_that_it_samples, serve
from scripts.lib.completions.pricing import Price, find_price
from scripts.lib.completions.question import Asking, Question
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.completions.settings import ClientSettings
from scripts.lib.completions.transport import Transport
from scripts.lib.errors import UserError
from scripts.lib.models import check_model_name

OPENAI_URL = "https://api.openai.com/v1"
# Open requests at a time: of a local server at first and at most, of another one at first, at most.
LOCAL_IN_FLIGHT, FIRST_IN_FLIGHT, MOST_IN_FLIGHT = 16, 16, 512
OWN_HARDWARE = Price(0.0, 0.0, "own hardware")


def remote_url() -> str:
    """The base URL of the endpoint that is not local."""
    return (os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")


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
        self._batches: BatchClient | None = None

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *of_error: Any) -> None:
        try:
            self._update_key_file()
        finally:
            self._stack.close()

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
        # What has ended of open batches is collected when the endpoint is opened.
        missing = journal.missing(question.requests)
        in_batches = missing.keys() & keys_in_batches(journal.folder, client.name)
        if in_batches and self._batches is None:
            # Do not pay again, one by one, for what an open batch is paid for already.
            raise UserError(
                f"{len(in_batches)} of the missing replies are in open batches: set "
                "label.client.mode to batch and run again to collect them, or remove their files "
                "in the folder 'batches' of the journal to ask for them once more"
            )
        asking = Asking(question, journal, client, self._batches, self._settings)
        if self._kind == "local":
            # On our own hardware nothing is paid for a reply, but much for an idle server.
            return asking.with_canary_on_the_way(len(missing))
        return asking.with_canary_first(len(missing), skip=bool(in_batches))

    # Opening.

    def _open(self, requests: list[CompletionRequest], journal: Journal) -> Client:
        settings = self._settings
        if self._kind == "local":
            in_flight = settings.in_flight or LOCAL_IN_FLIGHT
            url, keys = self._serve(requests, in_flight), [ApiKey(1, "local")]
            # We know what the server bears: it is ours, and of this machine.
            concurrency, price = AdaptiveLimit(in_flight, in_flight), OWN_HARDWARE
        else:
            url, keys = remote_url(), load_keys(os.environ, settings.key_file)
            in_flight = settings.in_flight or MOST_IN_FLIGHT
            concurrency = AdaptiveLimit(FIRST_IN_FLIGHT, in_flight)
            price = find_price(self._model, url, settings.price)
        budget = Budget(settings.budget, price, journal.spent(price))
        self._client = Client(
            lambda: Transport(url, settings.timeout, in_flight),
            Admission(keys, concurrency, settings.requests_per_minute, settings.tokens_per_minute),
            budget,
            Patience(settings.attempts, settings.outage, settings.drain),
            name=url,
        )
        if self._kind != "local":
            batches = BatchClient(
                BatchApi(url, self._client.admission.lanes, settings.timeout),
                budget,
                poll=settings.batch.poll,
                discount=settings.batch.discount,
                attempts=settings.attempts,
                outage=settings.outage,
            )
            batches.settle_open(journal)
            if settings.mode == "batch":
                self._batches = batches
        return self._client

    def _serve(self, requests: list[CompletionRequest], in_flight: int) -> str:
        check_model_name(self._model)
        if self._sampled:
            check_that_it_samples(self._model)
        tokens = tokens_in_flight(requests, in_flight)
        return self._stack.enter_context(serve(self._model, self._server_log, tokens))

    def _update_key_file(self) -> None:
        if self._client is None or not self._settings.update_key_file:
            return
        if self._settings.key_file is not None:
            retired = [
                lane.key for lane in self._client.admission.lanes if lane.retired is not None
            ]
            move_to_aborted(self._settings.key_file, retired)


def tokens_in_flight(requests: list[CompletionRequest], in_flight: int) -> int:
    """About how many tokens the open requests hold together; a token is two characters or more."""
    longest = max(sum(len(content) for _, content in request.messages) for request in requests)
    return in_flight * (longest // 2 + requests[0].max_tokens)
