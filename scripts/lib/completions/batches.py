"""Replies by the Batch API: at half the price, within a day, through every kill.

What is known of a batch is on disk before it is created, and the batch itself carries the name of
its input: one that was created in the moment of a kill is found again by it. Who collects a batch
records its replies for those who have asked for it, and so pay for it.
"""

import contextlib
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scripts.lib.completions.answers import Answer, Meaning, Verdict, judge
from scripts.lib.completions.batch_api import TERMINAL, Batch, BatchApi
from scripts.lib.completions.batch_files import BatchFiles, BatchState, input_line
from scripts.lib.completions.budget import NO_AMOUNT, Amount, Budget
from scripts.lib.completions.client import Failure, Report
from scripts.lib.completions.entries import FAILED, REPLY, cost_in, now_text
from scripts.lib.completions.journal import Journal, entries
from scripts.lib.completions.keys import secrets_of
from scripts.lib.completions.pricing import NOTHING, usage_of
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.completions.stops import BudgetReached, EndpointDown
from scripts.lib.console import say
from scripts.lib.errors import UserError

# The provider's limits for one file.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
# How long a provider may work on a creation before its batch is in the list of all batches.
CREATION_SECONDS = 120.0
SAY_EVERY_SECONDS = 30.0

OnReply = Callable[[CompletionRequest, dict[str, Any]], None]


def keys_in_batches(journal_folder: Path, base_url: str) -> set[str]:
    """The keys of the requests that are in an endpoint's batches, and not collected yet."""
    states = BatchFiles(journal_folder).uncollected_at(base_url)
    return {key for state in states for key in state.samples}


def batches_of(journal: Journal) -> list[BatchState]:
    """The open batches that a journal's name pays for."""
    states = BatchFiles(journal.folder).uncollected()
    return [state for state in states if state.name == journal.name]


@dataclass
class BatchClient:
    """Asks for completions by the Batch API, and keeps on where an earlier run stopped.

    `attempts` bounds how often a request is put into a batch. `poll` and `outage` are in seconds,
    `discount` is what the price is multiplied by; a batch whose creation was not confirmed is
    looked for until it would be `creation` seconds old.
    """

    api: BatchApi
    budget: Budget
    poll: float
    discount: float
    attempts: int
    outage: float
    creation: float = CREATION_SECONDS
    most_requests: int = MOST_REQUESTS
    most_bytes: int = MOST_BYTES

    def complete(
        self,
        requests: list[CompletionRequest],
        journal: Journal,
        on_reply: OnReply = lambda *_: None,
    ) -> Report:
        """Get every completion that the journal lacks; blocks until all batches have ended.

        A kill at any moment loses no batch: the next call finds it. Raises `UserError` for what the
        user can put right; what was collected is kept.
        """
        with contextlib.closing(self.api):
            return _BatchRun(self, journal.missing(requests), journal, on_reply).run()

    def settle_open(self, journal: Journal) -> None:
        """Collect what has ended of the batches in a journal's name; reserve for the others.

        They are paid for, or may be, whatever is asked for now.
        """
        own = batches_of(journal)
        for state in own:
            self.budget.hold(state.input_name, state.most_amount)
        if any(state.base_url == self.api.base_url for state in own):
            with contextlib.closing(self.api):
                _BatchRun(self, {}, journal, lambda *_: None).look_once()


class _OpenBatch(NamedTuple):
    """A batch whose end is waited for, and its requests by their keys."""

    state: BatchState
    held: dict[str, CompletionRequest]


class _BatchRun:
    """One run: what is open, what is wanted, what is left."""

    def __init__(
        self,
        client: BatchClient,
        missing: dict[str, CompletionRequest],
        journal: Journal,
        on_reply: OnReply,
    ) -> None:
        self._client, self._api, self._budget = client, client.api, client.budget
        self._journal, self._files = journal, BatchFiles(journal.folder)
        self._missing, self._on_reply = dict(missing), on_reply
        self._tries = dict.fromkeys(missing, 0)
        self._secrets = secrets_of(self._api.keys)
        self._report = Report()
        self._most_requests, self._one_at_a_time = client.most_requests, False
        self._errors: dict[str, tuple[Meaning, str]] = {}
        self._open: dict[str, _OpenBatch] = {}
        self._in_queue: set[str] = set()
        # Batches that are not looked at any more.
        self._set_aside: set[str] = set()
        # Keys of requests in batches of which nobody knows yet whether they were created.
        self._unconfirmed: set[str] = set()
        # What of this pass may go better later, and since when, and how often, that has been so.
        self._down: EndpointDown | None = None
        self._down_since: float | None = None
        self._times_down = 0
        # What the user must put right: nothing more is submitted, what is open is still collected.
        self._broken: UserError | None = None

    def run(self) -> Report:
        said = time.monotonic()
        try:
            while not self._all_done():
                if time.monotonic() - said >= SAY_EVERY_SECONDS:
                    said = time.monotonic()
                    say(self._progress())
                # Each try to submit sends its file anew.
                time.sleep(self._client.poll * 2 ** min(self._times_down, 4))
        except (KeyboardInterrupt, SystemExit):
            if self._open:
                say(
                    f"stopped; {len(self._open)} open batches go on ({self._states()}): run the "
                    "same command again to collect them"
                )
            raise
        if self._broken is not None:
            raise self._broken
        self._journal.sync()
        self._report.not_sent = len(self._missing)
        return self._report

    def look_once(self) -> None:
        """Collect what has ended by now."""
        self._take_up()
        self._look()

    def _all_done(self) -> bool:
        """Do what can be done now; whether nothing is left to wait for.

        One batch that cannot be looked at holds up no other. An endpoint that has answered and then
        is away for a while is waited for: a batch takes hours.
        """
        self._down = None
        self._take_up()
        while self._look():
            # What was refused for a full queue looks at all that fills it.
            self._take_up()
        if self._broken is None:
            with self._later():
                self._submit_rest()
        if self._down is not None:
            self._wait_or_raise(self._down)
            return False
        if not self._unconfirmed:
            self._down_since, self._times_down = None, 0
        on_their_way = self._missing.keys() & self._in_batches()
        # What is not submitted yet waits for room in the account's queue.
        ends = self._report.stop is not None or self._broken is not None
        return not on_their_way and (ends or not self._missing)

    def _wait_or_raise(self, error: EndpointDown) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            say(f"waiting for up to {self._client.outage:g} s: {error}")
        self._times_down += 1
        away = time.monotonic() - self._down_since
        if not self._api.has_answered or away >= self._client.outage:
            raise error

    @contextlib.contextmanager
    def _later(self, state: BatchState | None = None) -> Iterator[None]:
        """Put off what goes wrong in a block until everything else of the pass is done.

        It concerns the batch of `state`, or what is to be submitted. A batch that is not wanted, or
        that the user must put right, is set aside.
        """
        wanted = state is None or self._is_wanted(state)
        try:
            yield
            return
        except EndpointDown as error:
            if wanted:
                self._down = self._down or error
                return
            say(f"left alone for now, since nothing of it is wanted: {error}")
        except UserError as error:
            if wanted and self._broken is None:
                self._broken = error
                if self._open:
                    say(f"nothing more is submitted, other batches are waited for: {error}")
            elif not wanted:
                say(f"left alone, since nothing of it is wanted: {error}")
        if state is not None:
            self._set_aside.add(state.input_name)
            self._open.pop(state.input_name, None)

    def _in_batches(self) -> set[str]:
        """The keys of what is in open batches, or may be."""
        return {key for batch in self._open.values() for key in batch.held} | self._unconfirmed

    def _is_own(self, state: BatchState) -> bool:
        """Whether our budget pays for a batch."""
        return state.name == self._journal.name

    def _is_wanted(self, state: BatchState) -> bool:
        return not self._missing.keys().isdisjoint(state.samples)

    def _progress(self) -> str:
        return (
            f"batches: {self._report.done} replies, {len(self._missing)} missing; {self._states()}"
        )

    def _states(self) -> str:
        return ", ".join(
            f"{batch.state.batch_id} {batch.state.status}" for batch in self._open.values()
        )

    # What earlier runs have left.

    def _take_up(self) -> None:
        """Take up the endpoint's open batches that hold what is wanted, or that we pay for.

        Where the account's queue is full, all of them: what has ended makes room.
        """
        self._unconfirmed.clear()
        for state in self._files.uncollected_at(self._api.base_url):
            if state.input_name in self._open or state.input_name in self._set_aside:
                continue
            own = self._is_own(state)
            if not (own or self._one_at_a_time or self._is_wanted(state)):
                continue
            with self._later(state):
                if not state.batch_id and not self._confirm(state):
                    continue
                if own:
                    self._budget.hold(state.input_name, state.most_amount)
                # Of one that another run has collected just now, what is wanted.
                held = {key: self._missing[key] for key in state.samples if key in self._missing}
                held = {**self._files.requests(state), **held}
                self._open[state.input_name] = _OpenBatch(state, held)
                say(f"batch {state.batch_id}: taken up again, {len(held)} requests")

    def _confirm(self, state: BatchState) -> bool:
        """Find out whether a batch was created; where it was not, give it up in due time."""
        self._unconfirmed |= state.samples.keys()
        if not self._is_own(state) and self._journal.is_claimed(state.name):
            return False  # Its run is creating it.
        batch = self._api.find(state)
        if batch is not None:
            state.batch_id, state.status = batch.id, batch.status
            self._files.save(state)
        elif any(not lane.may_read for lane in self._api.lanes):
            raise UserError(
                "a batch may have been created with a key that is refused now: run again with the "
                f"key that works, or remove {self._files.path(state)} to submit its requests again"
            )
        elif state.age >= self._client.creation:
            self._forget(state)
        else:
            return False
        self._unconfirmed -= state.samples.keys()
        return batch is not None

    def _forget(self, state: BatchState) -> None:
        self._budget.release(state.input_name, NO_AMOUNT)
        self._files.forget(state)

    # Creating batches.

    def _submit_rest(self) -> None:
        """Put what is missing, and in no open batch, into batches, as far as the budget goes."""
        # Another run may have collected a batch since.
        self._journal.refresh()
        self._find_known()
        held_back = self._in_batches()
        waiting = deque(request for key, request in self._missing.items() if key not in held_back)
        # What an ended batch has not taken of its reservation may be enough now.
        self._report.stop = None
        while waiting and self._report.stop is None:
            if self._one_at_a_time and self._open:
                return
            held, most = self._fill(waiting)
            if held:
                self._submit(held, most)

    def _fill(
        self, waiting: deque[CompletionRequest]
    ) -> tuple[dict[str, CompletionRequest], Amount]:
        """Take requests of one model, within the limits of a file, and reserve their budget."""
        held: dict[str, CompletionRequest] = {}
        most, size, model = NO_AMOUNT, 0, waiting[0].model
        while waiting and len(held) < self._most_requests and waiting[0].model == model:
            request = waiting[0]
            size += len(input_line(request))
            if held and size > self._client.most_bytes:
                break
            amount = self._budget.amount(request.most, self._client.discount)
            if exceeded := self._budget.reserve(amount):
                self._report.stop = BudgetReached(exceeded)
                break
            held[request.key] = waiting.popleft()
            most += amount
        return held, most

    def _submit(self, held: dict[str, CompletionRequest], most: Amount) -> None:
        content = b"".join(input_line(request) for request in held.values())
        state = BatchState(
            # The time makes it another one when the same requests are asked for once more.
            input_name=hashlib.sha256(content + now_text().encode()).hexdigest()[:32],
            base_url=self._api.base_url,
            name=self._journal.name,
            samples={key: request.sample for key, request in held.items()},
            most={**most.usage.as_dict(), "dollars": most.dollars},
            created="",
        )
        self._budget.settle(most, NO_AMOUNT)
        self._budget.hold(state.input_name, most)

        def before() -> None:
            state.created = now_text()
            self._files.add(state, content)

        try:
            batch = self._api.create(state.input_name, content, before)
        except UserError as error:
            # Where it was under way, it will show later whether the batch was created.
            if not (state.created and isinstance(error, EndpointDown)):
                self._forget(state)
            raise
        state.batch_id, state.status = batch.id, batch.status
        self._files.save(state)
        for key in held:
            self._tries[key] += 1
        self._open[state.input_name] = _OpenBatch(state, held)
        say(f"batch {batch.id}: {len(held)} requests submitted")

    # Watching and collecting.

    def _look(self) -> bool:
        """Ask after every open batch; whether one of them has ended."""
        ended = False
        # One was refused for those that were in the queue then, some of which may have ended since.
        self._in_queue = self._taking_room()
        for one in list(self._open.values()):
            with self._later(one.state):
                ended |= self._look_at(one)
        return ended

    def _look_at(self, one: _OpenBatch) -> bool:
        """Ask after a batch, and collect it if it has ended; whether it has."""
        state, held = one
        batch = self._api.retrieve(state.batch_id)
        if batch is None:
            raise UserError(f"no key knows the batch {state.batch_id}: {self._remedy(state)}")
        if batch.status != state.status:
            state.status = batch.status
            self._files.save(state)
        if batch.status not in TERMINAL:
            return False
        wanted = self._is_wanted(state)
        self._collect(state, held, batch)
        del self._open[state.input_name]
        if wanted:
            self._judge_the_rest(state, held, batch)
        return True

    def _collect(self, state: BatchState, held: dict[str, CompletionRequest], batch: Batch) -> None:
        """Journal the replies of an ended batch: of one that expired or was cancelled, too."""
        rows = self._rows(state, batch.output_file)
        if len(rows) < batch.completed:
            raise EndpointDown(
                f"{self._api.base_url}: the result of the batch {state.batch_id} came with "
                f"{len(rows)} of {batch.completed} replies: run the same command again, or "
                f"{self._remedy(state)}"
            )
        rows += self._rows(state, batch.error_file)
        taken, replies = NO_AMOUNT, 0
        with self._files.collecting(state) as is_ours:
            counted = self._counted(state)
            # Another run may have collected the batch, or a request by another way.
            self._journal.refresh()
            if not is_ours:
                taken = sum(counted.values(), NO_AMOUNT)
            for row in rows if is_ours else ():
                key = row.get("custom_id")
                request = held.get(key)
                if request is None or key in counted:
                    continue
                amount, is_reply = self._take(state, request, row)
                taken += amount
                replies += is_reply
            self._journal.sync()
        self._find_known()
        if self._is_own(state):
            self._budget.release(state.input_name, taken)
        say(f"batch {state.batch_id}: {batch.status}, {replies} of {len(held)} replies")

    def _find_known(self) -> None:
        """Take out of what is missing what is in the journal by now."""
        for key in [key for key in self._missing if key in self._journal]:
            self._report.done += 1
            self._on_reply(self._missing.pop(key), self._journal.entry(key)["response"])

    def _counted(self, state: BatchState) -> dict[str, Amount]:
        """What the journal has of a batch, which a kill may have cut short: costs by keys."""
        found: dict[str, Amount] = {}
        for entry in entries(self._journal.folder, state.name, holding=state.batch_id):
            if any(one.get("batch") == state.batch_id for one in entry.get("attempts") or ()):
                key = entry[REPLY] if REPLY in entry else entry[FAILED]
                found[key] = found.get(key, NO_AMOUNT) + cost_in(entry, self._budget.price)
        return found

    def _take(
        self, state: BatchState, request: CompletionRequest, row: dict[str, Any]
    ) -> tuple[Amount, bool]:
        """Journal a row of a result: what it has cost, and whether it is a reply."""
        discount, price = self._client.discount, self._budget.price
        body, verdict = _answer_in(row)
        is_reply = verdict.meaning is Meaning.REPLY
        message = "" if is_reply else self._api.redacted(verdict.message)
        if not is_reply:
            self._errors[request.key] = (verdict.meaning, message)
            if not verdict.charged:
                return NO_AMOUNT, False
        usage = usage_of(body, request.most)
        attempts = [{"batch": state.batch_id, "outcome": message or "reply"}]
        if is_reply and request.key not in self._journal:
            self._journal.record(
                request,
                body,
                price=price,
                discount=discount,
                attempts=attempts,
                secrets=self._secrets,
                name=state.name,
            )
        else:
            # What is no reply, or a second one, was paid for all the same.
            self._journal.record_failure(
                request,
                "second reply" if is_reply else "no reply",
                attempts,
                lost=usage,
                price=price and price.times(discount),
                secrets=self._secrets,
                name=state.name,
            )
        return self._budget.amount(usage, discount), is_reply

    def _judge_the_rest(
        self, state: BatchState, held: dict[str, CompletionRequest], batch: Batch
    ) -> None:
        """Give up on requests that were refused or tried often enough; the others go again."""
        too_many = "token_limit_exceeded" in [code for code, _ in batch.errors]
        wanted = held.keys() & self._missing.keys()
        if batch.status == "failed" and not too_many:
            details = "; ".join(message for _, message in batch.errors)
            raise UserError(
                f"the batch {state.batch_id} was refused: {details or 'no reason given'} (nothing "
                "was paid for it): mend that, or set label.client.mode: live"
            )
        if too_many:
            self._make_smaller(len(held), alone=self._in_queue <= {state.input_name})
        for key in [key for key in held if key in wanted]:
            unknown = (Meaning.PASSING, f"batch {batch.status}")
            meaning, message = self._errors.pop(key, unknown)
            if too_many:
                self._tries[key] -= 1
            elif meaning is Meaning.REFUSED:
                self._fail(held[key], "refused", message)
            elif self._tries[key] >= self._client.attempts:
                self._fail(held[key], "unanswered", message)

    def _taking_room(self) -> set[str]:
        """The known batches that take room in the account's queue."""
        here = self._files.uncollected_at(self._api.base_url)
        return {one.input_name for one in here} - self._set_aside

    def _make_smaller(self, refused: int, alone: bool) -> None:
        """Go on with one batch at a time; with smaller ones if this one was alone in the queue."""
        self._one_at_a_time = True
        if alone and refused == 1:
            raise UserError(
                "one request exceeds the account's limit of enqueued tokens, or batches of others "
                "fill it: lower label.max_tokens, run again later, or set label.client.mode: live"
            )
        if alone:
            self._most_requests = max(1, refused // 2)

    def _fail(self, request: CompletionRequest, reason: str, detail: str) -> None:
        del self._missing[request.key]
        self._report.failed.append(Failure(request, reason, detail))
        self._journal.record_failure(
            request, reason, [{"outcome": detail}], lost=NOTHING, secrets=self._secrets
        )

    def _rows(self, state: BatchState, file_id: str) -> list[dict[str, Any]]:
        """The rows of a file of results; none where there is no file."""
        if not file_id:
            return []
        content = self._api.content(file_id)
        if content is None:
            raise UserError(
                f"no key can read {file_id}, the result of the batch {state.batch_id}: "
                f"{self._remedy(state)}"
            )
        rows = []
        # Not `splitlines`, which also parts at characters that JSON may hold.
        for line in content.split(b"\n"):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                row["custom_id"]
            except (ValueError, LookupError, TypeError):
                raise EndpointDown(
                    f"{self._api.base_url}: the result of the batch {state.batch_id} came damaged: "
                    f"run the same command again, or {self._remedy(state)}"
                ) from None
            rows.append(row)
        return rows

    def _remedy(self, state: BatchState) -> str:
        return (
            f"use the key that created it, or remove {self._files.path(state)} to ask for its "
            "replies once more"
        )


def _answer_in(row: dict[str, Any]) -> tuple[dict[str, Any], Verdict]:
    """The body of the answer to one request of a batch, and what it means."""
    response, error = row.get("response"), row.get("error")
    if not isinstance(response, dict):
        message = error.get("message") if isinstance(error, dict) else error
        return {}, Verdict(Meaning.PASSING, str(message or "no answer"))
    body, status = response.get("body"), response.get("status_code")
    answer = Answer(status if isinstance(status, int) else 500, {}, json.dumps(body).encode())
    return (body if isinstance(body, dict) else {}), judge(answer)
