"""How the lab's answers look: shapes that real servers have been seen to give, and which endpoints it has.

The pagination styles, by name: `document`, as the API's document shows it · `fixture` adds `limit` and
`offset`, as recorded answers have · `flat` has `total`, `limit` and `offset` beside the other metadata, and
no `pagination` · `none` says nothing · `null-next` has `nextOffset: null` on every page · `string-numbers`
writes `total` and `nextOffset` as texts · `total-high` is 7 above the truth, `total-low` half of it ·
`no-total` leaves it out · `early-end` says on every page that it is the last.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hsmirror.errors import UsageError
from hsmirror.serve.endpoints import endpoint_of
from hsmirror.serve.envelope import AnswerStyle, PageFacts, document_paging
from hsmirror.serve.refusals import route_not_found

PaginationStyle = Literal[
    "document",
    "fixture",
    "flat",
    "none",
    "null-next",
    "string-numbers",
    "total-high",
    "total-low",
    "no-total",
    "early-end",
]

_NEWER_TYPES = ("participants", "videochat", "eyetracking", "variables", "agent-decisions", "agent-runs")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """The shape of answers; `page_cap` is the largest `limit` granted; `latency_seconds` precedes each.

    Raises UsageError for an unknown style, a cap below 1, a latency below 0.
    """

    pagination: PaginationStyle = "document"
    pretty: bool = False
    gzip: bool = True
    page_cap: int = 10_000
    latency_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.pagination not in _PAGINATION_STYLES:
            known = ", ".join(_PAGINATION_STYLES)
            raise UsageError(f"the lab has no pagination style {self.pagination!r}: give one of {known}")
        if self.page_cap < 1 or self.latency_seconds < 0:
            raise UsageError("the lab's page_cap must be at least 1, its latency_seconds not below 0")

    def style(self) -> AnswerStyle:
        """The same, as the server takes it."""
        return AnswerStyle(
            paging=_PAGINATION_STYLES[self.pagination],
            rewrite=indented if self.pretty else None,
            page_cap=self.page_cap,
            gzip=self.gzip,
        )


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Which of the newer endpoints there are; one that is not answers 404."""

    rooms: bool = True
    newer_types: bool = True
    experiments: bool = True
    deployments: bool = True

    def missing(self) -> frozenset[str]:
        """The endpoints that this server does not have, as `endpoint_of` names them."""
        missing: list[str] = []
        if not self.rooms:
            missing.append("data/rooms")
        if not self.newer_types:
            missing += [f"data/{name}" for name in _NEWER_TYPES]
        if not self.experiments:
            missing.append("experiments")
        if not self.deployments:
            missing.append("deployments")
        return frozenset(missing)


def without(missing: frozenset[str]) -> Middleware:
    """404, as for any unknown route, for endpoints that an older server lacks."""

    @web.middleware
    async def check_endpoint(request: web.Request, handler: Handler) -> web.StreamResponse:
        if endpoint_of(request.path) in missing:
            raise route_not_found(request)
        return await handler(request)

    return check_endpoint


def late(latency_seconds: float) -> Middleware:
    """Every answer comes this much later."""

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(latency_seconds)
        return await handler(request)

    return wait


def indented(body: bytes) -> bytes:
    """A JSON text with two spaces of indentation, every token's own text unchanged (`1.10`, `\\ud800`)."""
    written: list[bytes] = []
    depth = 0
    previous = b""
    for token in _TOKEN.findall(body):
        if token in b"]}" and previous not in (b"[", b"{"):
            written.append(b"\n" + b"  " * (depth - 1))
        elif previous in (b",", b"[", b"{") and token not in b"]}":
            written.append(b"\n" + b"  " * depth)
        depth += (token in (b"[", b"{")) - (token in (b"]", b"}"))
        written.append(b": " if token == b":" else token)
        previous = token
    return b"".join(written)


def _fixture(page: PageFacts) -> dict[str, Any]:
    pagination = document_paging(page)["pagination"]
    return {"pagination": pagination | {"limit": page.limit, "offset": page.offset}}


def _flat(page: PageFacts) -> dict[str, Any]:
    return {"total": page.total, "limit": page.limit, "offset": page.offset}


def _nothing(_page: PageFacts) -> dict[str, Any]:
    return {}


def _null_next(page: PageFacts) -> dict[str, Any]:
    return {"pagination": document_paging(page)["pagination"] | {"nextOffset": None}}


def _string_numbers(page: PageFacts) -> dict[str, Any]:
    pagination = document_paging(page)["pagination"]
    texts = {name: str(pagination[name]) for name in ("total", "nextOffset") if name in pagination}
    return {"pagination": pagination | texts}


def _total_high(page: PageFacts) -> dict[str, Any]:
    return {"pagination": document_paging(page)["pagination"] | {"total": page.total + 7}}


def _total_low(page: PageFacts) -> dict[str, Any]:
    return {"pagination": document_paging(page)["pagination"] | {"total": page.total // 2}}


def _no_total(page: PageFacts) -> dict[str, Any]:
    pagination = document_paging(page)["pagination"]
    del pagination["total"]
    return {"pagination": pagination}


def _early_end(page: PageFacts) -> dict[str, Any]:
    return {"pagination": {"total": page.total, "returned": page.returned, "hasMore": False}}


_PAGINATION_STYLES: dict[PaginationStyle, Callable[[PageFacts], dict[str, Any]]] = {
    "document": document_paging,
    "fixture": _fixture,
    "flat": _flat,
    "none": _nothing,
    "null-next": _null_next,
    "string-numbers": _string_numbers,
    "total-high": _total_high,
    "total-low": _total_low,
    "no-total": _no_total,
    "early-end": _early_end,
}
