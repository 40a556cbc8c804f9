"""What a run remembers of a list, so that later ones can leave out what is settled. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from hsmirror.archive.receipts import ListReceipt, Receipt
from hsmirror.clock import iso_utc
from hsmirror.mirror.night import HeldList, HeldRoom, Policy, Room, RoomState, settles_at
from hsmirror.mirror.outcome import Outcome
from hsmirror.mirror.plan import Way


@dataclass(frozen=True, slots=True)
class ReadList:
    """How a list was read in this run. `before` is what was held when it began."""

    experiment: str
    data_type: str
    way: Way
    total: int | None
    page_rows: int | None
    was_read_whole: bool
    before: HeldList | None
    searching_since: float = 0.0
    """Where a search for what has moved was cut short: when it began."""


def list_receipt(
    read: ReadList,
    outcome: Outcome,
    states: Mapping[str, RoomState],
    policy: Policy,
    *,
    now: float,
    held: Receipt | None,
) -> ListReceipt | None:
    """The list's receipt; None where the one that is held says as much.

    Times alone are news only where they decide something: that a room is settled now, or that reading all again
    is no longer due. So a run over unchanged data leaves no trace.
    """
    before = read.before
    old = held if isinstance(held, ListReceipt) else None
    settled = {
        room: at
        for room, at in outcome.read_at.items()
        if at >= settles_at(_held_room(room, outcome, before, now), _state(states, room), policy)
    }
    is_whole = read.was_read_whole and outcome.is_complete
    whole_at, rooms_read_at = (old.whole_at, dict(old.rooms_read_at)) if old is not None else ("", {})
    was_due = before is None or now >= before.whole_at + policy.recheck_seconds
    # A room whose shard changed in this run has the time in its own receipt.
    kept = {
        room: at
        for room, at in settled.items()
        if before is not None and room in before.rooms and room not in outcome.changed_rooms
    }
    newly_settled = [
        room
        for room in kept
        if before is not None
        and room is not None
        and before.read_at(room) < settles_at(before.rooms[room], _state(states, room), policy)
    ]
    if is_whole and (was_due or newly_settled):
        whole_at, rooms_read_at = iso_utc(now), {}
    elif not is_whole:
        due = [
            room for room in kept if before is not None and now >= before.read_at(room) + policy.recheck_seconds
        ]
        rooms_read_at |= {room: iso_utc(settled[room]) for room in (*newly_settled, *due) if room is not None}
    if old is not None and old.searching_since and before is not None:
        # The search has ended: what it read of settled rooms decides nothing any more.
        rooms_read_at = {
            room: at for room, at in rooms_read_at.items() if _decides(before, room, states, policy)
        }
    if read.searching_since:
        rooms_read_at |= {room: iso_utc(at) for room, at in settled.items() if room is not None}
    receipt = ListReceipt(
        experiment=read.experiment,
        data_type=read.data_type,
        way=read.way.value,
        rows=outcome.rows,
        total=read.total if read.total is not None or old is None else old.total,
        unaccounted=_unaccounted(outcome, read.total, old),
        page_rows=read.page_rows or (old.page_rows if old is not None else 0),
        is_complete=outcome.is_complete,
        why=outcome.why,
        read_at=iso_utc(now),
        whole_at=whole_at,
        rooms_read_at=rooms_read_at,
        searching_since=iso_utc(read.searching_since) if read.searching_since else "",
        is_unread=outcome.is_unread,
        differences={
            of_list: (each.rows, iso_utc(each.since_epoch))
            for of_list, each in outcome.differences.by_list.items()
        },
    )
    is_news = old is None or msgspec.structs.replace(old, read_at=receipt.read_at) != receipt
    if is_news or outcome.changed_rooms:
        return receipt
    return None


def _decides(before: HeldList, room: str, states: Mapping[str, RoomState], policy: Policy) -> bool:
    """Would the room not be settled without the time that it was read by itself?"""
    if room not in before.rooms:
        return True
    otherwise = max(before.whole_at, before.rooms[room].changed_at)
    return otherwise < settles_at(before.rooms[room], _state(states, room), policy)


def _held_room(room: Room, outcome: Outcome, before: HeldList | None, now: float) -> HeldRoom:
    held = before.rooms.get(room) if before is not None else None
    if held is None or room in outcome.changed_rooms:
        return HeldRoom(changed_at=now)
    return held


def _state(states: Mapping[str, RoomState], room: Room) -> RoomState | None:
    return None if room is None else states.get(room)


def _unaccounted(outcome: Outcome, total: int | None, old: ListReceipt | None) -> int:
    if total is None or not outcome.is_complete:
        return old.unaccounted if old is not None else 0
    return total - outcome.rows_upstream
