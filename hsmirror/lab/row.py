"""One made row, and what every maker of rows needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import orjson

from hsmirror.lab.plans import RoomPlan
from hsmirror.lab.shape import LabShape

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """A row's JSON text, and what lists are filtered and sorted by, which the text need not show.

    `at_ms` is epoch milliseconds, `onset_ms` counts from the room's start and can be negative.
    """

    text: bytes
    at_ms: int
    onset_ms: int
    person_id: str
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Which rows to make: `count` rows of one data type in one room, numbered from `first`.

    A room's own rows are one batch; rows that arrive later are further ones, and leave the earlier
    rows as they were.
    """

    shape: LabShape
    room: RoomPlan
    first: int
    count: int
    rng: Random

    def place(self) -> dict[str, str]:
        """The fields that say where a row belongs, in the document's order."""
        return self._place("roomId")

    def event_place(self) -> dict[str, str]:
        """The same for events: the document names the room `sessionId`; newer servers have both fields."""
        if self.shape.room_field == "newer" and self.shape.rows_name_rooms:
            return self._place("roomId") | {"sessionId": f"{self.room.id}-s1"}
        return self._place("sessionId")

    def id_of(self, kind: str, number: int) -> str:
        """An id that no other row has; `number` counts from 0 in this batch."""
        return f"{kind}_{self.room.tag}_{self.first + number}"

    def _place(self, room_field: str) -> dict[str, str]:
        where = {"experimentId": self.room.experiment_id}
        if self.shape.rows_name_rooms:
            where[room_field] = self.room.id
        return where

    def times_ms(self, count: int | None = None) -> list[int]:
        """Ascending times while the room runs, for every row; about one in twelve repeats the one before."""
        wanted = self.count if count is None else count
        length_ms = self.room.closed_ms - self.room.started_ms
        draw = self.rng.random
        times = sorted(self.room.started_ms + int(draw() * length_ms) for _ in range(wanted))
        for number in range(1, wanted):
            if draw() < 1 / 12:
                times[number] = times[number - 1]
        return times


def iso(at_ms: int) -> str:
    """`2024-10-20T14:30:45.123Z`, as every time in the API's rows is written."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")[:-6] + "Z"


def text_of(fields: Mapping[str, object]) -> bytes:
    """Compact JSON in the order of the fields; other than ASCII as UTF-8."""
    # A copy, since orjson cuts the text off a buffer many times its size, whose rest stays unused beside it.
    return bytes(memoryview(orjson.dumps(fields)))
