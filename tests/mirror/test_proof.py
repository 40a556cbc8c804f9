"""When a list may be called complete: only when what its passes showed leaves no other way."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from simulated_lists import ListServer, absent, always, numbered, read

from hsmirror.api.paging import Cursor
from hsmirror.mirror.proof import MOST_PASSES, Judgement, PassFacts, judge

PROVEN, READ_AGAIN, UNPROVEN = Judgement.PROVEN, Judgement.READ_AGAIN, Judgement.UNPROVEN
SHORT = Judgement.SHORT


def facts(
    rows: int,
    total: int | None,
    *,
    pages: int = 2,
    repeats: int = 0,
    fingerprint: int = 1,
    may_repeat: bool = False,
    warnings: tuple[str, ...] = (),
    age_seconds: int = 0,
    **claimed: Any,
) -> PassFacts:
    claims = replace(
        Cursor(limit=1).claims,
        rows=rows,
        pages=pages,
        first_total=total,
        last_total=total,
        fell_short=total is not None and rows < total,
        **claimed,
    )
    return PassFacts(claims, fingerprint, repeats, may_repeat, warnings, age_seconds)


# --- single passes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("total", [5, None])
def test_as_many_distinct_rows_as_the_total_are_all_of_them(total: int | None) -> None:
    assert judge([facts(5, total)]).judgement is PROVEN


@pytest.mark.parametrize(
    "first",
    [
        facts(5, 5, total_moved=True),
        facts(5, 5, has_shifted=True),
        facts(5, 5, has_hole=True),
        facts(5, 5, repeats=1),
        facts(4, 5),
        facts(6, 5),
        facts(5, None, repeats=1),
        facts(5, None, ends_in_refusal=True),
        facts(5, 5, age_seconds=30),
        facts(4, 5, pages=1),
        facts(5, 5, pages=1, repeats=1),
    ],
    ids=[
        "the total moved",
        "pages did not meet",
        "a page stayed empty",
        "an identity came twice",
        "rows are missing",
        "rows too many",
        "an identity twice without a total",
        "refused instead of empty at the end",
        "from a cache",
        "rows are missing in the only page",
        "an identity twice in the only page",
    ],
)
def test_anything_odd_is_read_again(first: PassFacts) -> None:
    assert judge([first]).judgement is READ_AGAIN


def test_a_warning_of_the_server_cannot_be_proven_away() -> None:
    verdict = judge([facts(5, 5, warnings=("MISSING_INDEX",))])
    assert verdict.judgement is UNPROVEN
    assert verdict.note == "MISSING_INDEX"
    assert not verdict.may_be_proven_by_room


@pytest.mark.parametrize("claimed", [{"says_more": True}, {"trouble": "it repeats the page"}])
def test_fault_102_more_behind_the_last_answer_is_never_proof_whatever_the_count(claimed: Any) -> None:
    verdict = judge([facts(5, 5, **claimed)])
    assert (verdict.judgement, verdict.may_be_proven_by_room) == (UNPROVEN, True)


def test_a_total_that_is_too_low_for_one_page_hides_nothing() -> None:
    verdict = judge([facts(6, 5, pages=1)])
    assert verdict.judgement is PROVEN
    assert "5" in verdict.note


# --- several passes --------------------------------------------------------------------------------------
def test_fault_104_a_total_ahead_of_two_readings_that_agree_is_a_difference_and_no_proof() -> None:
    verdict = judge([facts(5, 7), facts(5, 7)])
    assert (verdict.judgement, verdict.may_be_proven_by_room) == (SHORT, False)
    assert "7" in verdict.note
    assert "5" in verdict.note


@pytest.mark.parametrize(("rows", "total", "capped"), [(498, 500, False), (500, 502, True), (55, 900, True)])
def test_fault_105_a_list_that_ends_at_a_round_number_or_far_too_early_is_to_be_read_by_room(
    rows: int, total: int, capped: bool
) -> None:
    assert judge([facts(rows, total)] * 2).may_be_proven_by_room is capped


def test_fault_03_a_total_behind_two_readings_that_agree_is_wrong() -> None:
    assert judge([facts(7, 5), facts(7, 5)]).judgement is PROVEN


def test_fault_53_rows_that_cannot_be_told_apart_take_two_readings_that_agree() -> None:
    """One may have come twice and another not at all, with the right number in the end."""
    first = facts(5, 5, repeats=1, may_repeat=True, page_rows=4)
    second = facts(5, 5, repeats=1, may_repeat=True, page_rows=3)
    assert judge([first]).judgement is READ_AGAIN
    assert judge([first, replace(second, fingerprint=2)]).judgement is READ_AGAIN
    assert judge([first, second]).judgement is PROVEN


def test_fault_97_readings_whose_pages_meet_in_the_same_places_do_not_tell_rows_apart_that_are_alike() -> None:
    alike = facts(5, 5, repeats=1, may_repeat=True, page_rows=4)
    assert judge([alike, alike]).judgement is READ_AGAIN
    assert judge([replace(alike, claims=replace(alike.claims, pages=1))] * 2).judgement is PROVEN


def test_fault_97_readings_that_agree_prove_nothing_where_their_pages_do_not_meet() -> None:
    shifted = facts(5, 5, repeats=1, may_repeat=True, has_shifted=True)
    assert judge([shifted, shifted]).judgement is READ_AGAIN
    assert judge([shifted] * MOST_PASSES).judgement is UNPROVEN


def test_fault_99_passes_that_agree_on_a_repeated_id_agree_on_a_missing_one() -> None:
    twice = facts(30, 30, repeats=1)
    assert judge([twice, twice]).judgement is READ_AGAIN


@pytest.mark.parametrize("fingerprint", [1, 2])
def test_fault_100_what_several_readings_have_together_is_no_proof(fingerprint: int) -> None:
    passes = [facts(10, 10, repeats=1), facts(10, 10, repeats=1, fingerprint=fingerprint)]
    assert judge(passes).judgement is READ_AGAIN


def test_without_a_total_a_reading_that_differs_from_the_one_before_is_seen_twice() -> None:
    first, second = facts(10, None, repeats=1), facts(9, None, fingerprint=2)
    assert judge([first, second]).judgement is READ_AGAIN
    assert judge([first, second, second]).judgement is PROVEN


def test_fault_67_an_end_that_is_a_refusal_is_believed_where_two_readings_come_to_it() -> None:
    ended = facts(10, None, ends_in_refusal=True)
    assert judge([ended, ended]).judgement is PROVEN


def test_fault_98_readings_from_a_cache_prove_nothing() -> None:
    verdict = judge([facts(5, 5, age_seconds=30)] * MOST_PASSES)
    assert verdict.judgement is UNPROVEN
    assert "cache" in verdict.note


def test_fault_01_a_list_that_stands_still_at_last_is_proven() -> None:
    assert judge([facts(5, 6, total_moved=True), facts(6, 6, fingerprint=2)]).judgement is PROVEN


def test_fault_01_a_list_that_never_stands_still_is_given_up_after_a_bounded_number_of_passes() -> None:
    passes = [facts(5 + number, 9 + number, total_moved=True) for number in range(MOST_PASSES)]
    verdicts = [judge(passes[:count]) for count in range(1, MOST_PASSES + 1)]
    assert [verdict.judgement for verdict in verdicts] == [READ_AGAIN] * (MOST_PASSES - 1) + [UNPROVEN]
    assert "run again" in verdicts[-1].note
    assert not verdicts[-1].may_be_proven_by_room


def test_passes_under_different_totals_do_not_agree() -> None:
    assert judge([facts(5, 7), facts(5, 8)]).judgement is READ_AGAIN


# --- passes of real cursors over simulated lists -------------------------------------------------------------
def judged(server: ListServer, *, at_once: int = 4) -> tuple[Judgement, set[str]]:
    """Read again until there is a verdict, pages meeting elsewhere each time; its last rows with it."""
    passes: list[PassFacts] = []
    while True:
        again = len(passes)
        outcome = read(server, limit=10 - again, at_once=at_once, seed=again, overlap=1 + again)
        fingerprint = sum(map(hash, outcome.rows))
        repeats = len(outcome.rows) - len(set(outcome.rows))
        passes.append(PassFacts(outcome.cursor.claims, fingerprint, repeats))
        verdict = judge(passes)
        if verdict.judgement is not READ_AGAIN:
            return verdict.judgement, set(outcome.rows)


@pytest.mark.parametrize(
    ("total", "judgement"), [(0, PROVEN), (3, PROVEN), (24, PROVEN), (26, SHORT), (1000, SHORT)]
)
def test_fault_03_a_wrong_total_costs_a_second_reading(total: int, judgement: Judgement) -> None:
    server = ListServer(numbered(25), total=always(total))
    assert judged(server) == (judgement, set(numbered(25)))


def test_fault_01_a_row_inserted_at_the_front_while_paging_is_found() -> None:
    def insert(server: ListServer, number: int) -> None:
        if number == 2:
            server.rows.insert(0, "new")

    server = ListServer(numbered(50), before_page=insert)
    assert judged(server, at_once=1) == (PROVEN, {"new", *numbered(50)})


def test_fault_01_a_row_inserted_and_another_deleted_leave_the_total_and_are_found_all_the_same() -> None:
    def replace(server: ListServer, number: int) -> None:
        if number == 2:
            server.rows.insert(0, "new")
            server.rows.pop()

    server = ListServer(numbered(50), before_page=replace)
    judgement, rows = judged(server, at_once=1)
    assert judgement is PROVEN
    assert set(server.rows) <= rows


def test_fault_02_a_gap_left_by_a_deletion_is_found() -> None:
    def delete(server: ListServer, number: int) -> None:
        if number == 2:
            del server.rows[0]

    server = ListServer(numbered(50), before_page=delete)
    judgement, rows = judged(server, at_once=1)
    assert judgement is PROVEN
    assert set(server.rows) <= rows


@pytest.mark.parametrize("at_once", [1, 4])
def test_fault_08_a_hole_that_stays_is_never_called_the_end(at_once: int) -> None:
    """A page in the middle stays empty; behind it there are rows, which two agreeing readings both missed."""
    server = ListServer(numbered(200), empty_at={50: 10_000})
    judgement, rows = judged(server, at_once=at_once)
    assert judgement is UNPROVEN or rows == set(numbered(200))


def test_fault_09_an_order_that_varies_among_equal_rows_ends_in_a_proof_with_all_rows() -> None:
    chance = random.Random(5)

    def swap_equals(server: ListServer, number: int) -> None:
        at = chance.choice([9, 19])  # two rows at a page's edge have the same time
        server.rows[at], server.rows[at + 1] = server.rows[at + 1], server.rows[at]

    for _ in range(50):
        server = ListServer(numbered(30), before_page=swap_equals)
        judgement, rows = judged(server, at_once=1)
        assert judgement is UNPROVEN or rows == set(numbered(30))


def test_fault_04_a_list_without_a_total_ends_where_its_server_says() -> None:
    assert judged(ListServer(numbered(25), total=absent)) == (PROVEN, set(numbered(25)))
