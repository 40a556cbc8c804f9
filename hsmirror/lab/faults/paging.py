"""Faults of paging: what servers claim about their lists, and pages that are not what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hsmirror.lab.faults.fault import Fault, Outcome, Strikes
from hsmirror.lab.faults.hooks import SURROUNDINGS, LabFaults
from hsmirror.lab.faults.members import members_of
from hsmirror.lab.faults.wire import before, data_type_of, editing, is_paged
from hsmirror.lab.limits import LimitOptions
from hsmirror.model import Scope
from hsmirror.serve.endpoints import DATA_ENDPOINTS
from hsmirror.serve.parameters import data_query

if TYPE_CHECKING:
    from hsmirror.lab.server import LabOptions

_CLAMP = 13
_LARGEST_IN_TIME = 40
_EVERYTHING = 1_000_000

Claims = dict[str, Any]


def _claim(change: Callable[[Claims, web.Request], None]) -> Callable[[Strikes], LabFaults]:
    """A fault of what every page says of its list: `change` edits the `pagination` of the metadata."""

    def make(strikes: Strikes) -> LabFaults:
        def edit(request: web.Request, _rows: list[bytes], metadata: Claims) -> None:
            pagination = metadata.get("pagination")
            if isinstance(pagination, dict) and strikes.always():
                change(pagination, request)

        return LabFaults(api=(editing(edit),))

    return make


def _total(change: Callable[[int], object]) -> Callable[[Strikes], LabFaults]:
    def edit(pagination: Claims, _request: web.Request) -> None:
        if isinstance(pagination.get("total"), int):
            pagination["total"] = change(pagination["total"])

    return _claim(edit)


def _next_offset(change: Callable[[int, int], object]) -> Callable[[Strikes], LabFaults]:
    """`change` takes the page's own offset and the right next one."""

    def edit(pagination: Claims, request: web.Request) -> None:
        if isinstance(pagination.get("nextOffset"), int):
            offset = int(request.query.get("offset", 0))
            pagination["nextOffset"] = change(offset, pagination["nextOffset"])

    return _claim(edit)


def _without(*names: str) -> Callable[[Strikes], LabFaults]:
    def edit(pagination: Claims, _request: web.Request) -> None:
        for name in names:
            pagination.pop(name, None)

    return _claim(edit)


def _total_wanders(strikes: Strikes) -> LabFaults:
    def edit(request: web.Request, _rows: list[bytes], metadata: Claims) -> None:
        pagination = metadata.get("pagination")
        if isinstance(pagination, dict) and isinstance(pagination.get("total"), int) and strikes.always():
            drift = strikes.random_for(request).choice((-3, -1, 1, 4))
            pagination["total"] = max(0, pagination["total"] + drift)

    return LabFaults(api=(editing(edit),))


def _no_pagination(strikes: Strikes) -> LabFaults:
    def edit(_request: web.Request, _rows: list[bytes], metadata: Claims) -> None:
        if "pagination" in metadata and strikes.always():
            del metadata["pagination"]

    return LabFaults(api=(editing(edit),))


def _flat_pagination(strikes: Strikes) -> LabFaults:
    def edit(request: web.Request, _rows: list[bytes], metadata: Claims) -> None:
        pagination = metadata.get("pagination")
        if isinstance(pagination, dict) and strikes.always():
            del metadata["pagination"]
            metadata["total"] = pagination.get("total")
            metadata["offset"] = int(request.query.get("offset", 0))

    return LabFaults(api=(editing(edit),))


def _more_forever(pagination: Claims, request: web.Request) -> None:
    pagination["hasMore"] = True
    pagination.setdefault("nextOffset", int(request.query.get("offset", 0)) + int(pagination["returned"]))


def _early_end(pagination: Claims, _request: web.Request) -> None:
    pagination["hasMore"] = False
    pagination.pop("nextOffset", None)


# --- other pages than those asked for -------------------------------------------------------------------
def _asked_otherwise(strikes: Strikes, change: Callable[[dict[str, str]], bool]) -> Middleware:
    """The request as the server misunderstands it; `change` edits its query, and says whether it did."""

    @web.middleware
    async def misread(request: web.Request, handler: Handler) -> web.StreamResponse:
        query = dict(request.query)
        if not is_paged(request) or not strikes.switch.is_on or not change(query):
            return await handler(request)
        strikes.always()
        other = request.clone(rel_url=request.rel_url.with_query(query))
        # The match info and what middlewares noted belong to the request, and go along with it.
        other._match_info = request._match_info
        return await handler(other)

    return misread


def _offset_ignored(strikes: Strikes) -> LabFaults:
    def change(query: dict[str, str]) -> bool:
        return query.pop("offset", "0") != "0"

    return LabFaults(api=(_asked_otherwise(strikes, change),))


def _limit_clamped(strikes: Strikes) -> LabFaults:
    def change(query: dict[str, str]) -> bool:
        if int(query.get("limit", 1000)) <= _CLAMP:
            return False
        query["limit"] = str(_CLAMP)
        return True

    return LabFaults(api=(_asked_otherwise(strikes, change),))


def _empty_page(strikes: Strikes) -> LabFaults:
    def edit(request: web.Request, rows: list[bytes], metadata: Claims) -> None:
        pagination = metadata.get("pagination")
        is_midway = request.query.get("offset", "0") != "0"
        if is_midway and rows and isinstance(pagination, dict) and strikes.on(request):
            rows.clear()
            pagination["returned"] = 0

    return LabFaults(api=(editing(edit),))


def _short_page(strikes: Strikes) -> LabFaults:
    def edit(request: web.Request, rows: list[bytes], metadata: Claims) -> None:
        pagination = metadata.get("pagination")
        if len(rows) > 1 and isinstance(pagination, dict) and strikes.on(request):
            del rows[strikes.random_for(request).randrange(1, len(rows)) :]
            pagination["returned"] = len(rows)
            pagination["hasMore"] = True
            pagination["nextOffset"] = int(request.query.get("offset", 0)) + len(rows)

    return LabFaults(api=(editing(edit),))


def _large_pages_late(strikes: Strikes) -> LabFaults:
    def is_too_large(request: web.Request) -> bool:
        return (
            is_paged(request)
            and int(request.query.get("limit", 1000)) > _LARGEST_IN_TIME
            and strikes.always(request)
        )

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=504, text="<html>504 Gateway Timeout</html>", content_type="text/html")

    return LabFaults(api=(before(is_too_large, answer),))


def _order_unstable(strikes: Strikes) -> LabFaults:
    """Rows of one moment come in another order with every request, on whatever page that puts them."""

    def edit(request: web.Request, rows: list[bytes], _metadata: Claims) -> None:
        rows[:] = request.get(_SHUFFLED, rows)

    @web.middleware
    async def shuffle(request: web.Request, handler: Handler) -> web.StreamResponse:
        around = request.app[SURROUNDINGS]
        source = around.source
        name = data_type_of(request)
        if source is not None and name is not None and is_paged(request) and strikes.always():
            scope = Scope(request.path.split("/")[-2])
            query = data_query(
                DATA_ENDPOINTS[name], scope, request.match_info["id"], request.query, page_cap=around.page_cap
            )
            page = await source.data(replace(query, offset=0, limit=_EVERYTHING))
            if page is not None and name != "recordings":
                shuffled = _ties_shuffled(page.rows, strikes.random_for(request))
                request[_SHUFFLED] = shuffled[query.offset : query.offset + query.limit]
        return await handler(request)

    return LabFaults(api=(shuffle, editing(edit)))


_SHUFFLED: web.RequestKey[list[bytes]] = web.RequestKey("shuffled", list)


def _ties_shuffled(rows: Sequence[bytes], rng: Random) -> list[bytes]:
    shuffled: list[bytes] = []
    for _, tied in groupby(rows, key=_moment):
        these = list(tied)
        rng.shuffle(these)
        shuffled += these
    return shuffled


def _moment(row: bytes) -> bytes:
    members = members_of(row)
    return members.get("timestamp") or members.get("startTime", b"")


def _limits_tighter(strikes: Strikes) -> LabFaults:
    del strikes

    def adjust(options: LabOptions) -> LabOptions:
        return replace(options, limits=LimitOptions(200, 12))

    return LabFaults(adjustments=(adjust,))


HEALS, MAY_STOP, MUST_STOP = Outcome.HEALS, Outcome.MAY_STOP, Outcome.MUST_STOP

PAGING = (
    Fault(
        "total-high", "every list claims 7 rows more than it has", MUST_STOP, _total(lambda total: total + 7)
    ),
    Fault("total-low", "every list claims half of its rows", HEALS, _total(lambda total: total // 2)),
    Fault("total-absent", "no list says how many rows it has", HEALS, _without("total")),
    Fault("total-null", "the number of rows is null", HEALS, _total(lambda _: None)),
    Fault("total-text", "the number of rows is a text", HEALS, _total(str)),
    Fault("total-wanders", "another number of rows is claimed with every page", MAY_STOP, _total_wanders),
    Fault("early-end", "every page claims to be the last", HEALS, _claim(_early_end)),
    Fault("more-forever", "every page claims that there are more", MUST_STOP, _claim(_more_forever)),
    Fault("offset-ignored", "every page is the first one again", MUST_STOP, _offset_ignored),
    Fault("next-offset-null", "the next offset is null", HEALS, _next_offset(lambda _own, _next: None)),
    Fault("next-offset-absent", "there is no next offset", HEALS, _without("nextOffset")),
    Fault("next-offset-text", "the next offset is a text", HEALS, _next_offset(lambda _own, next_: str(next_))),
    Fault(
        "next-offset-stuck", "the next offset is the page's own", HEALS, _next_offset(lambda own, _next: own)
    ),
    Fault(
        "next-offset-back",
        "the next offset lies before the page",
        HEALS,
        _next_offset(lambda own, _n: own // 2),
    ),
    Fault("limit-clamped", f"pages have {_CLAMP} rows, whatever is asked for", HEALS, _limit_clamped),
    Fault("empty-page", "a page amid a list is empty", MAY_STOP, _empty_page, rate=0.2),
    Fault("short-page", "a page breaks off after some rows, and says so", MAY_STOP, _short_page, rate=0.2),
    Fault("order-unstable", "rows of one moment come in ever another order", MAY_STOP, _order_unstable),
    Fault(
        "large-pages-late",
        f"pages of more than {_LARGEST_IN_TIME} rows time out (504)",
        HEALS,
        _large_pages_late,
    ),
    Fault("no-pagination", "lists say nothing of their pages", HEALS, _no_pagination),
    Fault("flat-pagination", "total and offset stand beside the other metadata", HEALS, _flat_pagination),
    Fault("limits-tighter", "200 requests an hour, 12 a minute at an endpoint", HEALS, _limits_tighter),
)
