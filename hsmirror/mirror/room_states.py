"""Rooms' own rows, read for whether and when the room ended."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from hsmirror.api.envelope import Row, parse_row
from hsmirror.mirror.night import RoomState

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
    times = (_epoch(fields.get(name)) for name in names)
    return RoomState(next((at for at in times if at is not None), None), changed_at)


def _epoch(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15:
        return value / 1000 if value > _LARGEST_SECONDS else float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
