"""Rooms' own rows, read for whether and when the room ended."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.rows import Row, parse_row
from hsmirror.archive.layout import Layout
from hsmirror.archive.segments import Receipts
from hsmirror.errors import DamagedError
from hsmirror.mirror.night import HeldList, RoomState
from hsmirror.mirror.settle import Shelf
from hsmirror.mirror.write import rows_of

_FINISHED = re.compile(
    "abandoned|archived|cancell?ed|closed|completed?|ended|expired|failed|finished|terminated"
)
_OPEN = re.compile("active|created|in_progress|lobby|open|paused|pending|running|starting|waiting")
_ENDS = ("endedAt", "completedAt", "finishedAt", "closedAt")
_OTHER_TIMES = ("updatedAt", "startedAt", "createdAt")
"""Of a session's row from a deployment, which has no end: sessions last hours, and `settle` is longer."""

_LARGEST_SECONDS = 1e11  # larger numbers are milliseconds


def room_state(row: Row, *, changed_at: float = 0.0) -> RoomState:
    """Has the room ended, and when? Its status counts; without a known one, that it has an end.

    Source: `status`, `endedAt` and the like of recorded sessions; the documentation names no full list.
    """
    fields = parse_row(row)
    if not isinstance(fields, dict):
        return RoomState(None, changed_at)
    status = fields.get("status")
    status = status.casefold() if isinstance(status, str) else ""
    names = (*_ENDS, *_OTHER_TIMES) if _FINISHED.fullmatch(status) else () if _OPEN.fullmatch(status) else _ENDS
    times = (epoch_of(fields.get(name)) for name in names)
    return RoomState(next((at for at in times if at is not None), None), changed_at)


def held_room_states(
    layout: Layout, receipts: Receipts, experiment: str, held: HeldList
) -> dict[str, RoomState]:
    """The same from the rows of rooms in the archive: for a thread."""
    states: dict[str, RoomState] = {}
    for room, of_room in held.rooms.items():
        parts = Shelf(experiment, DATA_TYPES["rooms"].name, room).held(receipts)
        if room is None or not of_room.rows or not parts or not parts[0].sha256:
            continue
        with suppress(DamagedError):
            row = next(rows_of([layout.absolute(parts[0].path)]), b"{}")
            states[room] = room_state(row, changed_at=of_room.changed_at)
    return states


def epoch_of(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15:
        return value / 1000 if value > _LARGEST_SECONDS else float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
