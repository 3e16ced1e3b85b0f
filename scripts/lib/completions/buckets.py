"""A token bucket: what may be sent at which moment, for a limit in units a minute."""

MINUTE = 60.0
# Send a little slower than the limit, and never more than a moment's worth at once: no minute, from
# whichever moment the endpoint counts it, then holds more than the limit.
SHARE_OF_LIMIT = 0.99
BURST_SECONDS = 0.6


class TokenBucket:
    """Fills at a limit's rate; what is sent takes from it. Times are seconds of one clock.

    An amount above the capacity is let through when the bucket is full, and leaves it in debt: in
    any span of `t` seconds at most `capacity + rate * t` plus one such excess is taken. The level
    is kept under the capacity, but a refund may pay a debt off.
    """

    def __init__(self, limit_per_minute: float, now: float) -> None:
        self._set(limit_per_minute)
        self._level, self._at = self.capacity, now

    def _set(self, limit_per_minute: float) -> None:
        self.limit = limit_per_minute
        self.rate = SHARE_OF_LIMIT * limit_per_minute / MINUTE
        self.capacity = max(1.0, self.rate * BURST_SECONDS)

    def level(self, now: float) -> float:
        """What is in the bucket; below 0 in debt."""
        self._level = min(self.capacity, self._level + self.rate * max(0.0, now - self._at))
        self._at = max(self._at, now)
        return self._level

    def ready_at(self, now: float, amount: float) -> float:
        """When `amount` may be taken, if nobody takes anything before; `now` where it may now."""
        missing = min(amount, self.capacity) - self.level(now)
        # The rounding of a sum of many small steps must not cost a further wait.
        return now if missing <= 1e-9 * self.capacity else now + missing / self.rate

    def take(self, now: float, amount: float) -> None:
        """Take an amount, whether it may be taken or not."""
        self._level = self.level(now) - amount

    def give(self, now: float, amount: float) -> None:
        """Give back what was taken too much; a negative amount takes what was taken too little."""
        self._level = min(self.capacity, self.level(now) + amount)

    def lower_to(self, now: float, level: float) -> None:
        """Believe an endpoint that says that less is left."""
        self._level = min(self.level(now), level)

    def resize(self, now: float, limit_per_minute: float) -> None:
        """Follow a limit that has changed."""
        self.level(now)
        self._set(limit_per_minute)
        self._level = min(self._level, self.capacity)
