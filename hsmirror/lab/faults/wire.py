"""Answers that no HTTP library would send: written to the connection by hand."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hsmirror.lab.faults.members import elements_of, members_of, object_of, value_of
from hsmirror.serve.endpoints import BASE_PATH, DATA_ENDPOINTS

_LONGEST_SILENCE_SECONDS = 3600
_NO_LINGERING = struct.pack("ii", 1, 0)
"""With this a socket that is closed resets its connection."""


# --- whole answers, rewritten --------------------------------------------------------------------------
def body_of(response: web.StreamResponse) -> bytes | None:
    """The JSON text of an answer, inflated; None where it is none."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or response.content_type != "application/json":
        return None
    if response.headers.get("Content-Encoding") != "gzip":
        return body
    try:
        return gzip.decompress(body)
    except (EOFError, OSError, zlib.error):  # another fault was here first
        return None


def data_type_of(request: web.Request) -> str | None:
    """The data type whose rows a request asks for; None where it asks for something else."""
    parts = request.path.removeprefix(f"{BASE_PATH}/data/").split("/")
    name = "/".join(parts[:-2])
    return name if name in DATA_ENDPOINTS and parts[-2] in DATA_ENDPOINTS[name].scopes else None


def is_paged(request: web.Request) -> bool:
    """Does the request ask for one page of a list?"""
    data_type = data_type_of(request)
    return data_type is not None and DATA_ENDPOINTS[data_type].paged


Edit = Callable[[web.Request, list[bytes], dict[str, Any]], None]
"""Changes an answer's rows and metadata in place."""


def editing(edit: Edit, *, when: Callable[[web.Request], bool] = is_paged) -> Middleware:
    """Answers of lists, edited; rows are handled as the texts that they are."""

    @web.middleware
    async def rewrite(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        body = body_of(response) if response.status == 200 and when(request) else None
        if body is None:
            return response
        answer = members_of(body)
        rows, metadata = elements_of(answer["data"]), value_of(answer.get("metadata", b"{}"))
        edit(request, rows, metadata)
        answer |= {"data": b"[" + b",".join(rows) + b"]", "metadata": orjson.dumps(metadata)}
        text = object_of(answer)
        return web.Response(body=text, content_type="application/json")

    return rewrite


def before(strikes: Callable[[web.Request], bool], answer: Callable[[web.Request], Any]) -> Middleware:
    """Where the fault strikes, `answer` (awaited) is given instead; the real one is not even made."""

    @web.middleware
    async def replace(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not strikes(request):
            return await handler(request)
        response: web.StreamResponse = await answer(request)
        return response

    return replace


def after(
    strikes: Callable[[web.Request], bool], spoil: Callable[[web.Request, web.Response, bytes], Any]
) -> Middleware:
    """Where the fault strikes a JSON answer under 200, `spoil` (awaited) gives another in its place."""

    @web.middleware
    async def replace(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        body = body_of(response) if response.status == 200 else None
        if body is None or not isinstance(response, web.Response) or not strikes(request):
            return response
        spoilt: web.StreamResponse = await spoil(request, response, body)
        return spoilt

    return replace


# --- by hand --------------------------------------------------------------------------------------------
def head(status: str = "200 OK", headers: Mapping[str, object] | None = None) -> bytes:
    """An answer's head."""
    lines = [f"{name}: {value}\r\n" for name, value in (headers or {}).items()]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode()


async def cut_off(request: web.Request, sent: bytes = b"", *, reset: bool = False) -> web.Response:
    """Sends these bytes and hangs up: with the end of the stream, or by a reset."""
    transport = request.transport
    if transport is not None:
        if sent:
            transport.write(sent)
            await asyncio.sleep(0.01)  # a reset overtakes what has not been read yet
        connection = transport.get_extra_info("socket")
        if reset and connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        transport.close()
    # What is returned cannot be sent any more; the status is for the journal.
    return web.Response(status=200)


async def drip(request: web.Request, start: bytes, body: bytes, *, seconds: float) -> web.Response:
    """Sends `start`, then a byte of the body every so many seconds, for as long as anybody listens."""
    transport = request.transport
    if transport is not None:
        transport.write(start)
        for byte in body:
            if transport.is_closing():
                break
            transport.write(bytes([byte]))
            await asyncio.sleep(seconds)
        transport.close()
    return web.Response(status=200)


async def silence(request: web.Request) -> web.Response:
    """No answer, until the client hangs up."""
    transport = request.transport
    for _ in range(_LONGEST_SILENCE_SECONDS):
        if transport is None or transport.is_closing():
            break
        await asyncio.sleep(1)
    return await cut_off(request)
