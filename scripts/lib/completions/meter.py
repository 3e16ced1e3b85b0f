"""What is going on right now: requests and tokens in the last minute, and open requests."""

from collections import deque

SPAN_SECONDS = 60


class Meter:
    """Counts answers and tokens by the second. Times are seconds of one clock.

    `open` is the number of open requests, `trouble` says what holds the client up, if anything.
    """

    def __init__(self) -> None:
        # [second, requests, tokens]
        self._seconds: deque[list[int]] = deque()
        self._began: float | None = None
        self.open, self.trouble = 0, ""

    def count(self, now: float, tokens: int) -> None:
        """Count an answer that took so many tokens."""
        if self._began is None:
            self._began = now
        if not self._seconds or self._seconds[-1][0] != int(now):
            self._seconds.append([int(now), 0, 0])
            while self._seconds[0][0] < now - SPAN_SECONDS:
                self._seconds.popleft()
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += tokens

    def a_minute(self, now: float) -> tuple[float, float]:
        """Requests and tokens a minute, by those of the last minute."""
        recent = [entry for entry in self._seconds if entry[0] >= now - SPAN_SECONDS]
        if not recent or self._began is None:
            return 0.0, 0.0
        minutes = max(1.0, min(SPAN_SECONDS, now - self._began)) / 60
        requests, tokens = (sum(entry[at] for entry in recent) for at in (1, 2))
        return requests / minutes, tokens / minutes
