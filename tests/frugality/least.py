"""The least number of requests that any correct reader needs, counted from what the upstream has.

This module knows nothing of hsmirror. It assumes the documented API and no more:

- An answer has at most `page_rows` rows of one list, so that a list of n rows takes ceil(n / page_rows)
  requests, and an empty one takes one: that it is empty has to be asked, too. No overlap of pages is allowed
  for, and no second reading, though a careful reader wants one or the other.
- That an endpoint is missing takes one request to learn, and none on the nights after.
- A row's room is told by the row, or by the room's list that it is in. Where rows do not tell it, every room
  that has rows has to be asked for by itself, and the experiment's list once: its total shows whether there are
  rows that belong to no room. (Rooms without rows need not be asked: the total leaves nothing for them.) Where
  that list has more pages than one, its last one has to be asked for, too: only there it says that nothing is
  left out.
- The rooms are learnt from the list of rooms, which is a data type like the others.
- Each of the experiment's documents takes one request: only its answer shows whether it has changed.
- A settled room's rows are not expected to change. What changed all the same shows in the total of the
  experiment's list, which any answer of that list gives; a total that is as it was is believed.

What a reader may know from earlier nights (the rooms that it holds, the rows of each, the page size that is
granted) is taken to be known for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil

DOCUMENTS = "experiments"
"""The endpoint of an experiment's documents; the others are named by their data type."""


@dataclass(frozen=True, slots=True)
class ListedType:
    """One data type: rows by room, by which lists they can be read, and whether they tell their room."""

    rows_by_room: Mapping[str, int]
    at_room: bool = True
    tells_rooms: bool = True

    def rows_of(self, rooms: Collection[str]) -> int:
        return sum(self.rows_by_room[room] for room in rooms)


@dataclass(frozen=True, slots=True)
class Offer:
    """All that the upstream has of one experiment. `absent` are endpoints that are tried, and that it lacks."""

    types: Mapping[str, ListedType]
    page_rows: int
    documents: int = 1
    absent: frozenset[str] = frozenset()


def pages(rows: int, page_rows: int) -> int:
    """Requests for one list."""
    return max(1, ceil(rows / page_rows))


def first_sync(offer: Offer) -> Counter[str]:
    """Everything, when nothing is held."""
    least = Counter({DOCUMENTS: offer.documents})
    least.update(offer.absent)
    for name, listed in offer.types.items():
        least[name] = _whole(listed, offer.page_rows)
    return least


def unchanged_night(offer: Offer) -> Counter[str]:
    """The documents, one look at each type's total, and one whether what was lacking is there now."""
    return Counter({DOCUMENTS: offer.documents, **dict.fromkeys((*offer.types, *offer.absent), 1)})


def night_with_new_rooms(offer: Offer, new: Collection[str], *, order_is_kept: bool) -> Counter[str]:
    """Rooms have been opened, have ended, and have rows of every type; all else is as it was.

    `order_is_kept`: the list gives new rows behind the old ones, so that its end alone is read. That is not
    documented, but what comes shows it: the rows are of new rooms, and with those that are held as many as the
    total says. Otherwise new rooms are read one by one, and the total once; or the whole list, if that is less.
    """
    least = Counter({DOCUMENTS: offer.documents, **dict.fromkeys(offer.absent, 1)})
    for name, listed in offer.types.items():
        if listed.tells_rooms and order_is_kept:
            least[name] = pages(listed.rows_of(new), offer.page_rows)
        else:
            least[name] = _some_rooms(listed, new, offer.page_rows, looks_at_total=1)
    return least


def repair(offer: Offer, damaged: Mapping[str, Collection[str]]) -> Counter[str]:
    """Rooms of some types are read again, by type; what is not damaged needs no look."""
    return Counter(
        {
            name: _some_rooms(offer.types[name], rooms, offer.page_rows, looks_at_total=0)
            for name, rooms in damaged.items()
            if rooms
        }
    )


def _whole(listed: ListedType, page_rows: int) -> int:
    if listed.tells_rooms:
        return pages(listed.rows_of(listed.rows_by_room), page_rows)
    rows = listed.rows_of(listed.rows_by_room)
    looks = 1 if rows <= page_rows else 2
    return looks + sum(pages(rows, page_rows) for rows in listed.rows_by_room.values() if rows)


def _some_rooms(listed: ListedType, rooms: Collection[str], page_rows: int, *, looks_at_total: int) -> int:
    """By their own lists, or with the whole list where that tells the rooms and is shorter."""
    one_by_one = sum(pages(listed.rows_by_room[room], page_rows) for room in rooms) + looks_at_total
    if not listed.at_room:
        return _whole(listed, page_rows)
    return min(one_by_one, _whole(listed, page_rows)) if listed.tells_rooms else one_by_one
