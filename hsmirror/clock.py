"""Time, handed in: whoever decides by the clock takes one of these, so that tests can move it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never jump; for deadlines and measured durations. Their zero means nothing."""

    def epoch(self) -> float:
        """Seconds since 1970, UTC; for what outlives the process or is compared with a server's time."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def epoch(self) -> float:
        return time.time()


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is told to go on; both readings move together."""

    now: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def epoch(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def iso_utc(epoch_seconds: float) -> str:
    """`2026-11-22T02:00:03Z`: how times stand in receipts and reports."""
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
