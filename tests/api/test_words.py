"""What servers say is kept and shown without secrets, whatever they repeat, and however."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import parse_error, parse_page
from hsmirror.api.words import ServerWords, printable
from hsmirror.model import Secret

TEXT = "Zq3x9hT5bXcV2mN8kL0wAaRtYuIoPsDfGhJkQweEdC1r4v7B6n5M3l2K1j0H9g8F"
KEY = f"hst_live_{TEXT}"
BASIC = base64.b64encode(f"user:{KEY}".encode()).decode()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"bad key {KEY}!", "bad key hst_…!"),
        (f"bad key {TEXT}!", "bad key (the key)!"),
        (f"the key that ends in …{TEXT[-8:]} has expired", "the key that ends in …(the key) has expired"),
        (f"the key {KEY[:14]}… has expired", "the key hst_…… has expired"),
        (f"the key {TEXT.upper()[:12]} is unknown", "the key (the key) is unknown"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer …"),
        ("https://user:secret@h/f failed", "https://…@h/f failed"),
        ("GET https://h/f.mp4?X-Amz-Signature=abc1&x=1 failed", "GET https://h/f.mp4?… failed"),
        ("GET /files/f?sig=abc1 failed", "GET /files/f?… failed"),
        ("https%3A%2F%2Fh%2Ff%3Ftoken%3Dabc1 failed", "https%3A%2F%2Fh%2Ff?… failed"),
        ("X-Goog-Signature=0123456789ab is wrong", "X-Goog-Signature=… is wrong"),
        ('{"token": "abcd12345678"}', '{"token": "…"}'),
        ("token eyJhbGciOi.eyJleHAiOjE3.c2lnbmF0", "token …"),
        ("MISSING_INDEX: Results may be incomplete", "MISSING_INDEX: Results may be incomplete"),
        ("The token: expired. Is it read:events?", "The token: expired. Is it read:events?"),
        ("two\nlines\x1b[2J\u202e", "two lines[2J"),
        (None, ""),
        (7, ""),
    ],
)
def test_fault_116_words_of_a_server_hold_no_secret(said: object, shown: str) -> None:
    assert ServerWords(Secret(KEY))(said) == shown


@pytest.mark.parametrize(
    "text", [BASIC, BASIC[4:-4], base64.b64encode(KEY.encode()).decode(), KEY.encode().hex()]
)
def test_fault_116_the_key_is_known_in_base64_and_hexadecimal(text: str) -> None:
    shown = ServerWords(Secret(KEY))(f"header {text}")
    assert "(the key)" in shown
    assert len(shown) < 50


@given(
    start=st.integers(0, len(TEXT) - 8),
    size=st.integers(8, len(TEXT)),
    before=st.integers(0, 9000),
    after=st.text(max_size=20),
)
def test_fault_116_no_part_of_the_key_is_told_wherever_a_text_is_cut(
    start: int, size: int, before: int, after: str
) -> None:
    part = TEXT[start : start + size]
    shown = ServerWords(Secret(KEY))(f"{'x ' * (before // 2)}{part}{after}")
    assert len(shown) <= 300
    assert shown.isprintable()
    assert not [at for at in range(len(part) - 7) if part[at : at + 8] in shown]


@pytest.mark.parametrize("before", range(280, 300))
@pytest.mark.parametrize("envelope", ['{"data":[],"metadata":%s}', '{"data":[],"a":"\\ud800","metadata":%s}'])
def test_fault_116_no_part_of_the_key_is_told_where_a_warning_is_cut_short(before: int, envelope: str) -> None:
    bare = TEXT.removeprefix("hst_live_")
    body = envelope % json.dumps({"_warnings": [f"{'x' * (before - 1)} {bare}"]})
    (warning,) = parse_page(body.encode(), DATA_TYPES["events"], ServerWords(Secret(KEY))).warnings
    assert bare[:4] not in warning


def test_fault_62_an_answer_does_not_hold_the_key() -> None:
    words = ServerWords(Secret(KEY))
    assert words.without_key(f'{{"data":["{KEY}"]}}'.encode()) == b'{"data":["(the key)"]}'
    assert words.without_key(b'{"data":[]}') == b'{"data":[]}'
    assert printable.without_key(b"x") == b"x"


def test_fault_116_what_an_error_says_is_redacted_before_it_is_cut_short() -> None:
    long = "https://h.example.org/" + "a" * 250
    body = b'{"status":"error","error":{"code":"C","message":"%s?sig=%s","details":{"required":["%s"]}}}'
    error = parse_error(body % (long.encode(), b"b" * 50, TEXT.encode()), ServerWords(Secret(KEY)))
    assert error.message == f"{long}?…"
    assert error.required_scopes == ("(the key)",)
