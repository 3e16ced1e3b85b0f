"""The Batch API: replies at half the price, within a day, through every kill.

Each batch has two files beside the journal: its input, and its state. The state is on disk before a
batch is created and again as soon as it has an id, and the batch itself carries the name of its
input: a batch that was created in the moment of a kill is found again by it.
"""

import contextlib
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Set
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from scripts.lib.completions.admission import Lane
from scripts.lib.completions.answers import Answer, Meaning, judge, one_line
from scripts.lib.completions.budget import NO_AMOUNT, Amount, Budget
from scripts.lib.completions.client import Failure, Report
from scripts.lib.completions.entries import now_text
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import redacted, secrets_of
from scripts.lib.completions.pricing import NOTHING, Usage, usage_of
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.completions.stops import BudgetReached, EndpointDown, NoKeyLeft
from scripts.lib.completions.transport import check_url, is_here
from scripts.lib.console import say
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_file

# The provider's limits for one file.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
ENDPOINT = "/v1/chat/completions"
# Of the states and inputs, in that of the journal.
FOLDER = "batches"
# The name under which a batch carries that of its input.
MARK = "ada_instruct_input"
TERMINAL = {"completed", "failed", "expired", "cancelled"}
SAY_EVERY_SECONDS = 30.0
CLOCKS_DIFFER_SECONDS = 3600.0

OnReply = Callable[[CompletionRequest, dict[str, Any]], None]


@dataclass
class BatchState:
    """What is known of a batch.

    `samples` are the reply numbers of its requests by their keys, `name` is what they were asked
    for, and `most` the most that they can take: `prompt_tokens`, `completion_tokens`, `requests`
    and `dollars`.
    """

    input_name: str
    base_url: str
    name: str
    samples: dict[str, int]
    most: dict[str, Any]
    created: str
    batch_id: str = ""
    status: str = "new"
    collected: bool = False


@dataclass
class BatchRun:
    """Asks for completions by the Batch API, and keeps on where an earlier run stopped.

    `lanes` hold the keys; one that is refused is retired. `attempts` bounds how often a request is
    put into a batch. `poll`, `timeout` and `outage` are in seconds, `discount` is what the price is
    multiplied by. `reserved` are the batches for which the budget holds a reservation.
    """

    base_url: str
    lanes: list[Lane]
    budget: Budget
    poll: float
    discount: float
    attempts: int
    timeout: float
    outage: float
    most_requests: int = MOST_REQUESTS
    most_bytes: int = MOST_BYTES
    reserved: set[str] = field(default_factory=set)
    _clients: dict[Lane, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_url(self.base_url)
        self.keys = [lane.key for lane in self.lanes]
        self.has_answered = False

    def reserve(self, state: BatchState) -> Amount:
        """Reserve, if that was not done, the most that a batch can take; returns it."""
        most = _most(state)
        if state.input_name not in self.reserved:
            self.reserved.add(state.input_name)
            self.budget.commit(most)
        return most

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
        folder = journal.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        run = _Batches(self, journal.missing(requests), journal, folder, on_reply)
        try:
            return run.run()
        finally:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    # The API. The openai client tries again what may be repeated.

    def client(self, lane: Lane) -> Any:
        """The openai client of a key."""
        import openai

        if lane not in self._clients:
            self._clients[lane] = openai.OpenAI(
                base_url=self.base_url,
                api_key=lane.key.secret,
                timeout=self.timeout,
                max_retries=2,
                http_client=openai.DefaultHttpxClient(trust_env=not is_here(self.base_url)),
            )
        return self._clients[lane]

    def with_a_key(self, call: Callable[[Any], Any], reading: bool = False) -> Any:
        """The first result, other than `None`, of a call with one key after the other.

        `None` where every key that is not refused knows nothing of the thing that is asked for.
        `reading` costs nothing, and keys that cannot pay any more are tried for it, too.
        """
        import openai

        problem: UserError | None = None
        for lane in self.lanes:
            if lane.retired and not (reading and lane.spent):
                continue
            try:
                result = call(self.client(lane))
                self.has_answered = True
                if result is not None:
                    return result
            except openai.NotFoundError:
                self.has_answered = True
            except openai.AuthenticationError as error:
                self._retire(lane, error)
            except openai.PermissionDeniedError as error:
                # A key may be good for single requests and not for batches.
                problem = problem or UserError(
                    f"{self.base_url}: the Batch API answers: {self._told(error)}"
                )
            except openai.RateLimitError as error:
                if judge(_answer_of(error)).meaning is Meaning.KEY_SPENT:
                    self._retire(lane, error, spent=True)
                    continue
                problem = EndpointDown(
                    f"{self.base_url} limits the rate of batches ({self._told(error)}): run again "
                    "later"
                )
            except openai.APIConnectionError as error:
                message = self._told(error)
                raise EndpointDown(
                    f"{self.base_url} cannot be reached ({message}): the batches are on record, "
                    "run the same command again"
                ) from None
            except openai.APIStatusError as error:
                passes = error.status_code >= 500 or error.status_code in (408, 409)
                kind = EndpointDown if passes else UserError
                message = self._told(error)
                raise kind(f"{self.base_url}: the Batch API answers: {message}") from None
        if problem is not None:
            raise problem
        if all(lane.retired for lane in self.lanes):
            raise NoKeyLeft(
                f"{self.base_url} accepts none of the keys for batches: put a valid one into "
                "OPENAI_API_KEY and run the same command again"
            )
        return None

    def _told(self, error: Exception) -> str:
        """An error in a line without keys."""
        return redacted(one_line(error), self.keys)

    def _retire(self, lane: Lane, error: Exception, spent: bool = False) -> None:
        lane.retired, lane.spent = self._told(error), spent
        say(f"key {lane.key.number} is not used any more: {lane.retired}")


def _answer_of(error: Any) -> Answer:
    return Answer(error.status_code, error.response.headers, error.response.content)


def states_in(folder: Path) -> Iterator[BatchState]:
    """The states of all batches of a folder. Raises `UserError` for one that cannot be read."""
    for path in sorted(folder.glob("*.state.json")):
        try:
            yield BatchState(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue  # Another run has just given it up.
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}: is not the state of a batch: mend it, or remove it if you do not want "
                "that batch's replies"
            ) from error


def open_states(folder: Path, base_url: str, wanted: Set[str]) -> Iterator[BatchState]:
    """The states of an endpoint's batches that hold something wanted and are not collected yet."""
    for state in states_in(folder):
        if not state.collected and state.base_url == base_url and wanted & state.samples.keys():
            yield state


def requests_in_batches(journal: Journal, base_url: str, wanted: Set[str]) -> int:
    """How many requests of these keys are in batches of an endpoint that are not collected yet."""
    states = open_states(journal.folder / FOLDER, base_url, wanted)
    return sum(len(wanted & state.samples.keys()) for state in states)


def reserve_open(journal: Journal, budget: Budget) -> set[str]:
    """Reserve the budget of the open batches of the journal's name, wanted or not; which they are.

    They may be paid for, whatever is asked for now.
    """
    states = states_in(journal.folder / FOLDER)
    found = [state for state in states if not state.collected and state.name == journal.name]
    for state in found:
        budget.commit(_most(state))
    return {state.input_name for state in found}


def _most(state: BatchState) -> Amount:
    usage = {name: value for name, value in state.most.items() if name != "dollars"}
    return Amount(Usage(**usage), state.most["dollars"])


class _OpenBatch(NamedTuple):
    """A batch whose end is waited for: its requests by their keys, and what is reserved for it.

    `alone`: when it was created there was no other one.
    """

    state: BatchState
    held: dict[str, CompletionRequest]
    most: Amount
    alone: bool


class _Batches:
    """One run: what is open, what is wanted, what is left."""

    def __init__(
        self,
        api: BatchRun,
        missing: dict[str, CompletionRequest],
        journal: Journal,
        folder: Path,
        on_reply: OnReply,
    ) -> None:
        self._api, self._journal, self._folder = api, journal, folder
        self._missing, self._on_reply = dict(missing), on_reply
        self._tries = dict.fromkeys(missing, 0)
        self._secrets = secrets_of(api.keys)
        self._report = Report()
        self._most_requests, self._one_at_a_time = api.most_requests, False
        self._errors: dict[str, tuple[Meaning, str]] = {}
        self._open: dict[str, _OpenBatch] = {}
        self._away_since: float | None = None
        self._times_away = 0
        # Why nothing more is submitted, while what is open is still collected.
        self._broken: UserError | None = None

    def run(self) -> Report:
        said = time.monotonic()
        while not self._all_done():
            if time.monotonic() - said >= SAY_EVERY_SECONDS:
                said = time.monotonic()
                say(self._progress())
            # Each try to submit sends its file anew.
            time.sleep(self._api.poll * 2 ** min(self._times_away, 4))
        if self._broken is not None:
            raise self._broken
        self._journal.sync()
        self._report.not_sent = len(self._missing)
        return self._report

    def _all_done(self) -> bool:
        """Do what can be done now; whether nothing is left to wait for.

        An endpoint that has answered and then is away for a while is waited for, too: a batch takes
        hours.
        """
        try:
            self._resume()
            while self._look():
                pass
            self._submit_what_may()
        except EndpointDown as error:
            if self._away_since is None:
                say(f"{error}; waiting")
            self._times_away += 1
            self._away_since = self._away_since or time.monotonic()
            away = time.monotonic() - self._away_since
            if not self._api.has_answered or away >= self._api.outage:
                raise
            return False
        self._away_since, self._times_away = None, 0
        return not self._open

    def _submit_what_may(self) -> None:
        """Submit the rest; where that fails, first collect what is open: it is paid for."""
        if self._broken is not None:
            return
        try:
            self._submit_rest()
        except EndpointDown:
            raise
        except UserError as error:
            if not self._open:
                raise
            say(f"nothing more is submitted, open batches are waited for: {error}")
            self._broken = error

    def _progress(self) -> str:
        states = ", ".join(
            f"{batch.state.batch_id} {batch.state.status}" for batch in self._open.values()
        )
        return f"batches: {self._report.done} replies, {len(self._missing)} missing; {states}"

    # What earlier runs have left.

    def _resume(self) -> None:
        """Take up the open batches that hold what is wanted; who wants the others will do so."""
        for state in open_states(self._folder, self._api.base_url, self._missing.keys()):
            if state.input_name in self._open:
                continue
            if not state.batch_id and state.name != self._journal.name:
                continue  # The run that creates it may be under way.
            if not state.batch_id and not self._find(state):
                self._forget(state)
                continue
            held, most = self._held(state), self._api.reserve(state)
            self._open[state.input_name] = _OpenBatch(state, held, most, alone=False)
            say(f"batch {state.batch_id}: taken up again, {len(held)} requests")

    def _find(self, state: BatchState) -> bool:
        """Look among the account's batches for one whose creation was never confirmed."""
        begun = datetime.fromisoformat(state.created).timestamp()

        def search(client: Any) -> Any:
            for batch in client.batches.list(limit=100):
                if (batch.metadata or {}).get(MARK) == state.input_name:
                    return batch
                # The newest come first, and clocks differ.
                if batch.created_at < begun - CLOCKS_DIFFER_SECONDS:
                    break
            return None

        batch = self._api.with_a_key(search, reading=True)
        if batch is None and any(lane.retired and not lane.spent for lane in self._api.lanes):
            raise UserError(
                "a batch may have been created with a key that is refused now: run again with the "
                f"key that works, or remove {self._state(state)} to submit its requests again"
            )
        if batch is None:
            return False
        state.batch_id = batch.id
        self._save(state)
        return True

    def _held(self, state: BatchState) -> dict[str, CompletionRequest]:
        """The requests of a batch by their keys: of one that others collect, what is wanted."""
        held = {key: self._missing[key] for key in state.samples if key in self._missing}
        with contextlib.suppress(FileNotFoundError), open(self._input(state), "rb") as lines:
            for line in lines:
                row = json.loads(line)
                body = row["body"]
                known = self._missing.get(row["custom_id"])
                held[row["custom_id"]] = known or CompletionRequest(
                    model=body["model"],
                    model_identity=body["model"],
                    messages=tuple((part["role"], part["content"]) for part in body["messages"]),
                    parameters=tuple(
                        (name, value)
                        for name, value in body.items()
                        if name not in ("model", "messages")
                    ),
                    sample=state.samples[row["custom_id"]],
                )
        return held

    # Creating batches.

    def _submit_rest(self) -> None:
        """Put what is missing, and in no open batch, into batches, as far as the budget goes."""
        in_batches = {key for batch in self._open.values() for key in batch.held}
        waiting = deque(request for key, request in self._missing.items() if key not in in_batches)
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
            size += len(_input_line(request))
            if held and size > self._api.most_bytes:
                break
            amount = self._api.budget.amount(request.most, self._api.discount)
            if exceeded := self._api.budget.reserve(amount):
                self._report.stop = BudgetReached(exceeded)
                break
            held[request.key] = waiting.popleft()
            most += amount
        return held, most

    def _submit(self, held: dict[str, CompletionRequest], most: Amount) -> None:
        content = b"".join(_input_line(request) for request in held.values())
        # The time makes it another batch when the same requests are asked for once more.
        name = hashlib.sha256(content + now_text().encode()).hexdigest()[:32]
        state = BatchState(
            input_name=name,
            base_url=self._api.base_url,
            name=self._journal.name,
            samples={key: request.sample for key, request in held.items()},
            most={**most.usage.as_dict(), "dollars": most.dollars},
            created=now_text(),
        )
        self._api.reserved.add(name)
        with atomic_file(self._input(state)) as stream:
            stream.write(content.decode())
        self._save(state)

        def create(client: Any) -> Any:
            uploaded = client.files.create(file=(f"{name}.jsonl", content), purpose="batch")
            self._api.has_answered = True
            once = client.with_options(max_retries=0)
            return once.batches.create(
                input_file_id=uploaded.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={MARK: name},
            )

        try:
            batch = self._api.with_a_key(create)
            if batch is None:
                raise UserError(
                    f"{self._api.base_url} has no Batch API: set label.client.mode: live"
                )
        except EndpointDown:
            # Whether the batch was created will show when its state is taken up again.
            raise
        except UserError:
            self._forget(state)
            raise
        state.batch_id, state.status = batch.id, batch.status
        self._save(state)
        for key in held:
            self._tries[key] += 1
        self._open[name] = _OpenBatch(state, held, most, alone=not self._open)
        say(f"batch {batch.id}: {len(held)} requests submitted")

    # Watching and collecting.

    def _look(self) -> bool:
        """Ask after every open batch; whether one of them has ended."""
        ended = False
        for state, held, most, alone in list(self._open.values()):
            batch = self._retrieve(state.batch_id)
            if batch is None:
                raise UserError(f"no key knows the batch {state.batch_id}: {self._remedy(state)}")
            if batch.status != state.status:
                state.status = batch.status
                self._save(state)
            if batch.status not in TERMINAL:
                continue
            ended = True
            self._collect(state, held, most, batch)
            del self._open[state.input_name]
            self._judge_the_rest(state, held, batch, alone)
        return ended

    def _retrieve(self, batch_id: str) -> Any:
        return self._api.with_a_key(lambda client: client.batches.retrieve(batch_id), reading=True)

    def _collect(
        self, state: BatchState, held: dict[str, CompletionRequest], most: Amount, batch: Any
    ) -> None:
        """Journal the replies of an ended batch: of one that expired or was cancelled, too."""
        budget, taken = self._api.budget, NO_AMOUNT
        # Both are there before anything is counted.
        contents = [
            self._content(state, file_id)
            for file_id in (batch.output_file_id, batch.error_file_id)
            if file_id
        ]
        # Another run may have collected the batch meanwhile.
        self._journal.refresh()
        for content in contents:
            for row in _rows(content):
                key = row.get("custom_id")
                request = held.get(key)
                if key in self._journal:
                    self._missing.pop(key, None)
                    continue
                if request is None:
                    continue
                body = (row.get("response") or {}).get("body")
                verdict = judge(_row_answer(row))
                if verdict.meaning is not Meaning.REPLY:
                    message = redacted(verdict.message, self._api.keys)
                    self._errors[key] = (verdict.meaning, message)
                    if verdict.charged:
                        taken += self._lost(request, body, message)
                    continue
                taken += budget.amount(usage_of(body, request.most), self._api.discount)
                self._journal.record(
                    request,
                    body,
                    price=budget.price,
                    discount=self._api.discount,
                    attempts=[{"batch": state.batch_id, "outcome": "reply"}],
                    secrets=self._secrets,
                )
                if self._missing.pop(key, None):
                    self._report.done += 1
                    self._on_reply(request, body)
        budget.settle(most, taken)
        self._journal.sync()
        self._done_with(state)
        replies = taken.usage.requests
        say(f"batch {state.batch_id}: {batch.status}, {replies} of {len(held)} replies")

    def _judge_the_rest(
        self, state: BatchState, held: dict[str, CompletionRequest], batch: Any, alone: bool
    ) -> None:
        """Give up on requests that were refused or tried often enough; the others go again."""
        problems = [error.code or "" for error in (batch.errors.data or [])] if batch.errors else []
        too_many = "token_limit_exceeded" in problems
        if batch.status == "failed" and not too_many:
            details = "; ".join(
                str(error.message) for error in ((batch.errors and batch.errors.data) or [])
            )
            told = redacted(details, self._api.keys)
            raise UserError(f"the batch {state.batch_id} was refused: {told}")
        if too_many:
            self._make_smaller(len(held), alone)
        for key, request in held.items():
            if key not in self._missing:
                continue
            unknown = (Meaning.PASSING, f"batch {batch.status}")
            meaning, message = self._errors.pop(key, unknown)
            if too_many:
                self._tries[key] -= 1
            elif meaning is Meaning.REFUSED:
                self._fail(request, "refused", message)
            elif self._tries[key] >= self._api.attempts:
                self._fail(request, "unanswered", message)

    def _make_smaller(self, refused: int, alone: bool) -> None:
        """Go on with one batch at a time; with smaller ones if this one was alone in the queue."""
        self._one_at_a_time = True
        if alone and refused == 1:
            raise UserError("one request exceeds the account's limit of enqueued tokens")
        if alone:
            self._most_requests = max(1, refused // 2)

    def _lost(self, request: CompletionRequest, body: Any, why: str) -> Amount:
        """Keep what an answer that is no reply has cost, or may have."""
        budget, discount = self._api.budget, self._api.discount
        usage = usage_of(body if isinstance(body, dict) else {}, request.most)
        self._journal.record_failure(
            request,
            "no reply",
            [{"outcome": why}],
            lost=usage,
            price=budget.price and budget.price.times(discount),
            secrets=self._secrets,
        )
        return budget.amount(usage, discount)

    def _fail(self, request: CompletionRequest, reason: str, detail: str) -> None:
        del self._missing[request.key]
        self._report.failed.append(Failure(request, reason, detail))
        self._journal.record_failure(
            request, reason, [{"outcome": detail}], lost=NOTHING, secrets=self._secrets
        )

    def _content(self, state: BatchState, file_id: str) -> bytes:
        content = self._api.with_a_key(
            lambda client: client.files.content(file_id).content, reading=True
        )
        if content is None:
            raise UserError(
                f"no key can read {file_id}, the result of the batch {state.batch_id}: "
                f"{self._remedy(state)}"
            )
        return content

    def _remedy(self, state: BatchState) -> str:
        return (
            f"use the key that created it, or remove {self._state(state)} to ask for its replies "
            "once more"
        )

    # Files.

    def _input(self, state: BatchState) -> Path:
        return self._folder / f"{state.input_name}.input.jsonl"

    def _state(self, state: BatchState) -> Path:
        return self._folder / f"{state.input_name}.state.json"

    def _save(self, state: BatchState) -> None:
        with atomic_file(self._state(state)) as stream:
            json.dump(asdict(state), stream)

    def _done_with(self, state: BatchState) -> None:
        state.collected, state.samples = True, {}
        self._save(state)
        self._input(state).unlink(missing_ok=True)

    def _forget(self, state: BatchState) -> None:
        """Give up what was never created, and what is reserved for it."""
        self._api.budget.settle(self._api.reserve(state), NO_AMOUNT)
        self._state(state).unlink(missing_ok=True)
        self._input(state).unlink(missing_ok=True)


def _input_line(request: CompletionRequest) -> bytes:
    row = {"custom_id": request.key, "method": "POST", "url": ENDPOINT, "body": request.body()}
    return json.dumps(row).encode() + b"\n"


def _rows(content: bytes) -> Iterator[dict[str, Any]]:
    """The whole rows of a result."""
    # Not `splitlines`, which also parts at characters that JSON may hold.
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def _row_answer(row: dict[str, Any]) -> Answer:
    """The answer to one request of a batch, as if it had come alone."""
    response = row.get("response") or {}
    if not response:
        error = row.get("error") or {"message": "no answer"}
        return Answer(503, {}, json.dumps({"error": error}).encode())
    return Answer(
        int(response.get("status_code") or 500), {}, json.dumps(response.get("body")).encode()
    )
