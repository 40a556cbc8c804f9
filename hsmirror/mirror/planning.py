"""`plan`: what a run would fetch, in how many requests, and how long that takes under the limits.

It asks for what it cannot know — the rooms, and one row of each list for its total — and touches nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import anyio.to_thread
import msgspec

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page
from hsmirror.archive.layout import Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import FileReceipt
from hsmirror.clock import Clock, SystemClock
from hsmirror.errors import ForbiddenError, KeyRefusedError, NotFoundError, UpstreamError
from hsmirror.mirror.catalogue import all_experiments
from hsmirror.mirror.connection import Connection, connected
from hsmirror.mirror.context import Absences, key_mark
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.held import HeldLists
from hsmirror.mirror.lists import LARGEST_LIMIT, endpoint_of, path_segment
from hsmirror.mirror.night import (
    HeldList,
    Policy,
    RoomState,
    Step,
    room_requests,
    tonight,
    whole_requests,
)
from hsmirror.mirror.plan import Way, choose_way, least_seconds, pages, wanted_types
from hsmirror.mirror.room_states import room_state
from hsmirror.model import DataType, ListKey, Scope, Secret
from hsmirror.pace.agenda import Urgency
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
    """The whole run. `seconds` is what the limits alone make it take, from a full budget."""

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
) -> PlanReport:
    """Find out what `sync` would do; `is_full`: what `sync --full` would.

    Raises:
        KeyRefusedError, UpstreamError: the API refuses the key, or cannot be asked.
    """
    async with connected(settings, key, clock or SystemClock()) as connection:
        chosen = {each.id: each for each in experiments if each.id != "*"}
        everything = next((each for each in experiments if each.id == "*"), None)
        if everything is not None:
            for each in await all_experiments(connection.fetcher):
                chosen.setdefault(each, msgspec.structs.replace(everything, id=each))
        holdings = await anyio.to_thread.run_sync(_holdings, settings, key, connection.clock, is_full)
        costs: Counter[str] = Counter()
        planned = [await _Planning(connection, each, costs, holdings).plan() for each in chosen.values()]
        return PlanReport(
            experiments=tuple(planned),
            requests=costs.total(),
            seconds=least_seconds(dict(costs), connection.limits),
            probe_requests=connection.fetcher.statistics().requests,
            notes=tuple(f"{each.id}: {each.note}" for each in planned if each.note),
        )


@dataclass(frozen=True, slots=True)
class _Holdings:
    """What is held, as far as it spares requests. `absences` None: there is no archive yet."""

    lists: HeldLists
    files: Counter[str]
    absences: Absences | None
    policy: Policy


def _holdings(settings: Settings, key: Secret, clock: Clock, is_full: bool) -> _Holdings:
    layout = Layout(settings.archive.path)
    receipts = Archive.open(layout.root).receipts if layout.marker.exists() else None
    recheck_seconds = settings.archive.recheck_seconds
    absences = None
    if receipts is not None:
        absences = Absences(
            receipts, clock, key_mark=key_mark(key), recheck_seconds=recheck_seconds, is_ignored=is_full
        )
    return _Holdings(
        HeldLists(layout, receipts, now=clock.epoch()),
        Counter(receipt.experiment for receipt in receipts or () if isinstance(receipt, FileReceipt)),
        absences,
        Policy(settings.archive.settle_seconds, recheck_seconds, is_full),
    )


class _NotAskedError(NotFoundError):
    """An endpoint that was not there before, and is not asked for again yet."""


class _Planning:
    """One experiment; `costs` counts requests by endpoint, for all experiments together."""

    def __init__(
        self, connection: Connection, chosen: ExperimentSettings, costs: Counter[str], holdings: _Holdings
    ) -> None:
        self._connection = connection
        self._chosen = chosen
        self._costs = costs
        self._holdings = holdings
        self._is_whole = not (chosen.rooms or chosen.participants or chosen.start_time or chosen.end_time)
        self._states: dict[str, RoomState] = {}
        self._before = costs.total()
        self._mints = False
        self._page_size = LARGEST_LIMIT

    async def plan(self) -> PlannedExperiment:
        chosen = self._chosen
        types = wanted_types(chosen.data_types)
        self._cost("experiments", 3)
        if not await self._exists():
            return PlannedExperiment(chosen.id, note="the API knows no such experiment")
        rooms = await self._rooms()
        probed: dict[DataType, Page | UpstreamError] = {}

        async def probe(data_type: DataType) -> None:
            probed[data_type] = await self._probe(data_type, rooms)

        async with anyio.create_task_group() as tasks:
            for data_type in types:
                tasks.start_soon(probe, data_type)
        await self._learn_page_size(probed)
        planned = tuple(self._type(each, probed[each], rooms) for each in types)
        files = None
        recordings = next((each for each in planned if each.data_type == "recordings"), None)
        if chosen.files and recordings is not None and recordings.rows is not None:
            files = max(0, recordings.rows - self._held_recordings())
            self._cost("data/recordings", files if self._mints else 0)
        return PlannedExperiment(
            chosen.id,
            rooms=len(rooms),
            types=planned,
            files=files,
            requests=self._costs.total() - self._before,
        )

    async def _rooms(self) -> list[str]:
        if self._chosen.rooms:
            return list(self._chosen.rooms)
        key = self._key(DATA_TYPES["rooms"], Scope.EXPERIMENT, self._chosen.id)
        try:
            page = await self._connection.reader.first_page(key, LARGEST_LIMIT)
        except (NotFoundError, ForbiddenError):
            return []
        for room, row in zip(page.rooms, page.rows, strict=True):
            if room is not None:
                self._states[room] = room_state(row)
        return list(self._states)

    def _held_recordings(self) -> int:
        """Of the recordings that the server lists: those that are held, and those of forgotten persons."""
        held = self._holdings.lists.list_of(self._chosen.id, "recordings")
        gone = sum(each.gone_rows for each in held.rooms.values()) if held is not None else 0
        unaccounted = held.unaccounted if held is not None else 0
        return max(0, self._holdings.files[self._chosen.id] - gone) + max(0, unaccounted)

    async def _exists(self) -> bool:
        """Does the server know the experiment, by its definition or by one of its lists?"""
        request = Request(
            "experiments", f"experiments/{path_segment(self._chosen.id)}", {}, urgency=Urgency.CATALOGUE
        )
        try:
            await self._connection.fetcher.get(request)
        except (NotFoundError, ForbiddenError):
            return not isinstance(await self._probe(DATA_TYPES["events"], []), NotFoundError)
        return True

    async def _probe(self, data_type: DataType, rooms: Sequence[str]) -> Page | UpstreamError:
        """One row, for the total and for whether it names its room."""
        what = f"{data_type.name} of {self._chosen.id}"
        if self._holdings.absences is not None and (why := self._holdings.absences.why(what)) is not None:
            return _NotAskedError(f"not asked for ({why})")
        scope, scope_id = Scope.EXPERIMENT, self._chosen.id
        if Scope.EXPERIMENT not in data_type.scopes:
            if not rooms:
                return NotFoundError("no room is known to ask for it")
            scope, scope_id = Scope.ROOM, rooms[0]
        try:
            return await self._connection.reader.first_page(self._key(data_type, scope, scope_id), 1)
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
            page = await self._connection.reader.first_page(key, LARGEST_LIMIT)
        except UpstreamError:
            self._page_size = 1000
            return
        if len(page.rows) < totals[longest]:
            self._page_size = max(1, len(page.rows))

    def _type(self, data_type: DataType, probed: Page | UpstreamError, rooms: Sequence[str]) -> PlannedType:
        name = data_type.name
        if isinstance(probed, _NotAskedError):
            return PlannedType(name, note=str(probed))
        if isinstance(probed, UpstreamError):
            if Scope.EXPERIMENT in data_type.scopes:
                self._cost(name, 1)
            return PlannedType(name, requests=1, note=str(probed))
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
        if held is not None:
            requests = self._requests_tonight(data_type, held, total)
        else:
            requests = self._requests(data_type, way, total, len(rooms))
        self._cost(name, requests)
        rows = total if Scope.EXPERIMENT in data_type.scopes else None
        return PlannedType(name, rows=rows, way=way, requests=requests)

    def _requests(self, data_type: DataType, way: Way, total: int | None, rooms: int) -> int:
        if way is Way.PARTICIPANTS:
            return max(1, rooms) * len(self._chosen.participants)
        if way is Way.ROOMS and rooms:
            # The first page of the whole list showed that its rows do not name their rooms.
            shown = 0 if self._chosen.rooms or Scope.EXPERIMENT not in data_type.scopes else 1
            return shown + max(rooms, pages(total or 0, self._page_size))
        return pages(total or 0, self._page_size)

    def _requests_tonight(self, data_type: DataType, held: HeldList, total: int | None) -> int:
        """Of a list that is held: the probe, the open rooms, and what a total that has moved leads to."""
        night = tonight(
            held,
            self._states,
            self._holdings.policy,
            now=self._connection.clock.epoch(),
            can_by_room=Scope.ROOM in data_type.scopes,
            can_probe=data_type.paged and Scope.EXPERIMENT in data_type.scopes and held.total is not None,
        )
        whole = max(whole_requests(held), pages(total or 0, self._page_size))
        if night.step is Step.NOTHING:
            return 0
        if night.step is Step.ROOMS:
            return room_requests(held, night.open_rooms) + 1
        if night.step is Step.WHOLE:
            return whole
        has_moved = total is not None and total - held.unaccounted != held.rows
        return 1 + (whole if has_moved else 0)

    def _cost(self, name: str, requests: int) -> None:
        endpoint = name if "/" in name or name == "experiments" else endpoint_of(f"data/{name}", name)
        self._costs[endpoint] += requests

    def _key(self, data_type: DataType, scope: Scope, scope_id: str) -> ListKey:
        room = scope_id if scope is Scope.ROOM else None
        return ListKey(self._chosen.id, data_type, scope, scope_id, room)
