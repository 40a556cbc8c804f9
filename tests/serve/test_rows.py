"""Making rows readable for decoders that refuse lone surrogates."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.serve.rows import readable


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (rb'"\ud800"', "\ufffd"),
        (rb'"\uD83D\uDE00"', "\U0001f600"),
        (rb'"\\ud800"', "\\ud800"),
        (rb'"\\\ud800x"', "\\\ufffdx"),
        (rb'"\udc00\ud800"', "\ufffd\ufffd"),
        (rb'"\ud800\ud83d\ude00"', "\ufffd\U0001f600"),
    ],
)
def test_only_lone_surrogates_are_replaced(row, text):
    assert msgspec.json.decode(readable(row)) == text


def test_a_row_without_any_stays_as_it_is():
    row = b'{"a":"\\u00fc"}'
    assert readable(row) is row


PIECES = st.sampled_from(["\ud800", "\udc00", "\\", "u", "d800", '"', "x", "\U0001f600"])


@given(st.lists(PIECES).map("".join))
def test_any_text_becomes_readable_and_differs_in_surrogates_alone(text):
    decoded = msgspec.json.decode(readable(json.dumps(text).encode()))
    paired = json.loads(json.dumps(text))
    assert decoded == "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in paired)
