"""What is to be read, by which way, and what it costs. Pure.

A list at experiment scope costs a request a page; the same rows room by room cost at least one a room. The
experiment's list is split locally where its rows tell their rooms, which is then always the cheaper way.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import ceil

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.errors import ConfigurationError
from hsmirror.model import DataType, Scope, Window


class Way(StrEnum):
    """How one data type of one experiment is read."""

    EXPERIMENT = "experiment"
    """One list, split by the room that each row names."""
    ROOMS = "room"
    """A list a room."""
    PARTICIPANTS = "participant"
    """A list a participant and room."""


def choose_way(
    data_type: DataType, *, rooms_wanted: bool, participants_wanted: bool, rows_tell_rooms: bool | None = None
) -> Way | None:
    """The cheapest way that still tells each row's room; None where the type cannot be narrowed so far.

    `rows_tell_rooms` is what the first page showed; None before it was seen.
    """
    if participants_wanted:
        return Way.PARTICIPANTS if Scope.PARTICIPANT in data_type.scopes else None
    can_by_room = Scope.ROOM in data_type.scopes
    if rooms_wanted:
        return Way.ROOMS if can_by_room else None
    if Scope.EXPERIMENT not in data_type.scopes:
        return Way.ROOMS
    return Way.ROOMS if rows_tell_rooms is False and can_by_room else Way.EXPERIMENT


def wanted_types(names: Sequence[str]) -> list[DataType]:
    """The data types to read, in the order in which they are read; all where none is named.

    Raises:
        ConfigurationError: an unknown name.
    """
    for name in names:
        if name not in DATA_TYPES:
            raise ConfigurationError(f"unknown data type {name!r}; known are {', '.join(DATA_TYPES)}")
    return [data_type for name, data_type in DATA_TYPES.items() if not names or name in names]


def pages(rows: int, page_size: int) -> int:
    """Requests for one list: an empty one costs one, too, and each page after the first repeats a row."""
    if rows <= page_size:
        return 1
    return ceil((rows - 1) / max(1, page_size - 1))


def narrowed(data_type: DataType, window: Window) -> Window:
    """The part of a window that this type's lists can be narrowed to; they are read whole otherwise."""
    if data_type.takes_time_range:
        return window
    return Window(participant=window.participant)
