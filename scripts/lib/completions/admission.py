"""Who may be sent now: the limits of each key, and the number of open requests of them all.

Nothing here waits or reads a clock: whoever sends asks with the time, and hears when to ask again.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from scripts.lib.completions.answers import Meaning, limit_in
from scripts.lib.completions.buckets import TokenBucket
from scripts.lib.completions.concurrency import AdaptiveLimit
from scripts.lib.completions.keys import ApiKey
from scripts.lib.completions.stops import NoKeyLeft
from scripts.lib.console import say

# Pauses of a key after a 429 that names none: doubled each time, up to the last.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 60.0
# So many requests in a row that a key may not send are the key's fault: of one that never worked,
# and of one that has.
FORBIDDEN_AT_FIRST, FORBIDDEN_IN_A_ROW = 2, 3
# How fast the mean of what replies take follows them.
FOLLOW = 0.05
# How much more carefully tokens are counted after a refusal, and how fast a reply undoes it.
CAUTION_STEP, FORGET = 0.25, 0.002


@dataclass(frozen=True)
class Demand:
    """Tokens that a request is thought to take, and the most that it can take."""

    expected: float
    most: float


class Forecast:
    """How many tokens requests really take, learnt from their replies."""

    def __init__(self) -> None:
        self._completion: float | None = None
        self._prompt_ratio = 1.0

    def demand(self, prompt: int, max_tokens: int) -> Demand:
        """The demand of a request with about `prompt` tokens; as much as it may be, at first."""
        about = prompt * self._prompt_ratio
        # Prompts differ: those to come may take as many as thought, though others took fewer.
        most = max(about, prompt) + max_tokens
        completion = max_tokens if self._completion is None else self._completion
        return Demand(min(most, about + completion), most)

    def learn(self, prompt: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Take a reply into account, unless its endpoint does not count (no tokens at all)."""
        if not prompt_tokens + completion_tokens:
            return
        if self._completion is None:
            self._completion = completion_tokens
            self._prompt_ratio = prompt_tokens / max(1, prompt)
        self._completion += FOLLOW * (completion_tokens - self._completion)
        self._prompt_ratio += FOLLOW * (prompt_tokens / max(1, prompt) - self._prompt_ratio)


class Lane:
    """What one key may send: its buckets, its pause after a 429, whether it is still good."""

    def __init__(self, key: ApiKey, requests: float | None, tokens: float | None) -> None:
        self.key = key
        self._configured = {"requests": requests, "tokens": tokens}
        self._buckets: dict[str, TokenBucket] = {}
        self.paused_until = -math.inf
        self._pauses = 0
        self._paused_for = -math.inf
        # 0: a request counts for what it is thought to take; 1: for the most that it may take.
        self._caution = 0.0
        self.open = 0
        # Why the key is not used any more.
        self.retired: Meaning | None = None
        # Whether a request was answered that it may send.
        self.works = False
        self._forbidden = 0

    def _bucket(self, what: str, now: float) -> TokenBucket | None:
        if what not in self._buckets and self._configured[what] is not None:
            self._buckets[what] = TokenBucket(self._configured[what], now)
        return self._buckets.get(what)

    @property
    def may_read(self) -> bool:
        """Whether the key may still ask for what was paid for: an account without money may."""
        return self.retired in (None, Meaning.KEY_SPENT)

    def charge(self, demand: Demand) -> Demand:
        """What a request counts for."""
        careful = demand.expected + self._caution * (demand.most - demand.expected)
        return Demand(careful, demand.most)

    def ready_at(self, now: float, charge: Demand) -> float:
        """When a request that counts for so many tokens may be sent."""
        ready = max(now, self.paused_until)
        if bucket := self._bucket("requests", now):
            ready = max(ready, bucket.ready_at(now, 1.0, 1.0))
        if bucket := self._bucket("tokens", now):
            ready = max(ready, bucket.ready_at(now, charge.expected, charge.most))
        return ready

    def take(self, now: float, charge: Demand) -> None:
        """Count a request as sent."""
        self.open += 1
        if bucket := self._bucket("requests", now):
            bucket.take(now, 1.0, 1.0)
        if bucket := self._bucket("tokens", now):
            bucket.take(now, charge.expected, charge.most)

    def settle(
        self, now: float, since: float, charge: Demand, requests: float, tokens: float
    ) -> None:
        """Count what a request has taken, in place of what it counted for since it was sent."""
        self.open -= 1
        if bucket := self._buckets.get("requests"):
            bucket.settle(now, since, 1.0, 1.0, requests)
        if bucket := self._buckets.get("tokens"):
            # An endpoint that refuses more than we count does not count by what replies take.
            counted = tokens + self._caution * max(0.0, charge.most - tokens) if requests else 0.0
            bucket.settle(now, since, charge.expected, charge.most, counted)

    def learn(self, now: float, headers: Mapping[str, str]) -> bool:
        """Follow the limits that an answer to this key states; the config's stay the most.

        Returns whether it has heard of one for the first time.
        """
        new = False
        for what, configured in self._configured.items():
            stated = limit_in(headers, what)
            if stated is None:
                continue
            limit = min(stated.a_minute, configured or math.inf)
            bucket = self._bucket(what, now)
            if bucket is None:
                bucket = self._buckets[what] = TokenBucket(limit, now)
                new = True
            elif bucket.limit != limit:
                bucket.resize(now, limit)
            if stated.remaining is not None:
                bucket.report(now, stated.remaining)
        return new

    def suppose(self, now: float, other: "Lane") -> None:
        """Take the limits of another key for this one's, until it hears its own."""
        for what, bucket in other._buckets.items():
            if self._bucket(what, now) is None:
                self._buckets[what] = TokenBucket(bucket.limit, now)

    def pause(self, now: float, sent_at: float, seconds: float | None, of_tokens: bool) -> None:
        """Rest after a 429: as long as it asks for, else longer each time.

        Answers to requests that were sent before the last pause say nothing new.
        """
        doubled = 2.0 ** min(self._pauses, 20)
        if seconds is not None:
            # "At once", said again and again, is no answer.
            least = min(FIRST_PAUSE_SECONDS, 0.02 * doubled)
            self.paused_until = max(self.paused_until, now + max(seconds, least))
        if sent_at < self._paused_for:
            return
        self._paused_for = now
        if seconds is None:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * doubled)
            self.paused_until = max(self.paused_until, now + pause)
        self._pauses += 1
        if of_tokens:
            self._caution = min(1.0, self._caution + CAUTION_STEP)

    def never_holds(self, charge: Demand) -> bool:
        """Whether a request may take more than the tokens of a whole minute."""
        bucket = self._buckets.get("tokens")
        return bucket is not None and charge.most > bucket.in_a_minute

    def is_forbidden(self) -> bool:
        """Hear that the key may not send a request, for the first time; whether it may send none.

        A key is not given up for one request, which may itself be what is refused.
        """
        self._forbidden += 1
        most = FORBIDDEN_IN_A_ROW if self.works else FORBIDDEN_AT_FIRST
        return self._forbidden >= most

    def succeeded(self) -> None:
        """Forget how often the key had to pause, and by and by the caution that came of it."""
        self.works, self._forbidden = True, 0
        self._pauses = 0
        self._caution *= 1 - FORGET


def alive(lanes: Sequence[Lane]) -> list[Lane]:
    """The lanes whose key is still good."""
    return [lane for lane in lanes if lane.retired is None]


def retire(lane: Lane, lanes: Sequence[Lane], why: Meaning, message: str) -> None:
    """Use a lane's key no more, and say so once."""
    if lane.retired is None:
        lane.retired = why
        say(
            f"key {lane.key.number} is not used any more: {why.value} ({message}); "
            f"{len(alive(lanes))} left"
        )


def no_key_left(endpoint: str, lanes: Sequence[Lane]) -> NoKeyLeft:
    """The stop of a run whose keys are all retired."""
    reasons = Counter(lane.retired.value for lane in lanes if lane.retired is not None)
    listed = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    return NoKeyLeft(
        f"{endpoint} accepts none of the keys ({listed}): put a valid one into "
        f"{lanes[0].key.source} and run the same command again"
    )


@dataclass(frozen=True)
class Lease:
    """The right to send one request, with one key."""

    lane: Lane
    since: float
    charge: Demand


class Admission:
    """Hands out leases: never above a bucket of a key, never more open than the limit.

    Requests are admitted in the order in which they ask: who asks must not be overtaken, so that
    a large request is not starved by small ones. A lease is given back exactly once by `close`.
    """

    def __init__(
        self,
        keys: list[ApiKey],
        concurrency: AdaptiveLimit,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.lanes = [Lane(key, requests_per_minute, tokens_per_minute) for key in keys]
        self.concurrency = concurrency
        self.forecast = Forecast()

    @property
    def alive(self) -> list[Lane]:
        """The lanes whose key is still good."""
        return alive(self.lanes)

    def admit(
        self, now: float, prompt: int, max_tokens: int, avoid: Collection[Lane] = ()
    ) -> Lease | float:
        """A lease for a request, or the time at which to ask again (infinity: when one is closed).

        There must be a key left. Those to `avoid` are taken where there is no other.
        """
        if self.concurrency.open >= self.concurrency.limit:
            return math.inf
        demand = self.forecast.demand(prompt, max_tokens)
        lane, ready = None, math.inf
        alive = self.alive
        for candidate in [one for one in alive if one not in avoid] or alive:
            at = candidate.ready_at(now, candidate.charge(demand))
            if lane is None or (at, candidate.open) < (ready, lane.open):
                lane, ready = candidate, at
        assert lane is not None, "no key is left"
        if ready > now:
            return ready
        lease = Lease(lane, now, lane.charge(demand))
        lane.take(now, lease.charge)
        self.concurrency.opened(now)
        return lease

    def learn(self, lane: Lane, now: float, headers: Mapping[str, str]) -> None:
        """Follow the limits that an answer states.

        Keys that have heard of none are thought to have the same: until their first answers come,
        many of their requests may be on the way.
        """
        if lane.learn(now, headers):
            for other in self.lanes:
                other.suppose(now, lane)

    def close(self, lease: Lease, now: float, tokens: float, reached: bool = True) -> None:
        """Give a lease back. `tokens` is what the request took.

        What has never `reached` the endpoint counts for nothing.
        """
        self.concurrency.closed()
        lease.lane.settle(now, lease.since, lease.charge, float(reached), tokens)
