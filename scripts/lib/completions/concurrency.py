"""How many requests may be open at a time: as many as the endpoint bears.

Slow start, then additive increase and multiplicative decrease, as in TCP; the gate (growth only
when the limit was used) and the one cut a cool-down are inspect_ai's and NeMo Data Designer's.
"""

from collections import deque
from statistics import median

SATURATED = 0.8
CUT = 0.75
GROWTH = 0.05
COOL_DOWN_SECONDS = 5.0
# Some rounds are remembered for the shortest latency: an endpoint may become slower for good.
REMEMBERED_ROUNDS = 50
SLOW = 2.0
# What a growth of the limit must bring of its own proportion to count as a gain.
WORTHWHILE = 0.2
# After a cut for slowness, so many rounds pass before growth is tried again.
HOLD_ROUNDS = 20


class AdaptiveLimit:
    """A limit for open requests that follows the endpoint. Times are seconds of one clock.

    A round is as many replies as the limit. After a round in which at least 80 % of the limit was
    used, and nothing failed, the limit doubles (until the first cut) or grows by a twentieth.
    `congested` cuts it by a quarter, once a cool-down and never for a request that was sent before
    the last cut. Endpoints that never refuse a request are heard by their latency: where its median
    is twice the best one and the growth brought no throughput, the limit is cut too.
    """

    def __init__(self, initial: int, maximum: int) -> None:
        self._limit, self._maximum = float(min(initial, maximum)), maximum
        self._slow_start = True
        self._last_cut = self._no_cut_until = float("-inf")
        self._best: deque[float] = deque(maxlen=REMEMBERED_ROUNDS)
        self._reference: tuple[float, float] | None = None
        self._hold = 0
        self.open = 0
        self._begin_round(settled=True)

    @property
    def limit(self) -> int:
        """The most requests that may be open now."""
        return max(1, int(self._limit))

    def _begin_round(self, settled: bool) -> None:
        self._latencies: list[float] = []
        self._peak, self._clean, self._settled = self.open, True, settled
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
        self._clean = False
        if opened_at < self._last_cut or now < self._no_cut_until:
            return
        self._cut(now, cool_down)

    def _cut(self, now: float, cool_down: float = 0.0) -> None:
        self._limit = max(1.0, self._limit * CUT)
        self._slow_start = False
        self._last_cut = now
        self._no_cut_until = now + max(COOL_DOWN_SECONDS, cool_down)
        self._begin_round(settled=False)

    def failed(self) -> None:
        """Hear of another failure: no reason for a cut, but none to grow either."""
        self._clean = False

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
        clean = self._clean
        before = self.limit
        if not settled:
            # Requests of the limit before are among these replies: measure the next round.
            self._begin_round(settled=True)
            return
        self._best.append(latency)
        self._hold = max(0, self._hold - 1)
        if saturated and clean:
            if self._too_slow(latency, throughput):
                self._hold = HOLD_ROUNDS
                self._reference = None
                self._cut(now)
                return
            if not self._hold:
                self._grow(throughput)
        # The doublings of the slow start need no exact measure.
        self._begin_round(settled=self._slow_start or self.limit == before)

    def _too_slow(self, latency: float, throughput: float) -> bool:
        if self._reference is None or latency <= SLOW * min(self._best):
            return False
        limit, reached = self._reference
        growth = self.limit / limit - 1
        return growth > 0 and throughput < reached * (1 + WORTHWHILE * growth)

    def _grow(self, throughput: float) -> None:
        self._reference = (self.limit, throughput)
        step = self._limit if self._slow_start else max(1.0, GROWTH * self._limit)
        self._limit = min(float(self._maximum), self._limit + step)
