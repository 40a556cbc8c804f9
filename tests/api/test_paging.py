"""The cursor against simulated servers: it ends, gives each row once, and asks for no more than it must."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from simulated_lists import (
    Claim,
    ListServer,
    absent,
    always,
    numbered,
    read,
    true_has_more,
    true_total,
)

from hsmirror.api.envelope import Page
from hsmirror.api.list_claims import Pagination
from hsmirror.api.paging import SMALLEST_LIMIT, Ask, Cursor


# --- the plain case ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("at_once", [1, 4, 16])
@pytest.mark.parametrize("rows", [1, 9, 10, 11, 95, 100])
def test_a_list_costs_its_rows_over_the_limit_rounded_up(rows: int, at_once: int) -> None:
    outcome = read(ListServer(numbered(rows)), limit=10, at_once=at_once)
    assert list(outcome.rows) == numbered(rows)
    assert outcome.requests == math.ceil(rows / 10)


def test_an_empty_list_costs_one_request() -> None:
    outcome = read(ListServer([]))
    assert not outcome.rows
    assert outcome.requests == 1


def test_a_page_as_large_as_the_limit_and_the_list_is_the_end_where_the_server_says_so() -> None:
    assert read(ListServer(numbered(10)), limit=10).requests == 1


def test_pages_are_asked_for_concurrently_once_the_total_is_known() -> None:
    server, cursor = ListServer(numbered(100)), Cursor(limit=10)
    (first,) = cursor.asks(8)
    assert len(cursor.received(first, server.page(first)).rows) == 10
    assert cursor.asks(8) == [Ask(offset, 10) for offset in range(10, 90, 10)]


def test_nothing_is_asked_for_ahead_while_the_total_is_unknown() -> None:
    server, cursor = ListServer(numbered(100), total=absent), Cursor(limit=10)
    (first,) = cursor.asks(8)
    cursor.received(first, server.page(first))
    assert cursor.asks(8) == [Ask(10, 10)]


def test_a_type_without_pages_is_one_request() -> None:
    assert read(ListServer(numbered(30), has_more=absent), limit=100, paged=False).requests == 1


@pytest.mark.parametrize(("total", "has_more"), [(always(30), absent), (absent, true_has_more)])
def test_a_type_thought_to_have_no_pages_is_read_on_where_its_answer_shows_more(
    total: Claim, has_more: Claim
) -> None:
    server = ListServer(numbered(30), largest_limit=10, total=total, has_more=has_more)
    outcome = read(server, limit=1000, paged=False, overlap=1)
    assert list(outcome.rows) == numbered(30)
    assert not outcome.cursor.claims.says_more


def test_a_page_of_no_rows_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Cursor(limit=0)


# --- faults 3 to 7 and 11: what servers claim -------------------------------------------------------------
TOTALS: dict[str, Callable[..., Any]] = {
    "right": true_total,
    "too high by one": lambda server, offset, count: len(server.rows) + 1,
    "far too high": lambda server, offset, count: 10 * len(server.rows) + 100,
    "too low by one": lambda server, offset, count: max(0, len(server.rows) - 1),
    "nought": always(0),
    "absent": absent,
    "null": always(None),
    "a string": lambda server, offset, count: str(len(server.rows)),
    "a word": always("many"),
    "negative": always(-1),
    "a float": always(2.5),
    "true": always(True),
}
HAS_MORE: dict[str, Callable[..., Any]] = {
    "right": lambda server, offset, count: offset + count < len(server.rows),
    "absent": absent,
    "null": always(None),
    "always": always(True),
    "a word": always("yes"),
}
NEXT_OFFSETS: dict[str, Callable[..., Any]] = {
    "absent": absent,
    "null": always(None),
    "a string": lambda server, offset, count: str(offset + count),
    "backwards": always(0),
    "right": lambda server, offset, count: offset + count,
}


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("has_more", HAS_MORE)
@pytest.mark.parametrize("is_flat", [False, True])
def test_fault_03_totals_and_flags_are_advisory(total: str, has_more: str, is_flat: bool) -> None:
    """Whatever is claimed: an honest `hasMore` or an empty page ends the list; no row is missing or twice."""
    for rows in (0, 1, 9, 10, 25, 40):
        for at_once in (1, 5):
            server = ListServer(
                numbered(rows), total=TOTALS[total], has_more=HAS_MORE[has_more], is_flat=is_flat
            )
            assert sorted(read(server, limit=10, at_once=at_once).rows) == sorted(numbered(rows))


@pytest.mark.parametrize("claim", NEXT_OFFSETS)
def test_fault_06_the_next_offset_is_what_was_received(claim: str) -> None:
    server = ListServer(numbered(35), next_offset=NEXT_OFFSETS[claim])
    outcome = read(server, limit=10)
    assert list(outcome.rows) == numbered(35)
    assert outcome.requests == 4


def test_fault_04_has_more_that_is_false_too_early_is_probed_past_where_the_total_is_not_reached() -> None:
    outcome = read(ListServer(numbered(35), has_more=always(False)), limit=10)
    assert list(outcome.rows) == numbered(35)
    assert outcome.requests == 4


def test_fault_04_a_total_that_is_one_too_high_costs_a_look_past_the_end_and_a_second_look() -> None:
    server = ListServer(numbered(10), total=always(11), has_more=always(False))
    outcome = read(server, limit=10, at_once=1)
    assert list(outcome.rows) == numbered(10)
    assert outcome.requests <= 3
    assert outcome.cursor.claims.fell_short


def test_fault_03_a_total_far_too_high_costs_the_pages_under_way_their_rechecks_and_one_look_further() -> None:
    at_once = 8
    server = ListServer(numbered(20), total=always(1_000_000))
    outcome = read(server, limit=10, at_once=at_once)
    assert list(outcome.rows) == numbered(20)
    assert outcome.requests <= 2 + 2 * at_once + 1


def test_fault_05_the_same_page_again_stops_with_an_error() -> None:
    server = ListServer(
        numbered(10), honours_offset=False, total=always(1000), has_more=always(True), largest_limit=10
    )
    assert "repeats the page at offset 0" in read(server, limit=10).cursor.claims.trouble


def test_fault_05_the_same_page_again_stops_even_where_no_total_is_given() -> None:
    server = ListServer(numbered(10), honours_offset=False, total=absent, has_more=always(True))
    outcome = read(server, limit=10, most_requests=3)
    assert set(outcome.rows) == set(numbered(10))
    assert "repeats the page" in outcome.cursor.claims.trouble


@pytest.mark.parametrize("total", [absent, true_total])
def test_fault_05_has_more_for_ever_ends_after_a_few_empty_pages_and_is_never_the_end(total: Claim) -> None:
    outcome = read(ListServer(numbered(25), total=total, has_more=always(True)), limit=10)
    assert list(outcome.rows) == numbered(25)
    assert outcome.cursor.claims.says_more
    assert outcome.requests <= 8


def test_what_lies_behind_an_empty_page_of_which_the_server_says_that_it_goes_on_is_read() -> None:
    """It filters after it has taken a page. Nobody can tell whether pages meet there: that is a hole."""
    cursor, pages = Cursor(limit=10, overlap=1), {0: 10, 9: 0, 19: 10, 28: 1}
    while not cursor.is_done:
        (ask,) = cursor.asks(1)
        rows = [str(number) for number in range(ask.from_offset, ask.from_offset + pages[ask.from_offset])]
        claims = Pagination(has_more=ask.from_offset < 19, limit=10)
        page = Page([b"%d" % int(row) for row in rows], rows, [None] * len(rows), claims, (), b"{}", 100)
        cursor.received(ask, page)
    assert (cursor.claims.rows, cursor.claims.has_hole, cursor.claims.says_more) == (20, True, False)


@pytest.mark.parametrize("total", [absent, true_total])
def test_a_short_page_that_is_not_the_end_is_a_hole_unless_there_is_a_total(total: Claim) -> None:
    """Such a server counts in its offsets rows that it does not show."""

    def filtered(server: ListServer, number: int) -> None:
        server.largest_limit = 10 if number else 7

    server = ListServer(numbered(40), total=total, largest_limit=10, before_page=filtered)
    server.names_limit = False
    outcome = read(server, limit=10, at_once=1, overlap=1)
    assert list(outcome.rows) == numbered(40)
    assert outcome.cursor.claims.has_hole is False  # the first page may as well be the server's own size

    def later(server: ListServer, number: int) -> None:
        server.largest_limit = 7 if number == 1 else 10

    outcome = read(ListServer(numbered(40), total=total, names_limit=False, before_page=later), at_once=1)
    assert list(outcome.rows) == numbered(40)
    assert outcome.cursor.claims.has_hole is (total is absent)


@pytest.mark.parametrize("is_end", [True, False])
def test_fault_67_a_page_that_is_refused_ends_the_list_and_is_told(is_end: bool) -> None:
    server, cursor = ListServer(numbered(30), total=absent), Cursor(limit=10)
    for _ in range(2):
        (ask,) = cursor.asks(1)
        cursor.received(ask, server.page(ask))
    (ask,) = cursor.asks(1)
    cursor.refused(ask, "400 offset", is_end=is_end)
    assert cursor.is_done
    claims = cursor.claims
    assert (claims.rows, claims.ends_in_refusal) == (20, is_end)
    assert claims.trouble == ("" if is_end else "no rows are given beyond the first 20 (400 offset)")


def test_fault_05_rows_without_end_beyond_any_total_stop_with_an_error() -> None:
    endless = ListServer(numbered(100_000), total=always(5), has_more=always(True))
    assert "without end" in read(endless, limit=10).cursor.claims.trouble


def test_fault_05_an_offset_without_effect_under_a_varying_order_stops_with_an_error() -> None:
    """No two pages are alike to the byte, and none brings a new row."""
    chance = random.Random(7)
    server = ListServer(
        numbered(200),
        honours_offset=False,
        total=absent,
        has_more=always(True),
        before_page=lambda server, number: chance.shuffle(server.rows),
    )
    assert "repeats the page" in read(server, limit=200, most_requests=20).cursor.claims.trouble


def test_fault_07_a_limit_clamped_by_the_server_is_learnt_from_what_it_names() -> None:
    server = ListServer(numbered(95), largest_limit=10)
    outcome = read(server, limit=1000)
    assert list(outcome.rows) == numbered(95)
    assert outcome.requests == 10
    assert outcome.cursor.limit == 10


def test_fault_07_a_limit_clamped_without_a_word_is_learnt_from_the_first_page() -> None:
    server = ListServer(numbered(95), largest_limit=10, names_limit=False)
    outcome = read(server, limit=1000)
    assert list(outcome.rows) == numbered(95)
    assert outcome.requests == 10


@pytest.mark.parametrize("rows", [5, 10, 35])
def test_fault_07_a_server_that_ignores_the_limit_gives_each_row_once(rows: int) -> None:
    outcome = read(ListServer(numbered(rows), largest_limit=None), limit=10)
    assert list(outcome.rows) == numbered(rows)
    assert outcome.requests == 1


def test_fault_08_a_page_that_is_empty_once_is_asked_for_again() -> None:
    server = ListServer(numbered(50), empty_at={20: 1})
    outcome = read(server, limit=10, at_once=1)
    assert list(outcome.rows) == numbered(50)
    assert outcome.requests == 6


def test_fault_08_a_page_that_stays_empty_is_asked_for_a_bounded_number_of_times_and_noticed() -> None:
    server = ListServer(numbered(50), empty_at={20: 1000})
    outcome = read(server, limit=10, at_once=4)
    assert outcome.requests <= 5 + 4
    assert outcome.cursor.claims.fell_short


def test_fault_10_a_page_that_times_out_is_asked_for_in_halves() -> None:
    server = ListServer(numbered(300), slower_than=60)
    outcome = read(server, limit=200)
    assert list(outcome.rows) == numbered(300)
    assert outcome.cursor.limit == 50
    assert outcome.requests == 2 + math.ceil(300 / 50)


def test_fault_10_a_page_that_is_small_already_is_not_halved() -> None:
    cursor = Cursor(limit=2 * SMALLEST_LIMIT - 1)
    (ask,) = cursor.asks(1)
    assert not cursor.timed_out(ask)


@pytest.mark.parametrize("has_total", [True, False])
@pytest.mark.parametrize("clamp", [1_000_000, 30])
def test_fault_10_no_row_is_lost_when_a_page_times_out_midway(clamp: int, has_total: bool) -> None:
    """Also where the server grants less than the halves that are then asked for."""

    def slow_from_the_third_page_on(server: ListServer, number: int) -> None:
        server.slower_than = 20 if number == 2 else None

    server = ListServer(
        numbered(400),
        total=true_total if has_total else absent,
        names_limit=False,
        largest_limit=clamp,
        before_page=slow_from_the_third_page_on,
    )
    outcome = read(server, limit=80, at_once=1)
    assert list(outcome.rows) == numbered(400)


def test_fault_10_no_row_is_lost_when_a_page_times_out_on_a_server_that_ignores_the_limit() -> None:
    """It hands out pages of fifty, whatever is asked for, and names no total."""
    served: list[Ask] = []

    def page_of_fifty(ask: Ask) -> Page:
        served.append(ask)
        rows = numbered(400)[ask.offset : ask.offset + 50]
        raw = [f'{{"id":"{row}"}}'.encode() for row in rows]
        more = ask.offset + len(rows) < 400
        return Page(raw, rows, [None] * len(rows), Pagination(has_more=more), (), b"{}", 100)

    cursor = Cursor(limit=40)
    kept: list[str] = []
    timeouts = 1
    while not cursor.is_done:
        (ask,) = cursor.asks(1)
        if ask.offset >= 100 and timeouts:
            timeouts -= 1
            assert cursor.timed_out(ask)
            continue
        page = page_of_fifty(ask)
        kept += [row for row in cursor.received(ask, page).ids if row is not None]
    assert sorted(kept) == sorted(numbered(400))


@pytest.mark.parametrize("rows", [0, 1, 10, 25])
def test_fault_11_a_server_without_pagination_that_ignores_offsets_gives_its_list_once(rows: int) -> None:
    server = ListServer(numbered(rows), has_pagination=False, honours_offset=False, largest_limit=None)
    outcome = read(server, limit=10)
    assert list(outcome.rows) == numbered(rows)
    assert outcome.requests <= 2


@pytest.mark.parametrize("rows", [0, 1, 10, 25, 30])
def test_fault_11_a_server_without_pagination_that_honours_offsets_is_read_to_its_end(rows: int) -> None:
    server = ListServer(numbered(rows), has_pagination=False)
    outcome = read(server, limit=10)
    assert list(outcome.rows) == numbered(rows)
    assert outcome.requests <= rows // 10 + 2


@pytest.mark.parametrize("names_limit", [True, False])
@pytest.mark.parametrize("rows", [1, 9, 10, 25])
def test_fault_11_a_whole_list_that_matches_its_own_total_is_complete_even_if_offsets_are_ignored(
    rows: int, names_limit: bool
) -> None:
    server = ListServer(
        numbered(rows),
        has_more=absent,
        is_flat=True,
        names_limit=names_limit,
        honours_offset=False,
        largest_limit=None,
    )
    assert list(read(server, limit=10).rows) == numbered(rows)


def test_fault_11_a_flat_pagination_is_as_good_as_an_object() -> None:
    outcome = read(ListServer(numbered(35), is_flat=True), limit=10)
    assert list(outcome.rows) == numbered(35)
    assert outcome.requests == 4


# --- faults 1, 2 and 9: lists that move -------------------------------------------------------------------
def test_fault_01_rows_inserted_while_paging_are_noticed_by_a_total_that_moved() -> None:
    def insert(server: ListServer, number: int) -> None:
        if number == 2:
            server.rows.insert(0, "new")

    outcome = read(ListServer(numbered(50), before_page=insert), limit=10, at_once=1)
    assert outcome.cursor.claims.total_moved
    assert len(set(outcome.rows)) < 51


def test_fault_01_as_many_rows_inserted_as_a_page_holds_are_no_error() -> None:
    """The next page is then the last one over again, on a server that pages as it should."""

    def insert(server: ListServer, number: int) -> None:
        if number == 2:
            server.rows[:0] = [f"new-{row}" for row in range(10)]

    outcome = read(ListServer(numbered(50), before_page=insert), limit=10, at_once=1)
    assert outcome.cursor.claims.total_moved


def test_fault_02_rows_deleted_while_paging_are_noticed_by_a_total_that_moved() -> None:
    def delete(server: ListServer, number: int) -> None:
        if number == 2:
            del server.rows[0]

    outcome = read(ListServer(numbered(50), before_page=delete), limit=10, at_once=1)
    assert outcome.cursor.claims.total_moved


def test_a_list_that_grows_at_its_end_is_followed_to_its_new_end() -> None:
    def grow(server: ListServer, number: int) -> None:
        if number in {1, 4}:
            server.rows += [f"late-{number}-{row}" for row in range(7)]

    server = ListServer(numbered(30), before_page=grow)
    assert list(read(server, limit=10, at_once=1).rows) == server.rows


def test_a_list_that_grows_for_ever_is_followed_as_long_as_it_brings_new_rows_and_no_further() -> None:
    def grow(server: ListServer, number: int) -> None:
        if number < 40:
            server.rows += [f"late-{number}-{row}" for row in range(10)]

    server = ListServer(numbered(30), before_page=grow)
    assert list(read(server, limit=10, at_once=3).rows) == server.rows


# --- rows without ids -------------------------------------------------------------------------------------
def test_fault_53_equal_pages_of_rows_without_ids_are_real() -> None:
    server = ListServer(["alike"] * 30, id_field=None)
    outcome = read(server, limit=10, rows_have_ids=False)
    assert list(outcome.rows) == ["alike"] * 30


def test_fault_53_rows_without_an_id_in_a_type_that_has_ids_are_compared_whole() -> None:
    """Two pages that agree in their first, middle and last row, and in no other."""
    page = ["alike", *numbered(4), "alike", *numbered(3), "alike"]
    other = ["alike", *(f"other-{row}" for row in range(4)), "alike", "x", "y", "z", "alike"]
    server = ListServer([*page, *other], id_field=None)
    assert list(read(server, limit=10, rows_have_ids=True).rows) == [*page, *other]


def test_fault_05_pages_of_rows_without_ids_that_repeat_again_and_again_stop_with_an_error() -> None:
    server = ListServer(
        numbered(10), id_field=None, honours_offset=False, total=always(10_000), largest_limit=10
    )
    assert "repeats the page" in read(server, limit=10, rows_have_ids=False).cursor.claims.trouble


# --- refused limits ---------------------------------------------------------------------------------------
def test_fault_78_a_limit_that_the_server_refuses_goes_down_in_steps_and_at_last_none_is_named() -> None:
    cursor = Cursor(limit=10_000)
    asked = []
    while True:
        (ask,) = cursor.asks(1)
        asked.append((ask.limit, cursor.names_limit))
        if not cursor.limit_refused(ask):
            break
    assert asked == [(10_000, True), (1_000, True), (100, True), (10_000, False)]


# --- everything at once -----------------------------------------------------------------------------------
@st.composite
def servers(draw: st.DrawFn) -> ListServer:
    total = draw(st.sampled_from(sorted(TOTALS)))
    has_more = draw(st.sampled_from(sorted(HAS_MORE)))
    # A server that shortens pages without a word, never says whether there is more and names a total that is
    # just reached by a short page cannot be told from one whose list ends there.
    names_limit = total == "too low by one" or draw(st.booleans())
    return ListServer(
        numbered(draw(st.integers(0, 90))),
        total=TOTALS[total],
        has_more=HAS_MORE[has_more],
        next_offset=NEXT_OFFSETS[draw(st.sampled_from(sorted(NEXT_OFFSETS)))],
        names_limit=names_limit,
        largest_limit=draw(st.sampled_from([1_000_000, 7, 13, None])),
        is_flat=draw(st.booleans()),
        has_pagination=draw(st.booleans()),
        slower_than=draw(st.sampled_from([None, 12])),
        empty_at={draw(st.sampled_from([0, 7, 10, 20])): draw(st.integers(0, 1))},
    )


@given(
    server=servers(),
    limit=st.sampled_from([10, 25, 100]),
    at_once=st.integers(1, 6),
    seed=st.integers(0, 99),
    overlap=st.integers(0, 3),
)
@example(ListServer(numbered(40), total=absent, slower_than=12, largest_limit=7), 100, 3, 0, 0)
def test_no_row_comes_twice_and_every_pass_ends(
    server: ListServer, limit: int, at_once: int, seed: int, overlap: int
) -> None:
    empties = any(server.empty_at.values())
    outcome = read(server, limit=limit, at_once=at_once, seed=seed, overlap=overlap, most_requests=400)
    assert len(set(outcome.rows)) == len(outcome.rows)
    assert set(outcome.rows) <= set(server.rows)
    if not empties:
        assert set(outcome.rows) == set(server.rows)


def test_its_repr_tells_how_far_it_is() -> None:
    cursor = Cursor(limit=10)
    cursor.asks(1)
    assert repr(cursor) == "<Cursor rows=0 total=None asked=1 done=False>"


# --- pages that overlap ------------------------------------------------------------------------------
@pytest.mark.parametrize(("rows", "requests"), [(0, 1), (10, 1), (11, 2), (19, 2), (20, 3), (100, 11)])
def test_an_overlap_costs_a_row_a_page(rows: int, requests: int) -> None:
    outcome = read(ListServer(numbered(rows)), limit=10, overlap=1)
    assert list(outcome.rows) == numbered(rows)
    assert (outcome.requests, outcome.cursor.claims.has_shifted) == (requests, False)


@pytest.mark.parametrize("total", [true_total, absent])
@pytest.mark.parametrize("cap", [2, 7, 40])
def test_an_overlap_larger_than_the_pages_that_a_server_gives_is_made_smaller(total: Claim, cap: int) -> None:
    server = ListServer(numbered(100), total=total, has_pagination=total is true_total, largest_limit=cap)
    outcome = read(server, limit=1000, overlap=32, at_once=1)
    assert list(outcome.rows) == numbered(100)
    assert not outcome.cursor.claims.has_shifted


@pytest.mark.parametrize("at_page", range(1, 5))
def test_fault_02_a_row_deleted_shows_where_pages_meet_even_if_another_one_was_added(at_page: int) -> None:
    """The total stays, the rows that come are distinct and as many as it says; one of the list is missing."""

    def swap(server: ListServer, number: int) -> None:
        if number == at_page:
            server.rows = [*server.rows[1:], "row-added"]

    for overlap in (0, 1, 3):
        server = ListServer(numbered(45), before_page=swap)
        outcome = read(server, limit=10, at_once=1, overlap=overlap)
        assert set(numbered(45)) - set(outcome.rows)
        assert len(set(outcome.rows)) == 45
        assert outcome.cursor.claims.has_shifted is (overlap > 0)


def test_pages_meet_in_the_same_row_although_its_address_is_signed_anew_each_time() -> None:
    cursor = Cursor(limit=2, overlap=1)
    addresses = (f"https://h.example/a?X-Goog-Signature={number:064x}" for number in range(99))

    def page(first: int, count: int) -> Page:
        rows = [
            f'{{"n":{number},"url":"{next(addresses)}"}}'.encode() for number in range(first, first + count)
        ]
        return Page(rows, [None] * count, [None] * count, Pagination(total=4), (), b"{}", 100)

    while not cursor.is_done:
        (ask,) = cursor.asks(1)
        cursor.received(ask, page(ask.from_offset, min(ask.page_rows, 4 - ask.from_offset)))
    assert (cursor.claims.rows, cursor.claims.has_shifted) == (4, False)


# --- memory ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("has_ids", [True, False])
def test_a_page_is_neither_copied_nor_kept(has_ids: bool) -> None:
    """A page of 100 MB may not cost the same again to look at, nor stay when it has been handed on."""
    cursor = Cursor(limit=1000, overlap=1)
    (ask,) = cursor.asks(1)
    tracemalloc.start()
    try:
        rows = [f"{number:>1000}".encode() for number in range(1000)]
        page_bytes, _ = tracemalloc.get_traced_memory()
        ids = [str(number) if has_ids else None for number in range(1000)]
        page = Page(rows, ids, [None] * 1000, Pagination(total=100_000), (), b"{}", 10**6)
        tracemalloc.reset_peak()
        before_bytes, _ = tracemalloc.get_traced_memory()
        kept = cursor.received(ask, page)
        _, peak_bytes = tracemalloc.get_traced_memory()
        del rows, page, kept
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes - before_bytes < page_bytes / 10
    assert left_bytes < page_bytes / 5


def test_where_pages_have_met_nothing_is_remembered() -> None:
    """A list of ten million rows meets ten thousand times."""
    kept_bytes = []
    for pages in (100, 1000):
        cursor = Cursor(limit=10, overlap=1)
        server = ListServer([f"{number:>900}" for number in range(9 * pages + 1)])
        tracemalloc.start()
        try:
            while not cursor.is_done:
                (ask,) = cursor.asks(1)
                cursor.received(ask, server.page(Ask(ask.from_offset, ask.page_rows)))
                server.requests.clear()
            kept_bytes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert kept_bytes[1] - kept_bytes[0] < 900 * 300


def answer(*rows: bytes, **said: Any) -> Page:
    return Page(rows, [row.decode() for row in rows], [None] * len(rows), Pagination(**said), (), b"{}", 1)


def test_without_a_total_an_empty_page_where_a_known_row_has_to_stand_is_a_shift() -> None:
    """More rows went than the first page has: those behind them now stand where it was read."""
    cursor = Cursor(limit=3, overlap=1)
    cursor.received(cursor.asks(1)[0], answer(b"a", b"b", b"c", has_more=True, limit=3))
    cursor.received(cursor.asks(1)[0], answer(has_more=False, limit=3))
    assert cursor.is_done
    assert cursor.claims.has_shifted


@pytest.mark.parametrize(("said", "is_paged"), [({"limit": 3}, True), ({"limit": 4}, False), ({}, False)])
def test_a_list_thought_to_be_whole_is_paged_on_where_it_is_as_long_as_the_limit_it_names(
    said: dict[str, int], is_paged: bool
) -> None:
    cursor = Cursor(limit=100, paged=False)
    cursor.received(cursor.asks(1)[0], answer(b"a", b"b", b"c", **said))
    assert cursor.asks(2) == ([Ask(3, 3)] if is_paged else [])
