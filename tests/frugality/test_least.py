"""The yardstick itself: small labs, counted by hand."""

from __future__ import annotations

import pytest

from frugality.labs import Link
from frugality.least import ListedType, Offer, first_sync, night_with_new_rooms, repair, unchanged_night
from frugality.makespan import least_seconds

ROWS = {"a": 150, "b": 50, "c": 0}
ROOMS = ListedType(dict.fromkeys(ROWS, 1), at_room=False)
LINK = Link(latency_seconds=1.0, bytes_per_second=1e6)


def offer(*, tells_rooms: bool = True, rows: dict[str, int] | None = None) -> Offer:
    events = ListedType(ROWS if rows is None else rows, tells_rooms=tells_rooms)
    return Offer({"events": events, "rooms": ROOMS}, 100, documents=3, absent=frozenset({"videochat"}))


def test_a_list_costs_its_pages_and_what_is_missing_one_request() -> None:
    assert first_sync(offer()) == {"experiments": 3, "videochat": 1, "events": 2, "rooms": 1}


def test_where_rows_tell_no_room_each_room_with_rows_costs_its_pages_and_the_whole_list_its_two_ends() -> None:
    assert first_sync(offer(tells_rooms=False))["events"] == 1 + 2 + 2


def test_a_night_costs_the_documents_and_one_look_a_list_be_it_there_or_not() -> None:
    assert unchanged_night(offer()) == {"experiments": 3, "events": 1, "rooms": 1, "videochat": 1}


def test_new_rooms_cost_their_own_lists_and_the_total_or_the_whole_list_or_its_end() -> None:
    many = offer(rows={"a": 9_900, "b": 50, "c": 50})
    assert night_with_new_rooms(many, ["b", "c"], order_is_kept=False)["events"] == 2 + 1
    assert night_with_new_rooms(offer(), ["b", "c"], order_is_kept=False)["events"] == 2
    assert night_with_new_rooms(many, ["b", "c"], order_is_kept=True)["events"] == 1


def test_a_repair_costs_what_is_damaged_or_the_whole_list() -> None:
    assert repair(offer(), {"events": ["b"], "rooms": []}) == {"events": 1}
    assert repair(offer(), {"events": ["a", "b"]}) == {"events": 2}
    assert repair(offer(tells_rooms=False), {"events": ["a", "b"]}) == {"events": 3}


def test_the_definition_then_the_first_pages_then_the_others_take_a_latency_each() -> None:
    assert least_seconds(offer(), 0, LINK) == 3.0
    assert least_seconds(offer(rows={"a": 100}), 0, LINK) == 2.0


def test_sixteen_requests_at_once_a_hundred_a_minute_and_the_line_bound_it() -> None:
    assert least_seconds(offer(rows={"a": 100 * 34}), 0, LINK) == 2.0 + 3
    assert least_seconds(offer(rows={"a": 100 * 101}), 0, LINK) == 60.0 + 1 + 1
    assert least_seconds(offer(rows={"a": 100}), 5_000_000, LINK) == 2.0 + 5


def test_the_last_page_waits_for_all_but_those_that_are_under_way_with_it() -> None:
    # Of 28 pages at least ten whole ones have come before the last one is asked for, at 0.02 s each.
    least = least_seconds(offer(rows={"a": 100 * 29}), 580_000, LINK)
    assert least == pytest.approx(4.0 + 10 * 0.02, abs=0.001)
