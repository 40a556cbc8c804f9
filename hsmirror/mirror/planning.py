"""`plan`: what a run would fetch, in how many requests, and how long that takes under the limits.

It asks for what it cannot know — the rooms, and one row of each list for its total — and touches nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page
from hsmirror.archive.layout import Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import FileReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.clock import Clock, SystemClock
from hsmirror.errors import ForbiddenError, KeyRefusedError, NotFoundError, UpstreamError
from hsmirror.mirror.catalogue import all_experiments, held_experiments
from hsmirror.mirror.connection import Connection, connected
from hsmirror.mirror.cost import (
    SAMPLED_ROOMS,
    needs_sample,
    of_night,
    room_by_room,
    total_requests,
    whole_list,
)
from hsmirror.mirror.fetch import Request, Wire
from hsmirror.mirror.held import HeldLists
from hsmirror.mirror.lists import FALLBACK_LIMIT, LARGEST_LIMIT, endpoint_of, path_segment
from hsmirror.mirror.night import FEW_PAGES, HeldList, Policy, RoomState, tonight, whole_requests
from hsmirror.mirror.plan import Way, choose_way, wanted_types
from hsmirror.mirror.room_states import held_room_states, room_state
from hsmirror.model import DataType, ListKey, Scope, Secret
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.duration import Requests, Steps, foretold_seconds
from hsmirror.settings import ExperimentSettings, Settings


class PlannedType(msgspec.Struct, frozen=True, omit_defaults=True):
    """One data type: `rows` None where the server names no total; `way` empty where it is not read."""

    data_type: str
    rows: int | None = None
    way: str = ""
    requests: int = 0
    note: str = ""


class PlannedExperiment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One experiment. `files` are recording files that are not held yet; sizes are not known beforehand."""

    id: str
    name: str = ""
    rooms: int = 0
    types: tuple[PlannedType, ...] = ()
    files: int | None = None
    file_bytes: int | None = None
    requests: int = 0
    """For its definition, rooms, data types and minted addresses together."""
    note: str = ""


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run. `seconds` is what its requests will take: from a full budget, answered as quickly as the
    probes were. Recording files come on top."""

    experiments: tuple[PlannedExperiment, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    probe_requests: int = 0
    notes: tuple[str, ...] = ()


async def plan(
    settings: Settings,
    key: Secret,
    experiments: Sequence[ExperimentSettings],
    *,
    is_full: bool = False,
    clock: Clock | None = None,
    state_folder: Path | None = None,
    wire: Wire | None = None,
) -> PlanReport:
    """Find out what `sync` would do; `is_full`: what `sync --full` would. The rest is as in `RunOptions`.

    Raises:
        KeyRefusedError, UpstreamError: the API refuses the key, or cannot be asked.
    """
    async with connected(
        settings, key, clock or SystemClock(), state_folder=state_folder, wire=wire
    ) as connection:
        chosen = {each.id: each for each in experiments if each.id != "*"}
        doubts: tuple[str, ...] = ()
        everything = next((each for each in experiments if each.id == "*"), None)
        holdings = await anyio.to_thread.run_sync(_holdings, settings, connection.clock, is_full)
        if everything is not None:
            catalogue = await all_experiments(connection.reader)
            held = held_experiments(holdings.receipts) if holdings.receipts is not None else []
            doubts = catalogue.doubts_beside(held)
            for each in (*catalogue.experiments, *catalogue.unlisted(held)):
                chosen.setdefault(each, msgspec.structs.replace(everything, id=each))
        listed = connection.fetcher.statistics().requests
        plannings = [_Planning(connection, each, holdings) for each in chosen.values()]
        planned = [await planning.plan() for planning in plannings]
        return PlanReport(
            experiments=tuple(planned),
            requests=listed + sum(each.requests for each in planned),
            seconds=_foretold_seconds(plannings, connection, at_once=settings.limits.max_concurrent_requests),
            probe_requests=connection.fetcher.statistics().requests,
            notes=(*doubts, *(f"{each.id}: {each.note}" for each in planned if each.note)),
        )


def _foretold_seconds(plannings: Sequence[_Planning], connection: Connection, *, at_once: int) -> float:
    stages: list[list[Steps]] = [
        [(Requests("experiments", len(plannings)),)],
        [steps for planning in plannings for steps in planning.before],
        [steps for planning in plannings for steps in planning.lists],
    ]
    latency_seconds = connection.fetcher.answer_times.latency_seconds
    return foretold_seconds(stages, connection.limits, at_once=at_once, latency_seconds=latency_seconds)


_OTHER_DOCUMENTS = 2
"""Beside the experiment's own: `config` and `export`."""


@dataclass(frozen=True, slots=True)
class _Holdings:
    """What is held, as far as it spares requests. `receipts` None: there is no archive yet."""

    layout: Layout
    receipts: Receipts | None
    lists: HeldLists
    files: Counter[str]
    policy: Policy


def _holdings(settings: Settings, clock: Clock, is_full: bool) -> _Holdings:
    layout = Layout(settings.archive.path)
    receipts = Archive.open(layout.root).receipts if layout.marker.exists() else None
    return _Holdings(
        layout,
        receipts,
        HeldLists(layout, receipts, now=clock.epoch()),
        Counter(receipt.experiment for receipt in receipts or () if isinstance(receipt, FileReceipt)),
        Policy(settings.archive.settle_seconds, settings.archive.recheck_seconds, is_full),
    )


class _Planning:
    """One experiment: its probes, and the requests that follow from what they told."""

    def __init__(self, connection: Connection, chosen: ExperimentSettings, holdings: _Holdings) -> None:
        self._connection = connection
        self._chosen = chosen
        self._holdings = holdings
        self._reader = connection.reader
        self._answer_times = connection.fetcher.answer_times
        self._is_whole = not (chosen.rooms or chosen.participants or chosen.start_time or chosen.end_time)
        self._rooms: list[str] = []
        self._room_count = 0
        self._states: dict[str, RoomState] = {}
        self._held_states: dict[str, RoomState] = {}
        self._mints = False
        self._page_rows = LARGEST_LIMIT
        self.before: list[Steps] = []
        """What everything else waits for: on nights the rooms."""
        self.lists: list[Steps] = []
        """All else, by list."""

    async def plan(self) -> PlannedExperiment:
        """Ask, and find `lists`."""
        chosen = self._chosen
        types = wanted_types(chosen.data_types)
        if not await self._exists():
            return PlannedExperiment(chosen.id, note="the API knows no such experiment", requests=2)
        self.lists.append((Requests("experiments", _OTHER_DOCUMENTS),))
        await self._learn_rooms()
        probed: dict[DataType, Page | UpstreamError] = {}

        async def probe(data_type: DataType) -> None:
            probed[data_type] = await self._probe(data_type)

        async with anyio.create_task_group() as tasks:
            for data_type in types:
                tasks.start_soon(probe, data_type)
        await self._learn_page_size(probed)
        planned = [await self._type(each, probed[each]) for each in types]
        files = None
        recordings = next((each for each in planned if each.data_type == "recordings"), None)
        if chosen.files and recordings is not None and recordings.rows is not None:
            files = max(0, recordings.rows - self._held_recordings())
            self.lists.append((Requests("data/recordings", files if self._mints else 0),))
        return PlannedExperiment(
            chosen.id,
            rooms=self._room_count,
            types=tuple(planned),
            files=files,
            requests=1 + sum(map(total_requests, (*self.before, *self.lists))),
        )

    # --- what is asked -------------------------------------------------------------------------------
    async def _exists(self) -> bool:
        """Does the server know the experiment, by its definition or by one of its lists?"""
        request = Request(
            "experiments", f"experiments/{path_segment(self._chosen.id)}", {}, urgency=Urgency.CATALOGUE
        )
        try:
            await self._connection.fetcher.get(request)
        except (NotFoundError, ForbiddenError):
            return not isinstance(await self._probe(DATA_TYPES["events"]), NotFoundError)
        return True

    async def _learn_rooms(self) -> None:
        """The rooms, as the run will know them: all that have changed on a night, their number at first."""
        held = await anyio.to_thread.run_sync(self._holdings.lists.list_of, self._chosen.id, "rooms")
        if held is not None and self._holdings.receipts is not None:
            layout, receipts = self._holdings.layout, self._holdings.receipts
            self._held_states = await anyio.to_thread.run_sync(
                held_room_states, layout, receipts, self._chosen.id, held
            )
        if self._chosen.rooms:
            self._rooms = list(self._chosen.rooms)
            self._room_count = len(self._rooms)
            return
        key = self._key(DATA_TYPES["rooms"], Scope.EXPERIMENT, self._chosen.id)
        try:
            page = await self._reader.first_page(key, LARGEST_LIMIT)
            total = page.pagination.total or 0
            is_all = total <= len(page.rows)
            if not is_all and held is not None and total - held.unaccounted == held.rows:
                self._states = self._held_states
            elif not is_all and self._holdings.lists.has_any(self._chosen.id):
                await self._connection.reader.read(key, self)
            else:
                await self.write(page)
        except (NotFoundError, ForbiddenError):
            return
        self._rooms = list(self._states)
        self._room_count = max(len(self._states), total)

    async def write(self, page: Page) -> None:
        """Take note of some rooms."""
        for room, row in zip(page.rooms, page.rows, strict=True):
            if room is not None:
                self._states[room] = room_state(row)

    async def _probe(self, data_type: DataType) -> Page | UpstreamError:
        """One row, for the total and for whether it names its room."""
        key = self._key(data_type, Scope.EXPERIMENT, self._chosen.id)
        if Scope.EXPERIMENT not in data_type.scopes:
            if not self._rooms:
                return NotFoundError("no room is known to ask for it")
            key = self._key(data_type, Scope.ROOM, self._rooms[0])
        try:
            return await self._reader.first_page(key, 1)
        except KeyRefusedError:
            raise
        except UpstreamError as error:
            return error

    async def _learn_page_size(self, probed: dict[DataType, Page | UpstreamError]) -> None:
        """How many rows the server grants in a page: asked of the longest list, if that has several."""
        totals = {
            data_type: page.pagination.total or 0
            for data_type, page in probed.items()
            if isinstance(page, Page) and data_type.paged and Scope.EXPERIMENT in data_type.scopes
        }
        longest = max(totals, key=lambda data_type: totals[data_type], default=None)
        if longest is None or totals[longest] <= 100:
            return
        key = self._key(longest, Scope.EXPERIMENT, self._chosen.id)
        try:
            page = await self._reader.first_page(key, LARGEST_LIMIT)
        except UpstreamError:
            self._page_rows = FALLBACK_LIMIT
            return
        if len(page.rows) < totals[longest]:
            self._page_rows = max(1, len(page.rows))

    async def _sampled(self, data_type: DataType) -> list[int]:
        """The rows of some rooms."""
        some = self._rooms[:: max(1, len(self._rooms) // SAMPLED_ROOMS)][:SAMPLED_ROOMS]
        totals = [await self._total(self._key(data_type, Scope.ROOM, room)) for room in some]
        return [total for total in totals if total is not None]

    async def _total(self, key: ListKey) -> int | None:
        """How many rows a list has; None where that cannot be learnt."""
        try:
            return (await self._reader.first_page(key, 1)).pagination.total
        except UpstreamError:
            return None

    # --- what it costs -------------------------------------------------------------------------------
    async def _type(self, data_type: DataType, probed: Page | UpstreamError) -> PlannedType:
        name = data_type.name
        if isinstance(probed, UpstreamError):
            is_listed = Scope.EXPERIMENT in data_type.scopes
            requests = 1 if is_listed or _is_of_route(probed) else self._room_count
            # Where the others wait for the rooms, a type that is not held does not.
            is_before = is_listed and self._holdings.lists.has_any(self._chosen.id)
            (self.before if is_before else self.lists).append((Requests(_endpoint(name), requests),))
            return PlannedType(name, requests=requests, note=str(probed))
        total = probed.pagination.total if data_type.paged else None
        way = choose_way(
            data_type,
            rooms_wanted=bool(self._chosen.rooms),
            participants_wanted=bool(self._chosen.participants),
            rows_tell_rooms=None not in probed.rooms if probed.rows else None,
        )
        if name == "recordings" and probed.rows and b'"downloadPath"' in bytes(probed.rows[0]):
            self._mints = True
        if way is None:
            return PlannedType(name, note="cannot be narrowed so far; left out")
        held = self._holdings.lists.list_of(self._chosen.id, name) if self._is_whole else None
        row_seconds = self._answer_times.line_seconds(len(bytes(probed.rows[0]))) if probed.rows else 0.0
        if held is not None:
            steps = self._tonight(data_type, held, total, row_seconds)
        else:
            steps = await self._first(data_type, way, total, row_seconds)
        is_before = name == "rooms" and self._holdings.lists.has_any(self._chosen.id)
        (self.before if is_before else self.lists).append(steps)
        rows = total if Scope.EXPERIMENT in data_type.scopes else None
        return PlannedType(name, rows=rows, way=way, requests=total_requests(steps))

    async def _first(self, data_type: DataType, way: Way, total: int | None, row_seconds: float) -> Steps:
        endpoint, rooms, rows = _endpoint(data_type.name), self._room_count, total or 0
        if way is Way.PARTICIPANTS:
            return (Requests(endpoint, max(1, rooms) * len(self._chosen.participants)),)
        if way is not Way.ROOMS or not rooms:
            return whole_list(endpoint, rows, self._page_rows, row_seconds)
        sample = await self._sampled(data_type) if needs_sample(rows, rooms, self._page_rows) else []
        lists = room_by_room(endpoint, rows, rooms, self._page_rows, row_seconds, sample=sample)
        # The first page of the whole list shows that its rows do not name their rooms.
        is_listed = not self._chosen.rooms and Scope.EXPERIMENT in data_type.scopes
        # Where that is not all of it, its last page is looked at beside the rooms.
        looks_at_end = is_listed and rows > self._page_rows
        first, *others = lists
        first = replace(first, count=first.count + int(looks_at_end))
        return (Requests(endpoint, int(is_listed)), first, *others)

    def _tonight(self, data_type: DataType, held: HeldList, total: int | None, row_seconds: float) -> Steps:
        is_rooms = data_type.name == "rooms"
        can_probe = data_type.paged and Scope.EXPERIMENT in data_type.scopes and held.total is not None
        can_probe = can_probe and not (is_rooms and whole_requests(held) <= FEW_PAGES)
        night = tonight(
            held,
            self._held_states if is_rooms else self._states,
            replace(self._holdings.policy, idle_rooms_settle=not is_rooms),
            now=self._connection.clock.epoch(),
            can_by_room=Scope.ROOM in data_type.scopes,
            can_probe=can_probe,
        )
        return of_night(
            _endpoint(data_type.name),
            night,
            held,
            self._page_rows,
            row_seconds,
            total=total,
            can_probe=can_probe,
        )

    def _held_recordings(self) -> int:
        """Of the recordings that the server lists: those that are held, and those of forgotten persons."""
        held = self._holdings.lists.list_of(self._chosen.id, "recordings")
        gone = sum(each.gone_rows for each in held.rooms.values()) if held is not None else 0
        unaccounted = held.unaccounted if held is not None else 0
        return max(0, self._holdings.files[self._chosen.id] - gone) + max(0, unaccounted)

    def _key(self, data_type: DataType, scope: Scope, scope_id: str) -> ListKey:
        room = scope_id if scope is Scope.ROOM else None
        return ListKey(self._chosen.id, data_type, scope, scope_id, room)


def _endpoint(data_type: str) -> str:
    return endpoint_of(f"data/{data_type}", data_type)


def _is_of_route(error: UpstreamError) -> bool:
    """Does the server say that it lacks the endpoint? Otherwise each room is asked."""
    return isinstance(error, NotFoundError) and error.is_of_route
