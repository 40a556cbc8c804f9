"""Rows held and rows that came, together: nothing outside what a reading speaks for is touched."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.archive.receipts import Claim
from hsmirror.mirror.asked import Asked
from hsmirror.mirror.merging import Merge

RATINGS, COMPONENTS = DATA_TYPES["ratings/sparse"], DATA_TYPES["components"]
DAY_2 = Claim("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")


def rating(row_id: str | None, person: str | None = None, day: int | None = None, value: int = 0) -> bytes:
    row = {"ratingId": row_id, "participantId": person, "value": value}
    row["timestamp"] = f"2026-01-{day:02}T12:00:00Z" if day is not None else None
    return json.dumps({name: each for name, each in row.items() if each is not None}).encode()


def merged(held: list[bytes], came: list[bytes], asked: Asked, *, gone: int = 0) -> tuple[list[bytes], int]:
    """What is to be held, and how many of it, at its end, are gone."""
    merge = Merge(lambda: held, lambda: came, asked, held_rows=len(held), gone_before=gone)
    return (list(merge.rows()), merge.gone_rows) if merge.is_news else (held, gone)


EVERYTHING = Asked(RATINGS)
OF_P1, OF_DAY_2 = Asked(RATINGS, Claim(participant="p1")), Asked(RATINGS, DAY_2)
UNPROVEN, BESIDE = Asked(RATINGS, is_proven=False), Asked(RATINGS, is_proven=False, only_adds=True)
ASKED = [EVERYTHING, OF_P1, OF_DAY_2, UNPROVEN, BESIDE, Asked(RATINGS, DAY_2, is_proven=False)]

ROWS = st.lists(
    st.builds(
        rating,
        st.sampled_from(["q1", "q2", "q3", None]),
        st.sampled_from(["p1", "p2", None]),
        st.sampled_from([1, 2, 3, None]),
        st.integers(0, 1),
    ),
    max_size=8,
)


@given(held=ROWS, came=ROWS, asked=st.sampled_from(ASKED), gone=st.integers(0, 3))
@example(held=[rating("q1", "p1", 1)], came=[rating("q1", "p2", 1)], asked=OF_P1, gone=0)
def test_no_row_leaves_that_the_reading_does_not_speak_for(
    held: list[bytes], came: list[bytes], asked: Asked, gone: int
) -> None:
    rows, gone_rows = merged(held, came, asked, gone=min(gone, len(held)))
    assert gone_rows <= len(rows)
    left = Counter(rows)
    for row in came:
        assert left[row] or asked.only_adds
    for row in (Counter(held) - left).elements():
        newer = [each for each in came if asked.identity(each) == asked.identity(row)]
        if asked.identity(row) is None:  # it came in another spelling
            assert asked.speaks_for(row)
            continue
        persons = {None, asked.person(row)} if asked.is_narrow else {asked.person(each) for each in newer}
        assert any(
            (asked.person(each) in persons or asked.person(row) is None)
            and (asked.times(each) == asked.times(row) or asked.speaks_for(row))
            for each in newer
        )


@given(held=ROWS, came=ROWS, asked=st.sampled_from(ASKED))
def test_every_identity_that_was_held_or_came_is_held(
    held: list[bytes], came: list[bytes], asked: Asked
) -> None:
    rows, _ = merged(held, came, asked)
    ids = {asked.identity(row) for row in (*held, *came)} - {None}
    assert {asked.identity(row) for row in rows} >= ids


@given(held=ROWS, came=ROWS, asked=st.sampled_from(ASKED))
def test_the_same_answer_again_changes_nothing(held: list[bytes], came: list[bytes], asked: Asked) -> None:
    rows, gone = merged(held, came, asked)
    again, gone_again = merged(rows, came, asked, gone=gone)
    assert Counter(again) == Counter(rows)
    assert gone_again == gone


@given(held=ROWS, came=ROWS)
def test_fault_56_what_a_whole_list_lacks_stands_last(held: list[bytes], came: list[bytes]) -> None:
    rows, gone = merged(held, came, EVERYTHING)
    assert Counter(rows[: len(rows) - gone]) == Counter(came)


@pytest.mark.parametrize("asked", [OF_P1, OF_DAY_2])
def test_fault_112_an_id_that_is_many_peoples_or_days_replaces_none_but_its_own_row(asked: Asked) -> None:
    others = [rating("q1", "p2", 1), rating("q1", "p3", 3)]
    rows, _ = merged([rating("q1", "p1", 2), *others], [rating("q1", "p1", 2, value=9)], asked)
    assert Counter(rows) == Counter([*others, rating("q1", "p1", 2, value=9)])


def test_an_edit_takes_the_place_of_the_row_whether_the_list_is_proven_or_not() -> None:
    for asked in (EVERYTHING, UNPROVEN, OF_P1, OF_DAY_2):
        held, came = [rating("q1", "p1", 2), rating("q2", "p1", 2)], [rating("q1", "p1", 2, value=9)]
        rows, _ = merged(held, came, asked)
        assert sorted(rows) == sorted([came[0], held[1]]), asked


def test_fault_112_what_an_unproven_list_shows_of_another_time_is_another_row() -> None:
    rows, _ = merged([rating("q1", "p1", 1)], [rating("q1", "p1", 2)], UNPROVEN)
    assert rows == [rating("q1", "p1", 2), rating("q1", "p1", 1)]


def test_a_row_that_a_whole_list_shows_to_be_another_persons_is_the_same_row() -> None:
    assert merged([rating("q1", "p1", 1)], [rating("q1", "p2", 1)], EVERYTHING)[0] == [rating("q1", "p2", 1)]


def test_rows_that_came_beside_another_rooms_list_only_add() -> None:
    held = [rating("q1", "p1", 1), rating("q2", "p1", 1)]
    came = [rating("q1", "p1", 1, value=9), rating("q3", "p1", 1)]
    assert merged(held, came, BESIDE)[0] == [*held, came[1]]


# --- another spelling ------------------------------------------------------------------------------------
def component(number: int, **more: Any) -> bytes:
    row = {"componentId": "c", "participantId": f"p{number % 2}", "onset": number, "roomId": "r1"}
    return json.dumps(row | more).encode()


def test_fault_113_a_new_field_in_every_row_without_an_id_is_another_spelling() -> None:
    held = [component(number) for number in range(5)]
    came = [component(number, version=2) for number in range(6)]
    assert merged(held, came, Asked(COMPONENTS)) == (came, 0)


def test_fault_113_rows_that_are_gone_stay_beside_another_spelling() -> None:
    held = [component(number) for number in range(6)]
    came = [component(number, version=2) for number in range(5)]
    assert merged(held, came, Asked(COMPONENTS)) == ([*came, held[5]], 1)


def test_fault_113_an_older_spelling_goes_also_after_a_night_that_left_both() -> None:
    held, came = [component(number) for number in range(3)], [component(number, x=0) for number in range(3)]
    both, _ = merged(held, came, Asked(COMPONENTS, is_proven=False))
    assert Counter(both) == Counter([*held, *came])
    assert merged(both, came, Asked(COMPONENTS)) == (came, 0)


def test_fault_113_a_number_that_is_written_anew_in_every_row_is_another_spelling() -> None:
    held = [component(number) for number in range(5)]
    came = [component(number, onset=f"{number}.0") for number in range(5)]
    assert merged(held, came, Asked(COMPONENTS)) == (came, 0)


def test_fault_113_rows_that_are_gone_while_others_stayed_are_no_other_spelling() -> None:
    held, came = [component(number) for number in range(5)], [component(number) for number in range(2, 9)]
    assert merged(held, came, Asked(COMPONENTS)) == ([*came, *held[:2]], 2)


def test_fault_113_a_field_that_only_some_rows_got_is_another_spelling_of_those() -> None:
    held = [component(number) for number in range(4)]
    came = [component(0, x=1), component(1), component(2, x=1), component(3), component(9)]
    assert merged(held, came, Asked(COMPONENTS)) == (came, 0)


def test_fault_113_a_row_that_had_a_longer_twin_all_along_may_go_alone() -> None:
    held = [component(1), component(1, x=1), component(2)]
    assert merged(held, held[1:], Asked(COMPONENTS)) == ([*held[1:], held[0]], 1)


def test_fault_113_other_rows_in_place_of_one_that_is_gone_are_no_other_spelling() -> None:
    held, came = [component(1), component(2)], [component(3, x=1), component(4, x=2), component(5, x=3)]
    rows, gone = merged(held, came, Asked(COMPONENTS))
    assert (Counter(rows), gone) == (Counter([*held, *came]), 2)


def test_fault_113_what_was_gone_before_is_no_older_spelling_of_what_came() -> None:
    came = [component(3), component(4)]
    assert merged([component(1)], came, Asked(COMPONENTS), gone=1) == ([*came, component(1)], 1)


def test_fault_53_of_rows_that_are_alike_each_one_counts() -> None:
    rows, gone = merged([component(1)] * 3, [component(1)] * 2 + [component(2)], Asked(COMPONENTS))
    assert Counter(rows) == Counter([component(1)] * 3 + [component(2)])
    assert gone == 1


@pytest.mark.parametrize(
    ("times", "is_admitted"),
    [
        ({"timestamp": "2026-01-02T00:00:00Z"}, True),
        ({"timestamp": "2026-01-02T23:59:59.999"}, True),
        ({"timestamp": "2026-01-03T00:00:00Z"}, False),
        ({"timestamp": "2026-01-03T01:00:00+02:00"}, True),
        ({"timestamp": 1767312000}, True),
        ({"timestamp": 1767311999999}, False),
        ({"createdAt": "1767312000000"}, True),
        ({"timestamp": "2026-01-01T23:59:59Z", "createdAt": "2026-01-02T00:00:01Z"}, True),
        ({"timestamp": "soon", "startTime": 12.5}, True),
        ({}, True),
    ],
)
def test_fault_79_a_row_is_of_a_time_range_by_its_own_time_and_kept_where_it_tells_none(
    times: dict[str, Any], is_admitted: bool
) -> None:
    assert OF_DAY_2.admits(json.dumps({"ratingId": "q", **times}).encode()) is is_admitted


def test_older_versions_that_an_unproven_night_left_beside_a_row_leave_with_the_next_whole_list() -> None:
    first, second, other = rating("q1", "p1", 1), rating("q1", "p1", 2), rating("q2", "p1", 1)
    rows, _ = merged([first, second, other], [second, other], EVERYTHING)
    assert rows == [second, other]
    unproven, _ = merged([first, other], [second, other], UNPROVEN)
    assert Counter(unproven) == Counter([first, second, other])


def test_where_an_id_is_shared_in_the_whole_list_what_is_gone_of_another_person_stays() -> None:
    held = [rating("q1", "p1", 1), rating("q1", "p2", 1), rating("q1", "p3", 1)]
    rows, gone = merged(held, held[:2], EVERYTHING)
    assert (Counter(rows), gone) == (Counter(held), 1)
