"""One data type of one experiment, mirrored by the way that the plan chose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Protocol

import anyio
import anyio.to_thread
import msgspec

from hsmirror.api.envelope import Row, members_of
from hsmirror.archive.layout import sidecar_path
from hsmirror.archive.receipts import WHOLE, Claim, ListReceipt
from hsmirror.archive.shards import StagedPart
from hsmirror.errors import (
    BudgetExhaustedError,
    ForbiddenError,
    KeyRefusedError,
    NotFoundError,
    UpstreamError,
)
from hsmirror.mirror.commit import Commit
from hsmirror.mirror.context import Context
from hsmirror.mirror.documents import document_commit
from hsmirror.mirror.merge import RowSet
from hsmirror.mirror.plan import Way, choose_way, narrowed
from hsmirror.mirror.reading import OnRecordings, ProvenList, RoomsUntoldError, identity_of, read_proven
from hsmirror.mirror.report import Problem, TypeReport
from hsmirror.mirror.settle import Settled, Shelf
from hsmirror.mirror.write import rows_of, write_rows
from hsmirror.model import DataType, ListKey, Scope, Window

_TIMELINE_MEMBERS = ("timeline", "variableNames", "matrixColumns", "droppedWrites", "mode")

_ROOMS_SETTLED_AT_ONCE = 128
"""In one go of a worker thread, which cannot be interrupted."""


class Rooms(Protocol):
    """What an experiment's rooms are, as far as can be known."""

    def named(self, data_type: DataType, rooms: Iterable[str | None]) -> None:
        """Rows of this type named these rooms."""

    async def known(self, asking: DataType) -> list[str]:
        """All rooms; waits for the types that may still name some. `asking` itself will name no more."""

    @property
    def are_listed(self) -> bool:
        """Does the server list them? Otherwise they are those that rows name."""

    @property
    def doubt(self) -> str:
        """Why there may be more rooms than are known; empty where there is no reason to think so."""

    async def participants(self) -> dict[str, list[str]]:
        """The wanted participants by each room that they may have been in."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of an experiment is asked for: its id, and what narrows it."""

    experiment: str
    rooms: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    window: Window = field(default_factory=Window)


class TypeMirror:
    """Mirrors one data type; `run` gives its report, or None where the server does not offer it."""

    def __init__(
        self,
        context: Context,
        wanted: Wanted,
        data_type: DataType,
        rooms: Rooms,
        *,
        concurrent_lists: int,
        on_recordings: OnRecordings | None,
    ) -> None:
        self._context = context
        self._wanted = wanted
        self._type = data_type
        self._rooms = rooms
        self._concurrent_lists = concurrent_lists
        self._on_recordings = on_recordings
        self._window = narrowed(data_type, wanted.window)
        self._held_rows: dict[str | None, int] = {}  # by room, afterwards
        self._rows_read = 0
        self._changed_shards = 0
        self._total: int | None = None
        self._reasons: dict[str, None] = {}  # why it is not complete
        self._has_no_way = False
        self._lacks_scope = False
        self._absent = ""  # why the server does not offer it

    async def run(self) -> TypeReport | None:
        """Read, settle, commit.

        Raises:
            KeyRefusedError, StorageError: these end the run. All else is in the report.
        """
        way = choose_way(
            self._type,
            rooms_wanted=bool(self._wanted.rooms),
            participants_wanted=bool(self._wanted.participants),
        )
        if way is None:
            return None
        if (why := self._context.absences.why(self._what)) is not None:
            self._context.tally.note(f"{self._what}: not asked for ({why})")
            return None
        try:
            way = await self._read(way)
        except UpstreamError as error:
            self._failed(error)
        if self._absent:
            self._context.tally.note(f"{self._what}: {self._absent}")
            if not self._wanted.rooms and not self._wanted.participants:
                # What a narrow run does not find says nothing about the whole.
                commit = self._context.absences.commit(self._what, self._absent, of_key=self._lacks_scope)
                await self._context.committer.commit(commit)
            return None
        if self._has_no_way:
            self._context.tally.note(
                f"{self._what}: not asked for (no room is known, and it is listed by room)"
            )
            return None
        await self._remember(way)
        return self._report()

    @property
    def _what(self) -> str:
        return f"{self._type.name} of {self._wanted.experiment}"

    async def _read(self, way: Way) -> Way:
        if way is Way.PARTICIPANTS:
            people_by_room = await self._rooms.participants()
            await self._read_each(
                [
                    [self._key(Scope.PARTICIPANT, person, room) for person in people]
                    for room, people in people_by_room.items()
                ]
            )
        elif way is Way.ROOMS:
            rooms = list(self._wanted.rooms) or await self._rooms.known(self._type)
            self._has_no_way = not rooms and not self._rooms.are_listed
            await self._read_each(
                [[self._key(Scope.ROOM, room, room)] for room in rooms],
                may_be_absent=not self._type.documented,
            )
            self._doubt_rooms()
        else:
            try:
                await self._read_experiment(must_tell_rooms=Scope.ROOM in self._type.scopes)
            except RoomsUntoldError as untold:
                return await self._read_untold(untold.total)
        return way

    # --- at experiment scope -------------------------------------------------------------------------
    async def _read_experiment(self, *, must_tell_rooms: bool) -> None:
        key = self._key(Scope.EXPERIMENT, self._wanted.experiment)
        with self._listed():
            found = await read_proven(
                self._context, key, must_tell_rooms=must_tell_rooms, on_recordings=self._on_recordings
            )
        self._total = found.total
        self._rooms.named(self._type, found.parts)
        await self._settle(found, dict.fromkeys([*found.parts, *await self._rooms_without_rows(found)]))

    async def _rooms_without_rows(self, found: ProvenList) -> list[str]:
        """Rooms that a complete list shows to have nothing: they get a receipt, and no file."""
        if not found.is_proven or Scope.ROOM not in self._type.scopes:
            return []
        return [room for room in await self._rooms.known(self._type) if room not in found.parts]

    def _doubt_rooms(self) -> None:
        if self._rooms.doubt and not self._wanted.rooms:
            self._fail(f"there may be rooms that are not known: {self._rooms.doubt}")

    async def _read_untold(self, total: int | None) -> Way:
        """Rows that name no room: room by room, and at experiment scope only for what no room has."""
        rooms = await self._rooms.known(self._type)
        if not rooms:
            await self._read_experiment(must_tell_rooms=False)
            return Way.EXPERIMENT
        self._total = total
        await self._read_each([[self._key(Scope.ROOM, room, room)] for room in rooms])
        self._doubt_rooms()
        if not self._reasons and (total is None or self._rows_read < total):
            await self._read_roomless(rooms)
        return Way.ROOMS

    async def _read_roomless(self, rooms: Sequence[str]) -> None:
        """The experiment lists more rows than its rooms: those that no room has belong to none."""
        key = self._key(Scope.EXPERIMENT, self._wanted.experiment)
        seen: list[tuple[str | None, Row]] = []
        with self._listed():
            found = await read_proven(self._context, key, on_recordings=seen.extend)
        of_rooms, whole = self._rows_read, [part for parts in found.parts.values() for part in parts]
        left = await anyio.to_thread.run_sync(self._beyond, whole, rooms)
        rows = sum(part.rows for part in left)
        if rows != found.rows - of_rooms:
            self._fail(
                f"the experiment lists {found.rows} rows and its rooms {of_rooms}, but {rows} of the former "
                "are in no room: the lists do not fit together; run again"
            )
            return
        await self._settle(replace(found, parts={None: left}, rows=rows), [None])
        if self._on_recordings is not None:
            identity = identity_of(self._type)
            roomless = {identity(row) for row in rows_of(part.path for part in left)}
            self._on_recordings([(None, row) for _, row in seen if identity(bytes(row)) in roomless])

    def _beyond(self, whole: Sequence[StagedPart], rooms: Sequence[str]) -> list[StagedPart]:
        held = RowSet(identity_of(self._type))
        for room in rooms:
            files = [receipt for receipt in self._shelf(room).held(self._context.receipts) if receipt.sha256]
            for row in rows_of(self._context.layout.absolute(receipt.path) for receipt in files):
                held.add(row)
        return write_rows(held.without(rows_of(part.path for part in whole)), self._context.staging.builder())

    # --- list by list --------------------------------------------------------------------------------
    async def _read_each(self, by_room: Sequence[Sequence[ListKey]], *, may_be_absent: bool = False) -> None:
        """Read the lists of several rooms, some rooms at once, the lists of one room in turn.

        What one list lacks does not stop the others, unless it concerns them all.
        """
        self._context.tally.lists += sum(map(len, by_room))
        if may_be_absent and by_room:
            asked = {0, len(by_room) // 2, len(by_room) - 1}
            await self._ask_some([by_room[number] for number in sorted(asked)])
            by_room = [keys for number, keys in enumerate(by_room) if number not in asked]
        waiting = iter(by_room)
        stopped: list[UpstreamError] = []

        async def work() -> None:
            for keys in waiting:
                for key in keys:
                    if stopped:
                        return
                    try:
                        await self._read_one(key)
                    except (ForbiddenError, KeyRefusedError, BudgetExhaustedError) as error:
                        stopped.append(error)
                    except NotFoundError as error:
                        if self._type.documented and key.scope is not Scope.PARTICIPANT:
                            self._fail_at(key, error)
                    except UpstreamError as error:
                        self._fail_at(key, error)

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self._concurrent_lists, len(by_room))):
                tasks.start_soon(work)
        if stopped:
            raise stopped[0]

    async def _ask_some(self, by_room: Iterable[Sequence[ListKey]]) -> None:
        """A newer type without a list at experiment scope: a few rooms tell whether it is offered."""
        refused: list[NotFoundError] = []
        keys = [key for keys in by_room for key in keys]
        for key in keys:
            try:
                await self._read_one(key)
            except NotFoundError as error:
                refused.append(error)
        if keys and len(refused) == len(keys):
            raise refused[0]

    async def _read_one(self, key: ListKey) -> None:
        try:
            found = await read_proven(self._context, key, on_recordings=self._on_recordings)
            await self._settle(found, [key.room], participant=self._participant_of(key))
            if self._type.name == "variables":
                await self._keep_timeline(key, found)
        finally:
            self._context.tally.lists_done += 1

    async def _keep_timeline(self, key: ListKey, found: ProvenList) -> None:
        """What a variables answer says beside its rows is data, too."""
        document = members_of(found.metadata, _TIMELINE_MEMBERS)
        path = sidecar_path(self._wanted.experiment, self._type.name, key.room)
        commit = await document_commit(self._context, self._wanted.experiment, path, document)
        if commit is not None:
            await self._context.committer.commit(commit)

    async def _settle(
        self, found: ProvenList, rooms: Iterable[str | None], *, participant: str | None = None
    ) -> None:
        """Hold what came against what is held, and commit the difference."""
        claim = Claim(self._window.start, self._window.end, participant)
        settle = partial(
            self._context.settlement.settle,
            claim=claim if found.is_proven else None,
            is_narrow=claim != WHOLE,
            identity=identity_of(self._type),
        )

        def settle_some(some: Sequence[str | None]) -> list[Settled]:
            return [settle(self._shelf(room), found.parts.get(room, ())) for room in some]

        waiting = iter(rooms)
        while some := list(islice(waiting, _ROOMS_SETTLED_AT_ONCE)):
            settled = await anyio.to_thread.run_sync(settle_some, some)
            await self._context.committer.commit(*[each.commit for each in settled if each.commit])
            for room, each in zip(some, settled, strict=True):
                self._held_rows[room] = each.rows
                self._changed_shards += each.changed_shards
                if each.note:
                    self._context.tally.note(f"{self._what}: {each.note}")
        self._rows_read += found.rows
        if not found.is_proven:
            self._fail(found.note)
        elif found.note:
            self._context.tally.note(f"{self._what}: {found.note}")

    # --- what is remembered --------------------------------------------------------------------------
    async def _remember(self, way: Way) -> None:
        """The list's receipt, where the type was read as a whole and something about it is new."""
        if self._wanted.rooms or self._wanted.participants or not self._window.is_whole:
            return
        receipt = ListReceipt(
            experiment=self._wanted.experiment,
            data_type=self._type.name,
            way=way,
            rows=sum(self._held_rows.values()),
            total=self._total,
            is_complete=not self._reasons,
            why=self._why,
            read_at=self._context.now_text,
        )
        held = self._context.receipts.get(receipt.key)
        if isinstance(held, ListReceipt) and msgspec.structs.replace(held, read_at=receipt.read_at) == receipt:
            return
        await self._context.committer.commit(Commit(receipts=[receipt]))

    def _report(self) -> TypeReport:
        return TypeReport(
            self._type.name,
            rows=sum(self._held_rows.values()),
            rooms=sum(1 for rows in self._held_rows.values() if rows),
            is_complete=not self._reasons,
            changed_shards=self._changed_shards,
            lacks_scope=self._lacks_scope,
            why=self._why,
        )

    @property
    def _why(self) -> str:
        reasons = list(self._reasons)
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        return "; ".join(reasons[:3]) + more

    def _failed(self, error: UpstreamError) -> None:
        """The type as a whole could not be read."""
        if isinstance(error, KeyRefusedError):
            raise error
        if isinstance(error, ForbiddenError):
            scopes = ", ".join(error.required_scopes or (self._type.required_scope,))
            why = f"the key lacks the scope {scopes}"
            self._lacks_scope = True
            if self._type.documented:
                self._fail(f"{why}; give the key that scope, or leave the data type out")
            else:
                self._absent = why
        elif isinstance(error, NotFoundError) and not self._type.documented:
            self._absent = "this server does not offer it"
        else:
            self._fail(str(error))

    def _fail_at(self, key: ListKey, error: UpstreamError) -> None:
        self._fail(f"{key.scope} {key.scope_id}: {error}", room=key.room or "")

    def _fail(self, why: str, *, room: str = "") -> None:
        self._reasons[why] = None
        self._context.tally.problems.append(
            Problem(why, experiment=self._wanted.experiment, data_type=self._type.name, room=room)
        )

    @contextmanager
    def _listed(self) -> Iterator[None]:
        self._context.tally.lists += 1
        try:
            yield
        finally:
            self._context.tally.lists_done += 1

    def _key(self, scope: Scope, scope_id: str, room: str | None = None) -> ListKey:
        return ListKey(self._wanted.experiment, self._type, scope, scope_id, room, self._window)

    def _shelf(self, room: str | None) -> Shelf:
        return Shelf(self._wanted.experiment, self._type.name, room)

    @staticmethod
    def _participant_of(key: ListKey) -> str | None:
        return key.scope_id if key.scope is Scope.PARTICIPANT else None
