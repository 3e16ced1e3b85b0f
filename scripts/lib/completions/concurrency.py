"""How many requests may be open at a time: as many as the endpoint bears.

Slow start, then additive increase and multiplicative decrease, as in TCP; the gate (growth only
when the limit was used) and the one cut a cool-down are inspect_ai's and NeMo Data Designer's.
"""

from statistics import median
from typing import NamedTuple

SATURATED = 0.8
STRAY = 0.05
CUT = 0.75
GROWTH = 0.05
COOL_DOWN_SECONDS = 5.0
SLOW = 2.0
# The same for one doubling, which makes latency twice as long where nothing is gained.
SLOWER = 1.5
# What a growth of the limit must bring of its own proportion to count as a gain.
WORTHWHILE = 0.2
# After a growth that was taken back, so many rounds pass before growth is tried again.
HOLD_ROUNDS = 20


class _Round(NamedTuple):
    """What was measured at a limit: the median latency, and replies a second."""

    limit: int
    latency: float
    throughput: float


class AdaptiveLimit:
    """A limit for open requests that follows the endpoint. Times are seconds of one clock.

    A round is as many replies as the limit. After a round in which at least 80 % of the limit was
    used, and no more than a stray request failed, the limit doubles (until the first cut) or grows
    by a twentieth. `congested` cuts it by a quarter, once a cool-down and never for a request that
    was sent before the last cut; a stray one in a round is no congestion. Endpoints that never
    refuse a request are heard by their latency: a growth that brought no throughput, and a median
    twice the best one, is taken back.
    """

    def __init__(self, initial: int, maximum: int) -> None:
        self._limit, self._maximum = float(min(initial, maximum)), maximum
        self._slow_start = True
        self._last_cut = self._no_cut_until = float("-inf")
        self._best = float("inf")
        self._reference: _Round | None = None
        self._hold = 0
        self.open = 0
        self._begin_round(settled=True)

    @property
    def limit(self) -> int:
        """The most requests that may be open now."""
        return max(1, int(self._limit))

    def _begin_round(self, settled: bool) -> None:
        self._latencies: list[float] = []
        self._peak, self._settled = self.open, settled
        self._congested = self._failed = 0
        self._round_began: float | None = None

    def opened(self, now: float) -> None:
        """Count a request as open."""
        self.open += 1
        self._peak = max(self._peak, self.open)
        if self._round_began is None:
            self._round_began = now

    def closed(self) -> None:
        """Count a request as over, however it ended."""
        self.open -= 1

    def congested(self, now: float, opened_at: float, cool_down: float = 0.0) -> None:
        """Hear that the endpoint had too much: a 429, a 503, or no answer in time."""
        self._failed += 1
        if opened_at < self._last_cut or now < self._no_cut_until:
            return
        self._congested += 1
        if self._congested > self._strays():
            self._cut(now, cool_down)

    def _strays(self) -> float:
        """Failures of a round that say nothing of the endpoint's load."""
        return 1 + STRAY * self._limit

    def _cut(self, now: float, cool_down: float) -> None:
        self._limit = max(1.0, self._limit * CUT)
        self._slow_start = False
        self._last_cut = now
        self._no_cut_until = now + max(COOL_DOWN_SECONDS, cool_down)
        self._begin_round(settled=False)

    def failed(self) -> None:
        """Hear of another failure: no reason for a cut, but many are none to grow either."""
        self._failed += 1

    def replied(self, now: float, latency: float) -> None:
        """Hear of a reply that took `latency` seconds."""
        self._latencies.append(latency)
        if len(self._latencies) >= self.limit:
            self._end_round(now)

    def _end_round(self, now: float) -> None:
        seconds = now - (self._round_began if self._round_began is not None else now)
        throughput = len(self._latencies) / max(seconds, 1e-9)
        latency, settled = median(self._latencies), self._settled
        saturated = self._peak >= SATURATED * self.limit
        clean = self._failed <= self._strays()
        before = self.limit
        if not settled:
            # Requests of the limit before are among these replies: measure the next round.
            self._begin_round(settled=True)
            return
        self._best = min(self._best, latency)
        self._hold = max(0, self._hold - 1)
        if saturated and clean:
            if self._reference and self._too_slow(self._reference, latency, throughput):
                self._hold = HOLD_ROUNDS
                self._limit, self._slow_start = float(self._reference.limit), False
                self._reference = None
                self._begin_round(settled=False)
                return
            if not self._hold:
                self._grow(latency, throughput)
        # The doublings of the slow start need no exact measure.
        self._begin_round(settled=self._slow_start or self.limit == before)

    def _too_slow(self, before: _Round, latency: float, throughput: float) -> bool:
        """Whether the last growth has only made replies slower."""
        growth = self.limit / before.limit - 1
        if growth <= 0 or throughput >= before.throughput * (1 + WORTHWHILE * growth):
            return False
        doubled = self._slow_start and latency > SLOWER * before.latency
        return doubled or latency > SLOW * self._best

    def _grow(self, latency: float, throughput: float) -> None:
        self._reference = _Round(self.limit, latency, throughput)
        step = self._limit if self._slow_start else max(1.0, GROWTH * self._limit)
        self._limit = min(float(self._maximum), self._limit + step)
