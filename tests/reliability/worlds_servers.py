"""A server of a made-up world: honest, and odd. Every oddity is a field; the defaults are the documented ones.

It answers a path, a query and headers with a status, headers and a body. `in_place_of_sockets` lets the real
HTTP client speak to it in memory, so that headers count and time can be a virtual one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from random import Random
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.client_proto import ResponseHandler

from reliability.worlds_truth import ID_FIELDS, TIMED, Experiment, Row

Answer = tuple[int, dict[str, str], bytes]
BASE = "/api/v3/"
UNPAGED = ("variables", "agent-runs", "deployments", "sessions")


@dataclass(slots=True)
class Oddities:
    """How a server differs from what is documented, without lying."""

    # order
    ties: str = "stable"
    """`by page`: in another order for each limit and offset, always in the same way; `random`."""
    order_by: str = "time"
    """`change`: what was edited last comes last."""
    honours_sort: bool = True
    # pages
    grants: int = 1000
    refuses_larger: int = 0
    """With this status, instead of granting less."""
    names_limit: bool = True
    offset_window: int = 0
    """Offsets from here on are refused; below 0: pages that end beyond are."""
    cap: int = 0
    paging: str = "offset"
    """How the next page is asked for: `cursor`, `token`, `page`, `links`, `next`, `header`. Only `page` takes
    offsets, too."""
    ghosts: tuple[int, ...] = ()
    """Places in every list at which rows stand that are filtered out after the page was cut."""
    has_more: str = "right"
    """`absent`, `early`, `forever`, `text`."""
    total: str = "right"
    """`absent`, `constant`, `ahead`, `text`, `null`, `page`."""
    next_offset: str = "right"
    shape: str = "nested"
    """`flat`, `none` (no word about paging), `bare` (no metadata at all)."""
    pages_the_unpaged: bool = False
    # what is there
    absent: tuple[str, ...] = ()
    empty_is_404: bool = False
    ignores_room_of_participant: bool = False
    room_lists_have_others: bool = False
    inclusive_start: bool = True
    inclusive_end: bool = False
    experiments_a_page: int = 50
    shares: bool = False
    """Every other experiment is listed among those that others share."""
    stirs_experiments: int = 0
    """So often their order changes after a page of them, as it does where the last one edited comes first."""
    emptied_as: int = 0
    """With this status, instead of an empty list."""
    deployments: int = 1
    """Of each experiment; its rooms are spread over them."""
    # what it hides, and says
    hides: str = ""
    """A kind of which lists at experiment scope lack rows; `warning` says so."""
    warning: str = ""
    """Where and how: one of `WARNINGS`."""
    warns_on: str = "every page"
    # in between
    cache_seconds: float = 0.0
    cache_honours_no_cache: bool = True
    cache_tells_age: bool = True
    skew_seconds: float = 0.0
    trouble: str = ""
    """`another answer`, `html 200`, `html 403`, `html 404`, `500`, `cut`."""
    trouble_share: float = 0.0
    trouble_kind: str = ""
    """Only what has this in its path is troubled."""


_PARTIAL = "MISSING_INDEX: results may be incomplete"
_SHAPES: Mapping[str, tuple[str, object]] = {
    "list": ("_warnings", [_PARTIAL]),
    "text": ("_warnings", _PARTIAL),
    "object": ("_warnings", {"code": "MISSING_INDEX"}),
    "list of objects": ("warnings", [{"code": "PARTIAL", "message": _PARTIAL}]),
    "plain list": ("warnings", [_PARTIAL]),
    "partial": ("partial", True),
    "partial number": ("partial", 1),
    "truncated": ("truncated", True),
    "truncated text": ("truncated", "true"),
}
WARNINGS = tuple(f"{place}: {shape}" for place in ("root", "metadata", "pagination") for shape in _SHAPES)


class Server:
    """Answers; `before` is called with the number of each request for rows, and may change what is there."""

    def __init__(
        self,
        experiments: Mapping[str, Experiment],
        oddities: Oddities,
        clock: Callable[[], float],
        chance: Random,
    ) -> None:
        self.experiments = dict(experiments)
        self.unlisted: set[str] = set()
        """Experiments that the list of experiments lacks."""
        self.emptied: set[str] = set()
        """Kinds whose lists come empty for now."""
        self.oddities = oddities
        self.before: Callable[[int], None] = lambda number: None
        self.requests = 0
        self.salt = chance.random()
        self.is_troubled = False
        """Is tonight the night?"""
        self._clock = clock
        self._chance = chance
        self._cache: dict[str, tuple[float, Answer]] = {}
        self._last: dict[str, Answer] = {}
        self._experiments_in_order = sorted(experiments)
        self._experiments_to_stir = oddities.stirs_experiments

    def latency(self) -> float:
        return self._chance.uniform(0.02, 0.6)

    def answer(self, target: str, headers: Mapping[str, str]) -> Answer:
        url = urlsplit(target)
        path = "/".join(map(unquote, url.path.removeprefix(BASE).split("/")))
        query = dict(parse_qsl(url.query))
        self.requests += 1
        self.before(self.requests)
        status, header, body = self._through_cache(target, path, query, headers)
        header = {"Content-Type": "application/json", **header}
        if self.oddities.skew_seconds:
            header["Date"] = formatdate(self._clock() + self.oddities.skew_seconds, usegmt=True)
        return self._troubled(path, (status, header, body))

    def _through_cache(
        self, target: str, path: str, query: dict[str, str], headers: Mapping[str, str]
    ) -> Answer:
        odd, now = self.oddities, self._clock()
        if not odd.cache_seconds or not path.startswith("data/"):
            return self._fresh(path, query)
        is_asked_past = "no-cache" in headers.get("cache-control", "") and odd.cache_honours_no_cache
        stored_at, answer = self._cache.get(target, (-1e12, (0, {}, b"")))
        if is_asked_past or now - stored_at > odd.cache_seconds:
            self._cache[target] = (now, self._fresh(path, query))
            return self._cache[target][1]
        status, header, body = answer
        if odd.cache_tells_age:
            header = {**header, "Age": str(int(now - stored_at))}
        return status, header, body

    def _troubled(self, path: str, answer: Answer) -> Answer:
        odd = self.oddities
        is_struck = self.is_troubled and odd.trouble_kind in path and self._chance.random() < odd.trouble_share
        others = [each for name, each in self._last.items() if name != path and name.startswith("data/")]
        if answer[0] == 200:
            self._last[path] = answer
        if not is_struck:
            return answer
        page = b"<html><body><h1>Blocked by the firewall</h1></body></html>"
        match odd.trouble:
            case "another answer" if others and path.startswith("data/"):
                return self._chance.choice(others)
            case "html 200" | "html 403" | "html 404":
                return int(odd.trouble[-3:]), {"Content-Type": "text/html"}, page
            case "500":
                return _error(500, "INTERNAL_ERROR")
            case "cut":
                return answer[0], {**answer[1], "Content-Length": str(len(answer[2]) + 7)}, answer[2]
        return answer

    def _fresh(self, path: str, query: dict[str, str]) -> Answer:
        parts = path.split("/")
        if parts[0] == "experiments":
            return self._experiments(parts[1:], query)
        if path == "health":
            return _json(200, {"status": "success", "data": {"status": "healthy"}})
        if parts[0] == "deployments":
            return self._deployments(parts[1:], query)
        if parts[0] != "data" or len(parts) < 4:
            return _error(404, "NOT_FOUND")
        kind, scope, name = "/".join(parts[1:-2]), parts[-2], parts[-1]
        is_scoped = (scope == "experiment" and kind != "variables") or (
            scope == "room" and kind not in {"rooms", "agent-runs"}
        )
        is_scoped |= scope == "participant" and kind not in {"rooms", "agent-runs", "variables", "participants"}
        if kind in {"recordings", "ratings/continuous"}:
            return self._page(kind, scope, name, [], query)
        if kind not in ID_FIELDS or kind in self.oddities.absent or not is_scoped:
            return _error(404, "ENDPOINT_NOT_FOUND")
        if kind in self.emptied and self.oddities.emptied_as:
            return _error(
                self.oddities.emptied_as, "FORBIDDEN" if self.oddities.emptied_as == 403 else "NOT_FOUND"
            )
        rows = self._rows(kind, scope, name, query)
        if rows is None:
            return _error(404, "NOT_FOUND")
        if not rows and scope == "room" and self.oddities.empty_is_404:
            return _error(404, "NOT_FOUND")
        return self._page(kind, scope, name, [] if kind in self.emptied else rows, query)

    def _experiments(self, parts: list[str], query: dict[str, str]) -> Answer:
        if not parts or parts == ["shared"]:
            return self._list_experiments(bool(parts), query)
        if parts[0] not in self.experiments:
            return _error(404, "NOT_FOUND")
        return _json(200, {"status": "success", "data": {"id": parts[0], "part": "/".join(parts[1:])}})

    def _list_experiments(self, are_shared: bool, query: dict[str, str]) -> Answer:
        odd = self.oddities
        shared = sorted(self.experiments)[1::2] if odd.shares else []
        names = [name for name in self._experiments_in_order if name not in self.unlisted]
        listed = [json.dumps({"id": name}) for name in names if (name in shared) == are_shared]
        at, limit = int(query.get("offset", 0)), min(int(query.get("limit", 50)), odd.experiments_a_page)
        page = listed[at : at + limit]
        if self._experiments_to_stir > 0:
            self._experiments_to_stir -= 1
            self._experiments_in_order.insert(0, self._experiments_in_order.pop())
        told = self._pagination(len(listed), at, limit, len(page))
        return _json(200, _envelope(page, {"dataType": "experiments"} | told))

    def _deployments(self, parts: list[str], query: dict[str, str]) -> Answer:
        """Those of an experiment, or the rooms of one."""
        if "deployments" in self.oddities.absent:
            return _error(404, "ENDPOINT_NOT_FOUND")
        count = self.oddities.deployments
        if not parts:
            name = query.get("experimentId", "")
            ids = [f"d{number}-{name}" for number in range(count) if name in self.experiments]
            return self._cut(
                "deployments", [json.dumps({"id": each, "experimentId": name}) for each in ids], {}, query
            )
        number, _, name = parts[0].removeprefix("d").partition("-")
        if name not in self.experiments or parts[1:] != ["sessions"]:
            return _error(404, "NOT_FOUND")
        rooms = self.experiments[name].there("rooms")[int(number) :: count]
        return self._cut("sessions", [row.now.content for row in rooms], {}, query)

    # --- lists -----------------------------------------------------------------------------------------
    def _rows(self, kind: str, scope: str, name: str, query: dict[str, str]) -> list[Row] | None:
        odd = self.oddities
        found: list[Row] = []
        is_known = scope == "participant"
        for experiment in self.experiments.values():
            if kind == "participants" and kind not in experiment.rows:
                return None
            rows = experiment.there(kind)
            if scope == "experiment" and experiment.name == name:
                found, is_known = rows, True
                if odd.hides == kind:
                    found = [row for row in rows if row.number % 4]
            if scope == "room" and name in experiment.rooms:
                others = rows[:2] if odd.room_lists_have_others else []
                is_known = True
                found = [
                    row
                    for row in rows
                    if row.now.room == name or (row in others and row.room_field and row.now.room)
                ]
            if scope == "participant" and query.get("roomId", "") in {"", *experiment.rooms}:
                at_all = odd.ignores_room_of_participant and kind not in experiment.manners.silent_kinds
                room = "" if at_all else query.get("roomId", "")
                found += [row for row in rows if row.person == name and (not room or row.now.room == room)]
        return self._in_window(kind, found, query) if is_known else None

    def _in_window(self, kind: str, rows: list[Row], query: dict[str, str]) -> list[Row]:
        if kind not in TIMED:
            return rows
        start, end = (_epoch(query.get(name)) for name in ("startTime", "endTime"))
        after = (lambda at: at >= start) if self.oddities.inclusive_start else (lambda at: at > start)
        before = (lambda at: at <= end) if self.oddities.inclusive_end else (lambda at: at < end)
        rows = [row for row in rows if start is None or after(row.now.at)]
        return [row for row in rows if end is None or before(row.now.at)]

    def _ordered(self, rows: list[Row], query: dict[str, str]) -> list[Row]:
        odd = self.oddities
        window = f"{query.get('limit')},{query.get('offset')},{query.get('cursor')},{query.get('page')}"
        by = query.get("sort") if odd.honours_sort else None
        breaking: Callable[[Row], float]
        if odd.ties == "by page":
            breaking = lambda row: Random(f"{self.salt},{window},{row.number}").random()  # noqa: E731
        elif odd.ties == "random":
            breaking = lambda row: self._chance.random()  # noqa: E731
        else:
            breaking = lambda row: row.number  # noqa: E731
        if by in {"id", "messageId", "ratingId", "participantId"}:
            ordered = sorted(rows, key=lambda row: (row.id or "", breaking(row)))
        elif odd.order_by == "change" and by is None:
            ordered = sorted(rows, key=lambda row: (row.now.rank, row.number))
        else:
            ordered = sorted(rows, key=lambda row: (row.now.at, breaking(row)))
        if odd.honours_sort and query.get("order") == "desc":
            ordered.reverse()
        return ordered

    def _page(self, kind: str, scope: str, name: str, rows: list[Row], query: dict[str, str]) -> Answer:
        odd = self.oddities
        metadata = {"dataType": kind, "scope": scope, "scopeId": name, "query": dict(query)}
        listed: list[str | None] = [row.now.content for row in self._ordered(rows, query)]
        for place in odd.ghosts:
            listed.insert(min(place, len(listed)), None)
        is_hiding = odd.hides == kind and scope == "experiment"
        return self._cut(kind, listed, metadata, query, is_hiding=is_hiding)

    def _cut(
        self,
        kind: str,
        listed: list[Any],
        metadata: dict[str, Any],
        query: dict[str, str],
        *,
        is_hiding: bool = False,
    ) -> Answer:
        odd = self.oddities
        limit, at = int(query.get("limit", 1000)), int(query.get("offset", 0))
        if kind in UNPAGED and not odd.pages_the_unpaged:
            rows = [row for row in listed if row is not None]
            return _json(200, _warned(_envelope(rows, metadata), odd if is_hiding else None, is_last=True))
        if odd.refuses_larger and limit > odd.grants and "limit" in query:
            return _error(odd.refuses_larger, "INVALID_PARAMETER")
        limit = max(1, min(limit, odd.grants))
        if 0 < odd.offset_window <= at or (odd.offset_window < 0 and at + limit > -odd.offset_window):
            return _error(400, "INVALID_PARAMETER")
        token = query.get("cursor") or query.get("pageToken") or query.get("page")
        if token is not None:
            at = int(token) if odd.paging != "page" else (int(token) - 1) * limit
        elif odd.paging not in {"offset", "page"}:
            at = 0
        whole = len([row for row in listed if row is not None])
        size = min(len(listed), odd.cap) if odd.cap else len(listed)
        rows = [row for row in listed[at : min(at + limit, size)] if row is not None]
        told = self._pagination(size, at, limit, len(rows), whole=whole)
        header = self._leads_on(told, query, at, limit, size)
        body = _envelope(rows, metadata | told)
        if odd.shape == "bare":
            body.pop("metadata")
        return _json(200, _warned(body, odd if is_hiding else None, is_last=at + limit >= size), header)

    def _pagination(
        self, size: int, at: int, limit: int, returned: int, whole: int | None = None
    ) -> dict[str, Any]:
        odd = self.oddities
        if odd.shape in {"none", "bare"}:
            return {}
        more = at + limit < size
        whole = size if whole is None else whole
        told: dict[str, Any] = {"returned": returned, "offset": at}
        totals = {
            "right": whole,
            "constant": 7,
            "ahead": whole + 2,
            "text": str(whole),
            "null": None,
            "page": returned,
        }
        if odd.total != "absent":
            told["total"] = totals.get(odd.total)
        mores = {"right": more, "early": False, "forever": True, "text": "true" if more else "false"}
        if odd.has_more != "absent":
            told["hasMore"] = mores[odd.has_more]
        if odd.names_limit:
            told["limit"] = limit
        offsets = {"right": at + limit, "null": None, "text": str(at + limit)}
        if more and odd.next_offset != "absent":
            told["nextOffset"] = offsets[odd.next_offset]
        return told if odd.shape == "flat" else {"pagination": told}

    def _leads_on(
        self, told: dict[str, Any], query: dict[str, str], at: int, limit: int, size: int
    ) -> dict[str, str]:
        """Words for the next page, beside or instead of offsets."""
        paging = self.oddities.paging
        if paging == "offset":
            return {}
        words = told.setdefault("pagination", {})
        words.pop("nextOffset", None)
        if paging == "page":
            words |= {"page": at // limit + 1, "pageSize": limit, "totalPages": -(-size // limit)}
            return {}
        following = at + limit if at + limit < size else None
        token = None if following is None else str(following)
        link = None if token is None else f"?{urlencode(query | {'cursor': token})}"
        said: dict[str, dict[str, Any]] = {
            "cursor": {"nextCursor": token},
            "token": {"nextPageToken": token},
            "links": {"links": {"next": link}},
            "next": {"next": link},
        }
        words.update(said.get(paging, {}))
        return {"Link": f'<{link}>; rel="next"'} if paging == "header" and link else {}


def _epoch(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _envelope(rows: list[str], metadata: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": [json.loads(row) for row in rows], "metadata": metadata}


def _warned(body: dict[str, Any], odd: Oddities | None, *, is_last: bool) -> dict[str, Any]:
    if odd is not None and odd.warning and (odd.warns_on == "every page" or is_last):
        place, _, shape = odd.warning.partition(": ")
        metadata = body.setdefault("metadata", {}) if place != "root" else body
        target = metadata.setdefault("pagination", {}) if place == "pagination" else metadata
        name, value = _SHAPES[shape]
        target[name] = value
    return body


def _json(status: int, body: object, header: dict[str, str] | None = None) -> Answer:
    return status, header or {}, json.dumps(body).encode()


def _error(status: int, code: str) -> Answer:
    return _json(status, {"status": "error", "error": {"code": code, "message": code.lower()}})


# --- in place of sockets -----------------------------------------------------------------------------------
class _Wire(asyncio.Transport):
    """One kept-alive connection, on which a request is answered after the server's latency."""

    def __init__(self, server: Server, client: ResponseHandler) -> None:
        super().__init__()
        self._server, self._client = server, client
        self._received = b""
        self._is_closed = False

    def write(self, data: Any) -> None:
        self._received += bytes(data)
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self._server.latency(), self._answer, head.decode())

    def _answer(self, head: str) -> None:
        if self._is_closed:
            return
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, header, body = self._server.answer(first.split(" ")[1], headers)
        header = {"Content-Length": str(len(body)), **header}
        lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in header.items())]
        self._client.data_received("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if header["Content-Length"] != str(len(body)):
            self.close()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            asyncio.get_running_loop().call_soon(self._client.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


@contextmanager
def in_place_of_sockets(server: Server) -> Iterator[None]:
    """Whatever connects with aiohttp meanwhile speaks to the server, in this process."""

    class Connector(aiohttp.TCPConnector):
        async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
            client = ResponseHandler(loop=self._loop)
            client.connection_made(_Wire(server, client))
            return client

    with patch("aiohttp.TCPConnector", Connector):
        yield


# --- over real ones ------------------------------------------------------------------------------------------
@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    """On loopback, as its base URL."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        status, header, body = server.answer(request.raw_path, headers)
        if "Content-Length" not in header:
            return web.Response(status=status, headers=header, body=body)
        cut = web.StreamResponse(status=status, headers=header)
        await cut.prepare(request)
        await cut.write(body)
        assert request.transport is not None
        request.transport.close()
        return cut

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{BASE.rstrip('/')}"
    finally:
        await runner.cleanup()
