"""The API over real loopback connections: statuses, broken bodies, redirects, and what never leaks."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import traceback
import zlib
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aioresponses import aioresponses
from canned_server import (
    GOOGLE_EXPIRED,
    KEY,
    NOW,
    SIGNATURE,
    Send,
    answer,
    download,
    get,
    serving,
    talking_to,
)

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import parse_page
from hsmirror.api.transport import LARGEST_BODY_BYTES
from hsmirror.clock import ManualClock
from hsmirror.errors import (
    CorruptError,
    ForbiddenError,
    HsmirrorError,
    IntermediaryError,
    InvalidParameterError,
    KeyRefusedError,
    NotFoundError,
    PermanentError,
    RefusedAddressError,
    ThrottledError,
    TimedOutError,
    TransientError,
    UpstreamError,
)


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
    "407 Proxy Authentication Required": IntermediaryError,
    "410 Gone": PermanentError,
    "413 Content Too Large": InvalidParameterError,
    "422 Unprocessable Content": InvalidParameterError,
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
    "511 Network Authentication Required": IntermediaryError,
}
ENVELOPE = b'{"status":"error","error":{"code":"NO","message":"no"}}'


@pytest.mark.parametrize("status", STATUSES)
async def test_fault_15_and_16_each_status_is_classified_once(status: str) -> None:
    body = b"" if status[:3] in {"204", "304"} else ENVELOPE
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


WORDS_OF_OTHERS = {
    "an HTML page": b"<html>Sorry, you have been blocked</html>",
    "XML": b"<Error><Code>AccessDenied</Code></Error>",
    "JSON that is not the API's": b'{"message":"Forbidden"}',
    "text": b"RBAC: access denied",
    "without a body": b"",
}


@pytest.mark.parametrize("kind", WORDS_OF_OTHERS)
@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "405 No", "451 No"])
async def test_fault_70_only_the_apis_own_envelope_refuses_for_the_api(status: str, kind: str) -> None:
    async with serving(answer(status, WORDS_OF_OTHERS[kind])) as server:
        with pytest.raises(IntermediaryError, match=f"{status[:3]}, {kind}"):
            await get(server)


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":403,"error":"Forbidden","message":"no","path":"/api/v3/data"}',
        b'{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}',
        b'{"status":"error","error":"no"}',
        b'{"status":"error","error":{}}',
        b'{"success":false,"errors":[{"code":1020,"message":"Access denied"}]}',
        b'"no"',
    ],
)
async def test_fault_70_a_gateways_json_is_not_the_apis(body: bytes) -> None:
    async with serving(answer("403 Forbidden", body)) as server:
        with pytest.raises(IntermediaryError):
            await get(server)


@pytest.mark.parametrize(
    ("status", "code", "message", "is_of_route"),
    [
        ("404 Not Found", "ROUTE_NOT_FOUND", "Route GET /api/v3/data/x not found", True),
        ("404 Not Found", "NOT_FOUND", "Cannot GET /api/v3/data/x", True),
        ("400 Bad Request", "INVALID_DATA_TYPE", "videochat", True),
        ("404 Not Found", "NOT_FOUND", "Room not found", False),
        ("404 Not Found", "EXPERIMENT_NOT_FOUND", "no", False),
    ],
)
async def test_fault_107_a_404_tells_an_endpoint_from_a_room(
    status: str, code: str, message: str, is_of_route: bool
) -> None:
    body = json.dumps({"status": "error", "error": {"code": code, "message": message}}).encode()
    async with serving(answer(status, body)) as server:
        with pytest.raises(NotFoundError) as caught:
            await get(server)
    assert caught.value.is_of_route == is_of_route


async def test_a_refused_page_size_is_no_missing_endpoint() -> None:
    said = {"code": "INVALID_PARAMETER", "message": "limit: this endpoint does not support more than 100"}
    body = json.dumps({"status": "error", "error": said}).encode()
    async with serving(answer("400 Bad Request", body)) as server:
        with pytest.raises(InvalidParameterError):
            await get(server)


@pytest.mark.parametrize(
    ("error", "scopes"),
    [
        ({"message": "no", "details": {"required": "read:chat"}}, ("read:chat",)),
        ({"message": "Insufficient scopes. Required: read:events, read:*"}, ("read:events", "read:*")),
        ({"code": "ACCOUNT_SUSPENDED", "message": "see note:billing"}, ()),
        ({"message": "You may view this experiment, but not export its data"}, ()),
    ],
)
async def test_fault_71_a_403_names_scopes_or_is_told_as_it_came(
    error: dict[str, object], scopes: tuple[str, ...]
) -> None:
    body = json.dumps({"status": "error", "error": error}).encode()
    async with serving(answer("403 Forbidden", body)) as server:
        with pytest.raises(ForbiddenError, match=str(error["message"]).replace("*", r"\*")) as caught:
            await get(server)
    assert caught.value.required_scopes == scopes


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
