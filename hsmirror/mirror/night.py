"""Which rooms of a list are read tonight, and whether one probe is enough. Pure.

A finished room is settled `settle` after its end: once it has been read since then, it is not expected to
change, and not read again. New and open rooms are. What changed in settled rooms all the same shows in the
total of the experiment's list, which one request tells; `suspects` is the order in which it is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil, inf

from hsmirror.mirror.differences import Difference
from hsmirror.mirror.plan import Way, pages

Room = str | None

FEW_PAGES = 2
"""The rooms' own list is read every night where it takes no more: a room that went and one that came leave its
total as it was."""

LOOKED_FOR_AT_ONCE = 16
"""Rooms that are read before it is asked again whether all late rows are found."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a finished room is settled, how often all is read again, and whether that is asked for now."""

    settle_seconds: float
    recheck_seconds: float
    is_full: bool = False
    idle_rooms_settle: bool = True
    """A room that never ends counts as settled when nothing about it has changed for `recheck_seconds`."""

    @property
    def without_recheck(self) -> Policy:
        """The same on a night that cannot afford to read all of a list."""
        return replace(self, recheck_seconds=inf)


@dataclass(frozen=True, slots=True)
class RoomState:
    """What is known of a room itself. Times are epoch seconds; `finished_at` None: it is not finished."""

    finished_at: float | None
    changed_at: float = 0.0
    """When its own row was last seen to change; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class HeldRoom:
    """What is held of one room's list. `rows` are those that were upstream when it was last read."""

    rows: int = 0
    gone_rows: int = 0
    changed_at: float = 0.0
    """When what is held was last seen to change."""
    is_proven: bool = True
    """All of it was held, and proven to be."""
    is_intact: bool = True
    """Its files are where they belong, with the right size, and nothing speaks for reading it again."""


@dataclass(frozen=True, slots=True)
class HeldList:
    """What is held of one data type of one experiment, by room, and how it was read.

    `whole_at` is when all of it was last read, `rooms_read_at` when rooms were read by themselves since then.
    `unaccounted` is by how much the server's total exceeded the rows that it then gave.
    """

    way: Way
    rooms: Mapping[Room, HeldRoom]
    total: int | None = None
    unaccounted: int = 0
    page_rows: int = 0
    whole_at: float = 0.0
    recorded_at: float = 0.0
    """When a run that was not narrowed last changed what is held, or what is known of it."""
    rooms_read_at: Mapping[str, float] = field(default_factory=dict)
    searching_since: float = 0.0
    """When a search for what has moved began that has not come to its end; 0 where there is none."""
    differences: Mapping[str, Difference] = field(default_factory=dict)
    """By how much totals exceed their lists, by room; "" is the experiment's own list."""
    is_unread: bool = False
    """It could not be proven when it was last read: a total that fits proves nothing."""

    @property
    def rows(self) -> int:
        """Rows held that were upstream when they were last read."""
        return sum(room.rows for room in self.rooms.values())

    def read_at(self, room: Room) -> float:
        """When a room was last read."""
        held = self.rooms.get(room)
        by_itself = self.rooms_read_at.get(room, 0.0) if room is not None else 0.0
        return max(self.whole_at, by_itself, held.changed_at if held is not None else 0.0)


class Step(StrEnum):
    """How the night begins for one data type."""

    WHOLE = "whole"
    """All of it is read."""
    ROOMS = "rooms"
    """The open rooms are read, each by itself; then the total shows whether that was all."""
    PROBE = "probe"
    """Nothing is read unless the total has moved."""
    NOTHING = "nothing"
    """There is no open room, and no way to probe."""


@dataclass(frozen=True, slots=True)
class Night:
    """The plan for one data type: `open_rooms` are read one by one if `step` is ROOMS."""

    step: Step
    open_rooms: tuple[str, ...] = ()


def settles_at(held: HeldRoom, state: RoomState | None, policy: Policy) -> float:
    """From when on a room that was read is settled, epoch seconds.

    A room that never ends is open until nothing about it has changed for as long as everything is read again
    anyway; of one that nothing is known of, it counts when what it has last changed.
    """
    if state is None:
        return held.changed_at + policy.settle_seconds
    if state.finished_at is None:
        if not policy.idle_rooms_settle:
            return inf
        return max(held.changed_at, state.changed_at) + policy.recheck_seconds
    return state.finished_at + policy.settle_seconds


def is_settled(held: HeldList, room: Room, state: RoomState | None, policy: Policy) -> bool:
    """Need a room not be read again?"""
    of_room = held.rooms.get(room)
    if of_room is None or not (of_room.is_proven and of_room.is_intact):
        return False
    # Rows of no room have no end of their own; that they are more shows in the total.
    return room is None or held.read_at(room) >= settles_at(of_room, state, policy)


def tonight(
    held: HeldList,
    states: Mapping[str, RoomState],
    policy: Policy,
    *,
    now: float,
    can_by_room: bool,
    can_probe: bool,
) -> Night:
    """What to read of a list, the cheapest way. `states` are the rooms that are known upstream.

    `can_by_room`: the type has lists of single rooms; `can_probe`: it has one of the whole experiment that
    names its total.
    """
    if policy.is_full or held.is_unread:
        return Night(Step.WHOLE)
    unsettled = unsettled_rooms(held, states, policy, now=now)
    if held.way is Way.ROOMS:
        if None in unsettled:
            return Night(Step.WHOLE)
        if unsettled:
            return Night(Step.ROOMS, _named(unsettled))
        return Night(Step.PROBE if can_probe else Step.NOTHING)
    if not can_probe or now >= held.whole_at + policy.recheck_seconds:
        return Night(Step.WHOLE)
    if not unsettled:
        return Night(Step.PROBE)
    if (
        None in unsettled
        or not can_by_room
        or _grown_requests(held, unsettled) <= room_requests(held, unsettled) + 1
    ):
        return Night(Step.WHOLE)
    return Night(Step.ROOMS, _named(unsettled))


def unsettled_rooms(
    held: HeldList, states: Mapping[str, RoomState], policy: Policy, *, now: float
) -> list[Room]:
    """New rooms and open ones, and of a list that is read room by room those that are due to be read again.

    A room that has vanished, and whose rows are marked as gone, is done with.
    """
    is_by_room = held.way is Way.ROOMS
    return [
        room
        for room in dict.fromkeys((*states, *(room for room in held.rooms if not _is_gone(held, room, states))))
        if not is_settled(held, room, None if room is None else states.get(room), policy)
        or (is_by_room and room is not None and now >= held.read_at(room) + policy.recheck_seconds)
    ]


def lost_rooms(held: HeldList, states: Mapping[str, RoomState]) -> list[str]:
    """Rooms that the server no longer has, and whose files are not where they belong: nothing can mend that."""
    return [
        room
        for room, each in held.rooms.items()
        if room is not None and not each.is_intact and _is_gone(held, room, states)
    ]


def _is_gone(held: HeldList, room: Room, states: Mapping[str, RoomState]) -> bool:
    return bool(states) and room is not None and room not in states and not held.rooms[room].rows


def whole_requests(held: HeldList) -> int:
    """Requests for all of a list, as it was when it was last read."""
    if held.way is Way.ROOMS:
        return room_requests(held, held.rooms)
    return pages(held.rows, held.page_rows) if held.page_rows else 1


def room_requests(held: HeldList, rooms: Iterable[Room]) -> int:
    """Requests for the lists of these rooms; a new one is taken to be as long as those that are held."""
    known = [held.rooms.get(room) for room in rooms]
    if not held.page_rows:
        return len(known)
    requests = sum(pages(room.rows, held.page_rows) for room in known if room is not None)
    usual = [pages(room.rows, held.page_rows) for room in held.rooms.values()]
    return requests + ceil(known.count(None) * sum(usual) / len(usual)) if usual else len(known)


def _grown_requests(held: HeldList, rooms: Iterable[Room]) -> int:
    """Requests for all of a list with what has come to it: new rooms as large as those that are held."""
    new = sum(1 for room in rooms if room not in held.rooms)
    rows = held.rows + held.rows * new // max(1, len(held.rooms))
    return pages(rows, held.page_rows) if held.page_rows else 1


def suspects(held: HeldList, states: Mapping[str, RoomState], read: Iterable[Room]) -> list[str]:
    """Where rows may have come late or gone, likeliest first: rooms that have vanished, then the latest to end.

    Beyond as many as a quarter of what reading the whole list costs, they are not worth looking for one by one.
    """
    done = set(read)
    rooms = [room for room in held.rooms if room is not None and room not in done]
    vanished = [room for room in rooms if states and room not in states and held.rooms[room].rows]
    listed = sorted(
        (room for room in rooms if room in states or not states),
        key=lambda room: (states[room].finished_at or inf) if states else held.read_at(room),
        reverse=True,
    )
    ordered = [*vanished, *listed]
    if held.searching_since:  # a search that was cut short goes on where it was
        ordered = [room for room in ordered if held.read_at(room) < held.searching_since]
    if held.way is Way.ROOMS:
        return ordered
    worth = ceil(whole_requests(held) / 4) if whole_requests(held) > 4 else 0
    return ordered[:worth]


def _named(rooms: Iterable[Room]) -> tuple[str, ...]:
    return tuple(room for room in rooms if room is not None)
