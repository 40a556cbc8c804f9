"""The documented limits: so many requests an hour for a key, so many a minute for one of its endpoints.

Whether the platform's windows slide or are fixed is not documented; the lab does either. Refused requests
are not counted against a limit.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hsmirror.clock import Clock
from hsmirror.errors import UsageError
from hsmirror.lab.keys import LAB_KEY
from hsmirror.serve.endpoints import endpoint_of
from hsmirror.serve.refusals import refusal


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """How much is allowed. The windows' lengths can be cut so that a test sees an hour go by in seconds.

    Raises UsageError for counts below 1 and for windows without length.
    """

    requests_per_hour: int = 1000
    requests_per_minute_per_endpoint: int = 100
    window: Literal["sliding", "fixed"] = "sliding"
    hour_seconds: float = 3600.0
    minute_seconds: float = 60.0

    def __post_init__(self) -> None:
        if min(self.requests_per_hour, self.requests_per_minute_per_endpoint) < 1:
            raise UsageError("the lab's limits must allow at least 1 request; for no limits, give none")
        if min(self.hour_seconds, self.minute_seconds) <= 0:
            raise UsageError("the lab's hour and minute must last longer than 0 s")


@dataclass(slots=True)
class _SlidingWindow:
    """At most `allowed` requests in any stretch of `seconds`."""

    allowed: int
    seconds: float
    _counted_at: deque[float] = field(default_factory=deque)

    def wait_seconds(self, now: float) -> float:
        while self._counted_at and self._counted_at[0] <= now - self.seconds:
            self._counted_at.popleft()
        if len(self._counted_at) < self.allowed:
            return 0.0
        return self._counted_at[0] + self.seconds - now

    def count(self, now: float) -> None:
        self._counted_at.append(now)


@dataclass(slots=True)
class _FixedWindow:
    """At most `allowed` requests between two multiples of `seconds`."""

    allowed: int
    seconds: float
    _index: int = -1
    _counted: int = 0

    def wait_seconds(self, now: float) -> float:
        self._turn_to(now)
        if self._counted < self.allowed:
            return 0.0
        return (self._index + 1) * self.seconds - now

    def count(self, now: float) -> None:
        self._turn_to(now)
        self._counted += 1

    def _turn_to(self, now: float) -> None:
        index = math.floor(now / self.seconds)
        if index != self._index:
            self._index, self._counted = index, 0


class RequestLimits:
    """Both limits, for every key. Decides at once and holds nothing while a client waits."""

    def __init__(self, options: LimitOptions) -> None:
        self._options = options
        self._windows: dict[tuple[str, str | None], _SlidingWindow | _FixedWindow] = {}

    def admit(self, key_id: str, endpoint: str, now: float) -> float:
        """Counts the request and gives 0, or gives the seconds until one would be admitted."""
        windows = (self._window(key_id, None), self._window(key_id, endpoint))
        wait = max(window.wait_seconds(now) for window in windows)
        if wait > 0:
            return wait
        for window in windows:
            window.count(now)
        return 0.0

    def _window(self, key_id: str, endpoint: str | None) -> _SlidingWindow | _FixedWindow:
        found = self._windows.get((key_id, endpoint))
        if found is None:
            options = self._options
            kind = _SlidingWindow if options.window == "sliding" else _FixedWindow
            if endpoint is None:
                found = kind(options.requests_per_hour, options.hour_seconds)
            else:
                found = kind(options.requests_per_minute_per_endpoint, options.minute_seconds)
            self._windows[key_id, endpoint] = found
        return found


def limited(limits: RequestLimits, clock: Clock) -> Middleware:
    """429 with `Retry-After` beyond the limits. Stands behind `key_required`."""

    @web.middleware
    async def check_limits(request: web.Request, handler: Handler) -> web.StreamResponse:
        key = request.get(LAB_KEY)
        if key is None:
            return await handler(request)
        wait_seconds = limits.admit(key.key_id, endpoint_of(request.path), clock.monotonic())
        if wait_seconds > 0:
            retry_after = max(1, math.ceil(wait_seconds))
            raise refusal(
                429,
                "RATE_LIMIT_EXCEEDED",
                f"Rate limit exceeded. Try again in {retry_after} s",
                {"retryAfter": retry_after},
                {"Retry-After": str(retry_after)},
            )
        return await handler(request)

    return check_limits
