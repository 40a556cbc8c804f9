"""Which recording file is downloaded next, and whether its address will last."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

Job = TypeVar("Job")

_MARGIN_SECONDS = 2.0
"""An address that lives no longer than this is as good as expired: the request itself takes time."""


@dataclass(frozen=True, slots=True)
class AddressLife:
    """From when and until when an address is good, epoch seconds; `expires_at` None: it does not say."""

    taken_at: float
    expires_at: float | None


def needs_fresh_address(life: AddressLife | None, *, now: float) -> bool:
    """Is an address as good as expired? `life` is None where there is none yet.

    One that lives is used, however long the download: an open stream may end after it has expired, and only
    where the connection breaks after that does going on take another one.
    """
    if life is None:
        return True
    if life.expires_at is None:
        return False
    return life.expires_at - now <= min(_MARGIN_SECONDS, (life.expires_at - life.taken_at) / 2)


class DownloadQueue(Generic[Job]):
    """Jobs in the order in which they should go: the one whose address expires first, first.

    Jobs without an expiry (to be minted, or that do not say) come last, in the order they came.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Job]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, job: Job, *, expires_at: float | None) -> None:
        heapq.heappush(self._heap, (float("inf") if expires_at is None else expires_at, self._count, job))
        self._count += 1

    def take(self) -> Job | None:
        """The next job, or None where there is none."""
        return heapq.heappop(self._heap)[2] if self._heap else None


class RateLimit:
    """Spreads bytes over time: `delay_seconds` says how long to pause after so many more."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def delay_seconds(self, size_bytes: int, now: float) -> float:
        if self._bytes_per_second is None:
            return 0.0
        self._free_at = max(self._free_at, now) + size_bytes / self._bytes_per_second
        return self._free_at - now
