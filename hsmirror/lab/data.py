"""Made-up HyperStudy data of any size, for trying things out, and the ledger of what is in it.

The same shape gives the same data, to the byte. Nothing is made before it is asked for, and what was made
is kept up to a limit, so that thousands of rooms start at once and cost little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from pathlib import Path

import anyio.to_thread

from hsmirror.errors import UsageError
from hsmirror.lab.alteration import Alteration
from hsmirror.lab.catalogue import (
    Catalogue,
    config_row,
    deployment_row,
    deployment_status,
    description_of,
    experiment_row,
    export_row,
    listed_experiment_row,
)
from hsmirror.lab.lists import ListPlan, Lists, Narrowing
from hsmirror.lab.newer_rows import session_row, variables_metadata
from hsmirror.lab.plans import ExperimentPlan, RoomPlan
from hsmirror.lab.recordings import MadeFile, RecordingFiles, RecordingPlan
from hsmirror.lab.row import iso
from hsmirror.lab.rows import DATA_TYPES, RoomRows
from hsmirror.lab.shape import LabShape
from hsmirror.model import Scope
from hsmirror.serve.source import Page, Query, RecordingFile

__all__ = ["LabShape", "LedgerFile", "MadeUpSource"]

_ALL_SCOPES = frozenset({Scope.EXPERIMENT, Scope.ROOM, Scope.PARTICIPANT})
_FEWER_SCOPES = {
    "rooms": frozenset({Scope.EXPERIMENT}),
    "participants": frozenset({Scope.EXPERIMENT, Scope.ROOM}),
    "variables": frozenset({Scope.ROOM}),
    "agent-decisions": frozenset({Scope.EXPERIMENT, Scope.ROOM}),
    "agent-runs": frozenset({Scope.EXPERIMENT}),
}
_COUNTED = sorted(name for name in DATA_TYPES if name not in _FEWER_SCOPES)
_UNPAGED = frozenset({"variables", "agent-runs"})


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """One recording file as it must come out; `sha256` is hexadecimal."""

    recording_id: str
    room_id: str
    sha256: str
    size_bytes: int


class MadeUpSource:
    """A `Source` of made-up data, with a ledger of all of it and ways to change it.

    `alterations` change rows as they are made. `files_dir` is this source's alone: recordings are written
    there when first asked for. Up to `kept_bytes` of rows are kept once made; lists larger than that are
    made anew for every page.

    The first page in order of onset, or of a category or person, makes every row of its list once: about
    ten seconds a million rows.

    Raises UsageError where the shape's recordings cannot be made.
    """

    def __init__(
        self,
        shape: LabShape,
        files_dir: Path,
        *,
        kept_bytes: int = 512 << 20,
        alterations: Sequence[Alteration] = (),
    ) -> None:
        self.shape = shape
        self.on_change: list[Callable[[], None]] = []
        """Called after every change of rows, rooms and files."""
        self._files = RecordingFiles(shape, files_dir)
        self._catalogue = Catalogue(shape)
        self._rows = RoomRows(shape, self._files, alterations)
        self._lists = Lists(self._rows, kept_bytes)

    # --- what the API asks ----------------------------------------------------------------------
    async def experiments(self, *, search: str | None, offset: int, limit: int, shared: bool) -> Page:
        """Those whose name or description contains `search`, in whatever case."""
        wanted = (search or "").casefold()
        found = [
            plan
            for plan in self._catalogue.experiments()
            if plan.is_shared == shared and wanted in f"{plan.name}\n{description_of(plan)}".casefold()
        ]
        return Page([listed_experiment_row(plan) for plan in found[offset : offset + limit]], len(found))

    async def experiment(self, experiment_id: str) -> bytes | None:
        plan = self._catalogue.experiment(experiment_id)
        return None if plan is None else experiment_row(plan, self.shape)

    async def experiment_config(self, experiment_id: str) -> bytes | None:
        plan = self._catalogue.experiment(experiment_id)
        return None if plan is None else config_row(plan)

    async def experiment_export(self, experiment_id: str) -> bytes | None:
        plan = self._catalogue.experiment(experiment_id)
        return None if plan is None else export_row(plan)

    async def deployments(self, *, experiment_id: str | None, status: str | None) -> Page:
        rows = [
            deployment_row(plan, deployment_id)
            for plan in self._catalogue.experiments()
            for deployment_id in (plan.pilot_id, plan.study_id)
            if experiment_id in (None, plan.id)
            if status in (None, deployment_status(plan, deployment_id))
        ]
        return Page(rows, len(rows))

    async def deployment(self, deployment_id: str) -> bytes | None:
        plan = self._catalogue.deployment(deployment_id)
        return None if plan is None else deployment_row(plan, deployment_id)

    async def deployment_sessions(self, deployment_id: str) -> Page | None:
        plan = self._catalogue.deployment(deployment_id)
        if plan is None:
            return None
        rows = [session_row(room) for room in plan.rooms if room.deployment_id == deployment_id]
        return Page(rows, len(rows))

    async def data(self, query: Query) -> Page | None:
        """One page. None also where a data type has no such scope.

        `limit` of agent decisions counts in each room, and `offset` means nothing to them; neither means
        anything to variables and agent runs, which come whole.
        """
        if query.data_type not in DATA_TYPES:
            return None
        if query.scope not in _FEWER_SCOPES.get(query.data_type, _ALL_SCOPES):
            return None
        rooms = self._rooms_asked_for(query)
        if rooms is None:
            return None
        started_at = iso(rooms[0].started_ms) if rooms else None
        if query.data_type == "agent-decisions":
            return self._agent_decisions(query, rooms, started_at)
        plan = _list_plan(query, rooms)
        key = replace(query, offset=0, limit=0)
        offset, limit = (0, 1 << 40) if query.data_type in _UNPAGED else (query.offset, query.limit)
        rows, total = self._lists.page(plan, key, offset, limit)
        extra = variables_metadata(rows) if query.data_type == "variables" else None
        return Page(rows, total, started_at, extra)

    async def counts(self, participant_id: str, room_id: str) -> dict[str, int] | None:
        """By the data type's name, for every type that has a participant scope."""
        counts: dict[str, int] = {}
        for data_type in _COUNTED:
            page = await self.data(Query(data_type, Scope.PARTICIPANT, participant_id, room_id, limit=0))
            if page is None:
                return None
            counts[data_type] = page.total
        return counts

    async def recording_file(self, room_id: str, recording_id: str) -> RecordingFile | None:
        """The file, made in a worker thread if it is not there yet."""
        room = self._catalogue.room(room_id)
        plan = None if room is None else self._recording(room, recording_id)
        if plan is None:
            return None
        made = await anyio.to_thread.run_sync(self._files.file, plan)
        return None if made is None else made.served

    # --- the ledger -----------------------------------------------------------------------------
    def experiment_ids(self) -> list[str]:
        """Own experiments, then shared ones."""
        return [plan.id for plan in self._catalogue.experiments()]

    def room_ids(self, experiment_id: str) -> list[str]:
        """In the order of their starts."""
        return [room.id for room in self._experiment(experiment_id).rooms]

    def ledger_rows(self, experiment_id: str, data_type: str) -> Iterator[tuple[str | None, bytes]]:
        """Every row of an experiment with its room, room by room; recordings without their addresses.

        Agent decisions come as rooms show them, with the run's row at the end; deployments have no room.
        """
        experiment = self._experiment(experiment_id)
        if data_type == "deployments":
            for deployment_id in (experiment.pilot_id, experiment.study_id):
                yield None, deployment_row(experiment, deployment_id)
            return
        for room in experiment.rooms:
            if data_type == "sessions":
                yield room.id, session_row(room)
                continue
            for row in self._rows.rows(room, data_type):
                yield room.id, row.text
            run = self._rows.run_row(room) if data_type == "agent-decisions" else None
            if run is not None:
                yield room.id, run.text

    def ledger_files(self, experiment_id: str) -> Iterator[LedgerFile]:
        """Every recording file of an experiment; those that are not made yet are made."""
        for room in self._experiment(experiment_id).rooms:
            for plan in self._rows.recordings(room):
                made: MadeFile | None = self._files.file(plan)
                if made is not None:
                    yield LedgerFile(plan.id, room.id, made.sha256, made.served.size_bytes)

    # --- changes --------------------------------------------------------------------------------
    def add_rows(self, experiment_id: str, room_id: str, data_type: str, count: int) -> None:
        """`count` rows that arrive late: their times lie among those that the room has.

        Raises UsageError for an unknown experiment, room or data type, and for rooms, participants and
        agent runs, of which there are as many as there are.
        """
        self._rows.add(self._room(experiment_id, room_id), data_type, count)
        self._changed()

    def delete_rows(self, experiment_id: str, room_id: str, data_type: str, count: int) -> None:
        """Takes away the first `count` rows of a room, as they were made. Raises as `add_rows` does."""
        self._rows.delete(self._room(experiment_id, room_id), data_type, count)
        self._changed()

    def edit_rows(self, experiment_id: str, room_id: str, data_type: str, count: int) -> None:
        """The first `count` rows of a room get another content under the same id. Raises as `add_rows` does."""
        self._rows.edit(self._room(experiment_id, room_id), data_type, count)
        self._changed()

    def row_count(self, experiment_id: str, room_id: str, data_type: str) -> int:
        """How many rows a room has now. Raises UsageError for an unknown experiment or room."""
        return self._rows.count(self._room(experiment_id, room_id), data_type)

    def add_room(self, experiment_id: str) -> str:
        """One room more, after all others; its id. Raises UsageError for an unknown experiment."""
        room = self._catalogue.add_room(self._experiment(experiment_id))
        self._changed()
        return room.id

    def remove_room(self, experiment_id: str, room_id: str) -> None:
        """The room and all its data are gone: 404. Raises UsageError for an unknown experiment or room."""
        self._catalogue.remove_room(self._experiment(experiment_id), self._room(experiment_id, room_id))
        self._changed()

    def revise_recording(self, room_id: str, recording_id: str) -> None:
        """Other bytes of the same size take the place of a recording's file, if there is such a recording."""
        room = self._catalogue.room(room_id)
        if room is not None and self._recording(room, recording_id) is not None:
            self._files.revise(recording_id)
            self._changed()

    def _changed(self) -> None:
        self._lists.forget()
        for hear in self.on_change:
            hear()

    # --- inside ---------------------------------------------------------------------------------
    def _rooms_asked_for(self, query: Query) -> tuple[RoomPlan, ...] | None:
        match query.scope:
            case Scope.ROOM:
                room = self._catalogue.room(query.scope_id)
                return None if room is None else (room,)
            case Scope.PARTICIPANT:
                rooms = self._catalogue.rooms_of_person(query.scope_id)
                if query.room_id is not None and self._catalogue.room(query.room_id) is None:
                    return None
            case _:
                experiment = self._catalogue.experiment(query.scope_id)
                rooms = None if experiment is None else experiment.rooms
        if rooms is None or (query.room_id is None and query.deployment_id is None):
            return rooms
        return tuple(
            room
            for room in rooms
            if query.room_id in (None, room.id) and query.deployment_id in (None, room.deployment_id)
        )

    def _agent_decisions(self, query: Query, rooms: tuple[RoomPlan, ...], started_at: str | None) -> Page:
        found: list[bytes] = []
        total = 0
        for room in rooms:
            rows = [row.text for row in self._rows.rows(room, query.data_type)]
            run = self._rows.run_row(room) if query.scope is Scope.ROOM else None
            total += len(rows) + (run is not None)
            found += rows[: query.limit]
            if run is not None:
                found.append(run.text)
        return Page(found, total, started_at, {"truncated": True} if len(found) < total else None)

    def _recording(self, room: RoomPlan, recording_id: str) -> RecordingPlan | None:
        plans = self._rows.recordings(room)
        return next((plan for plan in plans if plan.id == recording_id), None)

    def _experiment(self, experiment_id: str) -> ExperimentPlan:
        plan = self._catalogue.experiment(experiment_id)
        if plan is None:
            raise UsageError(f"the lab has no experiment {experiment_id!r}: it has {self.experiment_ids()}")
        return plan

    def _room(self, experiment_id: str, room_id: str) -> RoomPlan:
        for room in self._experiment(experiment_id).rooms:
            if room.id == room_id:
                return room
        raise UsageError(f"the lab's experiment {experiment_id!r} has no room {room_id!r}")


def _list_plan(query: Query, rooms: tuple[RoomPlan, ...]) -> ListPlan:
    narrowing = Narrowing(
        person_id=query.scope_id if query.scope is Scope.PARTICIPANT else None,
        category=query.category if query.data_type == "events" else None,
        start_ms=-inf if query.start is None else _first_ms(query.start),
        end_ms=inf if query.end is None else _first_ms(query.end),
    )
    return ListPlan(query.data_type, rooms, narrowing, query.sort == "onset", query.descending)


def _first_ms(epoch_seconds: float) -> int:
    """The first whole millisecond at or after a time; a float's last digits are no part of that time."""
    return ceil(round(epoch_seconds * 1000, 3))
