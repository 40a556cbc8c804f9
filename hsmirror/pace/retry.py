"""When to try again: exponential back-off with full jitter, and an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays grow from `first_seconds`, doubling up to `longest_seconds`; `attempts` tries in all.

    Each delay is drawn evenly from half of it to the whole, so that clients that failed together do not
    come back together.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    attempts: int = 6

    def delay_seconds(self, failures: int, random: Callable[[], float]) -> float | None:
        """How long to wait after the `failures`-th failure in a row (1, 2, …); None: give up.

        `random` gives numbers from 0 to 1.
        """
        if failures >= self.attempts:
            return None
        whole = min(self.first_seconds * 2.0 ** (failures - 1), self.longest_seconds)
        return float(whole * (0.5 + random() / 2))


REQUESTS = Backoff()
"""For one request of the API: a quarter of a minute in all, before the list that it belongs to is given up."""

THROTTLES = Backoff(first_seconds=2.0, longest_seconds=300.0, attempts=12)
"""For 429s that do not say how long: the key rests longer each time."""

CORRUPT = Backoff(first_seconds=1.0, attempts=3)
"""For answers that cannot be what they claim: they rarely get better, and never by haste."""
