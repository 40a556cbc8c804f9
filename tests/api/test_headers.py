"""Header fields: whatever a server sends, the outcome is a sane value or None."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsmirror.api.headers import (
    LONGEST_RETRY_AFTER_SECONDS,
    ContentRange,
    OfferedHashes,
    Sameness,
    Version,
    content_range,
    http_date,
    offered_hashes,
    retry_after_seconds,
    version,
)

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        ("0.5", 0.5),
        ("-5", 0.0),
        ("999999", LONGEST_RETRY_AFTER_SECONDS),
        ("inf", LONGEST_RETRY_AFTER_SECONDS),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("9" * 5000, None),
    ],
)
def test_fault_13_retry_after_in_seconds_is_clamped(value: str | None, expected: float | None) -> None:
    assert retry_after_seconds(value, now_epoch=NOW) == expected


def test_fault_13_retry_after_may_be_a_date() -> None:
    assert retry_after_seconds(formatdate(NOW + 90, usegmt=True), now_epoch=NOW) == 90.0


def test_fault_13_a_date_in_the_past_means_now() -> None:
    assert retry_after_seconds(formatdate(NOW - 90, usegmt=True), now_epoch=NOW) == 0.0


@given(value=st.one_of(st.none(), st.text(max_size=40), st.text("0123456789.-+eE :,GMTFri", max_size=30)))
@example(value="Mon, 01 Jan 0001 00:00:00 GMT")
@example(value="Mon, 01 Jan 9999 00:00:00 +9999")
@example(value="1_0")
def test_fault_13_any_retry_after_is_none_or_between_nought_and_an_hour(value: str | None) -> None:
    seconds = retry_after_seconds(value, now_epoch=NOW)
    assert seconds is None or 0.0 <= seconds <= LONGEST_RETRY_AFTER_SECONDS


@given(moment=st.integers(86_400, 250_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_an_http_date_is_read_to_the_second(moment: datetime) -> None:
    assert http_date(format_datetime(moment, usegmt=True)) == moment.timestamp()


def test_a_date_whose_zone_is_unknown_is_taken_as_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-0000` must not mean this machine's own zone."""
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert http_date("Tue, 14 Nov 2023 22:13:20 -0000") == NOW
    finally:
        monkeypatch.undo()
        time.tzset()


@given(value=st.text(max_size=60))
@example(value="")
@example(value="Mon, 99 Jan 2024 00:00:00 GMT")
@example(value="Mon, 01 Jan 99999999999 00:00:00 GMT")
def test_any_text_is_a_date_or_none(value: str) -> None:
    moment = http_date(value)
    assert moment is None or math.isfinite(moment)


@given(first=st.integers(0, 10**12), length=st.integers(1, 10**12), rest=st.integers(0, 10**6))
def test_a_content_range_is_read_back(first: int, length: int, rest: int) -> None:
    last = first + length - 1
    total = last + 1 + rest
    assert content_range(f"bytes {first}-{last}/{total}") == ContentRange(first, last, total)
    assert content_range(f" bytes {first}-{last}/* ") == ContentRange(first, last, None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "bytes */100",
        "bytes 5-4/100",
        "bytes 0-100/100",
        "bytes 0-1",
        "items 0-1/2",
        "bytes -1-1/2",
        "bytes 0-1/2, bytes 3-4/5",
        "bytes 0-" + "9" * 50 + "/*",
    ],
)
def test_fault_29_a_content_range_that_makes_no_sense_is_none(value: str | None) -> None:
    assert content_range(value) is None


@given(value=st.text("bytes 0123456789-/*", max_size=40))
def test_any_content_range_is_none_or_in_order(value: str) -> None:
    span = content_range(value)
    assert span is None or (
        0 <= span.first <= span.last and (span.total_bytes is None or span.last < span.total_bytes)
    )


MD5, CRC, SHA = bytes(range(16)), bytes(range(4)), bytes(range(32))


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_google_names_both_its_hashes_in_one_field() -> None:
    value = f"crc32c={encoded(CRC)},md5={encoded(MD5)}"
    assert offered_hashes({"x-goog-hash": value}) == OfferedHashes(md5=MD5, crc32c=CRC)


def test_a_composite_object_of_google_offers_crc32c_alone() -> None:
    assert offered_hashes({"x-goog-hash": f"crc32c={encoded(CRC)}"}) == OfferedHashes(crc32c=CRC)


def test_amazons_etag_is_the_md5_of_an_object_uploaded_in_one() -> None:
    headers = {"x-amz-request-id": "1", "etag": f'"{MD5.hex()}"'}
    assert offered_hashes(headers) == OfferedHashes(md5=MD5)


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": f'"{MD5.hex()}"'},
        {"x-amz-request-id": "1", "etag": f'"{MD5.hex()}-3"'},
        {"x-amz-request-id": "1", "etag": f'"{MD5.hex()}"', "x-amz-server-side-encryption-aws-kms-key-id": "k"},
        {"x-goog-hash": "md5=short,crc32c=!!!!"},
        {"x-goog-hash": f"md5={encoded(CRC)}"},
        {"x-amz-checksum-sha256": encoded(SHA), "x-amz-checksum-type": "COMPOSITE"},
        {},
    ],
)
def test_what_is_no_hash_of_the_whole_object_is_not_taken_for_one(headers: dict[str, str]) -> None:
    assert not offered_hashes(headers)


def test_amazons_checksums_count_where_they_are_of_the_full_object() -> None:
    headers = {"x-amz-checksum-sha256": encoded(SHA), "x-amz-checksum-crc32c": encoded(CRC)}
    assert offered_hashes(headers) == OfferedHashes(sha256=SHA, crc32c=CRC)


@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["x-goog-hash", "etag", "x-amz-request-id", "x-amz-checksum-sha256", "x-amz-checksum-type"]
        ),
        st.text(max_size=40),
    )
)
def test_any_hash_fields_give_hashes_of_the_right_length_or_none(headers: dict[str, str]) -> None:
    hashes = offered_hashes(headers)
    lengths = {len(value or b"") for value in (hashes.md5, hashes.crc32c, hashes.sha256)}
    assert lengths <= {0, 4, 16, 32}


# --- versions ---------------------------------------------------------------------------------------------
MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"
LONG_AGO = {"last-modified": MONDAY, "date": TUESDAY}


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"etag": '"1"'}, {"etag": '"2"'}),
        ({"etag": 'W/"1"'}, {"etag": 'W/"2"'}),
        ({"etag": '"1"', "x-goog-generation": "1"}, {"etag": '"1"', "x-goog-generation": "2"}),
        ({"etag": '"1"', "x-amz-version-id": "a"}, {"etag": '"1"', "x-amz-version-id": "b"}),
        ({"etag": '"1"', "last-modified": MONDAY}, {"etag": '"1"', "last-modified": TUESDAY}),
        ({"etag": '"1"'}, {"etag": '"1"', "content-encoding": "gzip"}),
        ({"last-modified": MONDAY}, {"last-modified": TUESDAY}),
    ],
)
def test_fault_82_any_validator_that_differs_is_another_version(
    first: dict[str, str], later: dict[str, str]
) -> None:
    assert version(first).compare(version(later)) is Sameness.REFUTED
    assert version(later).compare(version(first)) is Sameness.REFUTED


@pytest.mark.parametrize(
    "validator",
    [{"etag": '"1"'}, {"x-goog-generation": "1"}, {"x-amz-version-id": "a"}, LONG_AGO],
    ids=lambda each: next(iter(each)),
)
def test_fault_82_a_strong_validator_proves_that_it_is_the_same(validator: dict[str, str]) -> None:
    assert version(validator).compare(version(validator)) is Sameness.PROVEN


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"etag": 'W/"1"'}, {"etag": 'W/"1"'}),
        ({"etag": 'W/"1"'}, {"etag": '"1"'}),
        ({"last-modified": MONDAY}, {"last-modified": MONDAY}),
        ({"last-modified": MONDAY, "date": MONDAY}, LONG_AGO),
    ],
    ids=["weak", "weakened", "no date", "as it was written"],
)
def test_fault_83_a_weak_validator_only_makes_it_likely(first: dict[str, str], later: dict[str, str]) -> None:
    assert version(first).compare(version(later)) is Sameness.LIKELY


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({}, {}),
        ({"etag": '"1"'}, {}),
        ({"etag": '"1"'}, {"x-goog-generation": "1"}),
        ({"x-amz-version-id": "null"}, {"x-amz-version-id": "null"}),
        ({"last-modified": "long ago"}, {"last-modified": "long ago"}),
    ],
)
def test_fault_82_without_a_validator_in_both_nothing_is_known(
    first: dict[str, str], later: dict[str, str]
) -> None:
    assert version(first).compare(version(later)) is Sameness.UNKNOWN


def test_fault_83_a_weak_etag_is_none_to_be_matched() -> None:
    assert Version(etag='W/"1"').strong_etag is None
    assert Version(etag='"1"').strong_etag == '"1"'


@pytest.mark.parametrize(
    ("given", "coding"),
    [("", ""), ("identity", ""), ("GZIP", "gzip"), ("x-gzip", "gzip"), ("aws-chunked", ""), ("br", "br")],
)
def test_a_content_coding_has_one_name(given: str, coding: str) -> None:
    assert version({"content-encoding": given}).coding == coding
