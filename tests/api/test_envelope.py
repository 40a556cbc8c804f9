"""Answers taken apart: rows stay the very bytes that came, and nothing passes that is not JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from made_up_answers import SPACES, flat, json_texts, page_of

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import ErrorEnvelope, Pagination, parse_document, parse_error, parse_page
from hsmirror.errors import CorruptError

EVENTS = DATA_TYPES["events"]


# --- rows are bytes ---------------------------------------------------------------------------------------
@given(rows=st.lists(json_texts(), max_size=5), space=SPACES)
@example(rows=['{"id":"a","x":"\\ud800"}', "[1.10]"], space="\n")
@example(rows=['{"id": 1e400}'], space="")
def test_fault_58_rows_are_the_very_bytes_that_came_one_a_line(rows: list[str], space: str) -> None:
    """Number texts, key order, escapes and spaces included; only line breaks between tokens go."""
    body = f'{{{space}"status":"success",{space}"data":{space}[{space}{f"{space},".join(rows)}{space}]{space}}}'
    page = parse_page(body.encode(), EVENTS)
    assert [bytes(row) for row in page.rows] == [flat(row) for row in rows]
    assert all(b"\n" not in bytes(row) and b"\r" not in bytes(row) for row in page.rows)
    assert page.size_bytes == len(body.encode())


def as_json(body: bytes) -> Any:
    """What the standard library makes of it, as strictly as the standard demands."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(body.decode("utf-8").removeprefix("\ufeff"), parse_constant=refuse)


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """An answer with a few bytes cut out, doubled or replaced."""
    rows = ",".join(draw(st.lists(json_texts(), max_size=3)))
    body = bytearray(f'{{"status":"success","data":[{rows}],"metadata":{{"total":3}}}}'.encode())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 4))] = draw(
            st.sampled_from(
                [b"", b",", b"}", b"]", b"{", b'"', b":", b"NaN", b"01", b"\x00", b"\xff", b"x", b"\n"]
            )
        )
    return bytes(body)


@given(body=mutilated())
@example(body=b'{"data":[{"id":"a"}]}{"status":"error"}')
@example(body=b'{"data":[{"id":"a"}]} x')
@example(body=b'{"data":[{"id":"a"}],3:4}')
@example(body=b'{"data":[{"id":"a","x":NaN}]}')
@example(body=b'{"data":[{"id":"a","x":-Infinity}]}')
@example(body=b'{"data":[{"id":"a\nb"}]}')
def test_what_is_accepted_is_json_and_its_rows_are_the_rows_of_that_json(body: bytes) -> None:
    try:
        page = parse_page(body, EVENTS)
    except CorruptError:
        return
    expected = as_json(body)["data"]
    assert [as_json(bytes(row)) for row in page.rows] == expected


@given(body=st.binary(max_size=60))
def test_any_bytes_are_a_page_or_a_corrupt_answer(body: bytes) -> None:
    try:
        parse_page(body, EVENTS)
    except CorruptError:
        assert True


@given(rows=st.lists(json_texts(), max_size=3), cut=st.integers(1, 200))
def test_fault_17_no_part_of_an_answer_is_an_answer(rows: list[str], cut: int) -> None:
    body = f'{{"data":[{",".join(rows)}],"metadata":{{}}}}'.encode()
    with pytest.raises(CorruptError):
        parse_page(body[: max(0, len(body) - cut)], EVENTS)


def test_numbers_of_any_length_are_kept() -> None:
    """Beyond what Python turns into an integer by default, and beside a row that is no object."""
    digits = "9" * 5000
    page = parse_page(f'{{"data":[1,{{"id":"a","x":{digits}}}]}}'.encode(), EVENTS)
    assert bytes(page.rows[1]) == f'{{"id":"a","x":{digits}}}'.encode()
    assert page.ids[1] == "a"


def test_fault_59_a_row_of_fifty_megabytes_is_a_row() -> None:
    row = b'{"id":"big","text":"' + b"x" * (50 << 20) + b'"}'
    page = parse_page(b'{"data":[' + row + b"]}", EVENTS)
    assert page.ids == ["big"]
    assert bytes(page.rows[0]) == row


# --- what the server claims -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"pagination": {"total": 5, "hasMore": True, "limit": 3}}, Pagination(5, True, 3)),
        ({"total": 5, "limit": 3, "offset": 0}, Pagination(5, None, 3)),
        ({"pagination": {"total": "5"}}, Pagination(5)),
        ({"pagination": {"total": None, "hasMore": None}}, Pagination()),
        ({"pagination": {"total": -1, "hasMore": "perhaps", "limit": 1.5}}, Pagination()),
        ({"pagination": {"total": True}}, Pagination()),
        ({"pagination": {"total": "²"}}, Pagination()),
        ({"pagination": []}, Pagination()),
        ({}, Pagination()),
        ([], Pagination()),
        (None, Pagination()),
    ],
)
def test_fault_03_pagination_is_taken_as_far_as_it_makes_sense(metadata: object, expected: Pagination) -> None:
    assert page_of(metadata=metadata).pagination == expected


def test_an_absent_pagination_is_told_from_an_empty_one() -> None:
    assert page_of().pagination.is_absent
    assert not page_of(metadata={"total": 0}).pagination.is_absent


def test_warnings_are_passed_on_without_control_characters() -> None:
    page = page_of(metadata={"_warnings": ["MISSING_INDEX: \x1b[31mincomplete", 5]})
    assert page.warnings[0] == "MISSING_INDEX: [31mincomplete"


def test_a_truncated_answer_says_so_among_the_warnings() -> None:
    assert page_of(metadata={"truncated": True}).warnings == ("TRUNCATED: the server left rows out.",)


def test_the_metadata_are_kept_as_they_came() -> None:
    page = parse_page(b'{"data":[],"metadata":{"timeline":[1.10]}}', EVENTS)
    assert page.metadata == b'{"timeline":[1.10]}'


def test_a_page_can_be_cut_to_its_first_rows() -> None:
    page = page_of({"id": "a"}, {"id": "b"}, {"id": "c"}).first(2)
    assert page.ids == ["a", "b"]
    assert len(page.rows) == len(page.rooms) == 2
    assert page.first(5) is page


# --- what is no page --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><body>Sign in</body></html>", "HTML"),
        (b'{"status":"error","error":{"code":"X"},"data":[]}', "error came under status 200"),
        (b'{"status":"error","error":{"code":"X"}}', "error came under status 200"),
        (b'{"status":"success"}', "no list of rows"),
        (b'{"data":{}}', "no list of rows"),
        (b'{"data":"\xff"}', "not UTF-8"),
        (b"[]", "no JSON object"),
        (b"", "no JSON object"),
        (b'{"data":[', "not JSON"),
    ],
)
def test_fault_18_an_answer_that_is_no_list_of_rows_says_what_it_is(body: bytes, said: str) -> None:
    with pytest.raises(CorruptError, match=said):
        parse_page(body, EVENTS)


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert parse_page(b'\xef\xbb\xbf{"data":[{"id":"a"}]}', EVENTS).ids == ["a"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_fault_65_deep_nesting_is_refused_not_run_into(opening: bytes) -> None:
    for body in (
        opening * 200_000,
        b'{"data":[' + opening * 200_000 + b"]}",
        b'{"data":[],"metadata":' + opening * 100_000,
    ):
        with pytest.raises(CorruptError):
            parse_page(body, EVENTS)


# --- documents and errors ---------------------------------------------------------------------------------
@given(text=json_texts())
def test_a_document_is_its_data_as_values_and_as_one_line(text: str) -> None:
    assume("1e400" not in text)
    value, line = parse_document(f'{{"status":"success","data":{text}}}'.encode())
    assert line == flat(text)
    if "\\ud800" not in text:
        assert value == msgspec.json.decode(text)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"status":"error","data":1}', b"<html>", b"", b'{"data":\xff}', b'{"data":1} x']
)
def test_what_holds_no_document_is_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptError):
        parse_document(body)


def test_an_error_envelope_is_read_field_by_field() -> None:
    body = {"error": {"code": "FORBIDDEN", "message": "no", "details": {"required": ["read:events"]}}}
    assert parse_error(json.dumps(body).encode()) == ErrorEnvelope("FORBIDDEN", "no", ("read:events",))


@given(body=st.one_of(st.binary(max_size=40), json_texts().map(str.encode), mutilated()))
@example(body=b'{"error":{"details":{"required":"read:events"}}}')
@example(body=b"[" * 100_000)
def test_any_bytes_are_an_error_envelope_or_an_empty_one(body: bytes) -> None:
    assert isinstance(parse_error(body), ErrorEnvelope)


def test_fault_65_an_error_text_is_cut_short_and_holds_no_terminal_escapes() -> None:
    body = json.dumps({"error": {"message": "\x1b]0;owned\x07" + "x" * 5000}}).encode()
    message = parse_error(body).message
    assert len(message) <= 300
    assert message.isprintable()
