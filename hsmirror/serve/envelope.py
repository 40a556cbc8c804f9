"""Successful answers: rows spliced into the API's envelope as the bytes that they are, never re-encoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from isal import igzip

_WORTH_COMPRESSING_BYTES = 1024
_WORTH_A_THREAD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What is true of one page, whatever the server then says about it."""

    total: int
    returned: int
    offset: int
    limit: int

    @property
    def has_more(self) -> bool:
        return self.offset + self.returned < self.total


def document_paging(page: PageFacts) -> dict[str, Any]:
    """What the metadata say of a page, as the document has it; `nextOffset` only where there is more."""
    pagination: dict[str, Any] = {
        "total": page.total,
        "returned": page.returned,
        "hasMore": page.has_more,
    }
    if page.has_more:
        pagination["nextOffset"] = page.offset + page.returned
    return {"pagination": pagination}


@dataclass(frozen=True, slots=True)
class AnswerStyle:
    """How answers look. `paging` turns facts into metadata; `rewrite` has the last word on a JSON body."""

    paging: Callable[[PageFacts], Mapping[str, Any]] = document_paging
    rewrite: Callable[[bytes], bytes] | None = None
    page_cap: int = 10_000
    """Larger limits are clamped to this one."""
    gzip: bool = True
    """Whether answers are compressed for clients that accept it."""


def iso_milliseconds(epoch_seconds: float) -> str:
    """`2024-10-20T14:35:00.000Z`: how times stand in the API's answers."""
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def rows_envelope(rows: Sequence[bytes], metadata: Mapping[str, Any]) -> bytes:
    """`{"status": "success", "data": [rows], "metadata": {…}}`."""
    return _envelope(b"".join((b"[", b",".join(rows), b"]")), metadata)


def object_envelope(row: bytes, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The same with one object for `data`, as the answers that are no lists have it."""
    return _envelope(row, metadata)


def _envelope(data: bytes, metadata: Mapping[str, Any] | None) -> bytes:
    parts = [b'{"status":"success","data":', data]
    if metadata is not None:
        parts += [b',"metadata":', orjson.dumps(metadata)]
    parts.append(b"}")
    return b"".join(parts)


async def json_answer(request: web.Request, body: bytes, style: AnswerStyle) -> web.Response:
    """A JSON body on its way out: rewritten and compressed as the style and the client have it."""
    if style.rewrite is not None:
        body = style.rewrite(body)
    return await text_answer(request, body, "application/json", style)


async def text_answer(request: web.Request, body: bytes, media_type: str, style: AnswerStyle) -> web.Response:
    """A UTF-8 body, gzip-encoded where the style offers it, the client accepts it and it is worth it."""
    headers = {"Content-Type": f"{media_type}; charset=utf-8"}
    if style.gzip:
        headers["Vary"] = "Accept-Encoding"
        if len(body) >= _WORTH_COMPRESSING_BYTES and accepts_gzip(request.headers.get("Accept-Encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body = await _gzipped(body)
    return web.Response(body=body, headers=headers)


async def _gzipped(body: bytes) -> bytes:
    if len(body) >= _WORTH_A_THREAD_BYTES:
        return await asyncio.to_thread(igzip.compress, body, 1)
    return igzip.compress(body, 1)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the header's value names gzip (or everything) with a weight above zero."""
    for choice in accept_encoding.lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "").rstrip("0") not in ("q=", "q=0.")
    return False
