"""Rows that are gone from one room and have come in another."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from typing import Any

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.mirror.merge import content_digest
from hsmirror.mirror.merging import row_mark
from hsmirror.mirror.moved import RoomRows, moved_rows, without

EVENTS, COMPONENTS, PEOPLE = (DATA_TYPES[name] for name in ("events", "components", "participants"))


def row(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def of(room: str, *rows: bytes, gone: int = 0, new: list[bytes] | None = None) -> RoomRows:
    marks = None if new is None else array("q", map(row_mark, new))
    return RoomRows(room, lambda: rows, len(rows), gone, marks)


def contents(*rows: bytes) -> Counter[bytes]:
    return Counter(map(content_digest, rows))


OLD, OTHER = row(id="e1", roomId="a", timestamp=1), row(id="e2", roomId="a")
MOVED = row(id="e1", roomId="b", timestamp=1, edited=True)


def test_fault_111_a_row_that_is_gone_and_came_in_another_room_has_moved() -> None:
    assert moved_rows([of("a", OTHER, OLD, gone=1), of("b", MOVED)], EVENTS) == {"a": contents(OLD)}
    assert moved_rows([of("a", OTHER, OLD, gone=2), of("b", MOVED, new=[MOVED])], EVENTS) == {
        "a": contents(OLD)
    }


def test_a_row_that_is_not_gone_or_gone_in_both_rooms_has_not_moved() -> None:
    assert not moved_rows([of("a", OLD), of("b", MOVED)], EVENTS)
    assert not moved_rows([of("a", OLD, gone=1), of("b", MOVED, gone=1)], EVENTS)


def test_a_row_that_the_other_room_had_all_along_is_another_row() -> None:
    new = row(id="e9", roomId="b")
    assert not moved_rows([of("a", OLD, gone=1), of("b", MOVED, new, new=[new])], EVENTS)


def test_one_id_of_another_person_or_time_is_another_row() -> None:
    others = [row(id="e1", roomId="b", timestamp="2026-01-01"), row(id="e1", roomId="b", participantId="p")]
    old = row(id="e1", roomId="a", timestamp="2026-01-02", participantId="q")
    assert not moved_rows([of("a", old, gone=1), of("b", *others)], EVENTS)


def test_a_row_without_an_id_has_moved_where_all_but_its_room_is_the_same() -> None:
    old = row(componentId="c", roomId="a", x=1)
    rooms = [of("a", old, old, gone=2), of("b", row(x=1, componentId="c", roomId="b"), row(roomId="b", x=1))]
    assert moved_rows(rooms, COMPONENTS) == {"a": contents(old)}


def test_fault_113_a_row_without_an_id_may_have_got_a_new_field_as_it_moved() -> None:
    old, new = row(componentId="c", roomId="a", x=1), row(componentId="c", roomId="b", x=1, version=2)
    assert moved_rows([of("a", old, gone=1), of("b", new)], COMPONENTS) == {"a": contents(old)}
    assert not moved_rows([of("a", new, gone=1), of("b", old)], COMPONENTS)


def test_a_row_that_is_left_in_two_rooms_leaves_both() -> None:
    rooms = [of("a", OLD, gone=1), of("c", row(id="e1", roomId="c", timestamp=1), gone=1), of("b", MOVED)]
    assert sorted(map(str, moved_rows(rooms, EVENTS))) == ["a", "c"]


def test_a_person_may_be_in_two_rooms_and_leave_one_of_them() -> None:
    left, joined = row(participantId="p", roomId="a", at=1), row(participantId="p", roomId="b", at=2)
    assert not moved_rows([of("a", left, gone=1), of("b", joined)], PEOPLE)


def test_rows_are_taken_out_as_often_as_they_have_moved() -> None:
    assert list(without([b"1", b"2", b"1", b"1"], contents(b"1", b"1"))) == [b"2", b"1"]
