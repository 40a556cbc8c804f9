"""A server of lists as long as one likes: rows are made from a block of a thousand, at next to no cost."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import orjson
from aiohttp import web

from hsmirror.serve.refusals import envelope_errors

ROW_BYTES = 400
_BLOCK_ROWS = 1000
_BLOCK_MARK = b"#BLOCK#"
TYPES = ("events", "chat", "sync", "videochat", "components", "ratings/continuous", "ratings/sparse")


@cache
def _block(rooms: int, phase: int) -> bytes:
    """A thousand rows, one room after another, with a mark where the block's number belongs."""
    rows = []
    for number in range(_BLOCK_ROWS):
        room = (phase * _BLOCK_ROWS + number) % rooms
        row = b'{"id":"row%s%04d","roomId":"room%06d","text":"' % (_BLOCK_MARK, number, room)
        text = bytes(97 + (number * 7919 + at * at) % 26 for at in range(ROW_BYTES - len(row) - 3))
        rows.append(row + text + b'"},')
    return b"".join(rows)


def rows_between(start: int, end: int, rooms: int) -> bytes:
    """Rows `start` to `end` of a list, as elements of a JSON array."""
    first, phases = start // _BLOCK_ROWS, -(-rooms // _BLOCK_ROWS)
    blocks = b"".join(
        _block(rooms, number % phases).replace(_BLOCK_MARK, b"%07d" % number)
        for number in range(first, -(-end // _BLOCK_ROWS))
    )
    return blocks[(start - first * _BLOCK_ROWS) * ROW_BYTES : (end - first * _BLOCK_ROWS) * ROW_BYTES][:-1]


@asynccontextmanager
async def serving_big_lists(*, page_cap: int) -> AsyncIterator[str]:
    """The base URL; the experiment `e400000x50` has 400,000 rows of each data type, of 50 rooms in turn."""

    async def data(request: web.Request) -> web.Response:
        named = re.fullmatch(r"e(\d+)x(\d+)", request.match_info["id"])
        if request.match_info["type"] not in TYPES or named is None:
            raise web.HTTPNotFound
        total, rooms = map(int, named.groups())
        limit = min(int(request.query["limit"]), page_cap)
        start = int(request.query["offset"])
        end = min(start + limit, total)
        pagination = {"total": total, "limit": limit, "offset": start, "hasMore": end < total}
        metadata = orjson.dumps({"pagination": pagination})
        rows = rows_between(start, end, rooms) if start < end else b""
        return web.Response(body=b'{"status":"success","metadata":%s,"data":[%s]}' % (metadata, rows))

    async def experiment(request: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"id": request.match_info["id"]}})

    app = web.Application(middlewares=[envelope_errors])
    app.router.add_get("/api/v3/data/{type:[a-z/-]+}/experiment/{id}", data)
    app.router.add_get("/api/v3/experiments/{id}", experiment)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/api/v3"
    finally:
        await runner.cleanup()
