"""The rows of one room and data type: how many there are, and the rows themselves.

Counts need no rows to be made, so that the total of a long list is known at once. What was added or
deleted since the start is remembered as numbers, and rows are made anew whenever they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from hsmirror.errors import UsageError
from hsmirror.lab.alteration import Alteration
from hsmirror.lab.documented_rows import DOCUMENTED_MAKERS
from hsmirror.lab.newer_rows import NEWER_MAKERS, tagged_run_row
from hsmirror.lab.plans import RoomPlan
from hsmirror.lab.recordings import RecordingFiles, RecordingPlan, recording_rows
from hsmirror.lab.row import Batch, Row
from hsmirror.lab.shape import LabShape

_MAKERS = DOCUMENTED_MAKERS | NEWER_MAKERS
DATA_TYPES = frozenset(_MAKERS) | {"recordings"}
"""What has rows in rooms."""

_FIXED = frozenset({"rooms", "participants", "agent-runs"})
CHANGEABLE = DATA_TYPES - _FIXED
"""What rows can be added to and taken from: of the others there are as many as there are."""

_PER_EVENT = {
    "events": (1, 1),
    "chat": (1, 6),
    "ratings/continuous": (2, 1),
    "ratings/sparse": (1, 10),
    "sync": (1, 2),
    "components": (1, 8),
    "eyetracking": (1, 2),
    "videochat": (1, 20),
    "variables": (1, 10),
    "agent-decisions": (1, 40),
}


def row_count(shape: LabShape, room: RoomPlan, data_type: str) -> int:
    """How many rows a room starts with: a share of its events, at least one if there are any events.

    No room with one participant has sync metrics, and every fourth room has no chat.
    """
    if data_type == "recordings":
        return shape.recordings_per_room
    if data_type == "participants":
        return len(room.people)
    if data_type == "rooms":
        return 1
    is_silent = data_type == "chat" and room.index % 4 == 3
    if shape.events_per_room == 0 or is_silent or (data_type == "sync" and len(room.people) < 2):
        return 0
    if data_type == "agent-runs":
        return 1
    numerator, denominator = _PER_EVENT[data_type]
    return max(1, shape.events_per_room * numerator // denominator)


class RoomRows:
    """Makes the rows of any room, in the order of their numbers, as often as asked and always the same."""

    def __init__(self, shape: LabShape, files: RecordingFiles, alterations: Sequence[Alteration] = ()) -> None:
        self._shape = shape
        self._files = files
        self._alterations = tuple(alterations)
        self._edits: dict[tuple[str, str], list[range]] = {}
        self._added: dict[tuple[str, str], list[int]] = {}
        self._deleted: dict[tuple[str, str], int] = {}

    def count(self, room: RoomPlan, data_type: str) -> int:
        """How many rows there are now."""
        if self._alterations:
            return sum(1 for _ in self.rows(room, data_type))
        return self._made_count(room, data_type)

    def _made_count(self, room: RoomPlan, data_type: str) -> int:
        key = (room.id, data_type)
        added = sum(self._added.get(key, ()))
        return row_count(self._shape, room, data_type) + added - self._deleted.get(key, 0)

    def rows(self, room: RoomPlan, data_type: str) -> Iterator[Row]:
        """The rows there are now, those of the room itself first, then what was added."""
        if not self._alterations:
            yield from self._made(room, data_type)
            return
        rows: Sequence[Row] = list(self._made(room, data_type))
        for alter in self._alterations:
            rows = alter(room, data_type, rows)
        yield from rows

    def _made(self, room: RoomPlan, data_type: str) -> Iterator[Row]:
        skipped = self._deleted.get((room.id, data_type), 0)
        edits = self._edits.get((room.id, data_type), [])
        for number, row in enumerate(self._all(room, data_type)):
            if number >= skipped:
                revision = sum(number in edited for edited in edits)
                yield (
                    row if not revision else replace(row, text=b'%s,"revision":%d}' % (row.text[:-1], revision))
                )

    def run_row(self, room: RoomPlan) -> Row | None:
        """The manifest that a room's agent decisions end with; None where there was no agent."""
        batches = list(self._batches(room, "agent-runs"))
        return tagged_run_row(batches[0]) if batches[0].count else None

    def recordings(self, room: RoomPlan) -> list[RecordingPlan]:
        """What the room's recording rows are made from, in their order."""
        first = self._deleted.get((room.id, "recordings"), 0)
        return [
            self._files.plan(room, first + number) for number in range(self._made_count(room, "recordings"))
        ]

    def add(self, room: RoomPlan, data_type: str, count: int) -> None:
        """`count` rows more, their times among those that are there. Raises UsageError for a fixed type."""
        self._refuse_fixed(data_type)
        self._added.setdefault((room.id, data_type), []).append(count)

    def delete(self, room: RoomPlan, data_type: str, count: int) -> None:
        """Takes away the first `count` rows, or all if there are fewer. Raises UsageError for a fixed type."""
        self._refuse_fixed(data_type)
        key = (room.id, data_type)
        self._deleted[key] = self._deleted.get(key, 0) + min(count, self._made_count(room, data_type))

    def edit(self, room: RoomPlan, data_type: str, count: int) -> None:
        """The first `count` rows say from now on that they were revised. Raises UsageError for a fixed type."""
        self._refuse_fixed(data_type)
        first = self._deleted.get((room.id, data_type), 0)
        self._edits.setdefault((room.id, data_type), []).append(range(first, first + count))

    def _all(self, room: RoomPlan, data_type: str) -> Iterator[Row]:
        if data_type == "recordings":
            total = row_count(self._shape, room, data_type) + sum(self._added.get((room.id, data_type), ()))
            yield from recording_rows(self._shape, [self._files.plan(room, number) for number in range(total)])
            return
        for batch in self._batches(room, data_type):
            yield from _MAKERS[data_type](batch)

    def _batches(self, room: RoomPlan, data_type: str) -> Iterator[Batch]:
        first = 0
        counts = (row_count(self._shape, room, data_type), *self._added.get((room.id, data_type), ()))
        for number, count in enumerate(counts):
            rng = Random(f"{self._shape.seed}/{room.experiment_id}/{room.id}/{data_type}/{number}")
            yield Batch(self._shape, room, first, count, rng)
            first += count

    @staticmethod
    def _refuse_fixed(data_type: str) -> None:
        if data_type in _FIXED or data_type not in DATA_TYPES:
            known = ", ".join(sorted(CHANGEABLE))
            raise UsageError(f"the lab cannot add or delete rows of {data_type!r}: it can of {known}")
