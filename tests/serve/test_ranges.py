"""Which bytes a request selects."""

from __future__ import annotations

import pytest

from hsmirror.serve.ranges import Selection, selection

ETAG = '"abc"'


def chosen(size_bytes: int = 100, **headers: str) -> Selection:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return selection(named, size_bytes=size_bytes, etag=ETAG)


@pytest.mark.parametrize(
    ("header", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=90-", 90, 100),
        ("bytes=90-500", 90, 100),
        ("bytes=-10", 90, 100),
        ("bytes=-500", 0, 100),
        ("bytes= 5 - 6", 5, 7),
    ],
)
def test_a_single_range_is_partial_content(header, first, stop):
    assert chosen(Range=header) == Selection(206, first, stop)


@pytest.mark.parametrize(
    "header", ["bytes=0-1,5-6", "bytes=9-5", "lines=1-2", "bytes=-", "bytes=a-b", "", "10-19"]
)
def test_any_other_range_is_ignored(header):
    assert chosen(Range=header) == Selection(200, 0, 100)


@pytest.mark.parametrize(("header", "size_bytes"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0)])
def test_a_range_beyond_the_end_cannot_be_satisfied(header, size_bytes):
    assert chosen(size_bytes, Range=header).status == 416


def test_if_range_with_another_version_gives_the_whole():
    assert chosen(Range="bytes=10-", If_Range='"old"').status == 200
    assert chosen(Range="bytes=10-", If_Range=ETAG).status == 206


def test_if_match_with_another_version_fails():
    assert chosen(If_Match='"old", "older"').status == 412
    assert chosen(If_Match=f'"old", {ETAG}').status == 200
    assert chosen(If_Match="*").status == 200


def test_if_match_counts_before_the_range():
    assert chosen(Range="bytes=10-", If_Match='"old"').status == 412
