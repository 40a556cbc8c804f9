"""Faults of HTTP at the API: refusals, broken connections, bodies that are not what they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import cache
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler
from isal import igzip, isal_zlib

from hsmirror.lab.faults.fault import Fault, Outcome, Strikes
from hsmirror.lab.faults.hooks import SURROUNDINGS, LabFaults
from hsmirror.lab.faults.wire import after, before, cut_off, data_type_of, drip, head, silence
from hsmirror.lab.keys import KEY_HEADER
from hsmirror.serve.endpoints import DATA_ENDPOINTS
from hsmirror.serve.refusals import error_text

_JSON = "application/json"
_BOMB_BYTES = 640 << 20
_ODD_PAUSES = ("-5", "999999999999", "soon", "nan", "1e400", "", "0", "2.5")
_ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mred"

Spoil = Callable[[web.Request, web.Response, bytes], Awaitable[web.StreamResponse]]
Make = Callable[[Strikes], LabFaults]


# --- answers in place of the real one --------------------------------------------------------------------
def _status(status: int, code: str = "INTERNAL_ERROR", message: str = "Try again") -> Make:
    async def answer(_request: web.Request) -> web.Response:
        return _refused(status, code, message)

    return lambda strikes: LabFaults(api=(before(strikes.on, answer),))


def _refused(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=error_text(code, message), headers=headers, content_type=_JSON)


def _throttled(retry_after: Callable[[Strikes, web.Request], str | None]) -> Make:
    def make(strikes: Strikes) -> LabFaults:
        async def answer(request: web.Request) -> web.Response:
            pause = retry_after(strikes, request)
            headers = {} if pause is None else {"Retry-After": pause}
            return _refused(429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded", headers)

        return LabFaults(api=(before(strikes.on, answer),))

    return make


def _date(_strikes: Strikes, request: web.Request) -> str:
    return formatdate(request.app[SURROUNDINGS].clock.epoch() + 90, usegmt=True)


def _odd_pause(strikes: Strikes, request: web.Request) -> str:
    return strikes.random_for(request).choice(_ODD_PAUSES)


def _silent(_strikes: Strikes, _request: web.Request) -> None:
    return None


def _html(strikes: Strikes) -> LabFaults:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><html><body>Sign in</body></html>", content_type="text/html")

    return LabFaults(api=(before(strikes.on, answer),))


def _error_under_200(strikes: Strikes) -> LabFaults:
    async def answer(_request: web.Request) -> web.Response:
        return _refused(200, "INTERNAL_ERROR", "Something went wrong")

    return LabFaults(api=(before(strikes.on, answer),))


def _json_deep(strikes: Strikes) -> LabFaults:
    async def answer(_request: web.Request) -> web.Response:
        text = '{"status":"success","data":' + "[" * 100_000 + "]" * 100_000 + "}"
        return web.Response(text=text, content_type=_JSON)

    return LabFaults(api=(before(strikes.on, answer),))


def _key_echoed(strikes: Strikes) -> LabFaults:
    async def answer(request: web.Request) -> web.Response:
        key = request.headers.get(KEY_HEADER, "")
        return _refused(500, "INTERNAL_ERROR", f"failed for {KEY_HEADER}: {key}")

    return LabFaults(api=(before(strikes.on, answer),))


def _key_refused(strikes: Strikes) -> LabFaults:
    """From some request on, every one: the key was withdrawn."""
    first = strikes.random("first").randrange(1, 12)
    seen = 0

    def is_refused(_request: web.Request) -> bool:
        nonlocal seen
        seen += strikes.switch.is_on
        return seen > first and strikes.always()

    async def answer(_request: web.Request) -> web.Response:
        return _refused(401, "AUTHENTICATION_ERROR", "Invalid or expired API key")

    return LabFaults(api=(before(is_refused, answer),))


def _type_forbidden(strikes: Strikes) -> LabFaults:
    name = strikes.random("type").choice(("events", "chat", "components", "recordings"))

    def is_forbidden(request: web.Request) -> bool:
        return data_type_of(request) == name and strikes.always()

    async def answer(_request: web.Request) -> web.Response:
        scope = DATA_ENDPOINTS[name].required_scope
        return web.Response(
            status=403,
            text=error_text("FORBIDDEN", "Insufficient scopes", {"required": [scope]}),
            content_type=_JSON,
        )

    return LabFaults(api=(before(is_forbidden, answer),))


def _redirected(strikes: Strikes) -> LabFaults:
    async def answer(request: web.Request) -> web.Response:
        parts = urlsplit(request.app[SURROUNDINGS].storage_url)
        elsewhere = strikes.random_for(request).choice(
            (
                f"{parts.scheme}://{parts.netloc}{request.path_qs}",
                f"//{parts.netloc}/",
                "https://example.com/api/v3",
            )
        )
        return web.Response(status=302, headers={"Location": elsewhere})

    return LabFaults(api=(before(strikes.on, answer),))


def _redirected_home(strikes: Strikes) -> LabFaults:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": request.path_qs})

    return LabFaults(api=(before(strikes.on, answer),))


# --- connections -----------------------------------------------------------------------------------------
def _reset(strikes: Strikes) -> LabFaults:
    async def answer(request: web.Request) -> web.Response:
        return await cut_off(request, reset=True)

    return LabFaults(api=(before(strikes.on, answer),))


def _hung_up(strikes: Strikes) -> LabFaults:
    return LabFaults(api=(before(strikes.on, cut_off),))


def _silence(strikes: Strikes) -> LabFaults:
    return LabFaults(api=(before(strikes.on, silence),))


def _stale(strikes: Strikes) -> LabFaults:
    """Answers well, and closes the connection a moment later although it promised to keep it."""

    @web.middleware
    async def close_soon(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.transport is not None and strikes.on(request):
            asyncio.get_running_loop().call_later(0.005, request.transport.close)
        return response

    return LabFaults(api=(close_soon,))


def _headers_endless(strikes: Strikes) -> LabFaults:
    async def answer(request: web.Request) -> web.Response:
        lines = "".join(f"X-Padding-{number}: {'x' * 900}\r\n" for number in range(400))
        return await cut_off(request, f"HTTP/1.1 200 OK\r\n{lines}".encode())

    return LabFaults(api=(before(strikes.on, answer),))


def _trickle(strikes: Strikes) -> LabFaults:
    async def spoil(request: web.Request, _response: web.Response, body: bytes) -> web.Response:
        start = head(headers={"Content-Type": _JSON, "Content-Length": len(body)})
        return await drip(request, start, body, seconds=1.0)

    return LabFaults(api=(after(strikes.on, spoil),))


# --- bodies ----------------------------------------------------------------------------------------------
def _cut(strikes: Strikes) -> LabFaults:
    async def spoil(request: web.Request, _response: web.Response, body: bytes) -> web.Response:
        start = head(headers={"Content-Type": _JSON, "Content-Length": len(body)})
        return await cut_off(request, start + body[: strikes.random_for(request).randrange(len(body))])

    return LabFaults(api=(after(strikes.on, spoil),))


def _chunks_unended(strikes: Strikes) -> LabFaults:
    """Every byte comes, but not the mark of the end: nobody can know that these were all."""

    async def spoil(request: web.Request, _response: web.Response, body: bytes) -> web.Response:
        start = head(headers={"Content-Type": _JSON, "Transfer-Encoding": "chunked"})
        return await cut_off(request, start + f"{len(body):x}\r\n".encode() + body + b"\r\n")

    return LabFaults(api=(after(strikes.on, spoil),))


def _length_absent(strikes: Strikes) -> LabFaults:
    """Neither a length nor chunks: the body ends where the connection does, here too early."""

    async def spoil(request: web.Request, _response: web.Response, body: bytes) -> web.Response:
        start = head(headers={"Content-Type": _JSON, "Connection": "close"})
        return await cut_off(request, start + body[: strikes.random_for(request).randrange(len(body))])

    return LabFaults(api=(after(strikes.on, spoil),))


def _gzip_corrupt(strikes: Strikes) -> LabFaults:
    async def spoil(request: web.Request, _response: web.Response, body: bytes) -> web.Response:
        packed = bytearray(igzip.compress(body))
        rng = strikes.random_for(request)
        if rng.random() < 0.5:
            del packed[rng.randrange(1, len(packed)) :]
        else:
            packed[rng.randrange(10, len(packed))] ^= 0xFF
        return _zipped(bytes(packed))

    return LabFaults(api=(after(strikes.on, spoil),))


def _gzip_bomb(strikes: Strikes) -> LabFaults:
    has_struck = False

    def strikes_once(request: web.Request) -> bool:
        nonlocal has_struck
        has_struck = has_struck or strikes.on(request)
        return has_struck

    async def answer(_request: web.Request) -> web.Response:
        return _zipped(_bomb())

    return LabFaults(api=(before(lambda request: not has_struck and strikes_once(request), answer),))


@cache
def _bomb() -> bytes:
    """640 MiB of spaces in a gzip body of about 1 MiB."""
    block = b" " * (8 << 20)
    packer = isal_zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(block) for _ in range(_BOMB_BYTES // len(block))), packer.flush()])


def _zipped(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": _JSON, "Content-Encoding": "gzip"})


HEALS, MUST_STOP = Outcome.HEALS, Outcome.MUST_STOP

HTTP = (
    Fault("throttled-silently", "429 without Retry-After", HEALS, _throttled(_silent), rate=0.15),
    Fault(
        "retry-after-seconds",
        "429 with Retry-After in seconds",
        HEALS,
        _throttled(lambda _s, _r: "7"),
        rate=0.15,
    ),
    Fault("retry-after-date", "429 with Retry-After as a date", HEALS, _throttled(_date), rate=0.15),
    Fault(
        "retry-after-odd",
        "429 with a negative, absurd or senseless Retry-After",
        HEALS,
        _throttled(_odd_pause),
        rate=0.05,
    ),
    Fault("internal-error", "500", HEALS, _status(500), rate=0.15),
    Fault("bad-gateway", "502", HEALS, _status(502), rate=0.15),
    Fault("unavailable", "503", HEALS, _status(503), rate=0.15),
    Fault("gateway-timeout", "504", HEALS, _status(504), rate=0.15),
    Fault("request-timeout", "408", HEALS, _status(408), rate=0.15),
    Fault("connection-reset", "the connection is reset before the answer", HEALS, _reset, rate=0.15),
    Fault("hung-up", "the connection is closed without an answer", HEALS, _hung_up, rate=0.15),
    Fault("stale-keep-alive", "a kept connection is closed when it is wanted again", HEALS, _stale, rate=0.5),
    Fault("silence", "no answer comes", HEALS, _silence, rate=0.1),
    Fault("key-refused", "from some request on, 401", MUST_STOP, _key_refused),
    Fault("type-forbidden", "403 for one data type", MUST_STOP, _type_forbidden),
    Fault("body-cut", "a body ends before its announced length", HEALS, _cut, rate=0.15),
    Fault("body-without-length", "a body of unknown length ends early", HEALS, _length_absent, rate=0.15),
    Fault("chunks-unended", "a chunked body without its end", HEALS, _chunks_unended, rate=0.15),
    Fault("html-under-200", "a sign-in page under 200", HEALS, _html, rate=0.15),
    Fault("error-under-200", "an error envelope under 200", HEALS, _error_under_200, rate=0.15),
    Fault("gzip-corrupt", "a gzip body with a wrong byte, or without its end", HEALS, _gzip_corrupt, rate=0.15),
    Fault("gzip-bomb", "once, 640 MiB of nothing in a gzip body", HEALS, _gzip_bomb, rate=0.1),
    Fault("trickle", "a byte a second", HEALS, _trickle, rate=0.05),
    Fault("redirected-elsewhere", "a redirect of the API to another host", MUST_STOP, _redirected, rate=0.2),
    Fault("redirected-home", "a redirect to the same path", HEALS, _redirected_home, rate=0.2),
    Fault("headers-endless", "headers without end", HEALS, _headers_endless, rate=0.1),
    Fault("json-deep", "JSON nested 100,000 deep", HEALS, _json_deep, rate=0.1),
    Fault(
        "escapes-in-errors",
        "500 with terminal escapes in its message",
        HEALS,
        _status(500, "ERR", _ESCAPES),
        rate=0.15,
    ),
    Fault("key-echoed", "500 whose message repeats the key", HEALS, _key_echoed, rate=0.15),
)
