"""What reading a list costs, as steps of requests: those of one step go side by side. Pure.

`row_seconds` is how long a row takes over the line.
"""

from __future__ import annotations

from collections.abc import Sequence

from hsmirror.mirror.night import HeldList, Night, Step, room_requests, whole_requests
from hsmirror.mirror.plan import pages
from hsmirror.pace.duration import Requests, Steps

SAMPLED_ROOMS = 5
_ONE_PAGE_FOR_ALL = 1 / 4
"""Rooms have that much of a page on average: then hardly one has more than a page."""


def total_requests(steps: Steps) -> int:
    return sum(step.count for step in steps)


def whole_list(endpoint: str, rows: int, page_rows: int, row_seconds: float) -> Steps:
    """One list: its first page tells how many others there are."""
    page_seconds = min(rows, page_rows) * row_seconds
    return Requests(endpoint, 1, page_seconds), Requests(endpoint, pages(rows, page_rows) - 1, page_seconds)


def needs_sample(rows: int, rooms: int, page_rows: int) -> bool:
    """Does it matter how the rows are spread over the rooms?"""
    return rooms > 0 and rows / rooms > page_rows * _ONE_PAGE_FOR_ALL


def room_by_room(
    endpoint: str, rows: int, rooms: int, page_rows: int, row_seconds: float, *, sample: Sequence[int]
) -> Steps:
    """All rooms' own lists. `sample` are the rows of some of them."""
    requests = _of_rooms(rows, rooms, page_rows, sample)
    page_seconds = rows * row_seconds / requests
    return Requests(endpoint, rooms, page_seconds), Requests(endpoint, requests - rooms, page_seconds)


def of_night(
    endpoint: str,
    night: Night,
    held: HeldList,
    page_rows: int,
    row_seconds: float,
    *,
    total: int | None,
    can_probe: bool,
) -> Steps:
    """A list that is held: the open rooms and the probe, and what a total that has moved leads to."""
    rows = held.rows if total is None else total
    if night.step is Step.NOTHING:
        return ()
    if night.step is Step.ROOMS:
        known = [room for room in night.open_rooms if room in held.rooms]
        new, grown = len(night.open_rooms) - len(known), max(0, rows - held.unaccounted - held.rows)
        requests = room_requests(held, known)
        if new:
            requests += _of_rooms(grown, new, page_rows, [room.rows for room in held.rooms.values()])
        page_seconds = (grown + sum(held.rooms[room].rows for room in known)) * row_seconds / requests
        first, further = len(night.open_rooms), requests - len(night.open_rooms)
        return (
            Requests(endpoint, first, page_seconds),
            Requests(endpoint, further, page_seconds),
            Requests(endpoint, int(can_probe)),
        )
    page_seconds = min(rows, page_rows) * row_seconds
    whole = max(whole_requests(held), pages(rows, page_rows))
    has_moved = night.step is Step.PROBE and total is not None and total - held.unaccounted != held.rows
    if night.step is Step.PROBE and not has_moved:
        return (Requests(endpoint, 1),)
    first_page, others = Requests(endpoint, 1, page_seconds), Requests(endpoint, whole - 1, page_seconds)
    return (Requests(endpoint, 1), first_page, others) if has_moved else (first_page, others)


def _of_rooms(rows: int, rooms: int, page_rows: int, sample: Sequence[int]) -> int:
    """Requests for so many rooms' lists. The last page of each is not full: a sample tells what that adds."""
    if not needs_sample(rows, rooms, page_rows):
        return rooms
    new_rows = max(1, page_rows - 1)
    added = sum(pages(each, page_rows) - each / new_rows for each in sample) / len(sample) if sample else 0.0
    return round(rooms * max(1.0, rows / rooms / new_rows + added))
