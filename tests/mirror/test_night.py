"""What a night reads: new and open rooms, and what the total says has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsmirror.mirror.night import (
    HeldList,
    HeldRoom,
    Night,
    Policy,
    RoomState,
    Step,
    suspects,
    tonight,
)
from hsmirror.mirror.plan import Way

HOUR = 3600.0
DAY = 24 * HOUR
NOW = 1_000 * DAY
POLICY = Policy(settle_seconds=48 * HOUR, recheck_seconds=30 * DAY)

SETTLED = RoomState(finished_at=NOW - 100 * DAY)
ENDED_YESTERDAY = RoomState(finished_at=NOW - DAY)
RUNNING = RoomState(finished_at=None)
READ = HeldRoom(rows=100, changed_at=NOW - 10 * DAY)


def held_list(*rooms: str, page_rows: int = 1000, way: Way = Way.EXPERIMENT, **others: HeldRoom) -> HeldList:
    held = dict.fromkeys(rooms, READ) | others
    whole_at = NOW - 10 * DAY if way is Way.EXPERIMENT else 0.0
    return HeldList(way, held, total=100 * len(held), page_rows=page_rows, whole_at=whole_at)


def plan(held: HeldList, states: dict[str, RoomState], policy: Policy = POLICY, **given: bool) -> Night:
    given = {"can_by_room": True, "can_probe": True} | given
    return tonight(held, states, policy, now=NOW, **given)


def many(count: int) -> list[str]:
    return [f"room_{number:04d}" for number in range(count)]


def test_where_all_rooms_are_settled_one_probe_is_all() -> None:
    rooms = many(5000)
    assert plan(held_list(*rooms), dict.fromkeys(rooms, SETTLED)) == Night(Step.PROBE)


def test_new_and_open_rooms_are_read_by_themselves_where_that_is_cheaper() -> None:
    rooms = many(100)
    states = dict.fromkeys(rooms, SETTLED) | {"room_0007": ENDED_YESTERDAY, "new": RUNNING}
    assert plan(held_list(*rooms, page_rows=500), states) == Night(Step.ROOMS, ("room_0007", "new"))


def test_and_with_the_whole_list_where_that_takes_fewer_requests() -> None:
    rooms = many(100)
    states = dict.fromkeys(rooms, SETTLED) | dict.fromkeys(["a", "b", "c"], RUNNING)
    # Ten pages against three rooms and a probe; then two pages.
    assert plan(held_list(*rooms, page_rows=1000), states).step is Step.ROOMS
    assert plan(held_list(*rooms, page_rows=5000), states).step is Step.WHOLE


def test_what_new_rooms_will_add_to_the_whole_list_counts() -> None:
    """Twenty rooms of half a page are held, twelve are new: sixteen pages, or twelve rooms and the total."""
    held = held_list(page_rows=101, **dict.fromkeys(many(20), replace(READ, rows=50)))
    states = dict.fromkeys(many(20), SETTLED) | dict.fromkeys(many(32)[20:], RUNNING)
    assert plan(held, states).step is Step.ROOMS


@pytest.mark.parametrize(
    ("state", "read_at", "is_read_again"),
    [
        (RoomState(finished_at=NOW - 10 * DAY), NOW - 9 * DAY, True),
        (RoomState(finished_at=NOW - 10 * DAY), NOW - 8 * DAY, False),
        (RUNNING, NOW - DAY, True),
        (None, NOW - DAY, False),
    ],
    ids=["read before it settled", "read since", "still running", "unknown, unchanged for long"],
)
def test_a_room_is_settled_once_it_was_read_two_days_after_its_end(
    state: RoomState | None, read_at: float, is_read_again: bool
) -> None:
    room = HeldRoom(rows=100, changed_at=NOW - 20 * DAY)
    held = HeldList(
        Way.EXPERIMENT,
        {"room": room} | dict.fromkeys(many(50), READ),
        total=5100,
        page_rows=100,
        whole_at=NOW - 20 * DAY,
        rooms_read_at={"room": read_at},
    )
    states = dict.fromkeys(many(50), SETTLED) | ({"room": state} if state is not None else {})
    assert ("room" in plan(held, states).open_rooms) is is_read_again


def test_a_room_that_never_ends_is_open_until_nothing_of_it_has_changed_for_the_time_of_a_recheck() -> None:
    lately, long_ago = replace(READ, changed_at=NOW - 29 * DAY), replace(READ, changed_at=NOW - 41 * DAY)
    rooms = many(50)
    held = held_list(*rooms, page_rows=100, lately=lately, long_ago=long_ago)
    states = dict.fromkeys(rooms, SETTLED) | {"lately": RUNNING, "long_ago": RUNNING}
    assert plan(held, states).open_rooms == ("lately",)


@pytest.mark.parametrize("room", [replace(READ, is_intact=False), replace(READ, is_proven=False)])
def test_what_is_damaged_or_was_never_proven_is_read_again_settled_or_not(room: HeldRoom) -> None:
    rooms = many(50)
    held = held_list(*rooms, page_rows=100, bad=room)
    assert plan(held, dict.fromkeys([*rooms, "bad"], SETTLED)) == Night(Step.ROOMS, ("bad",))


def test_all_is_read_again_when_the_recheck_is_due_and_when_it_is_asked_for() -> None:
    rooms = many(3)
    states = dict.fromkeys(rooms, SETTLED)
    overdue = replace(held_list(*rooms), whole_at=NOW - 30 * DAY)
    assert plan(overdue, states).step is Step.WHOLE
    assert plan(held_list(*rooms), states, replace(POLICY, is_full=True)).step is Step.WHOLE


def test_a_list_without_a_total_or_pages_is_read_as_a_whole() -> None:
    assert plan(held_list("room"), {"room": SETTLED}, can_probe=False).step is Step.WHOLE


def test_a_type_without_lists_of_single_rooms_is_read_as_a_whole_when_one_is_open() -> None:
    assert plan(held_list(*many(5000), page_rows=100), {"new": RUNNING}, can_by_room=False).step is Step.WHOLE


# --- lists that are read room by room ----------------------------------------------------------------
def test_of_a_list_that_is_read_by_room_only_open_rooms_are_and_the_others_when_they_are_due() -> None:
    due = replace(READ, changed_at=NOW - 30 * DAY)
    held = held_list("settled", way=Way.ROOMS, due=due)
    states = {"settled": SETTLED, "due": SETTLED, "new": RUNNING}
    assert plan(held, states, can_probe=False) == Night(Step.ROOMS, ("due", "new"))


def test_where_none_is_open_it_is_probed_or_left_alone() -> None:
    held, states = held_list("settled", way=Way.ROOMS), {"settled": SETTLED}
    assert plan(held, states).step is Step.PROBE
    assert plan(held, states, can_probe=False).step is Step.NOTHING


# --- where late rows are looked for ------------------------------------------------------------------
def test_late_rows_are_looked_for_in_vanished_rooms_and_those_that_ended_last() -> None:
    rooms = many(30)
    states = {room: RoomState(finished_at=NOW - (100 - at) * DAY) for at, room in enumerate(rooms)}
    held = held_list(*rooms, "vanished", page_rows=100)
    assert suspects(held, states, read=["room_0029"])[:3] == ["vanished", "room_0028", "room_0027"]


def test_the_search_is_given_up_for_the_whole_list_after_a_quarter_of_its_cost() -> None:
    rooms = many(1000)
    states = dict.fromkeys(rooms, SETTLED)
    assert len(suspects(held_list(*rooms, page_rows=1000), states, read=[])) == 26
    assert suspects(held_list(*rooms[:3], page_rows=100), states, read=[]) == []
    assert len(suspects(held_list(*rooms, way=Way.ROOMS), states, read=[])) == 1000


def test_a_search_that_was_cut_short_goes_on_with_the_rooms_that_it_has_not_read() -> None:
    rooms = many(6)
    states = {room: RoomState(finished_at=NOW - (100 - at) * DAY) for at, room in enumerate(rooms)}
    held = held_list(*rooms, way=Way.ROOMS)
    read = dict.fromkeys(("room_0005", "room_0004"), NOW - HOUR)
    resumed = replace(held, rooms_read_at=read, searching_since=NOW - HOUR)
    assert suspects(resumed, states, read=[])[:2] == ["room_0003", "room_0002"]
