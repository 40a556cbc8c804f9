"""Answers that are no HTTP, lie about themselves, or lead elsewhere: one of our errors, and no other."""

from __future__ import annotations

import asyncio
import gzip
import json

import msgspec
import pytest
from canned_server import KEY, NOW, SIGNATURE, download, get, serving
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsmirror.api.envelope import ErrorEnvelope, parse_error
from hsmirror.api.headers import content_range, retry_after_seconds, validator
from hsmirror.errors import RefusedAddressError, ThrottledError, UpstreamError

REQUESTS = settings(max_examples=50)

STATUSES = st.sampled_from([200, 206, 301, 302, 400, 401, 403, 404, 412, 416, 418, 429, 500, 503, 599, 999])
REASONS = st.sampled_from([b"", b"OK", b"\xff\xfe", b"\xc2\x9b31m", b"\x1b[2J", b"\xe2\x80\xae", b"x" * 9000])
BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"{}",
            b'{"data":[]}',
            gzip.compress(b'{"data":[]}')[:-5],
            b"5\r\nhello\r\n",
            b"zz\r\nhello",
            b"<html>",
            b"<Error><Code>ExpiredToken</Code>",
            b'{"error":{"message":"\\ud800\\u001b[2J","details":{"required":["\\ud800","\\u009b"]}}}',
        ]
    ),
)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"Content-Length",
                b"Content-Encoding",
                b"Transfer-Encoding",
                b"Content-Type",
                b"Content-Range",
                b"Retry-After",
                b"Date",
                b"ETag",
                b"Last-Modified",
                b"x-goog-generation",
                b"x-goog-stored-content-encoding",
                b"x-amz-version-id",
                b"x-goog-hash",
                b"x-amz-checksum-crc32c",
                b"X-RateLimit-Remaining",
                b"X-RateLimit-Limit",
                b"Location",
                b"Set-Cookie",
                b"Connection",
                b"\xff",
                b"",
            ]
        ),
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from(
                [
                    b"-1",
                    b"0",
                    b"99999999999999999999",
                    b"gzip",
                    b"deflate, gzip",
                    b"chunked",
                    b"bytes 5-9/10",
                    b"bytes 0-0/99999999999999999999",
                    b"bytes */5",
                    b"Fri, 31 Dec 9999 23:59:59 -2359",
                    b"inf",
                    b"nan",
                    b'"\xff"',
                    b"/api/v3/\x01",
                    b"/a b",
                    b"//[",
                    b"https://evil.example.com/",
                    b"http://\xe2\x93\x9bocalhost/",
                    b"md5=AAAA,crc32c=\xff",
                    b"x" * 20_000,
                ]
            ),
        ),
    ),
    max_size=4,
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """The bytes of an answer: mostly shaped like one."""
    fields = b"".join(b"%s: %s\r\n" % field for field in draw(FIELDS))
    head = b"HTTP/1.1 %d %s\r\n%s\r\n" % (draw(STATUSES), draw(REASONS), fields)
    whole = head + draw(BODIES)
    return draw(st.sampled_from([whole, whole, whole, whole[: draw(st.integers(0, len(whole)))], draw(BODIES)]))


def redirect(location: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"


def require_harmless(error: UpstreamError) -> None:
    """Its text can be written to any file and any terminal, and holds no secret."""
    text = str(error)
    text.encode()
    assert text.isprintable()
    assert KEY not in text
    assert SIGNATURE not in text
    if isinstance(error, ThrottledError) and error.retry_after_seconds is not None:
        assert 0 <= error.retry_after_seconds <= 3600
    msgspec.json.encode(getattr(error, "required_scopes", ()))


@given(answer=answers())
@example(answer=redirect(b"/api/v3/\x01"))
@example(answer=redirect(b"/api/v3/\xff"))
@example(answer=b"HTTP/1.1 418 \xff\xc2\x9b31m\r\nContent-Length: 2\r\n\r\n{}")
@example(answer=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b'{"data":[]}')[:-5])
@REQUESTS
def test_fault_17_to_20_any_answer_of_the_api_is_a_body_or_one_of_our_errors(answer: bytes) -> None:
    async def ask() -> None:
        async with serving(answer) as server:
            try:
                await get(server)
            except UpstreamError as error:
                require_harmless(error)
            assert all(heard.headers["host"] == f"127.0.0.1:{server.port}" for heard in server.heard)

    asyncio.run(ask())


@given(answer=answers(), start=st.sampled_from([0, 5]))
@example(answer=b'HTTP/1.1 200 OK\r\nETag: "\xff"\r\nContent-Length: 1\r\n\r\nx', start=0)
@example(answer=b"HTTP/1.1 200 OK\r\nx-goog-generation: \xff\r\nContent-Length: 1\r\n\r\nx", start=0)
@example(answer=b"HTTP/1.1 200 OK\r\nx-amz-version-id: \xff\r\nContent-Length: 1\r\n\r\nx", start=0)
@example(answer=b"HTTP/1.1 200 OK\r\nContent-Encoding: \xff\r\nContent-Length: 1\r\n\r\nx", start=0)
@example(answer=b"HTTP/1.1 200 OK\r\nContent-Type: \x9b\xff\r\nContent-Length: 1\r\n\r\nx", start=0)
@example(answer=redirect(b"http://a..localhost/"), start=0)
@example(answer=redirect(b"http://127.0.0.1:1/\x00"), start=0)
@REQUESTS
def test_fault_29_to_35_any_answer_of_a_storage_host_is_a_stream_or_one_of_our_errors(
    answer: bytes, start: int
) -> None:
    async def ask() -> None:
        async with serving(answer) as server:
            try:
                stream, body = await download(server, start=start)
            except UpstreamError as error:
                require_harmless(error)
                return
            assert stream.status in {200, 206, 412, 416}
            assert stream.start in {0, start}
            assert stream.total_bytes is None or stream.total_bytes >= 0
            assert len(body) <= len(answer)
            msgspec.json.encode((stream.version, stream.hashes))
            assert stream.media_type.isprintable()
            assert all("x-api-key" not in heard.headers for heard in server.heard)

    asyncio.run(ask())


# --- single fields ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("location", [b"/api/v3/\x01", b"/api/v3/a b", b"/api/v3/\xff\x02"])
async def test_fault_22_a_redirect_that_no_request_line_can_hold_is_not_followed(location: bytes) -> None:
    async with serving(redirect(location)) as server:
        with pytest.raises(UpstreamError):
            await get(server)
        assert len(server.heard) == 1


@pytest.mark.parametrize(
    "location",
    [b"http://a..localhost/", b"http://127.0.0.1:1/a b", b"http://\xe2\x93\x9bocalhost/", b"http://[::1"],
)
async def test_fault_39_a_storage_host_that_redirects_to_no_address_is_refused(location: bytes) -> None:
    async with serving(redirect(location)) as server:
        with pytest.raises(RefusedAddressError):
            await download(server)


@given(value=st.none() | st.text(max_size=20) | st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")))
@example(value='"\udcff"')
@example(value='"' + "x" * 5000 + '"')
def test_a_validator_is_kept_only_if_it_can_be_stored_and_sent_back(value: str | None) -> None:
    kept = validator(value)
    assert kept is None or (kept == value and kept.isascii() and kept.isprintable())


@pytest.mark.parametrize("value", ['"abc"', 'W/"1-2"', "0x8D4BCC2E4835CD0", "1700000000000000"])
def test_an_ordinary_validator_is_kept(value: str) -> None:
    assert validator(value) == value


@given(body=st.sampled_from(["code", "message", "required"]), text=st.text(max_size=400))
@example(body="required", text="\ud800")
@example(body="required", text="\x1b]0;x\x07")
@example(body="required", text="x" * 400)
def test_fault_65_no_text_of_an_error_breaks_a_terminal_or_a_report(body: str, text: str) -> None:
    inner: dict[str, object] = (
        {"details": {"required": [text, 7, None, [text]]}} if body == "required" else {body: text}
    )
    error = parse_error(json.dumps({"error": inner}).encode())
    for shown in (error.code, error.message, *error.required_scopes):
        shown.encode()
        assert shown.isprintable()
        assert len(shown) <= 300
    assert "" not in error.required_scopes


def test_an_error_that_is_no_envelope_says_nothing() -> None:
    assert parse_error(b"[" * 50_000) == parse_error(b"\xff") == ErrorEnvelope()


@given(value=st.text("0123456789.-+eEinfa ", max_size=20))
@example(value="-0")
@example(value="1e400")
@example(value="0x10")
@example(value="١٢")
def test_fault_13_a_wait_is_never_negative_and_never_beyond_the_hour(value: str) -> None:
    seconds = retry_after_seconds(value, now_epoch=NOW)
    assert seconds is None or 0.0 <= seconds <= 3600.0


@given(
    first=st.integers(-5, 10**20), last=st.integers(-5, 10**20), total=st.integers(-5, 10**20) | st.just("*")
)
def test_fault_29_a_range_that_is_taken_at_its_word_lies_within_its_whole(
    first: int, last: int, total: int | str
) -> None:
    span = content_range(f"bytes {first}-{last}/{total}")
    if span is not None:
        assert 0 <= span.first <= span.last
        assert span.total_bytes is None or span.last < span.total_bytes
        assert (span.first, span.last) == (first, last)
