"""Totals that are ahead of their lists, and for how long they have been. Pure.

A server may count a row before it shows it; another one counts wrongly for ever. What tells them apart is time:
a difference counts for nothing once it has stood for as long as a finished room takes to settle. Until then the
list is not complete, and is read again every night.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Difference:
    """A total is `rows` ahead of its list, at least since `since_epoch`."""

    rows: int
    since_epoch: float


@dataclass(slots=True)
class Differences:
    """Of one data type's lists, by room; "" is the experiment's own list."""

    settle_seconds: float
    by_list: dict[str, Difference] = field(default_factory=dict)

    @classmethod
    def since(cls, held: Mapping[str, Difference], settle_seconds: float) -> Differences:
        """Those that are known from earlier runs."""
        return cls(settle_seconds, dict(held))

    def has_stood(self, of_list: str, rows: int, now: float) -> bool:
        """Take note of a list's difference, 0 where there is none; has it stood for long enough?"""
        held = self.by_list.pop(of_list, None)
        if not rows:
            return True
        difference = held if held is not None and held.rows == rows else Difference(rows, now)
        self.by_list[of_list] = difference
        return now - difference.since_epoch >= self.settle_seconds
