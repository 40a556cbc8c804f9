"""The wire over real loopback connections: statuses, broken bodies, redirects, and what never leaks."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import logging
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aioresponses import aioresponses

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import parse_page
from hsmirror.api.headers import OfferedHashes
from hsmirror.api.transport import LARGEST_BODY_BYTES, FileStream, Transport
from hsmirror.clock import ManualClock
from hsmirror.errors import (
    AddressExpiredError,
    CorruptError,
    ForbiddenError,
    HsmirrorError,
    InvalidParameterError,
    KeyRefusedError,
    NotFoundError,
    PermanentError,
    RefusedAddressError,
    StorageError,
    ThrottledError,
    TimedOutError,
    TransientError,
    UpstreamError,
)
from hsmirror.model import Secret

KEY = "hst_test_" + "k" * 64
SIGNATURE = "deadbeefc0ffee"
NOW = 1_700_000_000.0

Send = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it came over the wire."""

    target: str
    headers: dict[str, str]


@dataclass(slots=True)
class CannedServer:
    """Answers its requests with canned bytes, the last answer again and again, and closes after each."""

    answers: Iterable[bytes | Send]
    port: int = 0
    heard: list[Heard] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, path: str = "rec.mp4", **query: str) -> SignedAddress:
        """A signed address on this server."""
        signed = {"X-Goog-Signature": SIGNATURE} | query
        text = "&".join(f"{name}={value}" for name, value in signed.items())
        return parse_address(f"{self.url}/{path}?{text}", loopback_allowed=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            self.heard.append(
                Heard(head[0].split(" ")[1], {name.lower(): text for name, text in headers.items()})
            )
            answers = list(self.answers)
            answer = answers[min(len(self.heard), len(answers)) - 1]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wants
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | Send) -> AsyncIterator[CannedServer]:
    canned = CannedServer(answers)
    server = await asyncio.start_server(canned.serve, "127.0.0.1", 0)
    canned.port = server.sockets[0].getsockname()[1]
    try:
        yield canned
    finally:
        server.close()


def answer(status: str = "200 OK", body: bytes = b"{}", **headers: str | int) -> bytes:
    """A whole answer; a header `Content_Type=` is sent as `Content-Type`; its length is right unless given."""
    lines = {"Content-Length": len(body)} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@asynccontextmanager
async def talking_to(
    base_url: str, clock: ManualClock | None = None, **options: str
) -> AsyncIterator[Transport]:
    clock = clock or ManualClock(NOW)
    async with Transport(base_url, Secret(KEY), clock=clock, **options) as transport:  # type: ignore[arg-type]  # texts only
        yield transport


async def get(server: CannedServer, path: str = "data", timeout_seconds: float = 5.0) -> bytes:
    async with talking_to(f"{server.url}/api/v3") as transport:
        return (await transport.get(path, {}, timeout_seconds=timeout_seconds)).body


async def download(
    server: CannedServer,
    address: SignedAddress | None = None,
    *,
    start: int = 0,
    clock: ManualClock | None = None,
) -> tuple[FileStream, bytes]:
    async with (
        talking_to(server.url, clock) as transport,
        transport.open_file(address or server.address(), start=start) as stream,
    ):
        return stream, b"".join([piece async for piece in stream.pieces(1 << 20)])


# --- requests of the API ----------------------------------------------------------------------------------
async def test_a_request_goes_below_the_base_url_with_the_key_and_the_organisation() -> None:
    async with (
        serving(answer()) as server,
        talking_to(f"{server.url}/api/v3/", organization_id="org_1") as wire,
    ):
        await wire.get("/data/events/room/r", {"limit": "10"}, timeout_seconds=5)
    (heard,) = server.heard
    assert heard.target == "/api/v3/data/events/room/r?limit=10"
    assert heard.headers["x-api-key"] == KEY
    assert heard.headers["x-organization-id"] == "org_1"
    assert heard.headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("segment", ["a%2Fb", "%2E%2E", "a%20b%3F%23%25", "%C3%BC", "a+b", "%2e"])
async def test_an_ids_escapes_arrive_as_they_were_made(segment: str) -> None:
    async with serving(answer()) as server:
        await get(server, f"data/events/room/{segment}")
    assert server.heard[0].target == f"/api/v3/data/events/room/{segment}"


async def test_parameters_arrive_as_they_were_given() -> None:
    params = {"startTime": "2026-01-01T00:00:00+02:00", "roomId": "a&b=c d%2F#ü"}
    async with serving(answer()) as server, talking_to(server.url) as wire:
        await wire.get("data", params, timeout_seconds=5)
    query = parse_qs(urlsplit(server.heard[0].target).query)
    assert {name: values[0] for name, values in query.items()} == params


async def test_the_body_of_a_200_is_given_whole() -> None:
    body = bytes(range(256)) * 10_000
    async with serving(answer(body=body)) as server:
        assert await get(server) == body


async def test_a_gzip_body_is_inflated() -> None:
    packed = gzip.compress(b'{"data":[]}')
    async with serving(answer(body=packed, Content_Encoding="gzip")) as server:
        assert await get(server) == b'{"data":[]}'


async def test_the_answer_tells_the_servers_clock_and_what_its_limits_leave() -> None:
    told_by = answer(Date=formatdate(NOW + 90, usegmt=True), X_RateLimit_Remaining=7, X_RateLimit_Limit=1000)
    async with serving(told_by) as server, talking_to(server.url) as wire:
        told = await wire.get("data", {}, timeout_seconds=5)
    assert (told.skew_seconds, told.remaining, told.limit) == (90.0, 7, 1000)


@pytest.mark.parametrize("date", [formatdate(NOW + 1, usegmt=True), "yesterday", ""])
async def test_a_small_difference_or_no_date_is_no_skew(date: str) -> None:
    async with serving(answer(Date=date)) as server, talking_to(server.url) as wire:
        assert (await wire.get("data", {}, timeout_seconds=5)).skew_seconds == 0.0


STATUSES: dict[str, type[UpstreamError]] = {
    "400 Bad Request": InvalidParameterError,
    "401 Unauthorized": KeyRefusedError,
    "403 Forbidden": ForbiddenError,
    "404 Not Found": NotFoundError,
    "405 Method Not Allowed": PermanentError,
    "408 Request Timeout": TimedOutError,
    "410 Gone": PermanentError,
    "425 Too Early": TransientError,
    "429 Too Many Requests": ThrottledError,
    "500 Internal Server Error": TransientError,
    "501 Not Implemented": PermanentError,
    "502 Bad Gateway": TransientError,
    "503 Service Unavailable": TransientError,
    "504 Gateway Timeout": TimedOutError,
    "520 Unknown": TransientError,
    "524 Timed Out": TransientError,
    "204 No Content": PermanentError,
    "206 Partial Content": PermanentError,
    "304 Not Modified": PermanentError,
}


@pytest.mark.parametrize("status", STATUSES)
async def test_fault_15_and_16_each_status_is_classified_once(status: str) -> None:
    body = b"" if status[:3] in {"204", "304"} else b'{"status":"error"}'
    async with serving(answer(status, body)) as server:
        with pytest.raises(UpstreamError) as caught:
            await get(server)
    assert type(caught.value) is STATUSES[status]
    assert len(server.heard) == 1


async def test_fault_16_a_403_names_the_scopes_that_the_key_lacks() -> None:
    body = b'{"status":"error","error":{"message":"no","details":{"required":["read:events"]}}}'
    async with serving(answer("403 Forbidden", body)) as server:
        with pytest.raises(ForbiddenError) as caught:
            await get(server)
    assert caught.value.required_scopes == ("read:events",)


@pytest.mark.parametrize(
    ("value", "expected"), [("7", 7.0), (formatdate(NOW + 30, usegmt=True), 30.0), ("x", None)]
)
async def test_fault_13_a_429_tells_how_long_to_wait(value: str, expected: float | None) -> None:
    async with serving(answer("429 Too Many Requests", Retry_After=value)) as server:
        with pytest.raises(ThrottledError) as caught:
            await get(server)
    assert caught.value.retry_after_seconds == expected


# --- broken answers ---------------------------------------------------------------------------------------
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PACKED = gzip.compress(b'{"data":[' + b"1," * 5000 + b"1]}")
BROKEN = {
    "a body cut short": answer(body=b'{"data":[', Content_Length=1000),
    "a chunked body without its end": CHUNKED + b'9\r\n{"data":[\r\n',
    "a chunk cut short": CHUNKED + b'ff\r\n{"data":[',
    "a chunk size that is none": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "gzip that is none": answer(body=b"not gzip", Content_Encoding="gzip"),
    "gzip cut short under a right length": answer(body=PACKED[:20], Content_Encoding="gzip"),
    "gzip with a wrong byte": answer(body=PACKED[:15] + b"\xff\xff" + PACKED[17:], Content_Encoding="gzip"),
    "gzip with a wrong checksum": answer(body=PACKED[:-8] + b"\0" * 8, Content_Encoding="gzip"),
    "no HTTP": b"220 mail.example.com ESMTP\r\n\r\n",
    "nothing": b"",
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_fault_17_19_20_and_65_nothing_of_a_broken_answer_is_used(fault: str) -> None:
    """It is found broken on the wire or, where only its content can tell, when it is taken apart."""
    async with serving(BROKEN[fault]) as server:
        with pytest.raises((TransientError, CorruptError)):
            parse_page(await get(server), DATA_TYPES["events"])


async def test_fault_15_a_reset_connection_is_transient() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(reset) as server:
        with pytest.raises(TransientError, match="broke off"):
            await get(server)


async def test_fault_15_a_port_that_nobody_listens_on_is_transient() -> None:
    async with serving(answer()) as server:
        port = server.port
    async with talking_to(f"http://127.0.0.1:{port}") as wire:
        with pytest.raises(TransientError, match="cannot be reached"):
            await wire.get("data", {}, timeout_seconds=5)


async def test_fault_15_a_connection_that_went_stale_between_requests_is_no_error() -> None:
    """The server closes after each answer without having said so."""
    async with serving(answer()) as server, talking_to(server.url) as wire:
        for _ in range(3):
            assert (await wire.get("data", {}, timeout_seconds=5)).body == b"{}"


async def test_fault_15_a_name_that_does_not_resolve_is_transient(faked_answers: aioresponses) -> None:
    key = aiohttp.client_reqrep.ConnectionKey("nowhere.example.com", 443, True, True, None, None, None)
    failure = aiohttp.ClientConnectorDNSError(key, OSError(-2, "Name or service not known"))
    faked_answers.get("https://nowhere.example.com/data", exception=failure)
    async with talking_to("https://nowhere.example.com") as wire:
        with pytest.raises(TransientError, match="cannot be reached"):
            await wire.get("data", {}, timeout_seconds=5)


async def test_fault_23_a_tls_error_is_final() -> None:
    async def speak_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 this is no TLS\r\n")
        writer.close()

    server = await asyncio.start_server(speak_first, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, talking_to(f"https://127.0.0.1:{port}") as wire:
        with pytest.raises(PermanentError, match="cannot be trusted"):
            await wire.get("data", {}, timeout_seconds=5)


async def test_fault_20_a_body_that_explodes_stops_at_the_cap() -> None:
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(8 << 20)
    bomb = (
        b"".join(deflate.compress(zeros) for _ in range(LARGEST_BODY_BYTES // len(zeros) + 1)) + deflate.flush()
    )
    async with serving(answer(body=bomb, Content_Encoding="gzip")) as server:
        with pytest.raises(CorruptError, match="larger than 512 MiB"):
            await get(server, timeout_seconds=60.0)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client leaves


async def test_fault_21_a_server_that_does_not_answer_runs_into_the_deadline() -> None:
    async with serving(hang) as server:
        with pytest.raises(TimedOutError, match="in time"):
            await get(server, timeout_seconds=0.1)


class HurriedClock(ManualClock):
    """Each look at it takes ten seconds."""

    def monotonic(self) -> float:
        self.advance(10.0)
        return self.now


async def test_fault_21_a_server_that_trickles_is_given_up_for_its_speed() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(trickle) as server, talking_to(server.url, HurriedClock(NOW)) as wire:
        with pytest.raises(TimedOutError, match="less than 1 KiB a second"):
            await wire.get("data", {}, timeout_seconds=30)


# --- redirects of the API ---------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_fault_22_the_key_does_not_follow_a_redirect_to_another_host(status: int) -> None:
    async with (
        serving(answer()) as other,
        serving(answer(f"{status} Moved", Location=f"{other.url}/x")) as server,
    ):
        with pytest.raises(RefusedAddressError, match="not handed on"):
            await get(server)
    assert not other.heard


@pytest.mark.parametrize(
    "location",
    ["https://127.0.0.1:{port}/x", "//evil.example.com/x", "http://127.0.0.1.evil.example.com:{port}/x", ""],
)
async def test_fault_22_a_redirect_to_another_origin_is_refused(location: str) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        writer.write(answer("302 Found", Location=location.format(port=port)))

    async with serving(redirect) as server:
        with pytest.raises(RefusedAddressError):
            await get(server)
    assert len(server.heard) == 1


async def test_a_redirect_within_the_origin_is_followed_with_the_key() -> None:
    async with serving(answer("308 Moved", Location="/elsewhere?x=1"), answer(body=b"[]")) as server:
        assert await get(server) == b"[]"
    assert server.heard[1].target == "/elsewhere?x=1"
    assert server.heard[1].headers["x-api-key"] == KEY


async def test_redirects_in_a_circle_end() -> None:
    async with serving(answer("302 Found", Location="/again")) as server:
        with pytest.raises(PermanentError, match="circle"):
            await get(server)


NO_LOCATIONS = ["http://[::1", "http://host:port/", "http://127.0.0.1:99999/", "http://\x7f/"]


@pytest.mark.parametrize("location", NO_LOCATIONS)
async def test_fault_22_a_redirect_to_what_is_no_address_is_one_of_our_errors(location: str) -> None:
    async with serving(answer("302 Found", Location=location)) as server:
        with pytest.raises(UpstreamError):
            await get(server)
        with pytest.raises(UpstreamError):
            await download(server)


# --- recording files --------------------------------------------------------------------------------------
async def test_a_file_is_asked_for_without_the_key_and_byte_by_byte_as_its_address_was_signed() -> None:
    async with serving(answer(body=b"film")) as server:
        address = parse_address(f"{server.url}/a%2Fb/c%20d.mp4?sig=a%2Bb&x=%7E", loopback_allowed=True)
        stream, body = await download(server, address)
    (heard,) = server.heard
    assert heard.target == "/a%2Fb/c%20d.mp4?sig=a%2Bb&x=%7E"
    assert KEY not in str(heard)
    assert "range" not in heard.headers
    assert heard.headers["accept-encoding"] == "identity"
    assert body == b"film"
    assert (stream.status, stream.start, stream.total_bytes) == (200, 0, 4)


async def test_a_file_comes_in_pieces_of_about_the_size_asked_for() -> None:
    body = bytes(3_000_000)
    async with (
        serving(answer(body=body)) as server,
        talking_to(server.url) as wire,
        wire.open_file(server.address()) as stream,
    ):
        sizes = [len(piece) async for piece in stream.pieces(1_000_000)]
    assert sum(sizes) == len(body)
    assert all(size >= 1_000_000 for size in sizes[:-1])


async def test_fault_25_a_download_goes_on_from_its_byte() -> None:
    partial = answer("206 Partial Content", b"lm", Content_Range="bytes 2-3/4", ETag='"e"')
    async with (
        serving(partial) as server,
        talking_to(server.url) as wire,
        wire.open_file(server.address(), start=2, if_match='"e"') as stream,
    ):
        assert b"".join([piece async for piece in stream.pieces(10)]) == b"lm"
    assert (stream.status, stream.start, stream.total_bytes, stream.etag) == (206, 2, 4, '"e"')
    assert server.heard[0].headers["range"] == "bytes=2-"
    assert server.heard[0].headers["if-match"] == '"e"'


async def test_fault_28_a_range_that_is_ignored_means_from_zero() -> None:
    async with serving(answer(body=b"film")) as server:
        stream, body = await download(server, start=2)
    assert (stream.status, stream.start, body) == (200, 0, b"film")


@pytest.mark.parametrize("span", ["bytes 0-3/4", "bytes 1-3/4", "bytes 3-2/4", "bytes */4", "", "2-3/4"])
async def test_fault_29_another_range_than_asked_for_is_refused(span: str) -> None:
    async with serving(answer("206 Partial Content", b"lm", Content_Range=span)) as server:
        with pytest.raises(CorruptError, match="another range"):
            await download(server, start=2)


async def test_fault_30_a_416_tells_the_objects_size() -> None:
    async with serving(answer("416 Range Not Satisfiable", b"", Content_Range="bytes */4")) as server:
        stream, _ = await download(server, start=9)
    assert (stream.status, stream.total_bytes) == (416, 4)


async def test_fault_31_a_412_says_that_the_object_changed() -> None:
    async with serving(answer("412 Precondition Failed", b"")) as server:
        stream, _ = await download(server, start=2)
    assert stream.status == 412


@pytest.mark.parametrize("kind", ["text/html", "application/xml", "text/xml; charset=utf-8"])
async def test_fault_34_a_page_under_200_is_no_recording(kind: str) -> None:
    async with serving(answer(body=b"<x/>", Content_Type=kind)) as server:
        with pytest.raises(CorruptError, match="instead of a recording"):
            await download(server)


MD5, CRC = bytes(range(16)), bytes(range(4))


def google_hashes(*fields: str) -> str:
    return "\r\nx-goog-hash: ".join(fields)


async def test_the_providers_hashes_are_taken_even_from_several_fields() -> None:
    """Google sends one `x-goog-hash` field for each of its hashes."""
    crc32c, md5 = (
        f"{name}={base64.b64encode(value).decode()}" for name, value in (("crc32c", CRC), ("md5", MD5))
    )
    for fields in ((f"{crc32c},{md5}",), (crc32c, md5), (md5, crc32c)):
        async with serving(answer(x_goog_hash=google_hashes(*fields))) as server:
            stream, _ = await download(server)
        assert stream.hashes == OfferedHashes(md5=MD5, crc32c=CRC)


async def test_the_hashes_of_an_object_that_is_inflated_on_the_way_are_of_other_bytes() -> None:
    md5 = f"md5={base64.b64encode(MD5).decode()}"
    inflated = answer(x_goog_hash=md5, x_goog_stored_content_encoding="gzip")
    async with serving(inflated) as server:
        stream, _ = await download(server)
    assert not stream.hashes


async def test_fault_17_a_file_cut_short_is_an_error_after_the_bytes_that_came() -> None:
    received = b""
    async with serving(answer(body=b"fi", Content_Length=4)) as server, talking_to(server.url) as wire:
        with pytest.raises(TransientError):
            async with wire.open_file(server.address()) as stream:
                async for piece in stream.pieces(1):
                    received += piece
    assert received == b"fi"


GOOGLE_EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Invalid.</Message></Error>"
AMAZON_EXPIRED = b"<Error><Code>AccessDenied</Code><ServerTime>2023-11-14T22:13:20Z</ServerTime></Error>"
AMAZON_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


async def test_fault_27_an_expired_address_answers_400_on_google() -> None:
    async with serving(answer("400 Bad Request", GOOGLE_EXPIRED)) as server:
        with pytest.raises(AddressExpiredError):
            await download(server)


async def test_fault_27_an_expired_address_answers_403_on_amazon() -> None:
    async with serving(answer("403 Forbidden", AMAZON_EXPIRED)) as server:
        with pytest.raises(AddressExpiredError):
            await download(server)


async def test_fault_27_a_403_that_says_nothing_is_an_expiry_once_the_address_has_expired_by_its_own_time() -> (
    None
):
    async with serving(answer("403 Forbidden", b"")) as server:
        with pytest.raises(AddressExpiredError):
            await download(server, server.address(Expires=f"{NOW - 1:.0f}"))
        with pytest.raises(ForbiddenError):
            await download(server, server.address(Expires=f"{NOW + 60:.0f}"))


async def test_fault_26_the_servers_date_decides_whether_an_address_has_expired() -> None:
    ahead = answer("403 Forbidden", b"", Date=formatdate(NOW + 3600, usegmt=True))
    async with serving(ahead) as server:
        with pytest.raises(AddressExpiredError):
            await download(server, server.address(Expires=f"{NOW + 60:.0f}"))


async def test_a_denial_that_is_no_expiry_is_final() -> None:
    async with serving(answer("403 Forbidden", AMAZON_DENIED)) as server:
        with pytest.raises(ForbiddenError, match="AccessDenied"):
            await download(server)


async def test_fault_27_the_providers_code_is_found_however_its_answer_is_cut_into_packets() -> None:
    async def in_two_packets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = answer("400 Bad Request", GOOGLE_EXPIRED)
        writer.write(whole[:-70])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(whole[-70:])

    async with serving(in_two_packets) as server:
        with pytest.raises(AddressExpiredError):
            await download(server)


FILE_STATUSES: dict[str, type[UpstreamError]] = {
    "404 Not Found": NotFoundError,
    "410 Gone": PermanentError,
    "429 Too Many Requests": ThrottledError,
    "500 Internal Server Error": TransientError,
    "503 Service Unavailable": TransientError,
    "504 Gateway Timeout": TransientError,
    "401 Unauthorized": ForbiddenError,
    "204 No Content": PermanentError,
}


@pytest.mark.parametrize("status", FILE_STATUSES)
async def test_a_storage_hosts_statuses_are_classified_too(status: str) -> None:
    async with serving(answer(status, b"")) as server:
        with pytest.raises(UpstreamError) as caught:
            await download(server)
    assert type(caught.value) is FILE_STATUSES[status]


async def test_a_file_may_be_redirected_to_another_host_without_the_key() -> None:
    async with (
        serving(answer(body=b"film")) as other,
        serving(answer("302 Found", Location=f"{other.url}/f")) as server,
    ):
        _, body = await download(server)
    assert body == b"film"
    assert KEY not in str(other.heard)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://10.0.0.1/", "https://169.254.169.254/", "ftp://h/"]
)
async def test_fault_39_a_file_is_not_redirected_to_where_its_address_may_not_lead(location: str) -> None:
    async with serving(answer("302 Found", Location=location)) as server:
        with pytest.raises(RefusedAddressError):
            await download(server)


async def test_redirects_of_a_file_in_a_circle_end() -> None:
    async with serving(answer("302 Found", Location="/again")) as server:
        with pytest.raises(PermanentError, match="circle"):
            await download(server)


async def test_fault_39_a_name_that_resolves_to_a_private_address_is_not_visited() -> None:
    """An address whose host passed for a public name until it was looked up."""
    async with serving(answer(body=b"secret")) as server, talking_to("https://api.example.com") as wire:
        address = SignedAddress(Secret(f"https://localhost:{server.port}/f"), "recordings.example.com", None)
        with pytest.raises(RefusedAddressError, match="private address"):
            async with wire.open_file(address):
                pytest.fail("it was visited")
    assert not server.heard


async def test_loopback_is_refused_for_files_where_the_api_is_elsewhere() -> None:
    async with talking_to("https://api.example.com") as wire:
        assert not wire.loopback_allowed


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), StorageError("full"), KeyError("x")])
async def test_what_the_caller_raises_while_a_file_is_open_is_not_blamed_on_the_host(
    failure: Exception,
) -> None:
    async with serving(answer(body=b"film")) as server, talking_to(server.url) as wire:
        with pytest.raises(type(failure)) as caught:
            async with wire.open_file(server.address()):
                raise failure
    assert caught.value is failure


# --- secrets ----------------------------------------------------------------------------------------------
def everything_said(error: BaseException) -> str:
    return "\n".join([str(error), repr(error), *traceback.format_exception(error)])


ECHO = f'{{"status":"error","error":{{"code":"X","message":"bad key {KEY}"}}}}'.encode()
CANARIES: dict[str, bytes | Send] = {
    **BROKEN,
    **{status: answer(status, b"" if status[:3] in {"204", "304"} else b"<x/>") for status in STATUSES},
    "an echo of the key in the message": answer("401 Unauthorized", ECHO),
    "an echo of the key in the reason": answer(f"401 {KEY}", b""),
    "a redirect that carries secrets": answer("302 Found", Location=f"http://h:port/?sig={SIGNATURE}&k={KEY}"),
    "a redirect that cannot be split": answer("302 Found", Location=f"http://[{SIGNATURE}/{KEY}"),
    "google's expiry": answer("400 Bad Request", GOOGLE_EXPIRED + SIGNATURE.encode()),
    "silence": hang,
}


@pytest.mark.parametrize("canary", CANARIES)
async def test_fault_62_no_error_tells_the_key_or_a_signature(
    canary: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with serving(CANARIES[canary]) as server:
        for attempt in (lambda: get(server, timeout_seconds=0.3), lambda: download(server)):
            try:
                await asyncio.wait_for(attempt(), 0.5)
            except HsmirrorError as error:
                said.append(everything_said(error))
            except TimeoutError:
                said.append("given up waiting")
            else:
                said.append("answered")
    assert len(said) == 2
    assert not [text for text in (*said, caplog.text) if KEY in text or SIGNATURE in text]


async def test_fault_62_a_transport_and_its_streams_tell_no_secret_of_themselves() -> None:
    async with (
        serving(answer(body=b"film")) as server,
        talking_to(server.url) as wire,
        wire.open_file(server.address()) as stream,
    ):
        texts = f"{wire!r} {wire} {stream!r} {stream}"
    assert KEY not in texts
    assert SIGNATURE not in texts
