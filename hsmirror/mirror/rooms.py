"""What is known of an experiment's rooms and participants, and by when all is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import anyio
import anyio.to_thread

from hsmirror.api.data_types import DATA_TYPES, SESSIONS
from hsmirror.api.rows import Row
from hsmirror.errors import (
    BudgetExhaustedError,
    ForbiddenError,
    KeyRefusedError,
    NotFoundError,
    UpstreamError,
)
from hsmirror.mirror.context import Context
from hsmirror.mirror.night import HeldList, RoomState
from hsmirror.mirror.proven_ids import ProvenIds, read_ids
from hsmirror.mirror.room_states import held_room_states, room_state
from hsmirror.mirror.wanted import Wanted
from hsmirror.model import DataType, ListKey, Scope

MOST_ROOMS_LISTED = 5_000
"""The rooms endpoint gives no more than this; beyond it, other rows may name rooms that it does not."""

_ROOMS = DATA_TYPES["rooms"]
_DEPLOYMENTS = DATA_TYPES["deployments"]


class ExperimentRooms:
    """What is known of an experiment's rooms, and by when all is known.

    The rooms endpoint lists them. Where a server lacks it, they are the sessions of the deployments and
    those that rows of any data type name: then whoever needs them waits until every type has told.
    """

    def __init__(
        self,
        context: Context,
        wanted: Wanted,
        types: Sequence[DataType],
        *,
        held_rooms: HeldList | None,
    ) -> None:
        self._context = context
        self._wanted = wanted
        self._held_rooms = held_rooms
        self._states: dict[str, RoomState] = {}
        self._held_states: dict[str, RoomState] | None = None
        self._named: dict[str, None] = dict.fromkeys(wanted.rooms)
        self._upstream: dict[str, None] = {}
        self._own: set[str | None] = set()
        self._telling = {data_type.name for data_type in types}
        self.may_be_named = any(Scope.EXPERIMENT in each.scopes and each.room_fields for each in types)
        """Does this run read lists of the whole experiment, whose rows may name rooms?"""
        self._all_told = anyio.Event()
        self._listed: list[str] | None = None
        self._is_listed_as_type = _ROOMS in types and not self._are_left_alone()
        self._rooms_told = anyio.Event()
        self._deployments_told = anyio.Event()
        if _DEPLOYMENTS not in types:
            self._deployments_told.set()
        self._is_listing = False
        self._is_known = anyio.Event()
        self._people: dict[str, list[str]] | None = None
        self._people_lock = anyio.Lock()
        self.doubt = ""
        """Why their list was not read to its end: there may be more than are known. Empty where it was."""
        self.silence = ""
        """Where the server lists none: what speaks against it, for types that are read room by room."""
        self.selection_doubt = ""
        """Why rooms that the selection means may be left out; empty where none are."""

    def __len__(self) -> int:
        """Rooms known in this run, or held before it."""
        return len({*self._named, *self._context.held.rooms_of(self._wanted.experiment)})

    @property
    def are_listed(self) -> bool:
        """Does the server list them? Otherwise they are those that rows name."""
        return self._listed is not None

    @property
    def are_all_listed(self) -> bool:
        """Is a room that is not listed no longer there?"""
        return (
            self._listed is not None
            and len(self._listed) < MOST_ROOMS_LISTED
            and not (self.doubt or self.silence)
        )

    @property
    def upstream(self) -> list[str]:
        """The rooms that the server has named in this run."""
        return list(self._upstream)

    def is_upstream(self, room: str | None) -> bool:
        """Has the server named this room in this run?"""
        return room in self._upstream

    async def states(self, asking: DataType) -> Mapping[str, RoomState]:
        """The rooms that the server lists, and whether they have ended; empty where it lists none."""
        if asking is _ROOMS:
            if self._held_states is None:
                self._held_states = await anyio.to_thread.run_sync(self._read_held_states)
            return self._held_states
        if asking is _DEPLOYMENTS:
            self._deployments_told.set()  # whatever is read of them, their sessions can be asked for
        await self._catalogue()
        return self._states

    def _are_left_alone(self) -> bool:
        """A repair does not read the rooms' own rows where these are sound."""
        is_repair = bool(self._context.held.damaged)
        held = self._held_rooms.rooms.values() if self._held_rooms is not None else ()
        return is_repair and all(room.is_intact for room in held)

    async def listed_again(self) -> list[str]:
        """The rooms as the server lists them now; none where it does not."""
        if self._listed is None:
            return []
        found = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, _ROOMS)
        names = found.rooms if found is not None else await self._sessions() or []
        self._are_upstream(names)
        self._doubt(_ROOMS, found)
        return names

    def seen(self, rows: Sequence[tuple[str | None, Row]]) -> None:
        """Rooms' own rows, as they come."""
        held = self._held_rooms.rooms if self._held_rooms is not None else {}
        for room, row in rows:
            if room is not None:
                changed_at = held[room].changed_at if room in held else 0.0
                self._states[room] = room_state(row, changed_at=changed_at)

    def unchanged(self) -> None:
        """The list of rooms is as it was when it was last read."""
        self._states = dict(self._held_states or {})
        self.named(_ROOMS, self._states)

    def _read_held_states(self) -> dict[str, RoomState]:
        if self._held_rooms is None:
            return {}
        context = self._context
        return held_room_states(context.layout, context.receipts, self._wanted.experiment, self._held_rooms)

    def named(self, data_type: DataType, rooms: Iterable[str | None]) -> None:
        """Rows of this type named these rooms."""
        given = list(rooms)
        names = [room for room in given if room is not None]
        self._are_upstream(names)
        if data_type is _ROOMS:
            self._listed = names
            if len(names) < len(given):
                self.silence = "the list of rooms has rows without an id"

    def _are_upstream(self, rooms: Iterable[str]) -> None:
        names = dict.fromkeys(rooms)
        self._named.update(names)
        self._upstream.update(names)

    def told(self, data_type: DataType) -> None:
        """This type will name no more rooms."""
        self._telling.discard(data_type.name)
        if data_type is _ROOMS:
            self._rooms_told.set()
        if data_type is _DEPLOYMENTS:
            self._deployments_told.set()
        if not self._telling:
            self._all_told.set()

    async def wanted(self) -> list[str]:
        """The wanted rooms that are this experiment's; all of them where the server does not list any.

        A room's data can be asked for without its experiment: it must not be filed under another one.
        """
        wanted = list(self._wanted.rooms)
        try:
            listed = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, _ROOMS)
        except (KeyRefusedError, BudgetExhaustedError):
            raise
        except UpstreamError as error:
            raise UpstreamError(f"which rooms are its own cannot be told: {error}") from None
        if listed is None or len(listed.found) >= MOST_ROOMS_LISTED:
            return wanted
        self._upstream.update(dict.fromkeys(listed.rooms))
        missing = [room for room in wanted if room not in self._upstream]
        if missing and listed.doubt:
            self.selection_doubt = (
                f"room {missing[0]} is not listed, and the list of rooms is not proven: {listed.doubt}"
            )
        self._context.tally.unplaced.update(("room", room) for room in missing)
        self._wanted = replace(self._wanted, rooms=tuple(room for room in wanted if room in self._upstream))
        return list(self._wanted.rooms)

    def is_own(self, room: str) -> bool:
        """Is this room known to be this experiment's: listed, named by its rows, or held?"""
        known = room in self._own or room in self._upstream or room in self._named
        return known or room in self._context.held.rooms_of(self._wanted.experiment)

    async def known(self, asking: DataType) -> list[str]:
        """All rooms; waits for the types that may still name some. `asking` itself will name no more."""
        self.told(asking)
        listed = await self._catalogue()
        if not listed or len(listed) >= MOST_ROOMS_LISTED:
            await self._all_told.wait()
        # That none are left is believed, as of any list, in a full run alone.
        if not listed and (listed is None or not self._context.policy.is_full):
            self._name_held_rooms(is_listed=listed is not None)
        return list(self._named)

    def _name_held_rooms(self, *, is_listed: bool) -> None:
        """Where the server does not tell the rooms, those that are held are asked for, too."""
        held = self._context.held.rooms_upstream(self._wanted.experiment)
        new = [room for room in held if room not in self._named]
        self._named.update(dict.fromkeys(new))
        if is_listed and new:
            self.silence = f"the server lists no rooms, where {len(new)} are held"

    async def participants(self) -> dict[str, list[str]]:
        """The wanted participants by each room that they may have been in."""
        async with self._people_lock:  # one list for all data types
            if self._people is None:
                self._people = await self._find_participants()
        return self._people

    async def _find_participants(self) -> dict[str, list[str]]:
        wanted = set(self._wanted.participants)
        if self._wanted.rooms:
            return {room: sorted(wanted) for room in self._wanted.rooms}
        people = await self._people_listed()
        by_room: dict[str, list[str]] = {}
        for person, room in people.found if people is not None else ():
            if person in wanted and room is not None:
                by_room.setdefault(room, []).append(person)
        unplaced = sorted(wanted - {person for persons in by_room.values() for person in persons})
        if people is not None and not any(room is None for _, room in people.found):
            self._context.tally.unplaced.update(("participant", person) for person in unplaced)
        elif unplaced:  # they may be in any room
            for room in await self._rooms_to_look_in():
                by_room.setdefault(room, []).extend(unplaced)
        return by_room

    async def has_moved(self, asked: Mapping[str, Sequence[str]]) -> str:
        """A room that a wanted participant is in by now, and that was not among those `asked`; empty if none.

        A room may be renamed, or a participant come to another one, while they are read. One request.
        """
        if self._wanted.rooms:
            return ""
        people = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, DATA_TYPES["participants"])
        wanted = set(self._wanted.participants)
        found = people.found if people is not None else [(None, room) for room in await self.listed_again()]
        rooms = (room for person, room in found if room is not None and person in {None, *wanted})
        return next((room for room in rooms if room not in asked), "")

    async def _people_listed(self) -> ProvenIds | None:
        """The participants and their rooms; None where the server does not list them."""
        try:
            people = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, DATA_TYPES["participants"])
        except (KeyRefusedError, BudgetExhaustedError):
            raise
        except UpstreamError as error:
            self.selection_doubt = f"the participants cannot be listed: {error}"
            return None
        if people is not None and (doubt := people.doubt or people.shortfall):
            self.selection_doubt = f"the list of participants is not proven, there may be more rooms: {doubt}"
        held = self._context.held.rooms_upstream(self._wanted.experiment)
        if people is not None and not people.found and held:
            self.selection_doubt = f"the server lists no participants, where {len(held)} rooms are held"
        return people

    async def _rooms_to_look_in(self) -> list[str]:
        rooms = await self._catalogue()
        if rooms is None:
            unknown = "the server lists neither participants nor rooms: name the rooms, too (--room)"
            self.selection_doubt = self.doubt or unknown
        elif self.doubt:
            self.selection_doubt = f"there may be rooms that are not known: {self.doubt}"
        return rooms or []

    async def _catalogue(self) -> list[str] | None:
        """The rooms as the server lists them, read once; None where it does not, or that cannot be read."""
        if not self._is_listing:
            self._is_listing = True
            try:
                await self._list()
            except UpstreamError as error:
                self.doubt = str(error)  # for all who ask after this one
                if isinstance(error, KeyRefusedError | BudgetExhaustedError):
                    raise
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
                self.named(_ROOMS, listed.rooms)
                self._doubt(_ROOMS, listed)
        if self._listed is None and (sessions := await self._sessions()):
            self.named(_ROOMS, sessions)

    async def _sessions(self) -> list[str] | None:
        """The rooms as the sessions of all deployments; None where there are none."""
        await self._deployments_told.wait()  # where the server lacks them, that is not asked twice
        deployments = await self._collect(Scope.EXPERIMENT, self._wanted.experiment, _DEPLOYMENTS)
        self._doubt(_DEPLOYMENTS, deployments)
        rooms: list[str] = []
        refused: list[str] = []
        for deployment in deployments.ids if deployments is not None else ():
            try:
                sessions = await self._collect(Scope.DEPLOYMENT, deployment, SESSIONS)
            except (KeyRefusedError, BudgetExhaustedError):
                raise
            except UpstreamError as error:
                self.doubt = f"the sessions of deployment {deployment} cannot be listed: {error}"
                continue
            self._doubt(SESSIONS, sessions)
            if sessions is None:
                refused.append(deployment)
            rooms += sessions.rooms if sessions is not None else []
        if rooms and refused:
            self.doubt = f"the server does not list the sessions of deployment {refused[0]}"
        return rooms or None

    def _doubt(self, data_type: DataType, listed: ProvenIds | None) -> None:
        if listed is None:
            return
        if None in (each for each, _ in listed.found):
            self.doubt = f"the list of {data_type.name} has rows without an id"
        elif doubt := listed.doubt or listed.shortfall:
            self.doubt = f"the list of {data_type.name} is not proven: {doubt}"

    async def _collect(self, scope: Scope, scope_id: str, data_type: DataType) -> ProvenIds | None:
        """The ids of a list; None where the server does not offer it, or the key lacks its scope.

        Raises:
            UpstreamError: it cannot be read.
        """
        if f"{data_type.name} of {self._wanted.experiment}" in self._context.absent:
            return None
        key = ListKey(self._wanted.experiment, data_type, scope, scope_id)
        on_rows = self.seen if data_type in {_ROOMS, SESSIONS} else None
        try:
            listed = await read_ids(self._context.reader, key, on_rows)
        except NotFoundError:
            return None
        except ForbiddenError as error:
            if not error.required_scopes:
                raise
            return None
        self._own.update(listed.rooms)
        return listed
