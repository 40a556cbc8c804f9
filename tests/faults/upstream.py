"""Upstreams with one fault each: middlewares for the lab, rows that a test gives itself, sites of files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware
from oracle import EXPERIMENT

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.clock import Clock
from hsmirror.lab.server import Lab, LabOptions, lab_over
from hsmirror.model import Scope
from hsmirror.serve.source import Page, Query, RecordingFile

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fault = Callable[[web.Request, Handler, int], Awaitable[web.StreamResponse]]
"""What is answered instead: given the request, the true answer's handler, and how many came before it."""


def on(path_part: str, fault: Fault) -> Middleware:
    """Has requests whose path holds `path_part` answered by `fault`."""
    seen = 0

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal seen
        if path_part not in request.path:
            return await handler(request)
        seen += 1
        return await fault(request, handler, seen - 1)

    return middleware


def rewriting(path_part: str, rewrite: Callable[[bytes, int], bytes]) -> Middleware:
    """Has the bodies of such answers rewritten; the lab must not compress them."""

    async def rewritten(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        answer.body = rewrite(answer.body, number)
        return answer

    return on(path_part, rewritten)


def connection_of(request: web.Request) -> Any:
    """The connection that a request came over, to be cut."""
    assert request.transport is not None
    return request.transport


# --- rows that a test gives itself -----------------------------------------------------------------------
@dataclass(slots=True)
class GivenRows:
    """A lab's source of just these rows: by data type, each with its room (None: it belongs to none).

    The server lists the rooms that rows are in, unless `rows["rooms"]` says otherwise. `reorder` gives the
    rows of a list in the order in which a request sees them.
    """

    rows: Mapping[str, Sequence[tuple[str | None, bytes]]]
    reorder: Callable[[list[bytes], Query], list[bytes]] = lambda rows, query: rows
    experiment_row: bytes = b'{"id":"exp_research_001","name":"Given"}'
    served: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def rooms(self) -> list[str]:
        named = (room for rows in self.rows.values() for room, _ in rows)
        return list(dict.fromkeys(room for room in named if room is not None))

    async def experiments(self, *, search: str | None, offset: int, limit: int, shared: bool) -> Page:
        rows = [] if shared else [self.experiment_row]
        return Page(rows[offset : offset + limit], len(rows))

    async def experiment(self, experiment_id: str) -> bytes | None:
        return self.experiment_row if experiment_id == EXPERIMENT else None

    async def experiment_config(self, experiment_id: str) -> bytes | None:
        return await self.experiment(experiment_id)

    async def experiment_export(self, experiment_id: str) -> bytes | None:
        return await self.experiment(experiment_id)

    async def deployments(self, *, experiment_id: str | None, status: str | None) -> Page:
        return Page([], 0)

    async def deployment(self, deployment_id: str) -> bytes | None:
        return None

    async def deployment_sessions(self, deployment_id: str) -> Page | None:
        return None

    async def data(self, query: Query) -> Page | None:
        self.served[query.data_type] += 1
        if query.data_type == "rooms" and "rooms" not in self.rows:
            given = [(room, orjson.dumps({"id": room})) for room in self.rooms()]
        else:
            given = list(self.rows.get(query.data_type, ()))
        is_experiment = query.scope is Scope.EXPERIMENT
        if query.scope_id not in ({EXPERIMENT} if is_experiment else set(self.rooms())):
            return None
        rows = [row for room, row in given if is_experiment or room == query.scope_id]
        rows = self.reorder(rows, query)
        if not DATA_TYPES[query.data_type].paged:
            return Page(rows, len(rows))
        return Page(rows[query.offset : query.offset + query.limit], len(rows))

    async def counts(self, participant_id: str, room_id: str) -> dict[str, int] | None:
        return None

    async def recording_file(self, room_id: str, recording_id: str) -> RecordingFile | None:
        return None


@asynccontextmanager
async def serving_rows(
    rows: Mapping[str, Sequence[tuple[str | None, bytes]]] | GivenRows,
    *,
    clock: Clock | None = None,
    **options: Any,
) -> AsyncIterator[Lab[GivenRows]]:
    """A lab over these rows; `options` are those of `LabOptions`, without limits unless given."""
    source = rows if isinstance(rows, GivenRows) else GivenRows(rows)
    async with lab_over(source, replace(LabOptions(limits=None), **options), clock=clock) as lab:
        yield lab


def event(number: int, room: str | None = "room_a", **fields: Any) -> bytes:
    """A row of events."""
    row = {"id": f"event_{number}", "timestamp": "2024-10-20T14:30:45.123Z"}
    return orjson.dumps(row | ({"roomId": room} if room is not None else {}) | fields)


# --- sites of files --------------------------------------------------------------------------------------
@dataclass(slots=True)
class Site:
    """A storage host of a test's own, and what it was asked: path and `Range`, in order."""

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def ranges(self) -> list[str | None]:
        return [asked_for for _, asked_for in self.asked]


@asynccontextmanager
async def site(answer: Callable[[web.Request, int], Awaitable[web.StreamResponse]]) -> AsyncIterator[Site]:
    """A site whose every answer is `answer`'s, given the request and how many came before it."""
    known = Site("")

    async def handle(request: web.Request) -> web.StreamResponse:
        known.asked.append((request.path, request.headers.get("Range")))
        known.headers.append(dict(request.headers))
        return await answer(request, len(known.asked) - 1)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        known.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield known
    finally:
        await runner.cleanup()


def recording(number: int, room: str = "room_a", **fields: Any) -> bytes:
    """A row of recordings as the oldest servers write it: without a status, which counts as final."""
    return orjson.dumps({"recordingId": f"rec_{number}", "roomId": room, "format": "mp4"} | fields)


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
