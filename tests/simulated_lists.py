"""A paginated list as servers serve it, in pure Python, in every manner of the catalogue of faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_page
from hsmirror.api.paging import Ask, Cursor
from hsmirror.errors import TimedOutError
from hsmirror.model import DataType

Claim = Callable[["ListServer", int, int], Any]
"""A field of the pagination: from the server, the offset and the number of rows returned; LEAVE_OUT: absent."""

LEAVE_OUT = object()


def true_total(server: ListServer, offset: int, count: int) -> Any:
    return len(server.rows)


def true_has_more(server: ListServer, offset: int, count: int) -> Any:
    return offset + count < len(server.rows)


def absent(server: ListServer, offset: int, count: int) -> Any:
    return LEAVE_OUT


def always(value: object) -> Claim:
    return lambda server, offset, count: value


@dataclass(slots=True)
class ListServer:
    """Serves `rows`; each field is one way in which servers differ, the defaults are the documented ones."""

    rows: list[str]
    total: Claim = true_total
    has_more: Claim = true_has_more
    next_offset: Claim = absent
    names_limit: bool = True
    largest_limit: int | None = 1_000_000
    """None: the limit asked for is ignored, and every page holds all that is left."""
    honours_offset: bool = True
    is_flat: bool = False
    has_pagination: bool = True
    slower_than: int | None = None
    """Pages of more rows than this time out."""
    empty_at: dict[int, int] = field(default_factory=dict)
    """How often a page at that offset comes back empty."""
    before_page: Callable[[ListServer, int], None] = lambda server, number: None
    """Called before each page with its number from 0; may change `rows`."""
    id_field: str | None = "id"
    requests: list[Ask] = field(default_factory=list)

    def body(self, ask: Ask) -> bytes:
        """The answer to a request.

        Raises:
            TimedOutError: the page was too large for this server.
        """
        self.requests.append(ask)
        self.before_page(self, len(self.requests) - 1)
        limit = ask.limit if self.largest_limit is None else min(ask.limit, self.largest_limit)
        if self.slower_than is not None and limit > self.slower_than:
            raise TimedOutError("504")
        start = ask.offset if self.honours_offset else 0
        stop = None if self.largest_limit is None else start + limit
        rows = self.rows[start:stop]
        if self.empty_at.get(start, 0) > 0:
            self.empty_at[start] -= 1
            rows = []
        return orjson.dumps(
            {
                "status": "success",
                "data": [{self.id_field or "text": row} for row in rows],
                "metadata": self._metadata(start, limit, len(rows)),
            }
        )

    def page(self, ask: Ask, data_type: DataType = DATA_TYPES["events"]) -> Page:
        return parse_page(self.body(ask), data_type)

    def _metadata(self, start: int, limit: int, count: int) -> dict[str, object]:
        if not self.has_pagination:
            return {}
        claims = {
            "total": self.total(self, start, count),
            "hasMore": self.has_more(self, start, count),
            "nextOffset": self.next_offset(self, start, count),
            "limit": limit if self.names_limit else LEAVE_OUT,
            "offset": start,
        }
        present = {name: value for name, value in claims.items() if value is not LEAVE_OUT}
        return present if self.is_flat else {"pagination": present}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass gave: texts of the rows in the list's order, and the cursor at its end."""

    rows: Sequence[str]
    cursor: Cursor
    requests: int

    def __post_init__(self) -> None:
        assert self.cursor.is_done
        assert self.cursor.rows == len(self.rows)


def read(
    server: ListServer,
    *,
    limit: int = 10,
    at_once: int = 4,
    seed: int = 0,
    rows_have_ids: bool = True,
    overlap: int = 0,
    paged: bool = True,
    most_requests: int = 2_000,
) -> Outcome:
    """Drive a cursor to its end, with up to `at_once` pages under way, answered in any order."""
    chance = random.Random(seed)
    cursor = Cursor(limit=limit, rows_have_ids=rows_have_ids, overlap=overlap, paged=paged)
    under_way: list[Ask] = []
    kept: dict[int, list[str]] = {}
    before = len(server.requests)
    while not cursor.is_done:
        under_way += cursor.asks(at_once - len(under_way))
        assert under_way, f"{cursor} neither is done nor asks for anything"
        assert len(server.requests) - before < most_requests, f"{cursor} does not come to an end"
        ask = under_way.pop(chance.randrange(len(under_way)))
        try:
            page = server.page(Ask(ask.from_offset, ask.page_rows))
        except TimedOutError:
            assert cursor.timed_out(ask)
            continue
        new = cursor.received(ask, page)
        if new.rows:
            kept[ask.offset] = texts(new.rows)
    rows = [row for offset in sorted(kept) for row in kept[offset]]
    return Outcome(rows, cursor, len(server.requests) - before)


def texts(rows: Iterable[Any]) -> list[str]:
    """The one text that each of the server's rows holds."""
    return [next(iter(orjson.loads(bytes(row)).values())) for row in rows]


def numbered(count: int) -> list[str]:
    """`row-0`, `row-1`, …"""
    return [f"row-{number}" for number in range(count)]
