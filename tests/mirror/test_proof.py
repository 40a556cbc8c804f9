"""When a list may be called complete: only when what its passes showed leaves no other way."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from simulated_lists import ListServer, absent, always, numbered, read

from hsmirror.api.paging import Cursor
from hsmirror.mirror.proof import MOST_PASSES, Judgement, PassFacts, judge

PROVEN, READ_AGAIN, UNPROVEN = Judgement.PROVEN, Judgement.READ_AGAIN, Judgement.UNPROVEN


def facts(
    rows: int,
    total: int | None,
    *,
    distinct: int | None = None,
    moved: bool = False,
    shifted: bool = False,
    fingerprint: int = 1,
    ambiguous: bool = False,
    warnings: tuple[str, ...] = (),
) -> PassFacts:
    claims = replace(
        Cursor(limit=1).claims,
        rows=rows,
        first_total=total,
        last_total=total,
        total_moved=moved,
        has_shifted=shifted,
        fell_short=total is not None and rows < total,
    )
    return PassFacts(
        claims, rows if distinct is None else distinct, fingerprint, is_ambiguous=ambiguous, warnings=warnings
    )


# --- single passes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("total", [5, None])
def test_as_many_distinct_rows_as_the_total_are_all_of_them(total: int | None) -> None:
    assert judge([facts(5, total)]).judgement is PROVEN


@pytest.mark.parametrize(
    "first",
    [
        facts(5, 5, moved=True),
        facts(5, 5, shifted=True),
        facts(5, 5, distinct=4),
        facts(4, 5),
        facts(6, 5),
        facts(5, None, distinct=4),
    ],
    ids=[
        "the total moved",
        "pages did not meet",
        "a row came twice",
        "rows are missing",
        "rows too many",
        "a repeat without a total",
    ],
)
def test_anything_odd_is_read_again(first: PassFacts) -> None:
    assert judge([first], distinct_in_all=first.distinct).judgement is READ_AGAIN


def test_a_warning_of_the_server_cannot_be_proven_away() -> None:
    verdict = judge([facts(5, 5, warnings=("MISSING_INDEX",))])
    assert verdict.judgement is UNPROVEN
    assert verdict.note == "MISSING_INDEX"


# --- several passes --------------------------------------------------------------------------------------
def test_fault_03_two_passes_that_agree_tell_a_wrong_total_from_a_missing_row() -> None:
    verdict = judge([facts(5, 7), facts(5, 7)], distinct_in_all=5)
    assert verdict.judgement is PROVEN
    assert "7" in verdict.note
    assert "5" in verdict.note


def test_fault_53_rows_that_cannot_be_told_apart_take_two_readings_that_agree() -> None:
    """One may have come twice and another not at all, with the right number in the end."""
    first = facts(5, 5, ambiguous=True)
    assert judge([first]).judgement is READ_AGAIN
    assert judge([first, facts(5, 5, ambiguous=True, fingerprint=2)]).judgement is READ_AGAIN
    assert judge([first, first]).judgement is PROVEN


def test_fault_09_passes_that_agree_on_a_repeated_row_agree_on_a_missing_one() -> None:
    twice = facts(30, 30, distinct=29)
    assert judge([twice, twice], distinct_in_all=29).judgement is READ_AGAIN


def test_fault_09_passes_in_varying_order_have_all_rows_together() -> None:
    passes = [facts(10, 10, distinct=9, fingerprint=1), facts(10, 10, distinct=9, fingerprint=2)]
    assert judge(passes, distinct_in_all=10).judgement is PROVEN
    assert judge(passes, distinct_in_all=9).judgement is READ_AGAIN


def test_passes_that_differ_are_not_proven_by_the_lack_of_a_total() -> None:
    passes = [facts(10, None, distinct=9, fingerprint=1), facts(10, None, distinct=8, fingerprint=2)]
    for distinct_in_all in (None, 10):
        assert judge(passes, distinct_in_all=distinct_in_all).judgement is READ_AGAIN


def test_fault_01_a_list_that_stands_still_at_last_is_proven() -> None:
    assert judge([facts(5, 6, moved=True), facts(6, 6, fingerprint=2)], distinct_in_all=6).judgement is PROVEN


def test_fault_01_a_list_that_never_stands_still_is_given_up_after_a_bounded_number_of_passes() -> None:
    passes = [facts(5 + number, 9 + number, moved=True, fingerprint=number) for number in range(MOST_PASSES)]
    verdicts = [judge(passes[:count], distinct_in_all=7) for count in range(1, MOST_PASSES + 1)]
    assert [verdict.judgement for verdict in verdicts] == [READ_AGAIN] * (MOST_PASSES - 1) + [UNPROVEN]
    assert "run again" in verdicts[-1].note


def test_passes_under_different_totals_do_not_agree() -> None:
    assert judge([facts(5, 7), facts(5, 8)], distinct_in_all=5).judgement is READ_AGAIN


# --- passes of real cursors over simulated lists -------------------------------------------------------------
def judged(server: ListServer, *, at_once: int = 4) -> tuple[Judgement, set[str]]:
    """Read again until there is a verdict; the rows of the last pass with it."""
    passes: list[PassFacts] = []
    in_all: set[str] = set()
    while True:
        outcome = read(server, limit=10, at_once=at_once, seed=len(passes))
        in_all |= set(outcome.rows)
        fingerprint = sum(map(hash, outcome.rows))
        passes.append(PassFacts(outcome.cursor.claims, len(set(outcome.rows)), fingerprint))
        verdict = judge(passes, distinct_in_all=len(in_all))
        if verdict.judgement is not READ_AGAIN:
            return verdict.judgement, in_all


@pytest.mark.parametrize("total", [0, 3, 24, 26, 1000])
def test_fault_03_a_wrong_total_costs_a_second_reading_and_not_the_proof(total: int) -> None:
    server = ListServer(numbered(25), total=always(total))
    assert judged(server) == (PROVEN, set(numbered(25)))


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


# --- pages that do not meet ------------------------------------------------------------------------------
def test_fault_09_where_only_the_order_varies_the_readings_together_prove_the_list() -> None:
    passes = [facts(50, 50, distinct=49, shifted=True), facts(50, 50, distinct=48, shifted=True)]
    assert judge(passes, distinct_in_all=50).judgement is PROVEN


def test_fault_02_where_rows_went_while_others_came_they_do_not() -> None:
    """Each reading lacks a row, and has one that is gone: together they have more than there are."""
    passes = [facts(50, 50, shifted=True, fingerprint=1), facts(50, 50, shifted=True, fingerprint=2)]
    assert judge(passes, distinct_in_all=52).judgement is READ_AGAIN
    assert judge([*passes, passes[0]], distinct_in_all=53).judgement is UNPROVEN
