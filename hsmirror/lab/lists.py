"""Lists of rows over many rooms, and their pages, made from as few rooms as a page needs.

In the order of time a list falls into blocks: rooms whose times overlap, and which no other room's do. How
many rows a block has is known without making them, so a page starts in the block that its offset falls
into. Narrowing by category or person, and the order of onsets, need every row once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from operator import attrgetter

from hsmirror.lab.kept import Kept
from hsmirror.lab.plans import RoomPlan
from hsmirror.lab.row import Row
from hsmirror.lab.rows import RoomRows

_ROW_OVERHEAD_BYTES = 200
_PIECE_BYTES = 400


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Which rows of a room belong to a list; from `start_ms` to before `end_ms` (epoch milliseconds)."""

    person_id: str | None = None
    category: str | None = None
    start_ms: float = -inf
    end_ms: float = inf

    @property
    def takes_all(self) -> bool:
        return self == _EVERY_ROW

    def admits(self, row: Row) -> bool:
        return (
            self.start_ms <= row.at_ms < self.end_ms
            and (self.person_id is None or row.person_id == self.person_id)
            and (self.category is None or row.category == self.category)
        )

    def meets(self, rooms: Sequence[RoomPlan]) -> bool:
        """Whether a row of the rooms can lie in the time asked for."""
        return any(room.opened_ms < self.end_ms and room.closed_ms > self.start_ms for room in rooms)

    def within(self, rooms: Sequence[RoomPlan]) -> Narrowing:
        """The same for these rooms alone: without times, if theirs all lie in the time asked for."""
        if all(self.start_ms <= room.opened_ms and room.closed_ms <= self.end_ms for room in rooms):
            return Narrowing(self.person_id, self.category)
        return self


_EVERY_ROW = Narrowing()


@dataclass(frozen=True, slots=True)
class ListPlan:
    """One list: rows of a data type, of rooms in the order of their starts. Rows that tie keep that order."""

    data_type: str
    rooms: tuple[RoomPlan, ...]
    narrowing: Narrowing = _EVERY_ROW
    by_onset: bool = False
    descending: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    rooms: tuple[RoomPlan, ...]
    narrowing: Narrowing


@dataclass(frozen=True, slots=True)
class _Listing:
    """A list's pieces in order, and how many rows the list has up to the end of each."""

    pieces: tuple[_Piece, ...]
    ends: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.ends[-1] if self.ends else 0


class Lists:
    """Pages of lists. Rows that were made are kept for the next page, up to `max_bytes` of them."""

    def __init__(self, rows: RoomRows, max_bytes: int) -> None:
        self._rows = rows
        self._listings: Kept[_Listing] = Kept(max_bytes, lambda made: _PIECE_BYTES * len(made.pieces))
        self._sorted: Kept[Sequence[Row]] = Kept(max_bytes, _weight)

    def page(self, plan: ListPlan, key: Hashable, offset: int, limit: int) -> tuple[list[bytes], int]:
        """Up to `limit` rows from `offset` on, and how many the list has; `key` stands for the plan."""
        listing = self._listings.get(key, lambda: self._listing(plan))
        found: list[bytes] = []
        number = bisect_right(listing.ends, offset)
        while number < len(listing.pieces) and len(found) < limit:
            rows = self._piece_rows(plan, listing.pieces[number])
            first = offset + len(found) - (listing.ends[number - 1] if number else 0)
            found.extend(row.text for row in rows[first : first + limit - len(found)])
            number += 1
        return found, listing.total

    def forget(self) -> None:
        """To be called after rows or rooms have changed."""
        self._listings.clear()
        self._sorted.clear()

    def _listing(self, plan: ListPlan) -> _Listing:
        blocks = [plan.rooms] if plan.by_onset and plan.rooms else list(_blocks(plan.rooms))
        pieces = tuple(
            _Piece(block, plan.narrowing.within(block)) for block in blocks if plan.narrowing.meets(block)
        )
        if plan.descending:
            pieces = pieces[::-1]
        return _Listing(pieces, tuple(accumulate(self._count(plan, piece) for piece in pieces)))

    def _count(self, plan: ListPlan, piece: _Piece) -> int:
        if piece.narrowing.takes_all:
            return sum(self._rows.count(room, plan.data_type) for room in piece.rooms)
        return len(self._piece_rows(plan, piece))

    def _piece_rows(self, plan: ListPlan, piece: _Piece) -> Sequence[Row]:
        key = (plan.data_type, plan.by_onset, plan.descending, *(room.id for room in piece.rooms))
        rows = self._sorted.get(key, lambda: self._sorted_rows(plan, piece.rooms))
        if piece.narrowing.takes_all:
            return rows
        return [row for row in rows if piece.narrowing.admits(row)]

    def _sorted_rows(self, plan: ListPlan, rooms: tuple[RoomPlan, ...]) -> Sequence[Row]:
        made = [row for room in rooms for row in self._rows.rows(room, plan.data_type)]
        made.sort(key=attrgetter("onset_ms" if plan.by_onset else "at_ms"), reverse=plan.descending)
        return made


def _blocks(rooms: Sequence[RoomPlan]) -> Iterator[tuple[RoomPlan, ...]]:
    block: list[RoomPlan] = []
    closed_ms = 0
    for room in rooms:
        if block and room.opened_ms >= closed_ms:
            yield tuple(block)
            block = []
        closed_ms = max(closed_ms, room.closed_ms) if block else room.closed_ms
        block.append(room)
    if block:
        yield tuple(block)


def _weight(rows: Sequence[Row]) -> int:
    return sum(len(row.text) for row in rows) + _ROW_OVERHEAD_BYTES * len(rows)
