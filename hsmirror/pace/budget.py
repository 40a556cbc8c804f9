"""How many requests the limits still allow, and when the next one may go.

The API documents two limits, for a key and hour and for an endpoint and minute, but not whether their windows
slide or are fixed. A sliding window obeys both readings: if no span of an hour holds more than the limit, no
clock hour does. A request counts from the moment it is sent until a whole window after it was answered, since
the server may have counted it at any time in between.

The key may have other users, of whom nothing is known but that the server refuses earlier than our own count
explains. They get room: twice what they must have used, at most half of the window, less again once that is
enough.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

HOUR_SECONDS = 3600.0
MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The upstream's limits, scaled by the share that is ours."""

    requests_per_hour: int = 1000
    requests_per_minute_per_endpoint: int = 100
    hour_seconds: float = HOUR_SECONDS
    minute_seconds: float = MINUTE_SECONDS
    announced_per_hour: int | None = field(default=None, compare=False)
    """What the server says its hourly limit is, where only a share of it is ours."""

    def shared(self, share: float) -> Limits:
        """The same limits for one of several users of the key; at least one request of each."""
        return Limits(
            max(1, int(self.requests_per_hour * share)),
            max(1, int(self.requests_per_minute_per_endpoint * share)),
            self.hour_seconds,
            self.minute_seconds,
            self.announced_per_hour or self.requests_per_hour,
        )


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """What was spent and what is left, for progress and reports."""

    sent: int
    left_this_hour: int
    requests_per_hour: int
    blocked_seconds: float


class _Window:
    """At most `limit` requests in any span of `seconds`, of which some may be left to others."""

    __slots__ = (
        "answered",
        "full_limit",
        "in_flight",
        "left_since",
        "left_to_others",
        "limit",
        "refused",
        "seconds",
    )

    def __init__(self, limit: int, seconds: float) -> None:
        self.full_limit = limit
        self.limit = limit
        self.seconds = seconds
        self.in_flight = 0
        self.answered: deque[float] = deque()
        self.refused: deque[float] = deque()
        self.left_to_others = 0
        self.left_since = 0.0

    def give_way(self, now: float) -> None:
        """A request of ours was refused, though by our own count there was room: others have used it.

        They get twice as much. Requests that were under way together are refused together: that is one time.
        """
        self.refused.append(now)
        if self.left_to_others and now < self.left_since + self.seconds / 6:
            return
        while self.refused[0] + self.seconds <= now:
            self.refused.popleft()
        used_by_others = max(1, self.full_limit - (self.used(now) - len(self.refused)))
        self._leave(min(self.full_limit // 2, max(self.left_to_others, 2 * used_by_others)), now)

    def take_back(self, now: float) -> None:
        """Half of what is left to others, for each window in which they needed no more."""
        while self.left_to_others and now >= self.left_since + 1.5 * self.seconds:
            self._leave(self.left_to_others // 2, self.left_since + self.seconds)

    def _leave(self, requests: int, now: float) -> None:
        self.left_to_others, self.left_since = requests, now
        self.limit = self.full_limit - requests

    def used(self, now: float) -> int:
        self.take_back(now)
        while self.answered and self.answered[0] + self.seconds <= now:
            self.answered.popleft()
        return self.in_flight + len(self.answered)

    def wait_seconds(self, now: float) -> float:
        too_many = self.used(now) - self.limit
        if too_many < 0:
            return 0.0
        if too_many >= len(self.answered):
            return float("inf")  # they are under way: an answer will tell
        return self.answered[too_many] + self.seconds - now

    def left(self, now: float) -> int:
        used = self.used(now)
        return max(0, self.limit - used)

    def seconds_until_free(self, requests: int, now: float) -> float:
        """How long until as many may go in a row; a whole window where that is not known."""
        to_expire = requests + self.used(now) - self.limit
        if to_expire <= 0:
            return 0.0
        if to_expire > len(self.answered):
            return self.seconds
        return self.answered[to_expire - 1] + self.seconds - now

    def note(self, at: float) -> None:
        """Count a request answered at `at`, in order of time even where it comes late (another run's)."""
        if not self.answered or at >= self.answered[-1]:
            self.answered.append(at)
        else:
            self.answered = deque(sorted((*self.answered, at)))


class Budget:
    """Pure bookkeeping of both limits in sliding windows. Times are seconds of one monotonic clock."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._hour = _Window(limits.requests_per_hour, limits.hour_seconds)
        self._minutes: dict[str, _Window] = {}
        self._blocked_until: dict[str | None, float] = {}
        self._told_late_seconds = 0.0
        self._sent = 0

    def __repr__(self) -> str:
        return f"<Budget sent={self._sent} in_flight={self._hour.in_flight} of {self._hour.limit}>"

    def wait_seconds(self, endpoint: str, now: float) -> float:
        """How long until a request to `endpoint` may go: 0 for now, infinite if only an answer can tell."""
        return max(
            self._hour.wait_seconds(now),
            self._minute(endpoint).wait_seconds(now),
            self._blocked_until.get(None, now) - now,
            self._blocked_until.get(endpoint, now) - now,
            0.0,
        )

    def left(self, endpoint: str | None, now: float) -> int:
        """How many requests the hour leaves, and, if one is named, the minute of an endpoint."""
        hour = self._hour.left(now)
        return hour if endpoint is None else min(hour, self._minute(endpoint).left(now))

    def seconds_until_free(self, requests: int, endpoint: str | None, now: float) -> float:
        """How long until that many may go in a row, nothing else sent meanwhile."""
        windows = [self._hour] if endpoint is None else [self._hour, self._minute(endpoint)]
        return max(window.seconds_until_free(requests, now) for window in windows)

    def sent(self, endpoint: str) -> None:
        """A request is on its way."""
        self._sent += 1
        self._hour.in_flight += 1
        self._minute(endpoint).in_flight += 1

    def not_sent(self, endpoint: str) -> None:
        """It did not go after all."""
        self._sent -= 1
        self._hour.in_flight -= 1
        self._minute(endpoint).in_flight -= 1

    def answered(self, endpoint: str, now: float) -> None:
        """It was answered, or given up: it counts for a whole window from now."""
        for window in (self._hour, self._minute(endpoint)):
            window.in_flight -= 1
            window.note(now + self._told_late_seconds)

    def spent_elsewhere(self, endpoint: str, at: float, *, told_late_seconds: float = 0.0) -> None:
        """Another run with the same key sent a request at `at`.

        To be safe, that run takes our requests to be so much later than they were. So do we from now on:
        whoever knew first that a request no longer counts would have all that becomes free.
        """
        self._told_late_seconds = told_late_seconds
        self._hour.note(at)
        self._minute(endpoint).note(at)

    def throttled(self, endpoint: str, *, now: float, pause_seconds: float) -> None:
        """A 429 came: nothing goes for `pause_seconds` — to that endpoint, or with that key.

        The answer does not say which limit it was. It was the endpoint's if our own count of its minute is
        near the limit, and the pause no longer than a minute; anything else speaks for the key's.
        """
        minute = self._minute(endpoint)
        is_endpoint = pause_seconds <= minute.seconds and minute.used(now) >= minute.limit // 2
        if is_endpoint:
            minute.give_way(now)
        elif pause_seconds > minute.seconds:  # no other limit takes so long
            self._hour.give_way(now)
        key = endpoint if is_endpoint else None
        self._blocked_until[key] = max(self._blocked_until.get(key, now), now + pause_seconds)

    def server_says_left(self, left: int, now: float) -> None:
        """A rate-limit header: if it leaves less than we count, somebody else uses the key, too."""
        unknown = (self.limits.requests_per_hour - self._hour.used(now)) - left
        for _ in range(max(0, unknown)):
            self._hour.note(now)

    def statistics(self, now: float) -> BudgetStatistics:
        blocked = max((until - now for until in self._blocked_until.values()), default=0.0)
        return BudgetStatistics(
            sent=self._sent,
            left_this_hour=self._hour.left(now),
            requests_per_hour=self._hour.limit,
            blocked_seconds=max(0.0, blocked),
        )

    def _minute(self, endpoint: str) -> _Window:
        window = self._minutes.get(endpoint)
        if window is None:
            window = _Window(self.limits.requests_per_minute_per_endpoint, self.limits.minute_seconds)
            self._minutes[endpoint] = window
        return window
