"""How long an address is good, when the next one is asked for, and how fast bytes may come."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

_MARGIN_SECONDS = 2.0
"""An address that lives no longer than this is as good as expired: the request itself takes time."""

_LONGEST_AHEAD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class AddressLife:
    """From when and until when an address is good, epoch seconds; `expires_at` None: it does not say."""

    taken_at: float
    expires_at: float | None

    @property
    def usable_until(self) -> float:
        """From then on a download is not begun under it any more."""
        if self.expires_at is None:
            return inf
        return self.expires_at - min(_MARGIN_SECONDS, (self.expires_at - self.taken_at) / 2)


def needs_fresh_address(life: AddressLife | None, *, now: float) -> bool:
    """Is an address as good as expired? `life` is None where there is none yet.

    One that lives is used, however long the download: an open stream may end after it has expired, and only
    where the connection breaks after that does going on take another one.
    """
    return life is None or now >= life.usable_until


def next_address_in_seconds(
    life: AddressLife | None, *, left_bytes: int, bytes_per_second: float, takes_seconds: float
) -> float:
    """When to ask for the address of the next download, so that it is there as this one ends; 0: now.

    Whoever asks only then stands still for as long as the request takes (`takes_seconds`). What is asked for
    too early has lost a part of its life, or all of it where the download takes longer than it seemed: twice
    the time that it takes, at most a quarter of the life of this download's address. Where it takes long it is
    the limits that it waits for, and whoever stands still then loses nothing.
    """
    whole = inf if life is None or life.expires_at is None else life.expires_at - life.taken_at
    return max(0.0, left_bytes / bytes_per_second - min(2 * takes_seconds, whole / 4, _LONGEST_AHEAD_SECONDS))


_CATCHES_UP_SECONDS = 0.05


class RateLimit:
    """Spreads bytes over time: `delay_seconds` says how long to pause after so many more.

    What was not used for a moment, between two files, is made up for.
    """

    def __init__(self, bytes_per_second: float | None) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def delay_seconds(self, size_bytes: int, now: float) -> float:
        if self.bytes_per_second is None:
            return 0.0
        self._free_at = max(self._free_at, now - _CATCHES_UP_SECONDS) + size_bytes / self.bytes_per_second
        return max(0.0, self._free_at - now)
