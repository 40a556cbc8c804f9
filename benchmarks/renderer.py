"""The server behind nginx, a process of its own: renders an answer when it is first asked for, and stores it.

nginx asks it for what it does not find, and sends what was stored. Where there is no nginx, it serves by
itself: good for a smoke test, too slow for figures.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from aiohttp import web

from benchmarks.dataset import Dataset
from benchmarks.experiments import Experiment
from benchmarks.pages import Pages

API = "/api/v3/"
STORED_HEADER = "X-Bench-Stored"
"""nginx sends it: it wants to be told where the answer is stored."""

_LIFE_SECONDS = 604_800
_GZIP_LEVEL = 6


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a renderer is started with: folders, what is in them. `file_origin` empty: its own plain port."""

    data: str
    stored: str
    experiments: tuple[Experiment, ...]
    page_cap: int
    file_origin: str = ""
    delay_seconds: float = 0.0
    """Of each answer, on the delayed ports."""


@dataclass(frozen=True, slots=True)
class Switch:
    """How one port answers."""

    gzip: bool = False
    delayed: bool = False


PLAIN = Switch()
SWITCHES = (PLAIN, Switch(gzip=True), Switch(delayed=True), Switch(gzip=True, delayed=True))
"""In the order of the ports that a renderer prints."""


def stored_name(path: str, limit: str, offset: str) -> str:
    """Where the answer for a path below the base is stored: nginx makes the same name of the same parts."""
    return f"{path}/at-{limit}-{offset}.json"


class Renderer:
    """Answers requests. `requests` counts those to the API and for files."""

    def __init__(self, task: Task, ports: Sequence[int]) -> None:
        self._task = task
        self._switch_of = dict(zip(ports, SWITCHES, strict=True))
        self._file_origin = task.file_origin or f"http://127.0.0.1:{ports[0]}"
        self._signed_at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        dataset = Dataset(Path(task.data))
        self._pages = Pages(dataset, task.experiments, task.page_cap, self._address)
        self._folders = {each.id: dataset.files_of(each) for each in task.experiments}
        self.requests = 0

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application()
        app.router.add_get(API + "{path:.+}", self._answer)
        app.router.add_get("/files/{experiment}/{name}", self._file)
        app.router.add_get("/files/{experiment}/", self._index)
        app.router.add_get("/requests", self._count)
        return app

    def _address(self, experiment: str, name: str) -> str:
        query = (
            f"X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date={self._signed_at}&X-Goog-Expires={_LIFE_SECONDS}"
            f"&X-Goog-SignedHeaders=host&X-Goog-Signature={'ab' * 128}"
        )
        return f"{self._file_origin}/files/{experiment}/{name}?{query}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        path = request.match_info["path"]
        body = self._pages.answer(path, request.query)
        if body is None:
            error = {"code": "ROUTE_NOT_FOUND", "message": f"no {path}", "details": {}}
            return web.json_response({"status": "error", "error": error}, status=404)
        if STORED_HEADER in request.headers:
            name = stored_name(path, request.query.get("limit", ""), request.query.get("offset", ""))
            self._store(Path(self._task.stored, name), body)
            return web.Response(
                headers={"X-Accel-Redirect": f"/stored/{name}"}, content_type="application/json"
            )
        switch = self._switch(request)
        if switch.delayed:
            await asyncio.sleep(self._task.delay_seconds)
        response = web.Response(body=body, content_type="application/json")
        if switch.gzip and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def _switch(self, request: web.Request) -> Switch:
        assert request.transport is not None
        return self._switch_of[request.transport.get_extra_info("sockname")[1]]

    def _store(self, path: Path, body: bytes) -> None:
        """Compressed first: nginx looks for that form once the plain one is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for form, content in ((".json.gz", gzip.compress(body, _GZIP_LEVEL, mtime=0)), (".json", body)):
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(content)
            unfinished.replace(path.with_suffix(form))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        return web.FileResponse(self._folders[request.match_info["experiment"]] / request.match_info["name"])

    async def _index(self, request: web.Request) -> web.StreamResponse:
        """The folder as links, for tools that fetch what a page links to."""
        names = sorted(path.name for path in self._folders[request.match_info["experiment"]].iterdir())
        links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
        return web.Response(text=f"<html><body><pre>\n{links}</pre></body></html>", content_type="text/html")

    async def _count(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self.requests)


async def serve(task: Task) -> None:
    """Serve on free ports of loopback, print them as a line of JSON, go on until standard input ends."""
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in SWITCHES]
    ports = [each.getsockname()[1] for each in sockets]
    runner = web.AppRunner(Renderer(task, ports).app())
    await runner.setup()
    for each in sockets:
        await web.SockSite(runner, each).start()
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    # Whoever started it holds the other end: when that process is gone, whatever ended it, so is this one.
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Task)))
