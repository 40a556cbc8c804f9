"""Rows that are gone from one room and have come in another: a room was renamed, or two were merged.

A row stands once in the tree: what is shown in another room leaves the old one's shard. Rows that are gone and
came nowhere else stay.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hsmirror.api.rows import parse_row, row_id, row_times
from hsmirror.mirror.merge import content_digest
from hsmirror.mirror.merging import row_mark
from hsmirror.mirror.night import Room
from hsmirror.mirror.people import person_of
from hsmirror.model import DataType

_GONE_ROWS_AT_ONCE = 100_000

Fields = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoomRows:
    """What is held of a room: the last `gone` of its rows are no longer upstream.

    `new` are the marks of those that came lately, None where any may have.
    """

    room: Room
    read: Callable[[], Iterable[bytes]]
    rows: int
    gone: int = 0
    new: array[int] | None = None

    def read_gone(self) -> Iterator[bytes]:
        return islice(self.read(), self.rows - self.gone, None)

    def read_new(self) -> Iterator[bytes]:
        """Those that are upstream, and may have come from another room."""
        rows = islice(self.read(), self.rows - self.gone)
        if self.new is None:
            return rows
        marks = set(self.new)
        return (row for row in rows if row_mark(row) in marks)


def moved_rows(rooms: Sequence[RoomRows], data_type: DataType) -> dict[Room, Counter[bytes]]:
    """The contents of the rows that are gone from a room and have come in another, by the room they left."""
    moved: dict[Room, Counter[bytes]] = defaultdict(Counter)
    targets = [each for each in rooms if each.rows > each.gone and (each.new is None or each.new)]
    if not targets:
        return moved
    gone = ((each.room, row) for each in rooms if each.gone for row in each.read_gone())
    while some := list(islice(gone, _GONE_ROWS_AT_ONCE)):
        places: dict[bytes, dict[Room, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        kinds: dict[Fields, None] = {}
        for room, row in some:
            fields, members = _kept_members(row, data_type)
            kinds[fields] = None
            places[_mark(fields, members)][room].append(content_digest(row))
        for target in targets:
            for row in target.read_new():
                for room, contents in _places_of(row, data_type, kinds, places):
                    if room != target.room and contents:
                        moved[room][contents.pop()] += 1
    return moved


def without(rows: Iterable[bytes], contents: Counter[bytes]) -> Iterator[bytes]:
    """The rows but for those contents, each as often as it is counted."""
    left = contents.copy()
    for row in rows:
        if left[digest := content_digest(row)] > 0:
            left[digest] -= 1
        else:
            yield row


def _places_of(
    row: bytes,
    data_type: DataType,
    kinds: Iterable[Fields],
    places: Mapping[bytes, Mapping[Room, list[bytes]]],
) -> Iterator[tuple[Room, list[bytes]]]:
    """Where the row was, in each of its spellings: it may have got new fields since."""
    _, members = _kept_members(row, data_type)
    for fields in kinds:
        if members.keys() >= set(fields) and (found := places.get(_mark(fields, members))):
            yield from found.items()


def _mark(fields: Fields, members: Mapping[str, Any]) -> bytes:
    text = json.dumps([[name, members[name]] for name in fields], sort_keys=True)
    return content_digest(text.encode("utf-8", "surrogatepass"))


def _kept_members(row: bytes, data_type: DataType) -> tuple[Fields, dict[str, Any]]:
    """What a row keeps when it moves: its id, whose it is and when; without an id, all but its room.

    Where the id is a person's, it is in many rooms.
    """
    name = row_id(row, data_type) if data_type.id_fields != data_type.person_fields else None
    if name is None:
        members = _without_room(parse_row(row), data_type)
    else:
        members = {"id": name, "person": person_of(row, data_type), "times": row_times(row, data_type)}
    return tuple(sorted(members)), members


def _without_room(row: Any, data_type: DataType) -> dict[str, Any]:
    for field in data_type.room_fields:
        at, (*path, last) = row, field.split(".")
        for name in path:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(last, None)
    return row if isinstance(row, dict) else {"": row}
