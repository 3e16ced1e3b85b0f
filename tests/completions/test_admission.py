"""The laws of admission, for all inputs: a clock that skips waiting, a scripted endpoint."""

import asyncio
import itertools
import json
import random
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from scripts.lib.completions.admission import Admission, Demand, Forecast, Lane, Lease
from scripts.lib.completions.answers import Answer, Unanswered, duration, limit_in
from scripts.lib.completions.buckets import TokenBucket
from scripts.lib.completions.budget import Budget, Caps
from scripts.lib.completions.client import Client, Patience
from scripts.lib.completions.concurrency import CUT, AdaptiveLimit
from scripts.lib.completions.entries import used_in
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import ApiKey
from scripts.lib.completions.pricing import Price
from tests.completions.asking import request, run_skipping

amounts = st.floats(0.01, 500)


@given(
    limit=st.floats(1, 10_000),
    steps=st.lists(
        st.tuples(st.floats(0, 20), amounts, st.floats(0, 1), st.floats(0, 1), st.booleans()),
        max_size=60,
    ),
)
def test_no_span_of_time_holds_more_than_the_bucket(limit, steps) -> None:
    bucket, now = TokenBucket(limit, 0.0), 0.0
    # (when, what was taken in the end, what it could have been)
    sent: list[tuple[float, float, float]] = []
    for wait, most, thought, used, settled in steps:
        now, expected = now + wait, most * thought
        while (ready := bucket.ready_at(now, expected, most)) > now:
            now = ready
        bucket.take(now, expected, most)
        taken = used * most if settled else most
        if settled:
            bucket.settle(now + 1, now, expected, most, taken)
            now += 1
        sent.append((now - settled, taken, most))
    for first, last in itertools.combinations_with_replacement(range(len(sent)), 2):
        if sent[last][0] - sent[first][0] < 60:
            total = sum(taken for _, taken, _ in sent[first : last + 1])
            largest = max(most for _, _, most in sent[first : last + 1])
            assert total <= max(bucket.in_a_minute, largest) * (1 + 1e-6)
    assert bucket.in_a_minute <= max(1.0, limit)


@given(
    limit=st.floats(60, 10_000),
    steps=st.lists(st.tuples(st.floats(0, 2), amounts), max_size=60),
)
def test_no_moment_holds_more_than_a_burst(limit, steps) -> None:
    bucket, now = TokenBucket(limit, 0.0), 0.0
    sent: list[tuple[float, float]] = []
    for wait, amount in steps:
        now += wait
        while (ready := bucket.ready_at(now, amount, amount)) > now:
            now = ready
        bucket.take(now, amount, amount)
        sent.append((now, amount))
    for first, last in itertools.combinations_with_replacement(range(len(sent)), 2):
        span = sent[last][0] - sent[first][0]
        total = sum(amount for _, amount in sent[first : last + 1])
        excess = max(0.0, max(amount for _, amount in sent[first : last + 1]) - bucket.capacity)
        assert total <= (bucket.capacity + bucket.rate(0) * span + excess) * (1 + 1e-6)


@given(limit=st.floats(1, 1000), taken=st.lists(amounts, min_size=1, max_size=9), amount=amounts)
def test_whoever_waits_as_told_may_take(limit: float, taken: list[float], amount: float) -> None:
    bucket = TokenBucket(limit, 0.0)
    for one in taken:
        bucket.take(0.0, one, one)
    ready = bucket.ready_at(1.0, amount, amount)
    assert bucket.ready_at(ready, amount, amount) == pytest.approx(ready)


@pytest.mark.parametrize("by_the_minute", [True, False])
def test_what_was_missed_is_caught_up_with(by_the_minute: bool) -> None:
    """Nothing for 10 s: after a minute a minute's worth was sent if the endpoint counts by it."""
    bucket, now, sent = TokenBucket(600, 0.0), 10.0, 0
    while now < 60:
        bucket.report(now, 600 - sent if by_the_minute else 10)
        if (ready := bucket.ready_at(now, 1, 1)) > now:
            now = ready
        else:
            bucket.take(now, 1, 1)
            sent += 1
    assert (590 if by_the_minute else 490) <= sent <= (600 if by_the_minute else 510)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 10, 20, 60, 200])
def test_small_limits_are_used_up(limit: int) -> None:
    bucket, now, sent = TokenBucket(limit, 0.0), 0.0, []
    while now < 600:
        bucket.report(now, limit - sum(at > now - 60 for at in sent))
        if (ready := bucket.ready_at(now, 1, 1)) > now:
            now = ready
        else:
            bucket.take(now, 1, 1)
            sent.append(now)
    assert len(sent) >= 0.97 * 10 * limit
    assert max(sum(first <= at < first + 60 for at in sent) for first in sent[:400]) <= limit


def test_a_limit_that_falls_or_rises_is_followed() -> None:
    bucket = TokenBucket(6000, 0.0)
    bucket.resize(0.0, 60)
    assert bucket.ready_at(0.0, 1, 1) == 0.0
    bucket.take(0.0, 1, 1)
    assert bucket.ready_at(0.0, 1, 1) == pytest.approx(1 / 0.99)
    bucket.report(10.0, 0.0)
    assert bucket.ready_at(10.0, 1, 1) == pytest.approx(10 + 1 / 0.99)


class Meter:
    """An endpoint of a given capacity: replies take longer once more requests are open."""

    def __init__(self, limit: AdaptiveLimit, capacity: int, refuses: bool) -> None:
        self.limit, self.capacity, self.refuses = limit, capacity, refuses
        self.now, self.history = 0.0, []

    def round(self) -> None:
        """Send a whole limit's worth and hear of it."""
        began, number = self.now, self.limit.limit
        for _ in range(number):
            self.limit.opened(began)
        latency = 1.0 if self.refuses else max(1.0, number / self.capacity)
        self.now += latency
        for at in range(number):
            self.limit.closed()
            if self.refuses and at >= self.capacity:
                self.limit.congested(self.now, began)
            else:
                self.limit.replied(self.now, latency)
        self.history.append(self.limit.limit)


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("capacity", [3, 20, 100, 400])
def test_the_limit_finds_what_the_endpoint_bears(capacity: int, refuses: bool) -> None:
    endpoint = Meter(AdaptiveLimit(16, 4096), capacity, refuses)
    for _ in range(150):
        endpoint.round()
    settled = endpoint.history[-50:]
    assert min(settled) >= 0.5 * capacity
    # An endpoint that queues is asked for more than it can do at once, but not without bound.
    assert max(settled) <= max(33, (1.6 if refuses else 2.2) * capacity)


def test_the_limit_doubles_at_first_and_only_when_it_is_used() -> None:
    limit = AdaptiveLimit(16, 100)
    now = 0.0
    for _ in range(40):
        limit.opened(now)
        limit.replied(now + 1, 1.0)
        limit.closed()
    assert limit.limit == 16, "one at a time does not saturate it"
    endpoint = Meter(limit, 1000, refuses=True)
    for _ in range(5):
        endpoint.round()
    assert endpoint.history[:4] == [32, 64, 100, 100]


def test_there_is_one_cut_a_cool_down() -> None:
    limit = AdaptiveLimit(100, 100)
    for _ in range(100):
        limit.opened(0.0)
    for at in range(50):
        limit.congested(1.0 + at / 1000, 0.0)
    assert limit.limit == int(100 * CUT)
    # Sent before the cut, heard of long after it.
    for _ in range(50):
        limit.congested(60.0, 0.5)
    assert limit.limit == int(100 * CUT)
    for _ in range(50):
        limit.congested(60.0, 30.0)
    assert limit.limit == int(100 * CUT * CUT)


def test_a_forecast_starts_at_the_most_and_learns() -> None:
    forecast = Forecast()
    assert forecast.demand(100, 1000).expected == 1100
    for _ in range(100):
        forecast.learn(100, 80, 200)
    cost = forecast.demand(100, 1000)
    assert cost.expected == pytest.approx(280, rel=0.05)
    assert cost.most == pytest.approx(1080, rel=0.05)
    forecast.learn(100, 0, 0)
    assert forecast.demand(100, 1000) == cost


def lane_of(**limits: float | None) -> Lane:
    return Lane(ApiKey(1, "k"), limits.get("requests"), limits.get("tokens"))


def test_a_lane_learns_its_limits_and_keeps_below_the_configured_ones() -> None:
    lane, cost = lane_of(requests=600), Forecast().demand(10, 90)
    assert lane.ready_at(0.0, cost) == 0.0
    headers = {"x-ratelimit-limit-requests": "60", "x-ratelimit-limit-tokens": "6000"}
    lane.learn(0.0, {**headers, "x-ratelimit-remaining-tokens": "0"})
    # The capacity of 60 tokens, at 99 a second.
    assert lane.ready_at(0.0, cost) == pytest.approx(60 / 99)
    lane.learn(1.0, {"x-ratelimit-limit-requests": "60000"})
    for _ in range(7):
        lane.take(1.0, Demand(0, 0))
    assert lane.ready_at(1.0, Demand(0, 0)) > 1.0, "600 of the config stay the most"


def test_the_limits_of_a_day_are_not_paced_by() -> None:
    headers = {"x-ratelimit-limit-requests": "10000", "x-ratelimit-remaining-requests": "9000"}
    assert limit_in({**headers, "x-ratelimit-reset-requests": "2h24m0s"}, "requests") is None
    assert limit_in({**headers, "x-ratelimit-reset-requests": "6s"}, "requests").a_minute == 10000
    assert limit_in({"x-ratelimit-limit-requests": "many"}, "requests") is None
    assert limit_in({}, "tokens") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("1.5s", 1.5),
        ("6m0s", 360.0),
        ("1h2m3s", 3723.0),
        ("", None),
        ("soon", None),
    ],
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


def test_a_large_request_is_not_overtaken() -> None:
    """It waits until there is room for it, no longer, and then the small ones wait for its debt."""
    admission = Admission([ApiKey(1, "a")], AdaptiveLimit(99, 99), None, 600)
    small, large = (0, 1), (0, 500)
    assert isinstance(admission.admit(0.0, *large), Lease)
    ready = admission.admit(0.0, *large)
    assert ready == pytest.approx(60.5)
    assert isinstance(admission.admit(ready, *large), Lease)
    assert admission.admit(ready, *small) > ready + 30


def test_the_key_that_is_ready_first_is_taken() -> None:
    admission = Admission([ApiKey(1, "a"), ApiKey(2, "b")], AdaptiveLimit(99, 99), 60)
    leases = [admission.admit(0.0, 0, 1) for _ in range(2)]
    assert [lease.lane.key.number for lease in leases] == [1, 2]
    assert isinstance(admission.admit(0.0, 0, 1), float)
    leases[1].lane.retired = "refused"
    lease = admission.admit(5.0, 0, 1)
    assert lease.lane.key.number == 1
    assert isinstance(admission.admit(5.0, 0, 1), float), "a retired key is not asked"


@dataclass
class Script:
    """An endpoint that answers by chance, and remembers what came with which key, and when."""

    chance: random.Random
    faults: dict[str, float]
    dead_keys: set[str]
    headers: dict[str, str] = field(default_factory=dict)
    sent: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    # What was charged to each key: when its request was sent, and its tokens.
    charged: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    order: list[str] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    requests: int = 0
    tokens: int = 0
    replies: Counter = field(default_factory=Counter)

    async def __call__(self, key: ApiKey, body: bytes) -> Answer:
        now = asyncio.get_running_loop().time()
        self.requests += 1
        self.order.append(json.loads(body)["messages"][0]["content"])
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self.chance.expovariate(1.0))
            answer = self._answer(key, json.loads(body), now)
            self.sent[key.secret].append(now)
            return answer
        finally:
            self.open -= 1

    def _answer(self, key: ApiKey, body: dict, now: float) -> Answer:
        drawn = self.chance.random()
        if key.secret in self.dead_keys:
            return Answer(401, {}, b"{}")
        for kind, probability in self.faults.items():
            drawn -= probability
            if drawn < 0:
                return self._fault(kind, key, body, now)
        text = body["messages"][0]["content"]
        self.replies[text] += 1
        completion = self.chance.randint(1, body["max_tokens"])
        self._charge(key, len(text) // 4 + completion, now)
        usage = {"prompt_tokens": len(text) // 4, "completion_tokens": completion}
        choice = {"message": {"content": "hi"}, "finish_reason": "stop"}
        content = json.dumps({"choices": [choice], "usage": usage})
        return Answer(200, self.headers, content.encode())

    def _charge(self, key: ApiKey, tokens: int, now: float) -> None:
        self.tokens += tokens
        self.charged[key.secret].append((now, tokens))

    def _fault(self, kind: str, key: ApiKey, body: dict, now: float) -> Answer:
        if kind == "timeout":
            # The endpoint has worked for it.
            self._charge(key, len(body["messages"][0]["content"]) // 4 + body["max_tokens"], now)
            self.sent[key.secret].append(now)
            raise Unanswered("no answer in time", charged=True)
        if kind == "unreachable":
            raise Unanswered("no connection", charged=False)
        headers = {**self.headers, "retry-after": "2"}
        return Answer(int(kind), headers, b'{"error": {"message": "no"}}')


probability = st.floats(0, 0.2)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    number=st.integers(1, 60),
    keys=st.integers(1, 3),
    dead=st.sampled_from([0, 0, 0, 1, 3]),
    in_flight=st.integers(1, 30),
    per_minute=st.one_of(st.none(), st.integers(5, 600)),
    tokens_per_minute=st.one_of(st.none(), st.integers(500, 50_000)),
    stated=st.booleans(),
    faults=st.fixed_dictionaries(
        dict.fromkeys(("429", "500", "503", "400", "403", "timeout", "unreachable"), probability)
    ),
    caps=st.builds(
        Caps,
        dollars=st.one_of(st.none(), st.none(), st.floats(0.0, 0.1)),
        tokens=st.one_of(st.none(), st.none(), st.integers(0, 60_000)),
        requests=st.one_of(st.none(), st.none(), st.integers(0, 100)),
    ),
)
def test_no_limit_is_exceeded_and_every_row_has_one_end(
    tmp_path_factory,
    seed,
    number,
    keys,
    dead,
    in_flight,
    per_minute,
    tokens_per_minute,
    stated,
    faults,
    caps,
) -> None:
    """Limits are those of the config, or those that the endpoint states in its answers."""
    secrets = [f"key-{at}" for at in range(keys)]
    script = Script(random.Random(seed), faults, set(secrets[:dead]))
    given_limits = per_minute, tokens_per_minute
    if stated:
        # What ends without an answer before the first one counts for nothing.
        faults["timeout"], given_limits = 0.0, (None, None)
        named = {"requests": per_minute, "tokens": tokens_per_minute}
        script.headers = {f"x-ratelimit-limit-{what}": str(at) for what, at in named.items() if at}
    price = Price(1.0, 10.0, "config")

    @asynccontextmanager
    async def connect():
        yield script

    client = Client(
        connect,
        Admission(
            [ApiKey(at, secret) for at, secret in enumerate(secrets, start=1)],
            AdaptiveLimit(4, in_flight),
            *given_limits,
        ),
        Budget(caps, price),
        Patience(attempts=3, outage=300, drain=5),
    )
    asked = [
        request(f"{at} " + "x" * (40 * at), parameters=(("max_tokens", 1 + 7 * at),))
        for at in range(number)
    ]
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, "test") as journal:
        report = run_skipping(client.complete_async(asked, journal, lambda *_: None))
        done = [one for one in asked if one.key in journal]
        usage = sum((used_in(journal.entry(one.key)).tokens for one in done), 0)
    with Journal(folder, "test") as journal:
        spent_later = journal.spent(price)

    assert spent_later.usage == client.budget.spent.usage, "the next run knows what was spent"
    assert spent_later.dollars == pytest.approx(client.budget.spent.dollars)

    # Every row has exactly one end.
    failed = [failure.request.key for failure in report.failed]
    assert report.done == len(done)
    assert len(failed) == len(set(failed))
    assert not set(failed) & {one.key for one in done}
    assert report.done + len(failed) + report.not_sent == number
    assert all(failure.reason in ("refused", "unanswered") for failure in report.failed)
    assert report.stop is not None or report.not_sent == 0
    assert all(times == 1 for times in script.replies.values()), "no reply was paid for twice"

    # No limit was exceeded.
    assert script.most_open <= in_flight
    assert script.open == 0 == client.admission.concurrency.open
    if per_minute is not None:
        for times in script.sent.values():
            for first in range(len(times)):
                within = sum(1 for at in times if times[first] <= at < times[first] + 60)
                assert within <= per_minute
    if tokens_per_minute is not None:
        for charged in script.charged.values():
            for since, _ in charged:
                within = [tokens for at, tokens in charged if since <= at < since + 60]
                # What exceeds a minute's worth by itself goes alone.
                assert sum(within) <= tokens_per_minute or len(within) == 1
    assert caps.requests is None or script.requests <= caps.requests
    assert caps.tokens is None or script.tokens <= caps.tokens
    spent = client.budget.spent
    assert spent.usage.requests == script.requests
    assert spent.usage.tokens >= script.tokens >= usage
    assert caps.dollars is None or spent.dollars <= caps.dollars * (1 + 1e-6)

    event(type(report.stop).__name__)


def ask_skipping(send, asked, folder, tokens_per_minute=None, in_flight=4):
    """Ask an endpoint that is a function, on a clock that skips waiting."""

    @asynccontextmanager
    async def connect():
        yield send

    client = Client(
        connect,
        Admission([ApiKey(1, "a")], AdaptiveLimit(in_flight, in_flight), None, tokens_per_minute),
        Budget(Caps(), None),
        Patience(attempts=3, outage=300, drain=5),
    )
    with Journal(folder, "test") as journal:
        return run_skipping(client.complete_async(asked, journal))


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=40),
    in_flight=st.integers(1, 10),
    tokens_per_minute=st.integers(100, 20_000),
)
def test_no_row_is_overtaken_whatever_its_size(
    tmp_path_factory, seed, sizes, in_flight, tokens_per_minute
) -> None:
    script = Script(random.Random(seed), {}, set())
    asked = [
        request(f"{at} {'x' * size}", parameters=(("max_tokens", size),))
        for at, size in enumerate(sizes)
    ]
    folder = tmp_path_factory.mktemp("journal")
    report = ask_skipping(script, asked, folder, tokens_per_minute, in_flight)
    assert (report.done, report.stop) == (len(asked), None)
    assert script.order == [one.messages[0][1] for one in asked]


REPLY = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}


def test_a_pause_that_an_overloaded_endpoint_names_is_kept(tmp_path) -> None:
    times: list[float] = []

    async def send(key: ApiKey, body: bytes) -> Answer:
        times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)
        if len(times) == 6:
            return Answer(503, {"retry-after": "40"}, b"{}")
        return Answer(200, {}, json.dumps(REPLY).encode())

    asked = [request(sample=at) for at in range(20)]
    assert ask_skipping(send, asked, tmp_path, in_flight=1).done == 20
    assert times[6] - times[5] == pytest.approx(41, abs=0.1)
    assert times[-1] - times[6] < 20


def test_a_pause_longer_than_the_patience_is_not_slept_out(tmp_path) -> None:
    async def send(key: ApiKey, body: bytes) -> Answer:
        await asyncio.sleep(1)
        now = asyncio.get_running_loop().time()
        if now > 5:
            return Answer(503, {"retry-after": "3600"}, b"{}")
        return Answer(200, {}, json.dumps(REPLY).encode())

    report = ask_skipping(send, [request(sample=at) for at in range(20)], tmp_path, in_flight=1)
    assert "asks to wait 3600 s" in str(report.stop)
    assert report.done + report.not_sent == 20


def test_large_requests_wait_out_a_limit_of_requests(tmp_path) -> None:
    """Each may take more tokens than a minute holds, but that is not what the endpoint says."""

    async def send(key: ApiKey, body: bytes) -> Answer:
        await asyncio.sleep(1)
        now = asyncio.get_running_loop().time()
        headers = {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "1000"}
        if 5 < now < 100:
            limited = b'{"error": {"message": "Rate limit of requests per min"}}'
            return Answer(429, {**headers, "retry-after": "1"}, limited)
        usage = {"prompt_tokens": 10, "completion_tokens": 50}
        return Answer(200, headers, json.dumps({**REPLY, "usage": usage}).encode())

    asked = [request(f"{at}", parameters=(("max_tokens", 1024),)) for at in range(12)]
    report = ask_skipping(send, asked, tmp_path)
    assert (report.done, report.failed, report.stop) == (12, [], None)


def test_a_request_that_no_minute_holds_ends_without_blocking_the_others(tmp_path) -> None:
    """An endpoint that says no more than "rate limit" to what exceeds its limit by itself."""
    tries = Counter()

    async def send(key: ApiKey, body: bytes) -> Answer:
        await asyncio.sleep(1)
        tries[content := json.loads(body)["max_tokens"]] += 1
        headers = {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "1000"}
        if content > 1000:
            return Answer(429, headers, b'{"error": {"message": "Rate limit of tokens"}}')
        return Answer(200, headers, json.dumps(REPLY).encode())

    asked = [
        request(f"{at}", parameters=(("max_tokens", 5000 if at == 5 else 50),)) for at in range(20)
    ]
    report = ask_skipping(send, asked, tmp_path)
    assert (report.done, report.stop) == (19, None)
    assert [(one.request, one.reason) for one in report.failed] == [(asked[5], "refused")]
    assert tries[5000] == 3


def test_a_key_that_is_always_limited_stays_limited() -> None:
    lane, now = Lane(ApiKey(1, "a"), None, None), 0.0
    for _ in range(1200):
        now = max(now + 1, lane.paused_until)
        lane.pause(now, now, None, of_tokens=False)
        assert lane.paused_until - now <= 60
