"""One list read to its proven end: pages concurrently, delivered in order, read again while they disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol
from urllib.parse import quote

import anyio

from hsmirror.api.echo import require_answer
from hsmirror.api.envelope import Page, parse_page
from hsmirror.api.memory import AnswerMemory
from hsmirror.api.paging import Ask, Claims, Cursor
from hsmirror.api.times import wider_range
from hsmirror.errors import CorruptError, ForbiddenError, InvalidParameterError, NotFoundError, TimedOutError
from hsmirror.mirror.fetch import AnswerLike, Fetcher, Request, Reservation
from hsmirror.model import ListKey, Scope
from hsmirror.pace.agenda import Urgency

LARGEST_UNPAGED_LIMIT = 100_000
"""For agent decisions, which take a limit for each room and no offset; their default is 5,000."""

LARGEST_LIMIT = 10_000
"""Rows to ask for in a page. The documented default is 1,000; servers grant what they will."""

_LARGEST_OF = {
    "agent-decisions": LARGEST_UNPAGED_LIMIT,
    "experiments": 500,  # documented as pages of 50: what is refused is asked for again
    "experiments/shared": 500,
}

FALLBACK_LIMIT = 1_000
"""The documented default, which every server grants."""

MOST_OVERLAP = 32
"""Rows that two pages have in common where a list is read again: where rows with equal times come in another
order on each page, the more of them have to agree, the less is left to chance."""

_PAGES_IN_MEMORY_BYTES = 16 << 20
_RECORDINGS_TIMEOUT_SECONDS = 300.0
"""Servers that sign every address when asked take long over recordings; the official SDK waits this long."""


class PageSink(Protocol):
    """Where the pages of one pass go, in the order of the list."""

    async def write(self, page: Page) -> None: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pass through a list gave, beside the rows that went to the sink."""

    claims: Claims
    warnings: tuple[str, ...]
    metadata: bytes
    """Of the last page, as it came."""
    age_seconds: int = 0
    """Of the oldest page: more than nothing where one came from a cache."""


class PageSizes:
    """The page sizes learnt, by data type: what one list was granted, the next one asks for."""

    def __init__(self, largest: int = LARGEST_LIMIT) -> None:
        self._largest = largest
        self._learnt: dict[str, int] = {}
        self.unnamed: set[str] = set()
        """Types of which the server refuses every page size, so that its own is taken."""

    def limit(self, data_type: str) -> int:
        return self._learnt.get(data_type, _LARGEST_OF.get(data_type, self._largest))

    def learnt(self, data_type: str) -> int | None:
        return self._learnt.get(data_type)

    def lower(self, data_type: str, limit: int) -> None:
        self._learnt[data_type] = min(limit, self.limit(data_type))


def page_request(key: ListKey, ask: Ask, *, names_limit: bool = True) -> Request:
    """The request for one page of a list; without `names_limit` the size of the page is left to the server."""
    data_type = key.data_type
    path = f"data/{data_type.name}/{key.scope}/{path_segment(key.scope_id)}"
    params: dict[str, str] = {}
    if data_type.paged or ask.offset:
        params = {"limit": str(ask.page_rows), "offset": str(ask.from_offset)}
    elif data_type.name == "agent-decisions":
        params = {"limit": str(ask.limit)}
    if not names_limit:
        params.pop("limit", None)
    if data_type.name == "agent-decisions":
        params["detail"] = "true"
    if data_type.name == "deployments":
        path, params = "deployments", {"experimentId": key.scope_id, **params}
    elif data_type.name == "sessions":
        path = f"deployments/{path_segment(key.scope_id)}/sessions"
    elif not key.scope_id:
        path = data_type.name
    if key.scope is Scope.PARTICIPANT and key.room is not None:
        params["roomId"] = key.room
    if data_type.takes_time_range:
        params |= wider_range(key.window)
    return Request(
        endpoint=endpoint_of(path, data_type.name),
        path=path,
        params=params,
        urgency=Urgency.DOCUMENTED if data_type.documented else Urgency.NEWER,
        timeout_seconds=_RECORDINGS_TIMEOUT_SECONDS if data_type.name == "recordings" else 120.0,
        halves_on_timeout=data_type.paged,
    )


def endpoint_of(path: str, data_type: str) -> str:
    """What the limit a minute counts by: the data type, or the first part of any other path."""
    return f"data/{data_type}" if path.startswith("data/") else path.partition("/")[0]


def path_segment(text: str) -> str:
    """An id as one segment of a path, so that no id can lead elsewhere."""
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    return quote(text, safe="", errors="surrogatepass")


def _parsed(key: ListKey, asked: Mapping[str, str], answer: AnswerLike) -> Page:
    """One page that is the answer to what was asked, with what its header says of it."""
    page = require_answer(parse_page(answer.body, key.data_type, answer.words), key, asked)
    if page.warnings:  # what it answered instead of what was asked, too
        page = replace(page, warnings=tuple(map(answer.words, page.warnings)))
    if answer.has_next_link:
        page = replace(page, pagination=replace(page.pagination, has_more=True))
    return replace(page, age_seconds=answer.age_seconds) if answer.age_seconds else page


class ListReader:
    """Reads lists page by page through a fetcher."""

    def __init__(
        self,
        fetcher: Fetcher,
        sizes: PageSizes,
        *,
        concurrent_pages: int,
        memory: AnswerMemory | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._memory = memory or AnswerMemory()
        self._sizes = sizes
        self._concurrent_pages = concurrent_pages

    def page_rows(self, data_type: str) -> int | None:
        """How many rows the server grants in a page of this type; None where no list showed it."""
        return self._sizes.learnt(data_type)

    async def first_page(self, key: ListKey, limit: int) -> Page:
        """Just one page from the start, for what it tells of the list."""
        return await self.page(key, Ask(0, limit))

    async def page(self, key: ListKey, ask: Ask) -> Page:
        """Just one page."""
        request = page_request(key, ask, names_limit=key.data_type.name not in self._sizes.unnamed)
        return await self._fetcher.get_answer(request, partial(_parsed, key, request.params))

    async def read(
        self, key: ListKey, sink: PageSink, *, urgency: Urgency | None = None, smaller_than: int = 0
    ) -> Reading:
        """One pass, its pages delivered to `sink` in the list's order.

        Where it is read again, its pages are `smaller_than` the rows that a page of the last pass had: so they
        meet elsewhere, and in more rows. What an unstable order hides where two pages meet, it shows then.

        Raises:
            UpstreamError: as the fetcher's; the sink has then received a part of the list.
        """
        one_pass = _Pass(key, self._fetcher, self._sizes, sink, urgency, self._memory, smaller_than)
        try:
            return await one_pass.run(self._concurrent_pages)
        finally:
            one_pass.forget_pages()


class _Pass:
    def __init__(
        self,
        key: ListKey,
        fetcher: Fetcher,
        sizes: PageSizes,
        sink: PageSink,
        urgency: Urgency | None,
        memory: AnswerMemory,
        smaller_than: int,
    ) -> None:
        self._key = key
        self._fetcher = fetcher
        self._sizes = sizes
        self._sink = sink
        self._urgency = urgency
        self._memory = memory
        data_type = key.data_type
        limit = sizes.limit(data_type.name)
        self._is_usual = not smaller_than
        if smaller_than:
            limit = min(limit, max(2, smaller_than - max(1, smaller_than // 7)))
        self._cursor = Cursor(
            limit=limit,
            paged=data_type.paged,
            rows_have_ids=bool(data_type.id_fields),
            overlap=1 if self._is_usual else max(1, min(MOST_OVERLAP, limit // 4)),
        )
        self._cursor.names_limit = data_type.name not in sizes.unnamed
        self._age_seconds = 0
        self._early: dict[int, Page] = {}
        self._delivered = 0
        self._is_delivering = False
        self._asked = 0
        self._largest_page_bytes = 1
        self._warnings: dict[str, None] = {}
        self._metadata = b"{}"
        self._failure: Exception | None = None
        self._reservation: Reservation | None = None

    async def run(self, concurrent_pages: int) -> Reading:
        # Most lists are one page, and a page learns its size alone: no task group until there are more.
        while self._cursor.rows == 0 and (asks := self._cursor.asks(1)):
            await self._fetch(asks[0])
            await self._deliver()
        if not self._cursor.is_done:
            endpoint = page_request(self._key, Ask(0, 1)).endpoint
            with self._fetcher.reserved(endpoint, self._cursor.least_pages_left()) as self._reservation:
                await self._fetch_all(concurrent_pages)
        await self._deliver_the_rest()
        return Reading(self._cursor.claims, tuple(self._warnings), self._metadata, self._age_seconds)

    async def _fetch_all(self, concurrent_pages: int) -> None:
        async with anyio.create_task_group() as tasks:

            def ask_on() -> None:
                window = min(concurrent_pages, max(2, _PAGES_IN_MEMORY_BYTES // self._largest_page_bytes))
                free = window - self._asked - len(self._early)
                # A page that comes before all that wait is asked for even if they fill the window.
                least = 0 if self._asked or self._is_delivering else 1
                for ask in self._cursor.asks(max(least, free)):
                    self._asked += 1
                    tasks.start_soon(fetch_and_deliver, ask)

            async def fetch_and_deliver(ask: Ask) -> None:
                try:
                    try:
                        await self._fetch(ask)
                    finally:
                        self._asked -= 1
                    await self._deliver(ask_on)
                    ask_on()
                except Exception as error:  # noqa: BLE001  # the sink's errors are the caller's, as they are
                    self._failure = self._failure or error
                    tasks.cancel_scope.cancel()

            ask_on()
        if self._failure is not None:
            raise self._failure

    async def _fetch(self, ask: Ask) -> None:
        request = page_request(self._key, ask, names_limit=self._cursor.names_limit)
        if self._urgency is not None:
            request = replace(request, urgency=self._urgency)
        if not self._cursor.can_halve(ask):
            request = replace(request, halves_on_timeout=False)  # its size is not the reason: tried again
        try:
            page = await self._fetcher.get_answer(request, partial(_parsed, self._key, request.params))
        except TimedOutError:
            if not self._cursor.timed_out(ask):
                raise
        except NotFoundError as error:
            if not ask.offset:
                raise
            self._cursor.refused(ask, str(error), is_end=True)
        except (InvalidParameterError, ForbiddenError, CorruptError) as error:
            if ask.offset:  # what came before it is kept
                self._cursor.refused(ask, str(error), is_end=False)
            elif not (isinstance(error, InvalidParameterError) and self._cursor.limit_refused(ask)):
                raise
        else:
            if self._reservation is not None:
                self._reservation.spend()
            self._take_note(page)
            kept = self._cursor.received(ask, page)
            if kept.rows:
                self._early[ask.offset] = kept
                self._memory.hold(kept.size_bytes)
        self._learn()

    def _learn(self) -> None:
        """What this list was granted, the next one of its type asks for."""
        data_type = self._key.data_type.name
        if not self._cursor.names_limit:
            self._sizes.unnamed.add(data_type)
        if self._cursor.learnt_limit is not None and self._is_usual:
            self._sizes.lower(data_type, self._cursor.learnt_limit)

    def _take_note(self, page: Page) -> None:
        self._age_seconds = max(self._age_seconds, page.age_seconds)
        self._largest_page_bytes = max(self._largest_page_bytes, page.size_bytes)
        self._warnings.update(dict.fromkeys(page.warnings))
        self._metadata = page.metadata

    async def _deliver(self, ask_on: Callable[[], None] = lambda: None) -> None:
        """Hand on what is next in the list's order; one at a time, whoever comes first does it for all.

        As pages leave, there is room to ask on: the wire is kept busy while the disk is.
        """
        if self._is_delivering:
            return
        self._is_delivering = True
        try:
            while (page := self._early.pop(self._delivered, None)) is not None:
                self._delivered += len(page.rows)
                ask_on()
                await self._hand_on(page)
        finally:
            self._is_delivering = False

    async def _deliver_the_rest(self) -> None:
        """Pages behind a hole that stayed empty: their rows are real, and the proof knows of the hole."""
        for offset in sorted(self._early):
            await self._hand_on(self._early.pop(offset))

    async def _hand_on(self, page: Page) -> None:
        with self._memory.writing(page.size_bytes):
            await self._sink.write(page)

    def forget_pages(self) -> None:
        """What a pass that was broken off has not handed on."""
        self._memory.release(sum(page.size_bytes for page in self._early.values()))
        self._early.clear()
