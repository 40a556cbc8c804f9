"""Signed addresses: secrets that expire and lead only to public hosts."""

from __future__ import annotations

import base64
import json
import math
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsmirror.api.addresses import (
    SignedAddress,
    is_loopback_host,
    is_public_host,
    parse_address,
)
from hsmirror.errors import RefusedAddressError

SIGNED_AT = "20231114T221320Z"
SIGNED_AT_EPOCH = 1_700_000_000.0
SIGNATURE = "c0ffee5ecre7"


def policy(document: object) -> str:
    text = base64.b64encode(json.dumps(document).encode()).decode()
    return text.translate(str.maketrans("+=/", "-_~"))


def expiring(moment: object) -> dict[str, Any]:
    return {"Statement": [{"Condition": {"DateLessThan": {"AWS:EpochTime": moment}}}]}


@pytest.mark.parametrize(
    ("query", "expires_at"),
    [
        ({"X-Goog-Date": SIGNED_AT, "X-Goog-Expires": "604800"}, SIGNED_AT_EPOCH + 604_800),
        ({"X-Amz-Date": SIGNED_AT, "X-Amz-Expires": "900"}, SIGNED_AT_EPOCH + 900),
        ({"x-amz-date": SIGNED_AT, "x-amz-expires": "900"}, SIGNED_AT_EPOCH + 900),
        ({"Expires": "1700000900"}, SIGNED_AT_EPOCH + 900),
        ({"Policy": policy(expiring(1_700_000_900))}, SIGNED_AT_EPOCH + 900),
        ({"X-Goog-Date": "yesterday", "X-Goog-Expires": "604800"}, None),
        ({"X-Goog-Date": SIGNED_AT, "X-Goog-Expires": "long"}, None),
        ({"Expires": "never"}, None),
        ({"Expires": "²"}, None),
        ({"Policy": "%%%"}, None),
        ({"Policy": policy([])}, None),
        ({"Policy": policy(expiring(10**400))}, None),
        ({"Policy": policy(expiring(float("nan")))}, None),
        ({}, None),
    ],
)
def test_an_address_says_itself_until_when_it_is_good(query: dict[str, str], expires_at: float | None) -> None:
    address = parse_address(f"https://storage.example.com/rec.mp4?{urlencode(query)}")
    assert address.expires_at == expires_at


def test_fault_26_its_expiry_is_put_right_by_the_servers_clock() -> None:
    """A server whose clock is a minute ahead lets the address expire a minute earlier by ours."""
    address = parse_address("https://h.example.com/?Expires=1700000900", skew_seconds=60.0)
    assert address.remaining_seconds(SIGNED_AT_EPOCH) == 840.0


def test_an_address_that_does_not_say_is_good_for_ever() -> None:
    assert parse_address("https://h.example.com/f").remaining_seconds(SIGNED_AT_EPOCH) == math.inf


def test_fault_62_a_signed_address_cannot_be_printed() -> None:
    address = parse_address(f"https://h.example.com/f?X-Amz-Signature={SIGNATURE}")
    for text in (repr(address), str(address), f"{address}", repr(address.url), f"{address.url}"):
        assert SIGNATURE not in text
    assert address.url.reveal().endswith(SIGNATURE)


@pytest.mark.parametrize(
    "text",
    [
        "http://storage.example.com/f",
        "file:///etc/passwd",
        "ftp://storage.example.com/f",
        "//storage.example.com/f",
        "/relative",
        "",
        "https://",
        "https://user@storage.example.com/f",
        "https://user:password@storage.example.com/f",
        "https://127.0.0.1/f",
        "https://localhost/f",
        "https://lab.localhost/f",
        "https://LOCALHOST/f",
        "https://[::1]/f",
        "https://[::ffff:127.0.0.1]/f",
        "https://10.1.2.3/f",
        "https://192.168.0.1/f",
        "https://172.16.0.1/f",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/f",
        "https://[fd00::1]/f",
        "https://0.0.0.0/f",
        "https://127.1/f",
        "https://2130706433/f",
        "https://0x7f.1/f",
        "https://0X7F000001/f",
        "https://0177.0.0.1/f",
        "https://host:99999/f",
        "https://host:port/f",
        "https://[::1/f",
    ],
)
def test_fault_39_an_address_that_leads_elsewhere_than_to_https_on_a_public_host_is_refused(text: str) -> None:
    with pytest.raises(RefusedAddressError):
        parse_address(text)


@pytest.mark.parametrize("text", ["http://127.0.0.1:8080/f", "https://localhost/f", "http://[::1]:1/f"])
def test_loopback_is_allowed_where_the_api_is_on_loopback_itself(text: str) -> None:
    assert isinstance(parse_address(text, loopback_allowed=True), SignedAddress)


@pytest.mark.parametrize("text", ["file://localhost/etc/passwd", "http://10.0.0.1/f", "http://h.example.com/f"])
def test_allowing_loopback_allows_nothing_else(text: str) -> None:
    with pytest.raises(RefusedAddressError):
        parse_address(text, loopback_allowed=True)


@given(text=st.one_of(st.text(max_size=50), st.text(max_size=40).map("https://h.example.com/?".__add__)))
@example(text="https://h.example.com/?Expires=²")
@example(text="https://h.example.com/?x-amz-date=20231114T221320Z&x-amz-expires=٣")
@example(text="https://h.example.com/?x-amz-date=99991231T235959Z&x-amz-expires=999999999999")
@example(text="https://[v1.x]/")
@example(text="https://h\x00.example.com/")
def test_any_text_is_an_address_with_a_sane_expiry_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except RefusedAddressError:
        return
    assert address.expires_at is None or math.isfinite(address.expires_at)


@given(
    fields=st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=3),
        lambda c: (
            st.lists(c, max_size=2)
            | st.dictionaries(
                st.sampled_from(["Statement", "Condition", "DateLessThan", "AWS:EpochTime"]), c, max_size=2
            )
        ),
    )
)
def test_any_policy_gives_a_sane_expiry_or_none(fields: object) -> None:
    for document in (fields, expiring(fields)):
        address = parse_address(f"https://h.example.com/?Policy={policy(document)}")
        assert address.expires_at is None or math.isfinite(address.expires_at)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("a.localhost", True),
        ("localhost.com", False),
        ("8.8.8.8", False),
    ],
)
def test_loopback_is_told_by_the_host_itself(host: str, expected: bool) -> None:
    assert is_loopback_host(host) is expected


def test_a_public_address_literal_is_public() -> None:
    assert is_public_host("8.8.8.8")
    assert is_public_host("storage.googleapis.com")
