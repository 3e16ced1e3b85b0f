"""Asking for completions: every reply once, within every limit, through every fault.

A `Client` knows the keys, the limits and the budget of an endpoint; each `complete` is one run of
its event loop. All decisions are made in `_Run`, which sees the network only through `Send`.
"""

import asyncio
import contextlib
import heapq
import json
import random
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scripts.lib.completions.admission import Admission, Lane, Lease, no_key_left, retire
from scripts.lib.completions.answers import Answer, Meaning, Unanswered, Verdict, judge, kept
from scripts.lib.completions.budget import NO_AMOUNT, Amount, Budget
from scripts.lib.completions.entries import now_text
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import redacted, secrets_of
from scripts.lib.completions.meter import Meter
from scripts.lib.completions.pricing import NOTHING, Usage, usage_of
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.completions.stops import BudgetReached, EndpointDown, Interrupted
from scripts.lib.completions.transport import Connect, Send
from scripts.lib.console import say
from scripts.lib.errors import UserError

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 30.0
# So many faults in a row, and nobody else's success between them, are the endpoint's.
OUTAGE_AFTER = 5
TICK_SECONDS = 1.0
# A silence that is worth a word.
SILENT_SECONDS = 10.0
# Requests that fail before the first reply, and so say that nothing of this kind will work.
FAILED_FROM_THE_START = 3


@dataclass(frozen=True)
class Failure:
    """Why a request has no reply: `refused`, `unanswered` or `interrupted`, and what happened."""

    request: CompletionRequest
    reason: str
    detail: str


@dataclass
class Report:
    """What became of all requests of a run: each is done, failed with a reason, or not sent.

    `stop` is why the run ended early, `None` when it did not.
    """

    done: int = 0
    failed: list[Failure] = field(default_factory=list)
    not_sent: int = 0
    stop: BaseException | None = None


@dataclass(frozen=True)
class Patience:
    """How long the client keeps trying. All but `attempts` in seconds.

    `attempts` bounds the tries of one request, counting those that failed while others succeeded.
    The run stops after `outage` without a reply, and waits for open requests for `drain` when a
    signal ends it.
    """

    attempts: int = 5
    outage: float = 600.0
    drain: float = 20.0


@dataclass
class _Job:
    """A request on its way, with its tries so far."""

    request: CompletionRequest
    tries: int = 0
    # Replies to other requests up to its last try.
    successes_before: int = 0
    attempts: list[dict[str, Any]] = field(default_factory=list)
    # What tries without a reply may have cost.
    lost: Usage = NOTHING
    # Keys that may not send it: since it was last put back, and ever.
    forbidden_by: set[Lane] = field(default_factory=set)
    ever_forbidden_by: set[Lane] = field(default_factory=set)
    # All keys may not send it; it is asked for again when all others are over.
    doubtful: bool = False
    # Done or failed.
    over: bool = False


class _Sent(NamedTuple):
    """A request in flight: the right to send it, and the budget that is reserved for it."""

    job: _Job
    lease: Lease
    most: Amount


class Client:
    """Asks an endpoint for completions. Its state (keys, limits, budget) outlives a run."""

    def __init__(
        self,
        connect: Connect,
        admission: Admission,
        budget: Budget,
        patience: Patience,
        name: str = "the endpoint",
    ) -> None:
        self.connect, self.admission, self.budget = connect, admission, budget
        self.patience, self.name = patience, name
        self.meter = Meter()
        # Whether the endpoint has replied in this process, and to such requests at any time.
        self.replied = self.accepted = False

    def complete(
        self,
        requests: Iterable[CompletionRequest],
        journal: Journal,
        on_reply: Callable[[CompletionRequest, dict[str, Any]], None] = lambda *_: None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> Report:
        """Ask for every completion that the journal lacks; each is journalled as it arrives.

        Equal requests are one. `on_reply` is called with the request and the endpoint's decoded
        body after each reply was journalled, `on_tick` once a second. SIGTERM and SIGINT end the
        run once the open requests are answered, or `patience.drain` seconds later. Never raises
        for what the endpoint does: see the report's `stop`.
        """
        requests = list(requests)
        missing = journal.missing(requests)
        self.accepted = self.accepted or any(request.key not in missing for request in requests)
        if not missing:
            return Report()
        work = self.complete_async(list(missing.values()), journal, on_reply, on_tick)
        return asyncio.run(work)

    async def complete_async(
        self,
        requests: list[CompletionRequest],
        journal: Journal,
        on_reply: Callable[[CompletionRequest, dict[str, Any]], None] = lambda *_: None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> Report:
        """The same on a running event loop, for distinct requests that the journal lacks."""
        async with self.connect() as send:
            return await _Run(self, requests, journal, on_reply, on_tick, send).run()


class _Run:
    def __init__(
        self,
        client: Client,
        requests: list[CompletionRequest],
        journal: Journal,
        on_reply: Callable[[CompletionRequest, dict[str, Any]], None],
        on_tick: Callable[[], None],
        send: Send,
    ) -> None:
        self._client, self._admission, self._budget = client, client.admission, client.budget
        self._patience, self._meter = client.patience, client.meter
        self._journal, self._send = journal, send
        self._on_reply, self._on_tick = on_reply, on_tick
        self._keys = [lane.key for lane in self._admission.lanes]
        self._secrets = secrets_of(self._keys)
        self._pending = deque(_Job(request) for request in requests)
        # (when, tie, job): requests that wait for their next try.
        self._delayed: list[tuple[float, int, _Job]] = []
        # Forbidden requests, which are sent again when all others are over.
        self._doubtful: list[_Job] = []
        self._open: dict[asyncio.Task[None], _Sent] = {}
        self._report = Report()
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._random = random.Random()
        self._successes = self._faults_in_a_row = self._ties = 0
        self._refused = self._unanswered = 0
        self._last_success = self._loop.time()
        self._last_message = ""
        # The pauses of an outage; requests that were open when one began make it no longer.
        self._paused_at = self._paused_until = float("-inf")
        self._pauses = 0

    async def run(self) -> Report:
        with self._signals():
            ticker = asyncio.create_task(self._tick())
            try:
                while self._pending or self._delayed or self._doubtful or self._open:
                    wake_at = self._start_what_may()
                    if self._report.stop is not None and not self._open:
                        break
                    await self._sleep_until(wake_at)
            finally:
                ticker.cancel()
                await self._abandon()
        with self._stops_on_disk_errors():
            self._journal.sync()
            self._journal_waiting()
        self._report.not_sent = len(self._waiting())
        return self._report

    def _waiting(self) -> list[_Job]:
        return [*self._pending, *(job for _, _, job in self._delayed), *self._doubtful]

    def _journal_waiting(self) -> None:
        """Keep what the tries of requests that still wait may have cost: it is spent."""
        for job in self._waiting():
            if job.attempts:
                self._journal_failure(job, "not sent")

    # What may be sent, and when.

    def _start_what_may(self) -> float:
        """Start every request that may be sent now; returns when to look again."""
        while self._report.stop is None:
            now = self._loop.time()
            self._resume_delayed(now)
            if not (self._pending or self._delayed or self._open):
                self._pending.extend(self._doubtful)
                self._doubtful.clear()
            if not self._pending:
                return self._delayed[0][0] if self._delayed else float("inf")
            if now < self._paused_until:
                return self._paused_until
            # One alone asks whether the endpoint is there: a wrong key or name shows before many
            # are sent, and a server that keeps prefixes has their common beginning.
            if not self._client.replied and self._delayed:
                return self._delayed[0][0]
            if self._open and (not self._client.replied or self._outage()):
                return float("inf")
            if not self._admission.alive:
                self._stop(no_key_left(self._client.name, self._admission.lanes))
                break
            if self._outage() and self._has_fresh():
                # Whether the endpoint works shows a request that has never failed.
                self._pending.rotate(1)
            job = self._pending[0]
            most = self._budget.amount(job.request.most)
            if exceeded := self._budget.reserve(most):
                if self._open:
                    return float("inf")
                self._stop(BudgetReached(exceeded))
                break
            lease = self._admission.admit(
                now,
                job.request.expected_prompt_tokens,
                job.request.max_tokens,
                job.forbidden_by,
            )
            if not isinstance(lease, Lease):
                self._budget.settle(most, NO_AMOUNT)
                self._stop_if_hopeless(now)
                return lease
            self._pending.popleft()
            self._start(_Sent(job, lease, most))
        return float("inf")

    def _resume_delayed(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            self._pending.appendleft(heapq.heappop(self._delayed)[2])

    def _outage(self) -> bool:
        return self._client.replied and self._faults_in_a_row >= OUTAGE_AFTER

    def _has_fresh(self) -> bool:
        """Whether a request waits that was never tried: those tried before stand in front."""
        return bool(self._pending) and not self._pending[-1].attempts

    def _stop_if_hopeless(self, now: float) -> None:
        wait = min(lane.paused_until for lane in self._admission.alive) - now
        if wait > self._patience.outage:
            self._stop(
                EndpointDown(
                    f"{self._client.name} asks to wait {wait:.0f} s "
                    f"({self._last_message}), longer than label.client.outage: "
                    "run the same command again then"
                )
            )

    async def _sleep_until(self, wake_at: float) -> None:
        handle = None
        if wake_at != float("inf"):
            handle = self._loop.call_at(wake_at, self._woken.set)
        await self._woken.wait()
        self._woken.clear()
        if handle is not None:
            handle.cancel()

    # One request.

    def _start(self, sent: _Sent) -> None:
        task = asyncio.create_task(self._ask(sent))
        self._open[task] = sent
        task.add_done_callback(self._closed)
        self._meter.open = len(self._open)

    def _closed(self, task: "asyncio.Task[None]") -> None:
        sent = self._open.pop(task)
        job = sent.job
        self._meter.open = len(self._open)
        if task.cancelled():
            if not job.over:  # It had not even begun.
                self._settle(sent, NOTHING, reached=False)
                self._pending.append(job)
        elif (error := task.exception()) is not None:
            if not job.over:
                self._report.failed.append(Failure(job.request, "interrupted", str(error)))
            self._stop(error)
        self._woken.set()

    async def _ask(self, sent: _Sent) -> None:
        """Send a request once, and settle everything that hangs on its answer."""
        job, lease, most = sent
        request, began = job.request, now_text()
        if not job.attempts:
            job.successes_before = self._successes
        content = json.dumps(request.body(), ensure_ascii=False).encode("utf-8", "replace")
        self._journal.record_sent(request, lost=job.lost + most.usage, price=self._budget.price)
        answer = None
        try:
            answer = await self._send(lease.lane.key, content)
            verdict = judge(answer)
        except Unanswered as error:
            verdict = Verdict(
                Meaning.OVERLOADED, str(error), charged=error.charged, reached=error.charged
            )
        except BaseException:
            # Cut short, or broken in a way that does not say whether the endpoint has worked.
            self._settle(sent, most.usage)
            job.attempts.append(self._attempt(began, lease, "stopped while in flight"))
            job.lost += most.usage
            self._fail(job, "interrupted", "stopped while in flight")
            raise
        if verdict.meaning is Meaning.REPLY:
            assert answer is not None and verdict.response is not None
            self._replied(sent, answer, verdict.response, began)
            return
        taken = most.usage if verdict.charged else Usage(requests=1)
        if answer is not None:
            self._admission.learn(lease.lane, self._loop.time(), answer.headers)
        self._settle(sent, taken, verdict.reached)
        job.lost += taken
        message = redacted(verdict.message, self._keys)
        job.attempts.append(self._attempt(began, lease, message))
        self._last_message = message
        self._meter.count(self._loop.time(), 0)
        self._handle(sent, verdict, message)

    def _settle(self, sent: _Sent, taken: Usage, reached: bool = True) -> None:
        self._budget.settle(sent.most, self._budget.amount(taken))
        self._admission.close(sent.lease, self._loop.time(), float(taken.tokens), reached)

    def _attempt(self, began: str, lease: Lease, outcome: str) -> dict[str, Any]:
        seconds = self._loop.time() - lease.since
        return {
            "began": began,
            "seconds": round(seconds, 3),
            "key": lease.lane.key.number,
            "outcome": outcome,
        }

    def _replied(self, sent: _Sent, answer: Answer, response: dict[str, Any], began: str) -> None:
        job, lease, _ = sent
        now, counted = self._loop.time(), usage_of(response, NOTHING)
        usage = counted if counted.requests else job.request.most
        if not counted.tokens and not self._client.replied:
            say(
                f"{self._client.name} does not tell what replies take: each counts for the most "
                "that it can take, in the budget, the limits and the cost"
            )
        lane, concurrency = lease.lane, self._admission.concurrency
        # First, so that the request counts against the limits that it has told.
        self._admission.learn(lane, now, answer.headers)
        self._settle(sent, usage)
        lane.succeeded()
        concurrency.replied(now, now - lease.since)
        self._admission.forecast.learn(
            job.request.expected_prompt_tokens, counted.prompt_tokens, counted.completion_tokens
        )
        job.attempts.append(self._attempt(began, lease, "reply"))
        self._client.replied = self._client.accepted = True
        self._successes += 1
        self._faults_in_a_row = self._pauses = 0
        self._last_success = now
        self._paused_until = float("-inf")
        self._meter.count(now, usage.tokens)
        self._journal.record(
            job.request,
            response,
            headers=kept(answer.headers),
            price=self._budget.price,
            attempts=job.attempts,
            lost=job.lost,
            secrets=self._secrets,
        )
        self._report.done += 1
        job.over = True
        self._on_reply(job.request, response)

    # What to do about a fault.

    def _handle(self, sent: _Sent, verdict: Verdict, message: str) -> None:
        job, lease, _ = sent
        now, lane, concurrency = self._loop.time(), lease.lane, self._admission.concurrency
        meaning = verdict.meaning
        if meaning in (Meaning.KEY_SPENT, Meaning.KEY_REFUSED):
            retire(lane, self._admission.lanes, meaning, message)
            self._pending.appendleft(job)
        elif meaning is Meaning.FORBIDDEN:
            self._forbidden(job, lane, message)
        elif meaning is Meaning.RATE_LIMITED:
            of_tokens = "token" in message.lower()
            if of_tokens and verdict.retry_after is None and lane.never_holds(lease.charge):
                # It was sent alone, and may ask for more than there ever is.
                job.tries += 1
                if job.tries >= self._patience.attempts:
                    self._refuse(job, message)
                    return
            lane.pause(now, lease.since, verdict.retry_after, of_tokens)
            concurrency.congested(now, lease.since, verdict.retry_after or 0.0)
            self._pending.appendleft(job)
        elif meaning is Meaning.WRONG_TARGET:
            self._pending.appendleft(job)
            self._stop(
                UserError(
                    f"{self._client.name} does not know the model or the path ({message}): "
                    "mend label.model in config.yaml, or OPENAI_BASE_URL"
                )
            )
        elif meaning is Meaning.REFUSED:
            self._refuse(job, message)
        else:
            self._passing_fault(sent, verdict, message)

    def _forbidden(self, job: _Job, lane: Lane, message: str) -> None:
        """Find out whether the key or the request is at fault, and give that up.

        The request is, if every key may not send it, twice, and one of them may send others; or if
        an earlier run has found so. Else the keys are: where nothing else is left to ask with them,
        a run must not take dead keys for bad requests.
        """
        lanes, again = self._admission.lanes, lane in job.ever_forbidden_by
        job.forbidden_by.add(lane)
        job.ever_forbidden_by.add(lane)
        is_bad = self._journal.was_refused(job.request.key) or any(
            other.works for other in job.ever_forbidden_by - {lane}
        )
        if not (is_bad or again) and lane.is_forbidden():
            retire(lane, lanes, Meaning.KEY_REFUSED, message)
            self._pending.appendleft(job)
        elif any(other not in job.forbidden_by for other in self._admission.alive):
            self._pending.appendleft(job)
        elif not job.doubtful:
            job.doubtful = True
            job.forbidden_by.clear()
            self._doubtful.append(job)
        elif is_bad or lane.works:
            self._refuse(job, message)
        else:
            for other in self._admission.alive:
                retire(other, lanes, Meaning.KEY_REFUSED, message)
            self._pending.appendleft(job)

    def _refuse(self, job: _Job, message: str) -> None:
        self._fail(job, "refused", message)
        self._refused += 1
        if not self._client.accepted and self._refused >= FAILED_FROM_THE_START:
            self._stop(
                UserError(
                    f"{self._client.name} refuses the requests ({message}): "
                    "mend the label section of config.yaml or the task's request"
                )
            )

    def _passing_fault(self, sent: _Sent, verdict: Verdict, message: str) -> None:
        job, lease, _ = sent
        now, concurrency = self._loop.time(), self._admission.concurrency
        asked = min(verdict.retry_after or 0.0, self._patience.outage)
        if verdict.meaning is Meaning.OVERLOADED:
            concurrency.congested(now, lease.since, asked)
            if asked:
                lease.lane.pause(now, lease.since, verdict.retry_after, of_tokens=False)
        else:
            concurrency.failed()
        # Replies came since its last try, or just before: it is not the endpoint that fails.
        others_work = self._successes > job.successes_before or not self._faults_in_a_row
        job.successes_before = self._successes
        self._faults_in_a_row += 1
        # In an outage a try says nothing about its request: it is the endpoint that failed. When
        # no request is left that could tell the one from the other, the tries count again.
        if others_work or not self._client.replied or not self._has_fresh():
            job.tries += 1
        if job.tries >= self._patience.attempts:
            self._fail(job, "unanswered", message)
            self._stop_if_nothing_works(verdict, message)
            return
        if self._outage() and lease.since >= self._paused_at:
            self._paused_at, self._pauses = now, self._pauses + 1
            self._paused_until = now + self._backoff(self._pauses - 1)
        self._delay(job, max(self._backoff(len(job.attempts) - 1), asked))

    def _delay(self, job: _Job, seconds: float) -> None:
        self._ties += 1
        heapq.heappush(self._delayed, (self._loop.time() + seconds, self._ties, job))

    def _stop_if_nothing_works(self, verdict: Verdict, message: str) -> None:
        """Stop when requests fail before the first reply; one alone may be a bad one."""
        self._unanswered += 1
        if self._client.replied:
            return
        others = bool(self._pending or self._delayed)
        enough = self._unanswered >= FAILED_FROM_THE_START if others else not self._client.accepted
        if enough or not verdict.reached:
            self._stop(self._unreachable(message))

    def _backoff(self, times: int) -> float:
        longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(times, 20))
        return longest * self._random.uniform(0.5, 1.0)

    def _fail(self, job: _Job, reason: str, detail: str) -> None:
        job.over = True
        self._report.failed.append(Failure(job.request, reason, detail))
        self._journal_failure(job, reason)

    def _journal_failure(self, job: _Job, reason: str) -> None:
        self._journal.record_failure(
            job.request,
            reason,
            job.attempts,
            lost=job.lost,
            price=self._budget.price,
            secrets=self._secrets,
        )

    # Why a run stops.

    def _unreachable(self, message: str) -> EndpointDown:
        return EndpointDown(
            f"{self._client.name} cannot be reached or does not work ({message}): start the "
            "endpoint or mend OPENAI_BASE_URL, and run the same command again"
        )

    def _stop(self, why: BaseException) -> None:
        if self._report.stop is None:
            self._report.stop = why
            self._woken.set()

    @contextlib.contextmanager
    def _stops_on_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._stop(error)

    async def _tick(self) -> None:
        """Once a second: let the disk have the replies, look at its room and at the clock."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._meter.trouble = self._trouble()
            with self._stops_on_disk_errors():
                self._on_tick()
                await asyncio.to_thread(self._journal.sync)
                if not self._journal.has_room():
                    self._stop(
                        UserError(
                            f"{self._journal.folder}: the disk is full: free some space and run "
                            "the same command again"
                        )
                    )
            silent = self._loop.time() - self._last_success
            waits = self._faults_in_a_row or self._paused()
            if silent > self._patience.outage and self._last_message and waits:
                self._stop(
                    EndpointDown(
                        f"{self._client.name} has given no reply for {silent:.0f} s "
                        f"({self._last_message}): run the same command again later"
                    )
                )

    def _trouble(self) -> str:
        """What holds the run up, in words; "" while replies come."""
        now = self._loop.time()
        silent = now - self._last_success
        if not self._last_message or silent < SILENT_SECONDS:
            return ""
        rests_until = min((lane.paused_until for lane in self._admission.alive), default=now)
        rest = max(rests_until, self._paused_until) - now
        resting = f", the next request in {rest:.0f} s" if rest > TICK_SECONDS else ""
        return f"no reply for {silent:.0f} s{resting} ({self._last_message})"

    def _paused(self) -> bool:
        now = self._loop.time()
        return all(lane.paused_until > now - TICK_SECONDS for lane in self._admission.alive)

    async def _abandon(self) -> None:
        """Cancel what is still open."""
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT; Ctrl-C once more, or the end of the grace, cuts it short.

        SIGTERM often comes twice: to the whole process group, and then from who sees Snakemake end.
        """

        def heard(number: signal.Signals) -> None:
            if isinstance(self._report.stop, Interrupted):
                if number is signal.SIGINT:
                    cut_short()
                return
            self._report.stop = Interrupted(
                f"stopped by {number.name}: run the same command again to go on", number
            )
            drain = (
                f"waiting up to {self._patience.drain:g} s for {len(self._open)} open requests; "
                if self._open
                else ""
            )
            say(f"{number.name}: {drain}nothing more is sent")
            self._woken.set()
            self._loop.call_later(self._patience.drain, cut_short)

        def cut_short() -> None:
            for task in self._open:
                task.cancel()

        installed, before = [], {}
        # Only the main thread hears signals.
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.getsignal(number)
                self._loop.add_signal_handler(number, heard, number)
                installed.append(number)
        try:
            yield
        finally:
            for number in installed:
                self._loop.remove_signal_handler(number)
                signal.signal(number, before[number])
