"""Every row has an id and a room, or none; however it is read, they are the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_answers import flat, json_texts, page_of

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import parse_page
from hsmirror.api.rows import one_line, row_id

EVENTS, RECORDINGS = (DATA_TYPES[name] for name in ("events", "recordings"))


def test_rows_are_named_by_the_first_id_and_room_field_that_they_have() -> None:
    page = page_of({"id": "a", "roomId": "r"}, {"id": "b", "sessionId": "s"}, {"x": 1})
    assert page.ids == ["a", "b", None]
    assert page.rooms == ["r", "s", None]


def test_rows_may_all_name_their_room_by_another_field_than_the_first_or_none_at_all() -> None:
    assert page_of({"id": "a", "sessionId": "r"}, {"id": "b", "sessionId": "s"}).rooms == ["r", "s"]
    assert page_of({"id": "a", "roomId": ""}, {"id": "b", "sessionId": 7}).rooms == [None, "7"]
    assert page_of({"id": "a"}, {"id": "b", "roomId": None}).rooms == [None, None]


def test_a_row_may_name_its_experiment() -> None:
    page = page_of({"id": "a", "roomId": "r", "experimentId": "e"}, {"id": "b", "roomId": "r"})
    assert (page.ids, page.rooms, page.experiments) == (["a", "b"], ["r", "r"], ["e", None])
    assert page_of({"id": "a", "roomId": "r"}).experiments == ()
    of_metadata = page_of({"recordingId": "a", "metadata": {"experimentId": "e"}}, data_type="recordings")
    assert of_metadata.experiments == ["e"]


def test_a_recording_may_name_its_room_in_its_metadata() -> None:
    page = page_of(
        {"egressId": "e", "metadata": {"roomName": "r"}},
        {"recordingId": "x", "egressId": "e", "roomId": "q", "metadata": {"roomName": "r"}},
        {"recordingId": "y", "metadata": "none"},
        data_type="recordings",
    )
    assert page.ids == ["e", "x", "y"]
    assert page.rooms == ["r", "q", None]


def test_components_have_no_id_of_their_own() -> None:
    assert page_of({"componentId": "c"}, data_type="components").ids == [None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        (10**30, str(10**30)),
        ("", None),
        (None, None),
        (True, None),
        (1.5, None),
        ([], None),
        ({}, None),
    ],
)
def test_an_id_is_a_text_or_a_whole_number(value: object, expected: str | None) -> None:
    assert page_of({"id": value}).ids == [expected]


@given(rows=st.lists(json_texts(), max_size=4))
def test_fault_53_any_kind_of_row_has_an_id_and_a_room_or_none(rows: list[str]) -> None:
    page = parse_page(f'{{"data":[{",".join(rows)}]}}'.encode(), RECORDINGS)
    assert len(page.rows) == len(page.ids) == len(page.rooms) == len(rows)


@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["id", "roomId", "sessionId", "x"]), st.text(max_size=3), max_size=3)
    )
)
def test_ids_and_rooms_are_the_same_however_the_page_is_read(rows: list[dict[str, str]]) -> None:
    """A lone surrogate anywhere sends the whole page the slow way."""
    quick = page_of(*rows)
    slow = parse_page(json.dumps({"data": rows, "metadata": "\ud800"}).encode(), EVENTS)
    assert (list(slow.ids), list(slow.rooms)) == (list(quick.ids), list(quick.rooms))
    assert [json.loads(bytes(row)) for row in slow.rows] == rows


def test_a_stored_row_has_the_id_that_it_had_in_its_page() -> None:
    page = page_of({"id": "a"}, {"x": 1}, {"id": 5})
    assert [row_id(bytes(row), EVENTS) for row in page.rows] == ["a", None, "5"]


@given(text=json_texts())
def test_one_line_takes_away_line_breaks_and_nothing_else(text: str) -> None:
    assert one_line(text.encode()) == flat(text)
