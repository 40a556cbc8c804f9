"""`plan`: what a run would fetch, in how many requests, and how long that takes under the limits.

It asks for what it cannot know — one row of each list, for its total — and touches nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import anyio
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
from hsmirror.mirror.lists import LARGEST_LIMIT, endpoint_of
from hsmirror.mirror.plan import Way, choose_way, least_seconds, pages, wanted_types
from hsmirror.model import DataType, ListKey, Scope, Secret
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
    settings: Settings, key: Secret, experiments: Sequence[ExperimentSettings], *, clock: Clock | None = None
) -> PlanReport:
    """Find out what `sync` would do.

    Raises:
        KeyRefusedError, UpstreamError: the API refuses the key, or cannot be asked.
    """
    async with connected(settings, key, clock or SystemClock()) as connection:
        chosen = {each.id: each for each in experiments if each.id != "*"}
        everything = next((each for each in experiments if each.id == "*"), None)
        if everything is not None:
            for each in await all_experiments(connection.fetcher):
                chosen.setdefault(each, msgspec.structs.replace(everything, id=each))
        held = _held_files(Layout(settings.archive.path))
        costs: Counter[str] = Counter()
        planned = [
            await _Planning(connection, each, costs, held.get(each.id, 0)).plan() for each in chosen.values()
        ]
        return PlanReport(
            experiments=tuple(planned),
            requests=costs.total(),
            seconds=least_seconds(dict(costs), connection.limits),
            probe_requests=connection.fetcher.statistics().requests,
            notes=tuple(f"{each.id}: {each.note}" for each in planned if each.note),
        )


def _held_files(layout: Layout) -> Counter[str]:
    if not layout.marker.exists():
        return Counter()
    receipts = Archive.open(layout.root).receipts
    return Counter(receipt.experiment for receipt in receipts if isinstance(receipt, FileReceipt))


class _Planning:
    """One experiment; `costs` counts requests by endpoint, for all experiments together."""

    def __init__(
        self, connection: Connection, chosen: ExperimentSettings, costs: Counter[str], held_files: int
    ) -> None:
        self._connection = connection
        self._chosen = chosen
        self._costs = costs
        self._held_files = held_files
        self._before = costs.total()
        self._mints = False
        self._page_size = LARGEST_LIMIT

    async def plan(self) -> PlannedExperiment:
        chosen = self._chosen
        types = wanted_types(chosen.data_types)
        self._cost("experiments", 3)
        rooms = await self._rooms()
        probed: dict[DataType, Page | UpstreamError] = {}

        async def probe(data_type: DataType) -> None:
            probed[data_type] = await self._probe(data_type, rooms)

        async with anyio.create_task_group() as tasks:
            for data_type in types:
                tasks.start_soon(probe, data_type)
        if all(isinstance(probed[each], NotFoundError) for each in types if each.documented):
            return PlannedExperiment(chosen.id, note="the API knows no such experiment")
        await self._learn_page_size(probed)
        planned = tuple(self._type(each, probed[each], rooms) for each in types)
        files = None
        recordings = next((each for each in planned if each.data_type == "recordings"), None)
        if chosen.files and recordings is not None and recordings.rows is not None:
            files = max(0, recordings.rows - self._held_files)
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
        return [room for room in page.rooms if room is not None]

    async def _probe(self, data_type: DataType, rooms: Sequence[str]) -> Page | UpstreamError:
        """One row, for the total and for whether it names its room."""
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

    def _cost(self, name: str, requests: int) -> None:
        endpoint = name if "/" in name or name == "experiments" else endpoint_of(f"data/{name}", name)
        self._costs[endpoint] += requests

    def _key(self, data_type: DataType, scope: Scope, scope_id: str) -> ListKey:
        room = scope_id if scope is Scope.ROOM else None
        return ListKey(self._chosen.id, data_type, scope, scope_id, room)
