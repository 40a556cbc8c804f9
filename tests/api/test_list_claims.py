"""What an answer says of its list, in whatever place or shape: that it is not all, that it goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_page
from hsmirror.api.list_claims import Pagination

TEXT = "MISSING_INDEX: the index is being built. Results may be incomplete"


def answered(metadata: dict[str, Any], **beside: Any) -> Page:
    body = {"status": "success", "data": [{"id": "a"}], "metadata": metadata, **beside}
    return parse_page(json.dumps(body).encode(), DATA_TYPES["events"])


@pytest.mark.parametrize(
    "said",
    [
        {"_warnings": [TEXT]},
        {"_warnings": TEXT},
        {"_warnings": {"code": "MISSING_INDEX", "message": TEXT}},
        {"_warnings": [{"code": "MISSING_INDEX", "message": TEXT}]},
        {"warnings": [TEXT]},
        {"Warning": TEXT},
        {"warnings": 1},
        {"partial": True},
        {"isPartial": "true"},
        {"partial_results": True},
        {"truncated": True},
        {"truncated": "true"},
        {"isTruncated": 1},
        {"truncatedAt": 10_000},
        {"incomplete": "index"},
        {"incomplete_results": True},
        {"complete": False},
        {"isComplete": "false"},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["beside data", "metadata", "pagination", "deeper", "in a list"])
def test_fault_103_that_an_answer_is_not_all_is_seen_wherever_it_stands(
    said: dict[str, Any], place: str
) -> None:
    page = {
        "beside data": lambda: answered({}, **said),
        "metadata": lambda: answered(said),
        "pagination": lambda: answered({"pagination": {"total": 1, **said}}),
        "deeper": lambda: answered({"processing": {"source": said}}),
        "in a list": lambda: answered({"sources": [{"name": "a"}, said]}),
    }[place]()
    assert page.warnings
    assert page.ids == ["a"]


@pytest.mark.parametrize(
    "said",
    [
        {"_warnings": []},
        {"_warnings": None},
        {"warnings": ""},
        {"warnings": {}},
        {"partial": False},
        {"truncated": "false"},
        {"incomplete": 0},
        {"complete": True},
        {"complete": 17},
        {"participants": 3},
    ],
    ids=str,
)
def test_an_answer_that_says_that_it_is_all_warns_of_nothing(said: dict[str, Any]) -> None:
    assert answered(said, **said).warnings == ()


def test_what_participants_did_is_no_warning() -> None:
    assert answered({"timeline": [{"warning": "low battery"}], "variableNames": ["partial"]}).warnings == ()


def test_a_warning_without_words_is_told_all_the_same() -> None:
    assert answered({"_warnings": {"index": 5}}).warnings == (
        "the server warns of something, in a form that cannot be read",
    )


# --- does it go on? --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "said",
    [
        {"hasMore": True},
        {"has_more": "true"},
        {"hasNextPage": True},
        {"hasNext": True},
        {"isLast": False},
        {"last_page": False},
        {"nextCursor": "abc"},
        {"next_cursor": 1000},
        {"nextPage": 2},
        {"next": "https://api.example.org/x?cursor=1"},
        {"nextPageToken": "x"},
        {"continuationToken": "x"},
        {"nextOffset": 1000},
        {"cursor": "abc"},
        {"hasMore": "yes"},
        {"hasMore": 1},
        {"hasMoreRows": True},
        {"more_data_available": True},
        {"remainingRows": 1500},
        {"nextStart": "abc"},
        {"nextPageNumber": 2},
        {"@odata.nextLink": "/x?skip=1000"},
        {"lastEvaluatedKey": {"id": "e999"}},
        {"resumptionToken": "x"},
        {"pageToken": "x"},
        {"bookmark": "x"},
        {"startAfter": "x"},
        {"cursors": {"after": "x", "before": "w"}},
        {"links": {"next": {"href": "/x?page=2"}}},
        {"_links": {"next": "/x?page=2"}},
        {"hasMore": False, "nextCursor": "abc"},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["beside data", "metadata", "pagination"])
def test_fault_102_every_word_for_more_is_understood(said: dict[str, Any], place: str) -> None:
    page = {
        "beside data": lambda: answered({}, **said),
        "metadata": lambda: answered(said),
        "pagination": lambda: answered({"pagination": said}),
    }[place]()
    assert page.pagination.has_more is True
    assert not page.pagination.is_absent


@pytest.mark.parametrize(
    "said",
    [
        {"hasMore": False},
        {"hasMore": False, "nextOffset": 1000},
        {"nextCursor": None},
        {"nextCursor": ""},
        {"links": {"next": None, "prev": "/x"}},
        {"isLastPage": True},
        {"hasMore": 0},
        {"remainingRows": 0},
        {"links": {"next": {"href": None}}},
        {"hasMore": False, "cursor": "abc"},
    ],
    ids=str,
)
def test_that_there_is_no_more_is_understood_too(said: dict[str, Any]) -> None:
    assert answered({"pagination": said}).pagination.has_more is False


@pytest.mark.parametrize(
    "said",
    [
        {"hasMore": "perhaps"},
        {"took": 12},
        {"remaining": 900},
        {"links": {"last": "/x?page=9"}},
        {"query": {"cursor": "x", "next": "y"}},
        {"query": {"includePartial": True, "truncateText": 80}},
    ],
    ids=str,
)
def test_other_words_say_nothing(said: dict[str, Any]) -> None:
    assert answered(said).pagination == Pagination()
    assert answered(said).warnings == ()


@pytest.mark.parametrize("word", ["nextOffset", "cursor"])
def test_a_word_that_may_be_an_echo_says_nothing_beside_a_total(word: str) -> None:
    assert answered({"pagination": {"total": 1, word: "1"}}).pagination.has_more is None


@pytest.mark.parametrize(
    "said",
    [
        {"totalCount": 5},
        {"total_rows": 5},
        {"pagination": {"totalItems": 5}},
        {"total": 5, "pagination": {"limit": 1, "hasMore": False}},
        {"paging": {"total": "5"}},
        {"page": {"totalElements": 5, "number": 0}},
        {"meta": {"totalRecords": 5}},
    ],
    ids=str,
)
def test_a_total_is_seen_in_other_words_and_places(said: dict[str, Any]) -> None:
    assert answered(said).pagination.total == 5
    assert answered({}, **said).pagination.total == 5


def test_page_numbers_are_read() -> None:
    said = answered({"pagination": {"page": 1, "totalPages": "3", "total": 5}}).pagination
    assert said == Pagination(total=5, page=1, pages=3)


def test_a_total_beside_the_rows_counts_where_metadata_has_none() -> None:
    assert answered({}, total=5, pagination={"total": 7}).pagination.total == 7
    assert answered({}, total=5).pagination.total == 5
    assert answered({"total": 3}, total=5).pagination.total == 3
