"""The API's two limits as a server enforces them, for everybody who uses the key together."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from math import ceil

from hsmirror.errors import ThrottledError

HOUR, MINUTE = 3600.0, 60.0


@dataclass(slots=True)
class Window:
    """One limit in both readings: no span of `seconds`, and no window cut by the clock, has more requests."""

    allowed: int
    seconds: float
    counted_at: deque[float] = field(default_factory=deque)
    in_fixed: Counter[int] = field(default_factory=Counter)

    def wait_seconds(self, now: float) -> float:
        """How long a request has to wait that comes now; 0 where it is admitted."""
        while self.counted_at and self.counted_at[0] <= now - self.seconds:
            self.counted_at.popleft()
        if len(self.counted_at) >= self.allowed:
            return self.counted_at[0] + self.seconds - now
        if self.in_fixed[int(now // self.seconds)] >= self.allowed:
            return self.seconds - now % self.seconds
        return 0.0

    def left(self, now: float) -> int:
        """How many more are admitted now."""
        self.wait_seconds(now)  # forgets what is long ago
        in_fixed = self.in_fixed[int(now // self.seconds)]
        return self.allowed - max(len(self.counted_at), in_fixed)

    def count(self, now: float) -> None:
        self.counted_at.append(now)
        self.in_fixed[int(now // self.seconds)] += 1


@dataclass(slots=True)
class Rationing:
    """Admits requests of a key, or refuses them with 429 and the seconds to wait. Refused ones do not count."""

    requests_per_hour: int = 1_000
    requests_per_minute: int = 100
    """Of one endpoint."""
    admitted_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)
    _hour: Window = field(init=False)
    _minutes: dict[str, Window] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._hour = Window(self.requests_per_hour, HOUR)

    def admit(self, endpoint: str, now: float) -> None:
        """Count a request.

        Raises:
            ThrottledError: a limit is used up.
        """
        minute = self._minutes.setdefault(endpoint, Window(self.requests_per_minute, MINUTE))
        wait = max(self._hour.wait_seconds(now), minute.wait_seconds(now))
        if wait > 0:
            self.refused_at.append(now)
            raise ThrottledError("429 RATE_LIMIT_EXCEEDED", retry_after_seconds=max(1, ceil(wait)))
        self._hour.count(now)
        minute.count(now)
        self.admitted_at.append(now)

    def left(self, now: float) -> int:
        """What the hour leaves, as rate-limit headers tell it."""
        return self._hour.left(now)
