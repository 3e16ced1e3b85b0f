"""A step's question to an endpoint: its first replies are looked at, its failures are counted."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.lib.completions.batches import BatchClient
from scripts.lib.completions.client import Client, Failure, Report
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.request import Completion, CompletionRequest, completion_of
from scripts.lib.completions.settings import ClientSettings
from scripts.lib.completions.stops import CanaryFailed, TooManyFailed
from scripts.lib.console import Progress, say

SHOWN_REPLIES, SHOWN_CHARACTERS = 2, 400


@dataclass(frozen=True)
class Question:
    """What a step asks for.

    `defect` says why a completion cannot be used ("" where it can), for the canary and the
    progress.
    """

    step: str
    requests: list[CompletionRequest]
    defect: Callable[[CompletionRequest, Completion], str] = lambda request, completion: ""


class Asking:
    """Asks one question, by `batches` where there are any, else request by request.

    Both ways to ask return why requests are still without a reply, by their keys. They raise the
    stop of a run that ended early, `CanaryFailed` where too few of the first replies can be used,
    and `TooManyFailed`.
    """

    def __init__(
        self,
        question: Question,
        journal: Journal,
        client: Client,
        batches: BatchClient | None,
        settings: ClientSettings,
    ) -> None:
        self._question, self._journal = question, journal
        self._client, self._batches, self._settings = client, batches, settings
        self._progress: Progress
        self._failed: list[Failure] = []
        self._missing = self._received = self._useful = 0
        # Those that came first are the canary of requests that are not held up for it.
        self._first: list[CompletionRequest] | None = None

    def with_canary_first(self, missing: int, skip: bool) -> dict[str, Failure]:
        """Ask for the first replies alone, unless `skip` says that more are on their way."""
        self._missing = missing
        rest, alone = self._question.requests, self._settings.canary.replies
        with Progress(self._question.step, missing, "replies") as self._progress:
            if alone < len(rest) and not skip:
                first, rest = rest[:alone], rest[alone:]
                self._finish(self._one_by_one(first))
                self._check_canary(first)
            if self._batches is None:
                self._finish(self._one_by_one(rest))
            else:
                self._finish(self._batches.complete(rest, self._journal, self._on_reply))
        return self._failures()

    def with_canary_on_the_way(self, missing: int) -> dict[str, Failure]:
        """Ask for all replies, and look at the first that come meanwhile."""
        self._missing = missing
        if self._settings.canary.replies < missing:
            self._first = []
        with Progress(self._question.step, missing, "replies") as self._progress:
            self._finish(self._one_by_one(self._question.requests))
        return self._failures()

    def _one_by_one(self, requests: list[CompletionRequest]) -> Report:
        return self._client.complete(requests, self._journal, self._on_reply, self._on_tick)

    def _finish(self, report: Report) -> None:
        self._failed += report.failed
        if report.stop is None:
            return
        reasons = _by_reason(self._failed)
        not_asked_for = self._missing - self._received - len(self._failed)
        say(
            f"stopped: {self._received} replies received"
            f"{', ' + reasons if reasons else ''}, {not_asked_for} not asked for"
        )
        raise report.stop

    def _failures(self) -> dict[str, Failure]:
        number = len({request.key for request in self._question.requests})
        if len(self._failed) > self._settings.max_failed * number:
            raise TooManyFailed(
                f"{len(self._failed)} of {number} requests have no reply "
                f"({_by_reason(self._failed)}; the last: {self._failed[-1].detail}): run the same "
                "command again to ask for them alone, or raise label.client.max_failed"
            )
        return {failure.request.key: failure for failure in self._failed}

    # The progress.

    def _on_reply(self, request: CompletionRequest, response: dict[str, Any]) -> None:
        completion = completion_of(request.key, request.model, response)
        self._received += 1
        self._useful += not self._question.defect(request, completion)
        self._progress.advance(note=self._note)
        if self._first is not None:
            self._first.append(request)
            if len(self._first) == self._settings.canary.replies:
                self._check_canary(self._first)

    def _on_tick(self) -> None:
        self._progress.advance(0, self._note)

    def _note(self) -> str:
        requests, tokens = self._client.meter.a_minute(time.monotonic())
        dollars = self._client.budget.spent.dollars
        return (
            f"{self._useful / max(1, self._received):.0%} valid, "
            f"{requests:,.0f} requests/min, {tokens:,.0f} tokens/min, "
            f"{self._client.meter.open} in flight{f', ${dollars:.2f}' if dollars else ''}"
            f"{f'; {trouble}' if (trouble := self._client.meter.trouble) else ''}"
        )

    # The canary.

    def _check_canary(self, first: list[CompletionRequest]) -> None:
        """Stop before money is spent on replies of which nobody can make use."""
        judged = [
            (request, reply, self._question.defect(request, reply))
            for request in first
            if (reply := self._journal.get(request.key))
        ]
        useless = [one for one in judged if one[2]]
        useful = len(judged) - len(useless)
        if not judged or useful >= self._settings.canary.parsed * len(judged):
            return
        for one in useless[:SHOWN_REPLIES]:
            say(_shown(*one))
        defects = Counter(defect for _, _, defect in useless)
        reasons = ", ".join(f"{number} {defect}" for defect, number in sorted(defects.items()))
        raise CanaryFailed(
            f"only {useful} of the first {len(judged)} replies can be used ({reasons}), see two "
            "of the others above: mend the task's request, raise label.max_tokens where replies "
            "are cut off, or take another model; or lower label.client.canary.parsed; nothing more "
            "was asked for"
        )


def _shown(request: CompletionRequest, reply: Completion, defect: str) -> str:
    ended = f", ended by {reply.finish_reason!r}" if reply.finish_reason else ""
    return (
        f"a reply of no use ({defect}; {reply.completion_tokens} of at most {request.max_tokens} "
        f"tokens{ended}):\n{reply.text[:SHOWN_CHARACTERS]}\n---"
    )


def _by_reason(failed: list[Failure]) -> str:
    reasons = Counter(failure.reason for failure in failed)
    return ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
