"""How quick a server and the line to it are, by the answers that have come."""

from __future__ import annotations

_LEAST_LINE_SHARE = 0.1
"""Of the time that an answer takes: less than that is no measure of the line."""


class AnswerTimes:
    """Of requests from when they are sent: what they wait for beforehand says nothing of the server."""

    def __init__(self) -> None:
        self._largest = (0, 0.0)
        self._quickest_seconds: float | None = None

    def note(self, size_bytes: int, seconds: float) -> None:
        self._largest = max(self._largest, (size_bytes, seconds))
        if self._quickest_seconds is None or seconds < self._quickest_seconds:
            self._quickest_seconds = seconds

    @property
    def latency_seconds(self) -> float:
        """Of the quickest answer; 0 before there is one."""
        return self._quickest_seconds or 0.0

    def line_seconds(self, size_bytes: float) -> float:
        """How long so many bytes take beyond the latency, by the largest answer; 0 where that shows nothing."""
        largest, seconds = self._largest
        beyond = seconds - self.latency_seconds
        if not largest or beyond < seconds * _LEAST_LINE_SHARE:
            return 0.0
        return size_bytes * beyond / largest
