"""Which recording file is downloaded next."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from hsmirror.pace.downloads import AddressLife

Job = TypeVar("Job")


@dataclass(slots=True, eq=False)
class _Entry(Generic[Job]):
    job: Job | None
    """None once it has been taken: an entry may outlive that, and a job is large."""
    source: str
    number: int
    size_bytes: int
    has_expired: bool = False


class _Mix(Generic[Job]):
    """Jobs of which the largest and the smallest are taken in turn, so that files and bytes get fewer alike.

    Large files fill the line and small ones wait for answers, and for minted addresses: together they do both
    at once. None of the largest is left for the end, where it would go on alone.
    """

    def __init__(self) -> None:
        self._by_size: list[tuple[int, int, _Entry[Job]]] = []
        self._to_spare_bytes = 0.0
        """By how much the files that were taken fall short of what as many have in the mean."""
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._by_size)

    def add(self, entry: _Entry[Job]) -> None:
        insort(self._by_size, (entry.size_bytes, entry.number, entry))
        self.size_bytes += entry.size_bytes

    def take(self) -> _Entry[Job]:
        entry = self._by_size[-1 if self._to_spare_bytes >= 0 else 0][2]
        self._to_spare_bytes += self.size_bytes / len(self._by_size) - entry.size_bytes
        self.remove(entry)
        return entry

    def remove(self, entry: _Entry[Job]) -> None:
        del self._by_size[bisect_left(self._by_size, (entry.size_bytes, entry.number))]
        self.size_bytes -= entry.size_bytes


class DownloadQueue(Generic[Job]):
    """Jobs in the order in which they should go.

    First those whose addresses live: large and small mixed, or, where not all of them can begin before the
    first address expires, the one whose address expires first. Then those whose addresses have expired, in the
    order in which they came, which is that of their list, as pages of addresses are. Last those whose
    addresses are minted one by one, mixed again.
    """

    def __init__(self) -> None:
        self._living: _Mix[Job] = _Mix()
        self._by_expiry: list[tuple[float, int, _Entry[Job]]] = []
        """A heap; some of them have been taken."""
        self._expired: list[tuple[int, _Entry[Job]]] = []
        self._by_source: dict[str, _Entry[Job]] = {}
        """Of both."""
        self._to_mint: _Mix[Job] = _Mix()
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._living) + len(self._expired) + len(self._to_mint)

    def add(self, job: Job, life: AddressLife | None, *, source: str, size_bytes: int | None) -> None:
        """Line up a job; `life` None: its address is minted. `source` tells one file from another."""
        entry = _Entry(job, source, next(self._numbers), size_bytes or 0)
        if life is None:
            self._to_mint.add(entry)
        else:
            self._by_source[source] = entry
            self._add_living(entry, life)

    def renewed(self, source: str, life: AddressLife, *, now: float) -> None:
        """There is a new address, which matters to a job whose own has expired."""
        self._let_expire(now)
        entry = self._by_source.get(source)
        if entry is not None and entry.has_expired:
            del self._expired[bisect_left(self._expired, (entry.number,))]
            self._add_living(entry, life)

    def take(self, now: float, *, bytes_per_second: float) -> Job | None:
        """The next job; None where there is none. `bytes_per_second` is what all downloads together reach."""
        self._let_expire(now)
        if self._living:
            entry = self._take_living(now, bytes_per_second)
        elif self._expired:
            _, entry = self._expired.pop(0)
        elif self._to_mint:
            entry = self._to_mint.take()
        else:
            return None
        if self._by_source.get(entry.source) is entry:
            del self._by_source[entry.source]
        job, entry.job = entry.job, None
        return job

    def _add_living(self, entry: _Entry[Job], life: AddressLife) -> None:
        entry.has_expired = False
        self._living.add(entry)
        heapq.heappush(self._by_expiry, (life.usable_until, entry.number, entry))

    def _take_living(self, now: float, bytes_per_second: float) -> _Entry[Job]:
        usable_until, _, first_to_expire = self._by_expiry[0]
        if self._living.size_bytes < bytes_per_second * (usable_until - now):
            return self._living.take()
        self._living.remove(first_to_expire)
        return first_to_expire

    def _let_expire(self, now: float) -> None:
        """Afterwards the top of the heap lives."""
        while self._by_expiry:
            usable_until, number, entry = self._by_expiry[0]
            if entry.job is not None and now < usable_until:
                return
            heapq.heappop(self._by_expiry)
            if entry.job is not None:
                self._living.remove(entry)
                entry.has_expired = True
                insort(self._expired, (number, entry))
