"""Files over HTTP, whole or in part, streamed from disk in pieces."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate

import aiofiles
import aiofiles.os
from aiohttp import web

from hsmirror.serve.ranges import Selection, selection
from hsmirror.serve.source import RecordingFile

_PIECE_BYTES = 1024 * 1024
_PIECES_A_SECOND_WHEN_THROTTLED = 20


@dataclass(frozen=True, slots=True)
class Sending:
    """How a file is sent: at most so many bytes a second (None: as fast as it goes).

    `on_sent` hears of each piece's size as it is handed to the connection.
    """

    bytes_per_second: float | None = None
    on_sent: Callable[[int], None] = lambda _count: None


AS_FAST_AS_IT_GOES = Sending()


def entity_tag(file: RecordingFile) -> str:
    """The file's MD5 in hexadecimal digits, quoted, as Google's and Amazon's storage have it."""
    return f'"{base64.b64decode(file.md5_base64).hex()}"'


async def file_answer(
    request: web.Request,
    file: RecordingFile,
    *,
    headers: Mapping[str, str],
    sending: Sending = AS_FAST_AS_IT_GOES,
) -> web.StreamResponse:
    """200 or 206 with the file's bytes; 412 or 416 without any, where the request's conditions say so."""
    etag = entity_tag(file)
    chosen = selection(request.headers, size_bytes=file.size_bytes, etag=etag)
    if chosen.status == 412:
        return web.Response(status=412)
    if chosen.status == 416:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{file.size_bytes}"})
    modified_at = (await aiofiles.os.stat(file.path)).st_mtime
    response = web.StreamResponse(
        status=chosen.status,
        headers={
            "Accept-Ranges": "bytes",
            "Content-Type": file.media_type,
            "Content-Length": str(chosen.length_bytes),
            "ETag": etag,
            "Last-Modified": formatdate(modified_at, usegmt=True),
            **headers,
        },
    )
    if chosen.status == 206:
        response.headers["Content-Range"] = f"bytes {chosen.first}-{chosen.stop - 1}/{file.size_bytes}"
    await response.prepare(request)
    if request.method != "HEAD":
        # A client may leave at any byte; then nobody is left to be told of it.
        with suppress(ConnectionResetError):
            await _send(response, file, chosen, sending)
    return response


async def _send(response: web.StreamResponse, file: RecordingFile, chosen: Selection, how: Sending) -> None:
    rate = how.bytes_per_second
    piece_bytes = _PIECE_BYTES if rate is None else max(1, int(rate / _PIECES_A_SECOND_WHEN_THROTTLED))
    left = chosen.length_bytes
    piece = b""
    async with aiofiles.open(file.path, "rb") as stream:
        await stream.seek(chosen.first)
        while left and (piece := await stream.read(min(piece_bytes, left))):
            left -= len(piece)
            if left:
                await _send_piece(response, piece, how)
                if rate is not None:
                    await asyncio.sleep(len(piece) / rate)
    # The last piece goes once the file is closed: who has it all may hang up, and that ends this request.
    if piece:
        await _send_piece(response, piece, how)


async def _send_piece(response: web.StreamResponse, piece: bytes, how: Sending) -> None:
    how.on_sent(len(piece))
    await response.write(piece)
