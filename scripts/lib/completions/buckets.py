"""A token bucket: what may be sent at which moment, for a limit in units a minute."""

from collections import deque

MINUTE = 60.0
# No span of a minute, from whichever moment the endpoint counts it, holds more than this share.
SHARE_OF_LIMIT = 0.99
SMALL_LIMIT = 100
# Never more than a moment's worth comes at once: endpoints may count in parts of a minute.
BURST_SECONDS = 0.6
# Where an endpoint's own words show that it counts by the minute, what was missed in it, at the
# start or in a pause, is caught up with so much faster than the limit.
CATCH_UP = 1.3
# Its words: at least this share of what we think is left, and so many seconds ago at most.
AGREES, BELIEVED_SECONDS = 0.5, 10.0
# What was sent is remembered in slots of so many seconds.
SLOT_SECONDS = 0.5


class TokenBucket:
    """Paces what is sent, and keeps it below a limit a minute. Times are seconds of one clock.

    A request counts twice until it is settled: for what it is expected to take (`expected`), by
    which it is paced, and for the most that it can take (`most`), which is kept free in its minute,
    since endpoints keep as much free. In any span of `t` seconds at most `capacity + rate * t` is
    taken, and in any minute at most 99 % of the limit. A request that needs more is let through
    alone, when nothing else counts any more.
    """

    def __init__(self, limit_per_minute: float, now: float) -> None:
        # [end of the slot, what was taken in it], oldest first.
        self._slots: deque[list[float]] = deque()
        self._sum = 0.0
        self._agreed_until = float("-inf")
        self._set(limit_per_minute)
        self._level, self._at, self._since = self.capacity, now, now

    def _set(self, limit_per_minute: float) -> None:
        self.limit = limit_per_minute
        # Of small limits the whole: a hundredth less would be one of three.
        whole = limit_per_minute if limit_per_minute < SMALL_LIMIT else 0.0
        self.in_a_minute = max(1.0, whole, SHARE_OF_LIMIT * limit_per_minute)
        self.capacity = max(1.0, limit_per_minute / MINUTE * BURST_SECONDS)

    def rate(self, now: float) -> float:
        """What may be sent in a second, in the long run."""
        return (CATCH_UP if now < self._agreed_until else SHARE_OF_LIMIT) * self.limit / MINUTE

    def _advance(self, now: float) -> None:
        self._level = min(self.capacity, self._level + self.rate(now) * max(0.0, now - self._at))
        self._at = max(self._at, now)
        while self._slots and self._slots[0][0] <= now - MINUTE:
            self._sum -= self._slots.popleft()[1]
        if not self._slots:
            self._sum = 0.0

    def ready_at(self, now: float, expected: float, most: float) -> float:
        """When a request may be sent, if nobody takes anything before; `now` where it may now."""
        self._advance(now)
        missing = min(expected, self.capacity) - self._level
        # The rounding of a sum of many small steps must not cost a further wait.
        paced = now if missing <= 1e-9 * self.capacity else now + missing / self.rate(now)
        return max(paced, self._window_ready_at(now, most))

    def _window_ready_at(self, now: float, amount: float) -> float:
        excess = self._sum + min(amount, self.in_a_minute) - self.in_a_minute
        if excess <= 1e-9 * self.in_a_minute:
            return now
        for end, taken in self._slots:
            excess -= taken
            if excess <= 1e-9 * self.in_a_minute:
                return end + MINUTE
        return now

    def take(self, now: float, expected: float, most: float) -> None:
        """Count a request as sent, whether it may be or not."""
        self._advance(now)
        self._level -= expected
        if not self._slots or self._slots[-1][0] <= now:
            end = (now // SLOT_SECONDS + 1) * SLOT_SECONDS
            self._slots.append([end, 0.0])
        self._slots[-1][1] += most
        self._sum += most

    def settle(self, now: float, since: float, expected: float, most: float, taken: float) -> None:
        """Count what a request that was sent at `since` has taken, in place of what was thought."""
        if since < self._since:
            # It was sent before the limit was known, and has counted for nothing yet.
            self.take(now, taken, taken)
            return
        self._advance(now)
        self._level = min(self.capacity, self._level + expected - taken)
        for slot in reversed(self._slots):
            if slot[0] - SLOT_SECONDS <= since < slot[0]:
                slot[1] += taken - most
                self._sum += taken - most
                return

    def report(self, now: float, remaining: float) -> None:
        """Hear from the endpoint how much is left."""
        self._advance(now)
        self._level = min(self._level, remaining)
        agrees = remaining >= AGREES * (self.limit - self._sum)
        self._agreed_until = now + BELIEVED_SECONDS if agrees else float("-inf")

    def resize(self, now: float, limit_per_minute: float) -> None:
        """Follow a limit that has changed."""
        self._advance(now)
        self._set(limit_per_minute)
        self._level = min(self._level, self.capacity)
