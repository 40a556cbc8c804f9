"""A list read through the real gate and fetcher: in order, concurrently, in few requests, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import pytest
from simulated_lists import ListServer, absent, always, numbered, texts
from virtual_time import FakeAnswer, VirtualClock, gate_and_budget, run_in_virtual_time

from hsmirror.api.data_types import DATA_TYPES, SESSIONS
from hsmirror.api.envelope import Page
from hsmirror.api.memory import AnswerMemory
from hsmirror.api.paging import Ask
from hsmirror.errors import (
    CorruptError,
    ForbiddenError,
    IntermediaryError,
    InvalidParameterError,
    NotFoundError,
    StorageError,
    TimedOutError,
    UpstreamError,
)
from hsmirror.mirror.fetch import Fetcher
from hsmirror.mirror.lists import (
    FALLBACK_LIMIT,
    LARGEST_LIMIT,
    LARGEST_UNPAGED_LIMIT,
    ListReader,
    PageSizes,
    Reading,
    endpoint_of,
    page_request,
)
from hsmirror.model import ListKey, Scope, Window
from hsmirror.pace.agenda import Urgency

EVENTS = ListKey("exp", DATA_TYPES["events"], Scope.EXPERIMENT, "exp")


@dataclass(slots=True)
class ListWire:
    """A simulated list behind a latency that varies, so that pages overtake each other."""

    server: ListServer
    most_in_flight: int = 0
    in_flight: int = 0
    before_answer: Callable[[Ask], Awaitable[None]] | None = None
    padding: Callable[[Ask], int] = lambda ask: 0

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        ask = Ask(int(params.get("offset", "0")), int(params.get("limit", "1000")))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.1 + ask.offset * 7 % 10 / 10)
            if self.before_answer is not None:
                await self.before_answer(ask)
            return FakeAnswer(self.server.body(ask) + b" " * self.padding(ask))
        finally:
            self.in_flight -= 1


@dataclass(slots=True)
class Gathered:
    """A sink that remembers; `failure` is raised at its third page."""

    failure: Exception | None = None
    seconds_a_page: float = 0.0
    rows: list[str] = field(default_factory=list)
    pages: int = 0
    is_writing: bool = False

    async def write(self, page: Page) -> None:
        assert not self.is_writing, "one page at a time"
        self.is_writing = True
        await asyncio.sleep(self.seconds_a_page)
        self.is_writing = False
        self.pages += 1
        if self.failure is not None and self.pages == 3:
            raise self.failure
        self.rows += texts(page.rows)


def read_list(
    wire: ListWire,
    sink: Gathered | None = None,
    *,
    key: ListKey = EVENTS,
    sizes: PageSizes | None = None,
    concurrent_pages: int = 8,
    memory: AnswerMemory | None = None,
) -> tuple[Reading, Gathered]:
    sink = sink or Gathered()

    async def main(clock: VirtualClock) -> Reading:
        reader = ListReader(
            fetcher_for(wire, clock),
            sizes or PageSizes(10),
            concurrent_pages=concurrent_pages,
            memory=memory,
        )
        return await reader.read(key, sink)

    return run_in_virtual_time(main), sink


def fetcher_for(wire: ListWire, clock: VirtualClock) -> Fetcher:
    gate, budget = gate_and_budget(clock)
    return Fetcher(wire, gate, budget, clock, lambda: 0.5)


# --- one pass --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rows", [0, 1, 10, 11, 95])
def test_a_list_comes_in_its_own_order_whichever_page_comes_first(rows: int) -> None:
    wire = ListWire(ListServer(numbered(rows)))
    reading, sink = read_list(wire)
    assert sink.rows == numbered(rows)
    assert (reading.claims.rows, reading.claims.last_total) == (rows, rows)
    # Each page after the first begins with the row that the one before it ends with.
    assert len(wire.server.requests) == (1 if rows <= 10 else -(-(rows - 1) // 9))


def test_its_pages_are_fetched_concurrently_up_to_the_number_allowed() -> None:
    wire = ListWire(ListServer(numbered(300)))
    read_list(wire, concurrent_pages=6)
    assert wire.most_in_flight == 6


def test_a_slow_sink_holds_the_fetching_back() -> None:
    """No more pages wait for it than may be under way: memory is bounded by configuration."""
    wire = ListWire(ListServer(numbered(1000)))
    sink = Gathered(seconds_a_page=5.0)
    waiting: list[int] = []

    async def count(ask: Ask) -> None:
        waiting.append(len(wire.server.requests) - sink.pages)

    wire.before_answer = count
    read_list(wire, sink, concurrent_pages=4)
    assert sink.rows == numbered(1000)
    assert max(waiting) <= 2 * 4


def test_the_wire_is_kept_busy_while_the_sink_is_at_work() -> None:
    """Four answers at once take four seconds, the sink one second a page: neither waits for the other."""
    wire = ListWire(ListServer(numbered(1000)))
    ends: list[float] = []

    async def main(clock: VirtualClock) -> None:
        reader = ListReader(fetcher_for(wire, clock), PageSizes(10), concurrent_pages=4)
        await reader.read(EVENTS, Gathered(seconds_a_page=1.0))
        ends.append(clock.monotonic())

    async def answer_slowly(ask: Ask) -> None:
        await asyncio.sleep(3.0)

    wire.before_answer = answer_slowly
    run_in_virtual_time(main)
    pages = -(-999 // 9)
    assert ends[0] < 1.1 * pages + 10


def test_the_metadata_of_the_last_page_and_all_warnings_are_handed_on() -> None:
    server = ListServer(numbered(25))
    reading, _ = read_list(ListWire(server))
    assert b'"pagination"' in reading.metadata
    assert reading.warnings == ()


def test_a_first_page_alone_is_one_request_of_that_size() -> None:
    wire = ListWire(ListServer(numbered(25)))

    async def main(clock: VirtualClock) -> Page:
        reader = ListReader(fetcher_for(wire, clock), PageSizes(), concurrent_pages=1)
        return await reader.first_page(EVENTS, 1)

    page = run_in_virtual_time(main)
    assert wire.server.requests == [Ask(0, 1)]
    assert (len(page.rows), page.pagination.total) == (1, 25)


# --- trouble ---------------------------------------------------------------------------------------------
def test_fault_10_pages_that_time_out_are_read_in_halves_and_in_order() -> None:
    wire = ListWire(ListServer(numbered(400), slower_than=60))
    sizes = PageSizes(200)
    _, sink = read_list(wire, sizes=sizes)
    assert sink.rows == numbered(400)
    assert sizes.limit("events") == 50


def test_fault_10_a_page_that_times_out_midway_while_large_pages_wait_behind_it_is_read_all_the_same() -> None:
    """The large pages have used up the window by the time the halves are due."""
    slow = {100}

    async def slow_once(ask: Ask) -> None:
        if ask.offset in slow:
            slow.clear()
            await asyncio.sleep(60.0)
            raise TimedOutError("504")

    wire = ListWire(ListServer(numbered(800)), before_answer=slow_once)
    wire.padding = lambda ask: 13 << 20 if ask.offset else 0
    reading, sink = read_list(wire, sizes=PageSizes(100))
    assert sink.rows == numbered(800)
    assert reading.claims.rows == 800


@pytest.mark.parametrize("failure", [IntermediaryError("HTML")])
def test_a_page_that_fails_for_good_fails_the_reading_with_that_error(failure: UpstreamError) -> None:
    async def fail(ask: Ask) -> None:
        if ask.offset == 27:
            raise failure

    wire = ListWire(ListServer(numbered(100)), before_answer=fail)
    with pytest.raises(type(failure)) as caught:
        read_list(wire)
    assert caught.value is failure


@pytest.mark.parametrize(
    ("failure", "trouble"),
    [
        (CorruptError("another list's"), "no rows are given beyond the first 28 (another list's)"),
        (InvalidParameterError("400"), "no rows are given beyond the first 28 (400)"),
        (ForbiddenError("403"), "no rows are given beyond the first 28 (403)"),
        (NotFoundError("404"), ""),
    ],
)
def test_fault_67_what_came_before_a_page_that_is_refused_is_kept_and_the_claims_tell(
    failure: UpstreamError, trouble: str
) -> None:
    async def fail(ask: Ask) -> None:
        if ask.offset >= 27:
            raise failure

    reading, sink = read_list(ListWire(ListServer(numbered(100)), before_answer=fail), concurrent_pages=1)
    assert sink.rows == numbered(28)
    assert reading.claims.fell_short
    assert (reading.claims.trouble, reading.claims.ends_in_refusal) == (trouble, not trouble)


@pytest.mark.parametrize("concurrent_pages", [1, 8])
def test_fault_40_a_sink_that_fails_fails_the_reading_with_its_own_error(concurrent_pages: int) -> None:
    """A full disk must be told from everything else by whoever called."""
    failure = StorageError("the disk is full")
    with pytest.raises(StorageError) as caught:
        read_list(ListWire(ListServer(numbered(100))), Gathered(failure), concurrent_pages=concurrent_pages)
    assert caught.value is failure


@pytest.mark.parametrize("empty_at", [{}, {18: 1000}])
def test_pages_count_as_in_memory_until_the_sink_has_them(empty_at: dict[int, int]) -> None:
    memory = AnswerMemory()
    held: list[int] = []
    wire = ListWire(ListServer(numbered(100), empty_at=empty_at))

    class Glancing(Gathered):
        async def write(self, page: Page) -> None:
            held.append(memory.held_bytes)
            await super().write(page)

    read_list(wire, Glancing(), memory=memory)
    assert min(held) > 0
    assert memory.held_bytes == 0


@pytest.mark.parametrize("concurrent_pages", [1, 8])
def test_a_reading_that_fails_leaves_nothing_in_memory(concurrent_pages: int) -> None:
    memory = AnswerMemory()
    with pytest.raises(StorageError):
        read_list(
            ListWire(ListServer(numbered(100))),
            Gathered(StorageError("the disk is full")),
            concurrent_pages=concurrent_pages,
            memory=memory,
        )
    assert memory.held_bytes == 0


def test_fault_08_rows_behind_a_page_that_stays_empty_are_handed_on_and_the_claims_tell() -> None:
    wire = ListWire(ListServer(numbered(60), empty_at={18: 1000}))
    reading, sink = read_list(wire, concurrent_pages=8)
    assert sink.rows == numbered(19) + numbered(60)[28:]
    assert reading.claims.fell_short


def test_fault_05_what_a_server_gives_that_repeats_its_page_is_kept_and_the_claims_tell() -> None:
    server = ListServer(numbered(10), honours_offset=False, total=always(100), has_more=always(True))
    reading, sink = read_list(ListWire(server))
    assert set(sink.rows) == set(numbered(10))
    assert reading.claims.trouble


# --- page sizes ------------------------------------------------------------------------------------------
def test_a_limit_that_is_refused_falls_back_to_the_documented_one_and_is_learnt() -> None:
    async def refuse(ask: Ask) -> None:
        if ask.limit > FALLBACK_LIMIT:
            raise InvalidParameterError("400")

    wire = ListWire(ListServer(numbered(1500)), before_answer=refuse)
    sizes = PageSizes()
    assert sizes.limit("events") == LARGEST_LIMIT
    _, sink = read_list(wire, sizes=sizes)
    assert sink.rows == numbered(1500)
    assert sizes.limit("events") == FALLBACK_LIMIT
    assert sizes.limit("chat") == LARGEST_LIMIT


def test_agent_decisions_are_asked_for_in_one_large_page_and_fall_back_to_their_own_default() -> None:
    async def refuse(ask: Ask) -> None:
        if ask.limit > 5_000:
            raise InvalidParameterError("400")

    wire = ListWire(ListServer(numbered(20)), before_answer=refuse)
    sizes = PageSizes()
    assert sizes.limit("agent-decisions") == LARGEST_UNPAGED_LIMIT
    key = ListKey("e", DATA_TYPES["agent-decisions"], Scope.EXPERIMENT, "e")
    _, sink = read_list(wire, key=key, sizes=sizes)
    assert sink.rows == numbered(20)
    assert [ask.limit for ask in wire.server.requests] == [5_000]


def test_a_list_can_be_made_more_urgent_than_its_type_is() -> None:
    """Of two lists that wait for one slot, the later one comes first."""
    server = ListServer(numbered(1))
    order: list[str] = []

    async def main(clock: VirtualClock) -> None:
        gate, budget = gate_and_budget(clock, slots=1)
        fetcher = Fetcher(ListWire(server), gate, budget, clock, lambda: 0.5)
        reader = ListReader(fetcher, PageSizes(10), concurrent_pages=1)

        async def read(name: str, urgency: Urgency | None) -> None:
            await reader.read(EVENTS, Gathered(), urgency=urgency)
            order.append(name)

        await asyncio.gather(read("plain", None), read("urgent", Urgency.CATALOGUE))

    run_in_virtual_time(main)
    assert order == ["urgent", "plain"]


def test_fault_78_a_server_that_refuses_every_page_size_is_asked_for_its_own() -> None:
    class Refusing(ListWire):
        async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
            if "limit" in params:
                raise InvalidParameterError("400")
            return await ListWire.get(self, path, params | {"limit": "50"}, timeout_seconds=timeout_seconds)

    wire, sizes = Refusing(ListServer(numbered(120))), PageSizes()
    for readings in (1, 2):
        _, sink = read_list(wire, sizes=sizes)
        assert sink.rows == numbered(120)
        assert len(wire.server.requests) == 3 * readings  # the second one does not try again


def test_a_type_thought_to_have_no_pages_is_read_on_by_offset() -> None:
    wire = ListWire(ListServer(numbered(250), largest_limit=100))
    reading, sink = read_list(wire, key=ListKey("e", DATA_TYPES["agent-runs"], Scope.EXPERIMENT, "e"))
    assert sink.rows == numbered(250)
    assert not reading.claims.says_more
    assert [ask.offset for ask in wire.server.requests] == [0, 99, 198]


def test_fault_98_the_age_of_an_answer_and_a_link_to_a_next_page_are_told() -> None:
    class Odd(ListWire):
        async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
            answer = await ListWire.get(self, path, params, timeout_seconds=timeout_seconds)
            return replace(answer, age_seconds=7, has_next_link=True)

    reading, _ = read_list(Odd(ListServer(numbered(5))))
    assert (reading.age_seconds, reading.claims.says_more) == (7, True)


def test_a_400_that_a_smaller_page_does_not_mend_is_an_error() -> None:
    async def refuse(ask: Ask) -> None:
        raise InvalidParameterError("400")

    with pytest.raises(InvalidParameterError):
        read_list(ListWire(ListServer(numbered(5)), before_answer=refuse), sizes=PageSizes(FALLBACK_LIMIT))


def test_fault_07_what_one_list_was_granted_the_next_one_asks_for() -> None:
    sizes = PageSizes(100)
    read_list(ListWire(ListServer(numbered(95), largest_limit=10)), sizes=sizes)
    wire = ListWire(ListServer(numbered(95), largest_limit=10))
    read_list(wire, sizes=sizes)
    assert {ask.limit for ask in wire.server.requests} == {10}


@pytest.mark.parametrize("names_limit", [True, False])
def test_fault_03_a_short_list_with_too_high_a_total_does_not_make_the_pages_of_others_small(
    names_limit: bool,
) -> None:
    """Three rows of a claimed four are no page size: the next room's 5,000 rows would cost 1,667 requests."""
    sizes = PageSizes(1000)
    read_list(ListWire(ListServer(numbered(3), total=always(4), names_limit=names_limit)), sizes=sizes)
    wire = ListWire(ListServer(numbered(4900)))
    read_list(wire, sizes=sizes)
    assert len(wire.server.requests) == 5


def test_a_page_size_is_only_ever_lowered() -> None:
    sizes = PageSizes(100)
    sizes.lower("events", 50)
    sizes.lower("events", 80)
    assert sizes.limit("events") == 50


# --- requests --------------------------------------------------------------------------------------------
def asked(name: str, scope: Scope, scope_id: str = "x", **options: Any) -> tuple[str, Mapping[str, str]]:
    data_type = SESSIONS if name == "sessions" else DATA_TYPES[name]
    ask = Ask(20 if data_type.paged else 0, 10)
    request = page_request(ListKey("exp", data_type, scope, scope_id, **options), ask)
    return request.path, request.params


PAGE = {"limit": "10", "offset": "20"}


@pytest.mark.parametrize(
    ("name", "scope", "options", "expected"),
    [
        ("events", Scope.EXPERIMENT, {}, ("data/events/experiment/x", PAGE)),
        ("ratings/continuous", Scope.ROOM, {}, ("data/ratings/continuous/room/x", PAGE)),
        ("chat", Scope.PARTICIPANT, {"room": "r"}, ("data/chat/participant/x", PAGE | {"roomId": "r"})),
        ("variables", Scope.ROOM, {}, ("data/variables/room/x", {})),
        ("agent-decisions", Scope.ROOM, {}, ("data/agent-decisions/room/x", {"limit": "10", "detail": "true"})),
        ("deployments", Scope.EXPERIMENT, {}, ("deployments", {"experimentId": "x"})),
        ("sessions", Scope.DEPLOYMENT, {}, ("deployments/x/sessions", {})),
    ],
)
def test_each_data_type_is_asked_for_where_the_documentation_says(
    name: str, scope: Scope, options: dict[str, str], expected: tuple[str, dict[str, str]]
) -> None:
    assert asked(name, scope, **options) == expected


def test_fault_79_a_window_is_asked_for_a_minute_wider_where_the_type_takes_one() -> None:
    window = Window(start="2026-01-01T00:00:00Z", end="2026-02-01T00:00:00Z")
    _, events = asked("events", Scope.ROOM, window=window)
    _, recordings = asked("recordings", Scope.ROOM, window=window)
    assert (events["startTime"], events["endTime"]) == ("2025-12-31T23:59:00Z", "2026-02-01T00:01:00Z")
    assert recordings == PAGE


@pytest.mark.parametrize(
    "hostile", ["../../experiments", "..", ".", "a/b", "a?b=c", "a#b", "a%2Fb", "ü \n", "\ud800"]
)
def test_fault_45_an_id_is_one_segment_of_the_path_whatever_it_holds(hostile: str) -> None:
    path, _ = asked("events", Scope.ROOM, hostile)
    *before, segment = path.split("/")
    assert before == ["data", "events", "room"]
    assert segment not in {".", ".."}
    assert set(segment).isdisjoint("?#\n ")
    assert unquote(segment, errors="surrogatepass") == hostile


def test_the_minutes_limit_counts_by_data_type_and_newer_types_come_later() -> None:
    request = page_request(EVENTS, Ask(0, 10))
    assert (request.endpoint, request.urgency, request.halves_on_timeout) == (
        "data/events",
        Urgency.DOCUMENTED,
        True,
    )
    newer = page_request(ListKey("e", DATA_TYPES["variables"], Scope.ROOM, "r"), Ask(0, 10))
    assert (newer.urgency, newer.halves_on_timeout) == (Urgency.NEWER, False)
    assert endpoint_of("deployments/x/sessions", "sessions") == "deployments"


def test_recordings_are_given_the_time_that_servers_need_to_sign_them() -> None:
    key = ListKey("e", DATA_TYPES["recordings"], Scope.EXPERIMENT, "e")
    assert page_request(key, Ask(0, 10)).timeout_seconds == 300.0


def test_a_list_without_a_total_is_read_page_by_page() -> None:
    wire = ListWire(ListServer(numbered(35), total=absent))
    _, sink = read_list(wire)
    assert sink.rows == numbered(35)
    assert wire.most_in_flight == 1
