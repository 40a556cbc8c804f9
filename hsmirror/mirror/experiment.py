"""One experiment: its definition, its rooms, its data types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import anyio

from hsmirror.api.data_types import DATA_TYPES, SESSIONS
from hsmirror.api.envelope import Page, first_element, parse_document
from hsmirror.archive.layout import document_path
from hsmirror.archive.receipts import ShardReceipt
from hsmirror.errors import (
    BudgetExhaustedError,
    ForbiddenError,
    KeyRefusedError,
    NotFoundError,
    UnreachableError,
    UpstreamError,
)
from hsmirror.mirror.context import Context
from hsmirror.mirror.data_type import TypeMirror, Wanted
from hsmirror.mirror.documents import document_commit
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.lists import FALLBACK_LIMIT, path_segment
from hsmirror.mirror.reading import OnRecordings
from hsmirror.mirror.report import ExperimentReport, Problem, TypeReport
from hsmirror.model import DataType, ListKey, Scope
from hsmirror.pace.agenda import Urgency

MOST_ROOMS_LISTED = 5_000
"""The rooms endpoint gives no more than this; beyond it, other rows may name rooms that it does not."""

_ROOMS = DATA_TYPES["rooms"]
_DEFINITIONS = (("", "experiment.json"), ("/config", "config.json"), ("/export", "export.json"))


class ExperimentMirror:
    """Mirrors one experiment, all wanted data types at once."""

    def __init__(
        self,
        context: Context,
        wanted: Wanted,
        types: Sequence[DataType],
        *,
        concurrent_lists: int,
        on_recordings: OnRecordings | None,
    ) -> None:
        self._context = context
        self._wanted = wanted
        self._types = types
        self._concurrent_lists = concurrent_lists
        self._on_recordings = on_recordings
        self._rooms = _Rooms(context, wanted, types)
        self._name = ""
        self._is_defined: bool | None = None
        self._absence: tuple[str, str] | None = None

    async def define(self) -> None:
        """Read the experiment's definition: the first request, which also shows whether the key is good.

        Raises:
            KeyRefusedError: it is not.
        """
        if self._is_defined is not None:
            return
        is_defined = True
        for suffix, name in _DEFINITIONS:
            if not await self._read_document(f"experiments/{{}}{suffix}", name) and not suffix:
                is_defined = False
                break
        self._is_defined = is_defined

    async def mirror(self) -> ExperimentReport:
        """Read, write and commit all that is wanted of it.

        Raises:
            KeyRefusedError, StorageError: these end the run. All else is in the report.
        """
        experiment = self._wanted.experiment
        try:
            await self.define()
            if not self._is_defined and not await self._exists():
                return self._unknown()
            if self._wanted.rooms:
                self._wanted = replace(self._wanted, rooms=tuple(await self._rooms.wanted()))
                if not self._wanted.rooms:
                    return ExperimentReport(experiment, name=self._name)
        except KeyRefusedError:
            raise
        except UpstreamError as error:
            return self._unreadable(str(error))
        reports: dict[str, TypeReport] = {}

        async def mirror_type(data_type: DataType) -> None:
            mirror = TypeMirror(
                self._context,
                self._wanted,
                data_type,
                self._rooms,
                concurrent_lists=self._concurrent_lists,
                on_recordings=self._on_recordings if data_type.name == "recordings" else None,
            )
            try:
                if (report := await mirror.run()) is not None:
                    reports[data_type.name] = report
                    if data_type is _ROOMS and not report.is_complete:
                        self._rooms.doubt = report.why
            finally:
                self._rooms.told(data_type)

        async with anyio.create_task_group() as tasks:
            for data_type in self._types:
                tasks.start_soon(mirror_type, data_type)
        return ExperimentReport(
            experiment,
            name=self._name,
            rooms=len(self._rooms),
            types=tuple(reports[data_type.name] for data_type in self._types if data_type.name in reports),
        )

    # --- the definition ------------------------------------------------------------------------------
    async def _read_document(self, template: str, name: str) -> bool:
        experiment = self._wanted.experiment
        what = f"{template.format('{id}')} of {experiment}"
        if self._context.absences.why(what) is not None:
            return False
        request = Request(
            "experiments", template.format(path_segment(experiment)), {}, urgency=Urgency.CATALOGUE
        )
        try:
            data, document = await self._context.fetcher.get_parsed(request, parse_document)
        except (NotFoundError, ForbiddenError) as error:
            if template.endswith("{}"):
                self._absence = (what, str(error))  # an unknown experiment, or a server without this endpoint
            else:
                await self._context.committer.commit(self._context.absences.commit(what, str(error)))
            return False
        except (KeyRefusedError, BudgetExhaustedError, UnreachableError):
            raise
        except UpstreamError as error:
            self._context.tally.problems.append(Problem(f"{name}: {error}; run again", experiment=experiment))
            return True  # that it could not be read says nothing against the experiment
        # The row itself: a list of one, as recorded, or an object.
        if isinstance(data, list):
            data, document = (data[0], first_element(document)) if data else ({}, b"{}")
        if isinstance(data, dict) and name == "experiment.json":
            self._name = str(data.get("name") or "")
        path = document_path(experiment, name)
        commit = await document_commit(self._context, experiment, path, document)
        if commit is not None:
            await self._context.committer.commit(commit)
        return True

    async def _exists(self) -> bool:
        """A server without `/experiments` may know the experiment all the same: one of its lists tells.

        Asked for with the documented page size, which every server grants.
        """
        data_type = next(
            (each for each in self._types if Scope.EXPERIMENT in each.scopes), DATA_TYPES["events"]
        )
        key = ListKey(self._wanted.experiment, data_type, Scope.EXPERIMENT, self._wanted.experiment)
        try:
            await self._context.reader.first_page(key, FALLBACK_LIMIT)
        except NotFoundError:
            return False
        except ForbiddenError:
            pass  # that is for the data types to report
        if self._absence is not None:
            await self._context.committer.commit(self._context.absences.commit(*self._absence))
        return True

    def _unknown(self) -> ExperimentReport:
        return self._unreadable(
            "the API knows no such experiment, or the key may not see it; check the id, and who owns it"
        )

    def _unreadable(self, why: str) -> ExperimentReport:
        self._context.tally.problems.append(Problem(why, experiment=self._wanted.experiment))
        return ExperimentReport(self._wanted.experiment, problem=why)


class _Rooms:
    """What is known of an experiment's rooms, and by when all is known.

    The rooms endpoint lists them. Where a server lacks it, they are the sessions of the deployments and
    those that rows of any data type name: then whoever needs them waits until every type has told.
    """

    def __init__(self, context: Context, wanted: Wanted, types: Sequence[DataType]) -> None:
        self._context = context
        self._wanted = wanted
        self._named: dict[str, None] = dict.fromkeys(wanted.rooms)
        self._telling = {data_type.name for data_type in types}
        self._all_told = anyio.Event()
        self._listed: list[str] | None = None
        self._is_listed_as_type = _ROOMS in types
        self._rooms_told = anyio.Event()
        self._is_listing = False
        self._is_known = anyio.Event()
        self._people: dict[str, list[str]] | None = None
        self._people_lock = anyio.Lock()
        self.doubt = ""

    def __len__(self) -> int:
        return len(self._named)

    @property
    def are_listed(self) -> bool:
        return self._listed is not None

    def named(self, data_type: DataType, rooms: Iterable[str | None]) -> None:
        names = [room for room in rooms if room is not None]
        self._named.update(dict.fromkeys(names))
        if data_type is _ROOMS:
            self._listed = names

    def told(self, data_type: DataType) -> None:
        """This type will name no more rooms."""
        self._telling.discard(data_type.name)
        if data_type is _ROOMS:
            self._rooms_told.set()
        if not self._telling:
            self._all_told.set()

    async def wanted(self) -> list[str]:
        """The wanted rooms that are this experiment's; all of them where the server does not list any.

        A room's data can be asked for without its experiment: it must not be filed under another one.
        """
        wanted = list(self._wanted.rooms)
        listed = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, _ROOMS)
        if listed is None or len(listed) >= MOST_ROOMS_LISTED:
            return wanted
        names = {room for _, room in listed}
        self._context.tally.unplaced.update(("room", room) for room in wanted if room not in names)
        self._wanted = replace(self._wanted, rooms=tuple(room for room in wanted if room in names))
        return list(self._wanted.rooms)

    async def known(self, asking: DataType) -> list[str]:
        self.told(asking)
        listed = await self._catalogue()
        if not listed or len(listed) >= MOST_ROOMS_LISTED:
            await self._all_told.wait()
        if not listed:
            self._name_held_rooms(is_listed=listed is not None)
        return list(self._named)

    def _name_held_rooms(self, *, is_listed: bool) -> None:
        """Where the server does not tell the rooms, those that are held are asked for, too."""
        held = {
            receipt.room
            for receipt in self._context.receipts
            if isinstance(receipt, ShardReceipt) and receipt.experiment == self._wanted.experiment
        }
        new = [room for room in held if room is not None and room not in self._named]
        self._named.update(dict.fromkeys(sorted(new)))
        if is_listed and new:
            self.doubt = f"the server lists no rooms, where {len(new)} are held"

    async def participants(self) -> dict[str, list[str]]:
        async with self._people_lock:  # one list for all data types
            if self._people is None:
                self._people = await self._find_participants()
        return self._people

    async def _find_participants(self) -> dict[str, list[str]]:
        wanted = set(self._wanted.participants)
        if self._wanted.rooms:
            return {room: sorted(wanted) for room in self._wanted.rooms}
        people = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, DATA_TYPES["participants"])
        by_room: dict[str, list[str]] = {}
        for person, room in people or ():
            if person in wanted and room is not None:
                by_room.setdefault(room, []).append(person)
        unplaced = sorted(wanted - {person for persons in by_room.values() for person in persons})
        if people is not None and not any(room is None for _, room in people):
            self._context.tally.unplaced.update(("participant", person) for person in unplaced)
        elif unplaced:  # they may be in any room
            rooms = await self._catalogue()
            if rooms is None:
                why = "the server lists neither participants nor rooms: name the rooms, too (--room)"
                self._context.tally.problems.append(Problem(why, experiment=self._wanted.experiment))
            for room in rooms or ():
                by_room.setdefault(room, []).extend(unplaced)
        return by_room

    async def _catalogue(self) -> list[str] | None:
        """The rooms as the server lists them, read once; None where it does not."""
        if not self._is_listing:
            self._is_listing = True
            try:
                await self._list()
            finally:
                self._is_known.set()
        await self._is_known.wait()
        return self._listed

    async def _list(self) -> None:
        if self._is_listed_as_type:
            await self._rooms_told.wait()
        else:
            listed = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, _ROOMS)
            if listed is not None:
                self.named(_ROOMS, [room for _, room in listed])
        if self._listed is None and (sessions := await self._sessions()):
            self.named(_ROOMS, [room for _, room in sessions])

    async def _sessions(self) -> list[tuple[str | None, str | None]] | None:
        deployments = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, DATA_TYPES["deployments"])
        sessions: list[tuple[str | None, str | None]] = []
        for deployment, _ in deployments or ():
            if deployment is not None:
                sessions += await self._collect(Scope.DEPLOYMENT, deployment, SESSIONS) or []
        return sessions or None

    async def _collect(
        self, scope: Scope, scope_id: str, data_type: DataType
    ) -> list[tuple[str | None, str | None]] | None:
        """The (id, room) of each row of a list; None where the server does not offer it."""
        if self._context.absences.why(f"{data_type.name} of {self._wanted.experiment}") is not None:
            return None
        collector = _Collector()
        try:
            await self._context.reader.read(
                ListKey(self._wanted.experiment, data_type, scope, scope_id), collector
            )
        except (NotFoundError, ForbiddenError):
            return None
        return collector.found


class _Collector:
    """A sink that keeps ids and rooms alone."""

    def __init__(self) -> None:
        self.found: list[tuple[str | None, str | None]] = []

    async def write(self, page: Page) -> None:
        self.found.extend(zip(page.ids, page.rooms, strict=True))
