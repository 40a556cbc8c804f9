"""Faults of storage hosts and of signed addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeGuard

from aiohttp import web
from aiohttp.typedefs import Handler

from hsmirror.lab.faults.fault import Fault, Outcome, Strikes
from hsmirror.lab.faults.hooks import AT_ONCE, SURROUNDINGS, LabFaults
from hsmirror.lab.faults.wire import before, cut_off, drip, head, silence

if TYPE_CHECKING:
    pass

Make = Callable[[Strikes], LabFaults]
Spoil = Callable[[web.Request, web.Response], Awaitable[web.StreamResponse]]

_XML = "application/xml"


# --- in place of the file --------------------------------------------------------------------------------
def _instead(answer: Callable[[web.Request], Awaitable[web.StreamResponse]], *, once: bool = False) -> Make:
    def make(strikes: Strikes) -> LabFaults:
        return LabFaults(storage=(before(strikes.once if once else strikes.on, answer),))

    return make


def _xml(status: int, code: str, more: str = "") -> web.Response:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message>{more}</Error>"
    return web.Response(status=status, text=text, content_type=_XML)


async def _expired(request: web.Request) -> web.Response:
    """In the words of the vendor whose address it is."""
    if any(name.startswith("X-Amz-") for name in request.query):
        return _xml(403, "AccessDenied", "<ServerTime>2024-01-01T00:00:00Z</ServerTime>")
    return _xml(400, "ExpiredToken")


async def _unavailable(_request: web.Request) -> web.Response:
    return _xml(503, "SlowDown")


async def _too_many(_request: web.Request) -> web.Response:
    response = _xml(429, "TooManyRequests")
    response.headers["Retry-After"] = "4"
    return response


async def _reset(request: web.Request) -> web.Response:
    return await cut_off(request, reset=True)


async def _xml_under_200(_request: web.Request) -> web.Response:
    return _xml(200, "InternalError")


async def _html_under_200(_request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><p>Please accept our terms</p>", content_type="text/html")


async def _empty(_request: web.Request) -> web.Response:
    return web.Response(body=b"", content_type="video/mp4")


async def _trickle(request: web.Request) -> web.Response:
    start = head(headers={"Content-Type": "video/mp4", "Content-Length": 1_000_000})
    return await drip(request, start, b"\x00" * 1_000, seconds=1.0)


async def _redirected_home(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.path_qs})


async def _redirected_inside(_request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})


async def _address_echoed(request: web.Request) -> web.Response:
    return web.Response(
        status=500, text=f"could not serve {request.url}", reason=f"for {request.path_qs}"[:2000]
    )


# --- the file, spoilt ------------------------------------------------------------------------------------
def _spoilt(spoil: Spoil, *, once: bool = True) -> Make:
    """The whole file as it should be, then spoilt; `once` a path, or whenever the fault strikes."""

    def make(strikes: Strikes) -> LabFaults:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not (strikes.once(request) if once else strikes.on(request)):
                return await handler(request)
            request[AT_ONCE] = True
            response = await handler(request)
            return await spoil(request, response) if _is_file(response, 200, 206) else response

        return LabFaults(storage=(middleware,))

    return make


def _resumed(spoil: Spoil) -> Make:
    """The first download of a file breaks off half-way; what goes on from there is spoilt, once a file."""

    def make(strikes: Strikes) -> LabFaults:
        spoilt: set[str] = set()

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            is_resumed = "Range" in request.headers
            if not is_resumed and not strikes.once(request):
                return await handler(request)
            if is_resumed and (request.path in spoilt or not strikes.switch.is_on):
                return await handler(request)
            request[AT_ONCE] = True
            response = await handler(request)
            if not is_resumed:
                return await _half(request, response) if _is_file(response, 200) else response
            if not _is_file(response, 206):
                return response
            spoilt.add(request.path)
            return await spoil(request, response)

        return LabFaults(storage=(middleware,))

    return make


def _is_file(response: web.StreamResponse, *statuses: int) -> TypeGuard[web.Response]:
    """Is this the bytes of a file, not yet sent, and not what another fault gave in their place?"""
    is_whole = isinstance(response, web.Response) and response.status in statuses
    return is_whole and "ETag" in response.headers


def _bytes(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _headers(response: web.Response) -> dict[str, str]:
    return {name: text for name, text in response.headers.items() if name not in {"Content-Length", "Date"}}


async def _half(request: web.Request, response: web.Response) -> web.StreamResponse:
    body = _bytes(response)
    start = head(f"{response.status} OK", _headers(response) | {"Content-Length": str(len(body))})
    return await cut_off(request, start + body[: len(body) // 2])


async def _half_reset(request: web.Request, response: web.Response) -> web.StreamResponse:
    body = _bytes(response)
    start = head(f"{response.status} OK", _headers(response) | {"Content-Length": str(len(body))})
    return await cut_off(request, start + body[: len(body) // 2], reset=True)


async def _wrong_byte(_request: web.Request, response: web.Response) -> web.StreamResponse:
    body = bytearray(_bytes(response))
    body[len(body) // 3] ^= 0x01
    return web.Response(status=response.status, headers=_headers(response), body=bytes(body))


async def _shorter(_request: web.Request, response: web.Response) -> web.StreamResponse:
    return web.Response(status=response.status, headers=_headers(response), body=_bytes(response)[:-7])


async def _longer(_request: web.Request, response: web.Response) -> web.StreamResponse:
    return web.Response(status=response.status, headers=_headers(response), body=_bytes(response) + b"tail")


async def _wrong_hash(_request: web.Request, response: web.Response) -> web.StreamResponse:
    headers = _headers(response) | {"ETag": f'"{"0" * 32}"'}
    if "x-goog-hash" in headers:
        headers["x-goog-hash"] = "crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA=="
    return web.Response(status=response.status, headers=headers, body=_bytes(response))


async def _range_ignored(request: web.Request, response: web.Response) -> web.StreamResponse:
    source = request.app[SURROUNDINGS].source
    assert source is not None, "this fault needs made-up data"
    recording_id = request.match_info["name"].rpartition(".")[0]
    file = await source.recording_file(request.match_info["room"], recording_id)
    assert file is not None, "what is resumed is there"
    headers = _headers(response)
    headers.pop("Content-Range", None)
    return web.Response(status=200, headers=headers, body=file.path.read_bytes())


async def _range_shifted(_request: web.Request, response: web.Response) -> web.StreamResponse:
    headers = _headers(response)
    first, _, rest = headers["Content-Range"].removeprefix("bytes ").partition("-")
    headers["Content-Range"] = f"bytes {int(first) - 1}-{rest}"
    return web.Response(status=206, headers=headers, body=b"?" + _bytes(response))


async def _range_of_another(_request: web.Request, response: web.Response) -> web.StreamResponse:
    headers = _headers(response)
    span, _, total = headers["Content-Range"].partition("/")
    headers["Content-Range"] = f"{span}/{int(total) + 1000}"
    return web.Response(status=206, headers=headers, body=_bytes(response))


async def _range_refused(_request: web.Request, response: web.Response) -> web.StreamResponse:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})


async def _ranges_without_hash(_request: web.Request, response: web.Response) -> web.StreamResponse:
    headers = {name: text for name, text in _headers(response).items() if name != "x-goog-hash"}
    return web.Response(status=response.status, headers=headers, body=_bytes(response))


def _expires_midway(strikes: Strikes) -> LabFaults:
    """A download breaks off, and its address is no longer good when it goes on."""
    ended: set[str] = set()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in ended and strikes.switch.is_on:
            ended.remove(request.path)
            return await _expired(request)
        if not strikes.once(request):
            return await handler(request)
        request[AT_ONCE] = True
        response = await handler(request)
        if not _is_file(response, 200, 206):
            return response
        ended.add(request.path)
        return await _half(request, response)

    return LabFaults(storage=(middleware,))


def _object_changed(strikes: Strikes) -> LabFaults:
    """A download breaks off, and there are other bytes when it goes on."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        source = request.app[SURROUNDINGS].source
        if source is None or not strikes.once(request):
            return await handler(request)
        request[AT_ONCE] = True
        response = await handler(request)
        if not _is_file(response, 200, 206):
            return response
        source.revise_recording(request.match_info["room"], request.match_info["name"].rpartition(".")[0])
        return await _half(request, response)

    return LabFaults(storage=(middleware,))


def _etag_wanders(strikes: Strikes) -> LabFaults:
    """Downloads break off once; every answer has another ETag for the same bytes."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_first = strikes.once(request)
        request[AT_ONCE] = True
        response = await handler(request)
        if not strikes.switch.is_on or not _is_file(response, 200, 206):
            return response
        if "x-goog-hash" in response.headers:  # Amazon's is the MD5, which the bytes are held against
            response.headers["ETag"] = f'"{strikes.random_for(request).getrandbits(64):x}"'
        return await _half(request, response) if is_first else response

    return LabFaults(storage=(middleware,))


HEALS, MUST_STOP = Outcome.HEALS, Outcome.MUST_STOP

STORAGE = (
    Fault("address-expired", "an address is refused as expired", HEALS, _instead(_expired), rate=0.5),
    Fault(
        "address-expires-midway",
        "a download breaks off as its address expires",
        HEALS,
        _expires_midway,
        rate=0.5,
    ),
    Fault(
        "range-ignored",
        "what is resumed comes from its start, under 200",
        HEALS,
        _resumed(_range_ignored),
        rate=0.5,
    ),
    Fault("range-shifted", "what is resumed starts at another byte", HEALS, _resumed(_range_shifted), rate=0.5),
    Fault(
        "range-of-another",
        "what is resumed has another size in all",
        HEALS,
        _resumed(_range_of_another),
        rate=0.5,
    ),
    Fault("range-refused", "what is resumed is refused with 416", HEALS, _resumed(_range_refused), rate=0.5),
    Fault(
        "ranges-without-hash", "ranged answers name no hash", HEALS, _resumed(_ranges_without_hash), rate=0.5
    ),
    Fault("object-changed", "a file changes between two parts of a download", HEALS, _object_changed, rate=0.5),
    Fault("etag-wanders", "the same bytes have ever another ETag", HEALS, _etag_wanders, rate=0.5),
    Fault("file-cut", "a download breaks off half-way", HEALS, _spoilt(_half, once=False), rate=0.5),
    Fault("file-reset", "a download is reset half-way", HEALS, _spoilt(_half_reset, once=False), rate=0.5),
    Fault("file-corrupt", "once, a file has a wrong byte", HEALS, _spoilt(_wrong_byte), rate=0.5),
    Fault("file-short", "once, a file lacks its last bytes", HEALS, _spoilt(_shorter), rate=0.5),
    Fault("file-long", "once, a file has bytes too many", HEALS, _spoilt(_longer), rate=0.5),
    Fault("file-empty", "once, a file is empty", HEALS, _instead(_empty, once=True), rate=0.5),
    Fault(
        "file-always-corrupt",
        "files have a wrong byte each time",
        MUST_STOP,
        _spoilt(_wrong_byte, once=False),
        rate=1.0,
    ),
    Fault(
        "hash-wrong",
        "the hash that comes with a file is of other bytes",
        MUST_STOP,
        _spoilt(_wrong_hash, once=False),
        rate=1.0,
    ),
    Fault(
        "file-xml",
        "once, XML under 200 in place of a file",
        HEALS,
        _instead(_xml_under_200, once=True),
        rate=0.3,
    ),
    Fault(
        "file-html",
        "once, HTML under 200 in place of a file",
        HEALS,
        _instead(_html_under_200, once=True),
        rate=0.3,
    ),
    Fault("storage-unavailable", "503 for a file", HEALS, _instead(_unavailable), rate=0.5),
    Fault("storage-throttled", "429 for a file", HEALS, _instead(_too_many), rate=0.5),
    Fault("storage-reset", "the connection is reset before a file", HEALS, _instead(_reset), rate=0.5),
    Fault("storage-silence", "no answer comes for a file", HEALS, _instead(silence), rate=0.2),
    Fault("storage-trickle", "a file comes at a byte a second", HEALS, _instead(_trickle), rate=0.2),
    Fault(
        "storage-redirected-home", "a redirect to the same file", HEALS, _instead(_redirected_home), rate=0.3
    ),
    Fault(
        "storage-redirected-inside",
        "a redirect into the private network",
        MUST_STOP,
        _instead(_redirected_inside),
        rate=0.3,
    ),
    Fault("address-echoed", "500 that repeats the signed address", HEALS, _instead(_address_echoed), rate=0.5),
)
