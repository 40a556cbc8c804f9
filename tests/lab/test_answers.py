"""The shapes of answers: pagination as servers have been seen to give it, indentation, missing endpoints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.errors import UsageError
from hsmirror.lab.answers import AnswerOptions, EndpointOptions, indented
from hsmirror.serve.envelope import PageFacts

MIDDLE = PageFacts(total=25, returned=10, offset=10, limit=10)
LAST = PageFacts(total=25, returned=5, offset=20, limit=10)


@pytest.mark.parametrize(
    ("style", "middle", "last"),
    [
        ("document", {"total": 25, "hasMore": True, "nextOffset": 20}, {"total": 25, "hasMore": False}),
        (
            "fixture",
            {"total": 25, "hasMore": True, "nextOffset": 20, "limit": 10, "offset": 10},
            {"total": 25, "hasMore": False, "limit": 10, "offset": 20},
        ),
        (
            "null-next",
            {"total": 25, "hasMore": True, "nextOffset": None},
            {"total": 25, "hasMore": False, "nextOffset": None},
        ),
        (
            "string-numbers",
            {"total": "25", "hasMore": True, "nextOffset": "20"},
            {"total": "25", "hasMore": False},
        ),
        ("total-high", {"total": 32, "hasMore": True, "nextOffset": 20}, {"total": 32, "hasMore": False}),
        ("total-low", {"total": 12, "hasMore": True, "nextOffset": 20}, {"total": 12, "hasMore": False}),
        ("no-total", {"hasMore": True, "nextOffset": 20}, {"hasMore": False}),
        ("early-end", {"total": 25, "hasMore": False}, {"total": 25, "hasMore": False}),
    ],
)
def test_a_pagination_object_in_each_style(style, middle, last):
    paging = AnswerOptions(pagination=style).style().paging
    assert paging(MIDDLE) == {"pagination": middle | {"returned": 10}}
    assert paging(LAST) == {"pagination": last | {"returned": 5}}


def test_flat_pagination_stands_beside_the_other_metadata():
    assert AnswerOptions(pagination="flat").style().paging(MIDDLE) == {"total": 25, "limit": 10, "offset": 10}


def test_no_pagination_says_nothing():
    assert AnswerOptions(pagination="none").style().paging(MIDDLE) == {}


def test_indentation_leaves_every_token_as_it_was():
    body = '{"n":[1e400,1.10,-0.0],"s":"a,b:{\\"\\\\","u":"\\ud800 \u2028","e":{},"l":[],"t":true}'.encode()
    assert indented(body).decode().split("\n") == [
        "{",
        '  "n": [',
        "    1e400,",
        "    1.10,",
        "    -0.0",
        "  ],",
        '  "s": "a,b:{\\"\\\\",',
        '  "u": "\\ud800 \u2028",',
        '  "e": {},',
        '  "l": [],',
        '  "t": true',
        "}",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_indentation_is_that_of_the_standard_library(value):
    compact = json.dumps(value, separators=(",", ":"))
    assert indented(compact.encode()).decode() == json.dumps(value, indent=2)


@pytest.mark.parametrize("impossible", [{"pagination": "round"}, {"page_cap": 0}, {"latency_seconds": -1}])
def test_answers_that_cannot_be_are_refused(impossible):
    with pytest.raises(UsageError):
        AnswerOptions(**impossible)


def test_a_full_server_misses_nothing():
    assert EndpointOptions().missing() == frozenset()


def test_an_old_server_misses_whatever_is_newer():
    old = EndpointOptions(rooms=False, newer_types=False, experiments=False, deployments=False)
    assert old.missing() == {
        "data/rooms",
        "data/participants",
        "data/videochat",
        "data/eyetracking",
        "data/variables",
        "data/agent-decisions",
        "data/agent-runs",
        "experiments",
        "deployments",
    }
