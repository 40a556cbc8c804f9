"""Data that move while they are read: rows that come, go and change between two answers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.faults.fault import Fault, Outcome, Strikes
from hsmirror.lab.faults.hooks import SURROUNDINGS, LabFaults
from hsmirror.lab.faults.wire import data_type_of, editing, is_paged
from hsmirror.lab.rows import CHANGEABLE

Change = Callable[[MadeUpSource, str, str, str, Random], None]
"""Changes a source: experiment, room and data type are those of the list that is being read."""


def _moving(change: Change) -> Callable[[Strikes], LabFaults]:
    """After a page of a list, that list's rows move; at most once a list."""

    def make(strikes: Strikes) -> LabFaults:
        @web.middleware
        async def move(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            source, data_type = request.app[SURROUNDINGS].source, data_type_of(request)
            if source is None or data_type not in CHANGEABLE or response.status != 200 or not is_paged(request):
                return response
            where = _experiment_and_rooms(source, request)
            if where is not None and strikes.once(request):
                rng = strikes.random_for(request)
                change(source, where[0], rng.choice(where[1]), data_type, rng)
            return response

        return LabFaults(api=(move,))

    return make


def _experiment_and_rooms(source: MadeUpSource, request: web.Request) -> tuple[str, list[str]] | None:
    scope, scope_id = request.path.split("/")[-2:]
    if scope == "experiment":
        rooms = source.room_ids(scope_id) if scope_id in source.experiment_ids() else []
        return (scope_id, rooms) if rooms else None
    for experiment in source.experiment_ids() if scope == "room" else ():
        if scope_id in source.room_ids(experiment):
            return experiment, [scope_id]
    return None


def _insert(source: MadeUpSource, experiment: str, room: str, data_type: str, rng: Random) -> None:
    source.add_rows(experiment, room, data_type, rng.randrange(1, 4))


def _delete(source: MadeUpSource, experiment: str, room: str, data_type: str, rng: Random) -> None:
    # Not the last one: that a room has nothing any more is another fault.
    most = source.row_count(experiment, room, data_type) - 1
    source.delete_rows(experiment, room, data_type, max(0, min(most, rng.randrange(1, 4))))


def _replace(source: MadeUpSource, experiment: str, room: str, data_type: str, rng: Random) -> None:
    count = rng.randrange(1, 4)
    before = source.row_count(experiment, room, data_type)
    source.delete_rows(experiment, room, data_type, count)
    source.add_rows(experiment, room, data_type, before - source.row_count(experiment, room, data_type))


def _edit(source: MadeUpSource, experiment: str, room: str, data_type: str, rng: Random) -> None:
    source.edit_rows(experiment, room, data_type, rng.randrange(1, 4))


def _late(source: MadeUpSource, experiment: str, _room: str, _data_type: str, rng: Random) -> None:
    """In another list, which may have been read already."""
    late_type = rng.choice(sorted(CHANGEABLE - {"recordings", "variables", "agent-decisions"}))
    source.add_rows(experiment, rng.choice(source.room_ids(experiment)), late_type, 2)


def _open_room(source: MadeUpSource, experiment: str, _room: str, _data_type: str, rng: Random) -> None:
    if rng.random() < 0.3:
        source.add_room(experiment)


def _emptied(strikes: Strikes) -> LabFaults:
    """A list that had rows comes empty, with a total of 0."""

    def edit(request: web.Request, rows: list[bytes], metadata: dict[str, Any]) -> None:
        if rows and _is_chosen(strikes, request) and strikes.always():
            rows.clear()
            metadata["pagination"] = {"total": 0, "returned": 0, "hasMore": False}

    return LabFaults(api=(editing(edit),))


def _is_chosen(strikes: Strikes, request: web.Request) -> bool:
    return strikes.random(data_type_of(request)).random() < 0.5


HEALS, MAY_STOP = Outcome.HEALS, Outcome.MAY_STOP

MOVING = (
    Fault("rows-inserted", "rows appear in a list while it is read", HEALS, _moving(_insert), rate=0.5),
    Fault("rows-deleted", "rows leave a list while it is read", HEALS, _moving(_delete), rate=0.5),
    Fault(
        "rows-replaced",
        "as many rows appear as leave while a list is read",
        MAY_STOP,
        _moving(_replace),
        rate=0.5,
    ),
    Fault("rows-edited", "rows change while their list is read", MAY_STOP, _moving(_edit), rate=0.5),
    Fault("rows-late", "rows appear in lists that have been read", MAY_STOP, _moving(_late), rate=0.3),
    Fault("rooms-opened", "rooms appear while others are read", MAY_STOP, _moving(_open_room), rate=0.3),
    Fault("lists-emptied", "lists that had rows come empty", MAY_STOP, _emptied, needs_held=True),
)
