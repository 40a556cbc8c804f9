"""One data type of one experiment, mirrored by the way that the plan chose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice

import anyio

from hsmirror.api.envelope import Page
from hsmirror.errors import (
    DamagedError,
    ForbiddenError,
    InvalidParameterError,
    KeyRefusedError,
    NotFoundError,
    UnaffordableListError,
    UpstreamError,
)
from hsmirror.mirror.absence import absence_receipt, no_room_has, room_in_turn
from hsmirror.mirror.commit import Commit
from hsmirror.mirror.context import Context
from hsmirror.mirror.lists import FALLBACK_LIMIT
from hsmirror.mirror.lists_by_room import ListsByRoom
from hsmirror.mirror.memory import ReadList, list_receipt
from hsmirror.mirror.narrowing import MOST_ROWS, rooms_that_moved
from hsmirror.mirror.night import (
    FEW_PAGES,
    LOOKED_FOR_AT_ONCE,
    HeldList,
    HeldRoom,
    Room,
    RoomState,
    Step,
    lost_rooms,
    room_requests,
    suspects,
    tonight,
    unsettled_rooms,
    whole_requests,
)
from hsmirror.mirror.outcome import Outcome
from hsmirror.mirror.plan import Way, choose_way, narrowed, pages
from hsmirror.mirror.reading import OnRows, ProvenList, RoomsUntoldError, proven_list
from hsmirror.mirror.report import TypeReport
from hsmirror.mirror.roomless import (
    are_all_in_rooms,
    are_rows_distinct,
    ends_at,
    is_whole_list,
    read_roomless,
)
from hsmirror.mirror.rooms import ExperimentRooms
from hsmirror.mirror.wanted import Wanted
from hsmirror.model import DataType, ListKey, Scope


class TypeMirror:
    """Mirrors one data type; `run` gives its report, or None where the server does not offer it.

    `held` is what was there before, None at first or where the run is narrowed.
    """

    def __init__(
        self,
        context: Context,
        wanted: Wanted,
        data_type: DataType,
        rooms: ExperimentRooms,
        *,
        concurrent_lists: int,
        on_rows: OnRows | None,
        held: HeldList | None,
    ) -> None:
        self._context = context
        self._wanted = wanted
        self._type = data_type
        self._rooms = rooms
        self._on_rows = on_rows
        self._window = narrowed(data_type, wanted.window)
        self._held = held
        # Whether a room has ended at last, only the rooms' own list tells; it is short.
        self._policy = replace(context.policy, idle_rooms_settle=data_type.name != "rooms")
        self._outcome = Outcome(
            context,
            wanted.experiment,
            data_type,
            self._window,
            held=held,
            is_full=self._policy.is_full,
            is_known=rooms.is_own,
        )
        self._lists = ListsByRoom(
            context,
            data_type,
            self._outcome,
            at_once=concurrent_lists,
            on_rows=on_rows,
            has_vanished=self._has_vanished,
            is_known=rooms.is_upstream,
        )
        self._way = Way.EXPERIMENT
        self._total: int | None = held.total if held is not None else None
        self._was_read_whole = False
        self._first_page: Page | None = None
        """Of the experiment's list, where that is not read any further."""
        self._is_told_whole = False
        """The pages of the experiment's list that tell of its end say that its total is all."""
        self._searching_since = 0.0
        self._states: Mapping[str, RoomState] = {}
        self._has_no_way = False
        self._lacks_scope = False
        self._absent = ""  # why the server does not offer it
        self._is_absence_doubtful = False

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
        self._way = way
        try:
            await self._read(way)
            await self._ask_again()
        except UpstreamError as error:
            self._failed(error)
        await self._outcome.take_out_moved()
        if self._absent:
            self._context.tally.note(f"{self._what}: {self._absent}")
            self._context.absent[self._what] = self._absent
            return None
        if self._has_no_way:
            self._context.tally.note(
                f"{self._what}: not asked for (no room is known, and it is listed by room)"
            )
            return None
        await self._remember_absence()
        await self._remember()
        return self._report()

    @property
    def unread(self) -> str:
        """After `run`: why there may be more upstream than was read; empty where there is not."""
        return self._outcome.unread

    @property
    def doubtful_absence(self) -> str:
        """After `run`: a 404 that may as well be of the experiment; empty where there was none."""
        return self._absent if self._is_absence_doubtful else ""

    @property
    def _what(self) -> str:
        return f"{self._type.name} of {self._wanted.experiment}"

    async def _read(self, way: Way) -> None:
        if way is Way.PARTICIPANTS:
            people_by_room = await self._rooms.participants()
            self._doubt_selection()
            await self._lists.read(
                [
                    [self._key(Scope.PARTICIPANT, person, room) for person in people]
                    for room, people in people_by_room.items()
                ]
            )
            if room := await self._rooms.has_moved(people_by_room):
                self._outcome.fail(
                    f"room {room} came up while the rooms were read; run again", is_unproven=True
                )
        elif self._wanted.rooms:
            self._doubt_selection()
            await self._read_rooms(self._wanted.rooms)
        elif self._is_repair:
            await self._repair()
        elif self._held is not None and self._wanted.is_whole:
            await self._update(self._held)
        else:
            await self._read_all()

    async def _read_all(self) -> None:
        if Scope.EXPERIMENT not in self._type.scopes:
            await self._read_by_room()
            return
        can_by_room = Scope.ROOM in self._type.scopes
        try:
            await self._read_experiment(must_tell_rooms=can_by_room)
        except RoomsUntoldError as untold:
            self._total = untold.page.pagination.total
            self._first_page = untold.page
            await self._read_by_room()
        except UnaffordableListError as error:
            # Longer than the limits ever allow in a row: room by room each run gets on a little.
            if not (error.exceeds_limits and can_by_room):
                raise
            self._total = await self._listed_rows()
            await self._read_by_room()

    @property
    def _is_repair(self) -> bool:
        return bool(self._context.held.damaged)

    async def _repair(self) -> None:
        """Read again what is not intact, in the fewest requests: room by room, or with the whole list."""
        held = self._held
        broken = [room for room, each in held.rooms.items() if not each.is_intact] if held is not None else []
        if held is None or not broken:
            return
        rooms = [room for room in broken if room is not None]
        by_room = len(rooms) == len(broken) and Scope.ROOM in self._type.scopes
        if held.way is Way.EXPERIMENT and whole_requests(held) < room_requests(held, rooms):
            by_room = False
        if by_room:
            await self._read_rooms(rooms)
        else:
            await self._read_all()
        left = sum(room not in self._outcome.read_at for room in broken)
        if left and self._outcome.is_complete:
            self._outcome.fail(f"of {len(broken)} lists with damage, {left} could not be read again")

    # --- a night after the first ---------------------------------------------------------------------
    async def _update(self, held: HeldList) -> None:
        """Read what is new or open; where the total shows that more has moved, find it."""
        self._states = await self._rooms.states(self._type)
        self._way = held.way
        for room in lost_rooms(held, self._states):
            self._outcome.fail(
                f"room {room} is no longer upstream, and its files in the archive are missing or cut short; "
                "restore them from a backup, or give them up with `hsmirror verify --repair`",
                room=room,
                was_read=True,
            )
        is_listed = Scope.EXPERIMENT in self._type.scopes
        can_probe = is_listed and self._type.paged and held.total is not None
        if self._type.name == "rooms" and whole_requests(held) <= FEW_PAGES:
            can_probe = False
        plan = partial(
            tonight,
            held,
            self._states,
            now=self._context.clock.epoch(),
            can_by_room=Scope.ROOM in self._type.scopes,
            can_probe=can_probe,
        )
        night = plan(self._policy)
        if night.step is Step.WHOLE:
            try:
                await self._read_all()
            except UnaffordableListError as error:
                night = plan(self._policy.without_recheck)
                if self._policy.is_full or night.step is Step.WHOLE:
                    raise
                self._outcome.note(f"all of it is due to be read again; that waits ({error})")
            else:
                return
        with self._listed():
            await self._read_rooms([*night.open_rooms, *await self._rooms_named_elsewhere(held)])
            is_met = not can_probe or await self._is_met(held)
        if not is_met and self._total is None and held.way is Way.ROOMS:
            self._outcome.note("the server names no total tonight: late rows in settled rooms do not show")
        elif not is_met and self._outcome.is_complete:
            await self._look_for_more(held, night.open_rooms)
        elif night.step is Step.PROBE and self._type.name == "rooms":
            self._rooms.unchanged()
        if not self._was_read_whole:  # rows that go from one room balance those of a new one in the total
            self._doubt_rooms(self._rooms.doubt if can_probe else self._rooms.doubt or self._rooms.silence)

    async def _rooms_named_elsewhere(self, held: HeldList) -> list[str]:
        """Where the server lists no rooms, new ones are those that other types name tonight, or hold."""
        if self._states or held.way is not Way.ROOMS or Scope.ROOM not in self._type.scopes:
            return []
        return [room for room in await self._rooms.known(self._type) if room not in held.rooms]

    async def _is_met(self, held: HeldList) -> bool:
        """Does the server list as many rows as are held? One request."""
        self._total = await self._listed_rows()
        return self._total is not None and self._total - held.unaccounted == self._outcome.rows_upstream

    async def _listed_rows(self) -> int | None:
        """The total that the server names; None where it names none, or refuses to be asked for one row."""
        key = self._key(Scope.EXPERIMENT, self._wanted.experiment)
        try:
            page = await self._context.reader.first_page(key, 1)
        except InvalidParameterError:
            return None
        if doubts := [*page.warnings, *(["its answer comes from a cache"] if page.age_seconds else [])]:
            self._outcome.fail(f"asked for its total: {'; '.join(doubts)}", is_unproven=True)
            return None
        return page.pagination.total

    async def _look_for_more(self, held: HeldList, read: Iterable[str]) -> None:
        """The total has moved: read the rooms that are likeliest to have changed, and in the end the whole."""
        self._searching_since = held.searching_since or self._context.clock.epoch()
        await self._search(held, read)
        if self._outcome.is_complete:
            self._searching_since = 0.0

    async def _search(self, held: HeldList, read: Iterable[str]) -> None:
        can_by_room = Scope.ROOM in self._type.scopes
        likely = suspects(held, self._states, read) if can_by_room else []
        if held.way is Way.ROOMS and self._is_told_by_ids(held, len(likely)):
            key = self._key(Scope.EXPERIMENT, self._wanted.experiment)
            in_archive = [room for room in (*held.rooms, *self._outcome.read_at) if room is not None]
            with self._listed():
                moved = await rooms_that_moved(self._context, key, in_archive)
            not_read = set(likely)
            likely = list(dict.fromkeys((*(room for room in moved if room in not_read), *likely)))
        waiting = iter(likely)
        while some := list(islice(waiting, LOOKED_FOR_AT_ONCE)):
            await self._read_rooms(some)
            if self._total is not None and self._total - held.unaccounted == self._outcome.rows_upstream:
                return
        if not self._outcome.is_complete:
            return  # rows of a room that could not be read are not without a room
        if held.way is Way.ROOMS and self._type.scopes >= {Scope.EXPERIMENT, Scope.ROOM}:
            known = dict.fromkeys([*held.rooms, *self._outcome.read_at])
            await self._read_beyond([room for room in known if room is not None])
        else:
            await self._read_all()

    def _is_told_by_ids(self, held: HeldList, rooms: int) -> bool:
        """Is it cheaper to read the experiment's list for its ids than to look into room after room?"""
        page_rows = held.page_rows or FALLBACK_LIMIT
        has_ids = bool(self._type.id_fields) and Scope.EXPERIMENT in self._type.scopes
        is_new = not held.searching_since  # a search that goes on has had this hint
        return is_new and has_ids and held.rows <= MOST_ROWS and pages(held.rows, page_rows) * 2 < rooms

    # --- at experiment scope -------------------------------------------------------------------------
    async def _read_experiment(self, *, must_tell_rooms: bool) -> None:
        key = self._key(Scope.EXPERIMENT, self._wanted.experiment)
        reading = proven_list(self._context, key, must_tell_rooms=must_tell_rooms, on_rows=self._on_rows)
        with self._listed():
            async with reading as found:
                self._way = Way.EXPERIMENT
                self._total = found.total
                self._rooms.named(self._type, found.parts)
                rooms = dict.fromkeys([*found.parts, *await self._rooms_without_rows(found)])
                goes_by_room = must_tell_rooms and self._goes_by_room(found)
                self._was_read_whole = await self._outcome.settle(found, rooms, is_last_word=not goes_by_room)
        if goes_by_room:
            self._is_told_whole = True
            self._outcome.note(f"{found.note}; its rooms are read one by one")
            await self._read_by_room(unproven=found.note)

    def _goes_by_room(self, found: ProvenList) -> bool:
        """Are its rooms to prove what its own list does not? In the end, also that a total is wrong."""
        if found.is_proven:
            return False
        return found.may_be_proven_by_room or self._outcome.is_wrong_total(found)

    async def _rooms_without_rows(self, found: ProvenList) -> list[Room]:
        """Rooms that a complete list shows to have nothing: those that are known, and those held before."""
        if not found.is_proven:
            return []
        before: list[Room] = list(self._held.rooms) if self._held is not None and self._window.is_whole else []
        if self._type.name == "rooms" and not self._rooms.are_all_listed:
            before = []
        is_asked_for = Scope.ROOM in self._type.scopes and not self._is_repair
        known = await self._rooms.known(self._type) if is_asked_for else []
        return [room for room in dict.fromkeys((*known, *before)) if room not in found.parts]

    # --- room by room --------------------------------------------------------------------------------
    async def _read_by_room(self, *, unproven: str = "") -> None:
        """All rooms, but for those that an earlier run has read already; and rows that belong to none.

        `unproven`: the experiment's list was read, and why it is not proven.
        """
        rooms = await self._rooms.known(self._type)
        vanished = self._vanished(rooms)
        is_listed = Scope.EXPERIMENT in self._type.scopes
        doubt = self._rooms.doubt or self._rooms.silence
        if not rooms and not vanished:
            if doubt:  # its rows may well be of rooms
                self._doubt_rooms(doubt)
            elif unproven:
                self._outcome.fail(unproven, is_unproven=True)
            elif is_listed:
                await self._read_experiment(must_tell_rooms=False)
            else:
                self._way = Way.ROOMS
                self._has_no_way = not self._rooms.are_listed and self._rooms.may_be_named
                if not (self._has_no_way or self._rooms.are_listed):
                    self._outcome.fail(
                        "no room is known: the server lists none, and nothing else is read that names some; "
                        "name the rooms (--room), or read events with it"
                    )
            return
        self._way = Way.ROOMS
        self._states = self._states or await self._rooms.states(self._type)
        await self._read_beside_the_end([*self._unsettled(rooms), *vanished], may_be_absent=not is_listed)
        await self._require_rooms_stood(rooms)
        self._doubt_rooms(doubt)
        if is_listed and self._outcome.is_complete:
            await self._read_beyond([*rooms, *vanished])

    def _unsettled(self, rooms: Sequence[str]) -> list[str]:
        if self._held is None or self._policy.is_full or not self._wanted.is_whole:
            return list(rooms)
        held = HeldList(Way.ROOMS, self._held.rooms, rooms_read_at=self._held.rooms_read_at)
        now = self._context.clock.epoch()
        unsettled = set(unsettled_rooms(held, self._states, self._policy, now=now))
        return [room for room in rooms if room in unsettled or room not in held.rooms]

    def _vanished(self, rooms: Sequence[str]) -> list[str]:
        """Rooms that are held with rows, and that the server no longer has; in a repair, damaged ones, too."""
        held = self._held.rooms if self._held is not None and self._rooms.are_all_listed else {}
        known = set(rooms)
        return [
            room
            for room, each in held.items()
            if room is not None
            and room not in known
            and (each.rows or (self._is_repair and not each.is_intact))
        ]

    def _doubt_selection(self) -> None:
        if doubt := self._rooms.selection_doubt:
            self._outcome.fail(doubt)

    def _doubt_rooms(self, doubt: str) -> None:
        if doubt:
            self._outcome.fail(f"there may be rooms that are not known: {doubt}")

    async def _read_beyond(self, rooms: Sequence[str]) -> None:
        """Where the experiment lists more rows than its rooms, those that no room has belong to none."""
        held = self._held.rooms if self._held is not None else {}
        of_no_room = held.get(None, HeldRoom())
        has_roomless = of_no_room.rows > 0
        key = self._key(Scope.EXPERIMENT, self._wanted.experiment)
        in_rooms = self._outcome.upstream_rows_of(rooms)
        was_proven = self._held is None or not self._held.is_unread
        is_to_be_met = self._window.is_whole and of_no_room.is_intact and was_proven and not has_roomless
        is_met = is_to_be_met and self._total == in_rooms
        if is_met and await self._is_shown_to_be_met(key, rooms):
            return
        try:
            with self._listed():
                self._total = await read_roomless(
                    self._context,
                    key,
                    rooms,
                    self._outcome,
                    on_rows=self._on_rows,
                    read_other_rooms=partial(self._read_other_rooms, rooms),
                    are_rooms_known=self._rooms.are_listed or has_roomless or not any(held),
                )
        except DamagedError as error:
            why = f"which rows belong to no room cannot be told: {error}"
            self._outcome.fail(f"{why}; run `hsmirror verify --repair`, and sync again")

    async def _is_shown_to_be_met(self, key: ListKey, rooms: Sequence[str]) -> bool:
        """Have the rooms the rows that the experiment lists? That they are as many is known."""
        page = self._first_page
        if page is not None and is_whole_list(page):
            return await are_all_in_rooms(self._context, key, page, rooms)
        return self._is_told_whole and await are_rows_distinct(self._context, key, rooms)

    async def _read_beside_the_end(self, rooms: Sequence[str], *, may_be_absent: bool) -> None:
        """Read these rooms; where the experiment's list has more pages than the first, look at its last one."""
        failure: UpstreamError | None = None
        async with anyio.create_task_group() as tasks:
            if self._first_page is not None and not is_whole_list(self._first_page) and self._total:
                tasks.start_soon(self._look_at_the_end, self._total)
            try:
                await self._read_rooms(rooms, may_be_absent=may_be_absent)
            except UpstreamError as error:
                failure = error
        if failure is not None:
            raise failure

    async def _look_at_the_end(self, total: int) -> None:
        """Does the last page of the experiment's list, too, say that its total is all?"""
        key = self._key(Scope.EXPERIMENT, self._wanted.experiment)
        with suppress(UpstreamError):  # then the list is read to its end
            self._is_told_whole = await ends_at(self._context.reader, key, total)

    async def _read_other_rooms(
        self, known: Sequence[str], again: Sequence[str], total: int | None
    ) -> list[str]:
        """Rooms that have been opened since the rooms were listed.

        Those that were left alone are read, too, and those that may have got rows since they were read.
        """
        listed = dict.fromkeys((*await self._rooms.listed_again(), *again))
        older = set(known)
        new = [room for room in listed if room not in older]
        # A list that is as long as before the rooms were read has got no row since, as far as a number tells.
        has_grown = total is None or total != self._total
        others = [
            room for room in known if has_grown or room not in self._outcome.read_at or self._is_open(room)
        ]
        await self._read_rooms(list(dict.fromkeys((*new, *(others if self._window.is_whole else ()), *again))))
        return new

    def _is_open(self, room: str) -> bool:
        """May it still get rows? A room is not expected to change once it has ended long enough ago."""
        state = self._states.get(room)
        if state is None or state.finished_at is None:
            return True
        return self._context.clock.epoch() < state.finished_at + self._policy.settle_seconds

    async def _require_rooms_stood(self, rooms: Sequence[str]) -> None:
        """A listed room that has no such list may have been renamed, or merged into one that was read before.

        Where there is a list of the whole experiment, that shows there.
        """
        if not (self._lists.lacking and self._is_by_room_alone and self._rooms.are_listed):
            return
        listed = await self._rooms.listed_again()
        known = set(rooms)
        await self._read_rooms([room for room in listed if room not in known])
        if gone := sorted(set(self._lists.lacking).difference(listed)):
            self._outcome.fail(
                f"room {gone[0]} went while the rooms were read; its rows may be in another one now: run again",
                is_unproven=True,
            )

    async def _read_rooms(self, rooms: Sequence[str], *, may_be_absent: bool = False) -> None:
        may_be_absent = may_be_absent and not self._type.documented
        await self._lists.read(
            [[self._key(Scope.ROOM, room, room)] for room in rooms], may_be_absent=may_be_absent
        )

    async def _has_vanished(self, room: str | None) -> bool:
        """Is this a room that is held, and that the server no longer lists?"""
        if self._held is None or room not in self._held.rooms:
            return False
        self._states = self._states or await self._rooms.states(self._type)
        is_list_believed = bool(self._states) or self._policy.is_full
        return is_list_believed and room not in self._states and self._rooms.are_all_listed

    # --- types that no room has ----------------------------------------------------------------------
    @property
    def _is_by_room_alone(self) -> bool:
        is_listed = Scope.EXPERIMENT in self._type.scopes
        return self._wanted.is_whole and not (is_listed or self._is_repair)

    async def _ask_again(self) -> None:
        """Where no room had the type so far, one that is settled is asked; if it has it, all are."""
        held = self._context.receipts.get(f"absent {self._what}")
        if self._held is None or not (self._is_by_room_alone and no_room_has(held)):
            return
        rooms = self._rooms.upstream or [room for room in self._held.rooms if room is not None]
        left = [room for room in rooms if room not in self._outcome.read_at]
        if left and not self._lists.has_answered:
            await self._read_rooms([room_in_turn(left, self._context.clock.epoch())])
        if self._lists.has_answered:
            await self._read_rooms([room for room in left if room not in self._outcome.read_at])

    async def _remember_absence(self) -> None:
        if not self._is_by_room_alone:
            return
        receipt = absence_receipt(
            self._what,
            self._context.receipts.get(f"absent {self._what}"),
            lacking=len(self._lists.lacking),
            has_answered=self._lists.has_answered,
            is_first=self._context.receipts.get(f"list {self._what}") is None,
            since=self._context.now_text,
        )
        if receipt is not None:
            await self._context.committer.commit(Commit(receipts=[receipt]))

    # --- what is remembered --------------------------------------------------------------------------
    async def _remember(self) -> None:
        """The list's receipt, where the type was read as a whole and something about it is new."""
        if not self._wanted.is_whole or self._is_repair:
            return
        held = self._context.receipts.get(f"list {self._what}")
        read = ReadList(
            self._wanted.experiment,
            self._type.name,
            self._way,
            total=self._total,
            page_rows=self._context.reader.page_rows(self._type.name),
            was_read_whole=self._was_read_whole,
            before=self._held,
            searching_since=self._searching_since,
        )
        now = self._context.clock.epoch()
        receipt = list_receipt(read, self._outcome, self._states, self._policy, now=now, held=held)
        if receipt is not None:
            await self._context.committer.commit(Commit(receipts=[receipt]))

    def _report(self) -> TypeReport:
        outcome = self._outcome
        return TypeReport(
            self._type.name,
            rows=outcome.rows,
            rooms=outcome.rooms_with_rows,
            is_complete=outcome.is_complete,
            changed_shards=outcome.changed_shards,
            lacks_scope=self._lacks_scope,
            why=outcome.why,
        )

    def _failed(self, error: UpstreamError) -> None:
        """The type as a whole could not be read."""
        if isinstance(error, KeyRefusedError):
            raise error
        if isinstance(error, ForbiddenError) and error.required_scopes:
            why = f"the key lacks the scope {', '.join(error.required_scopes)} ({error})"
            self._lacks_scope = True
            if self._type.documented:
                self._outcome.fail(f"{why}; give the key that scope, or leave the data type out")
            else:
                self._is_absent(why)
        elif isinstance(error, NotFoundError) and not self._type.documented:
            self._is_absence_doubtful = not error.is_of_route
            self._is_absent(f"this server does not offer it: {error}")
        else:
            self._outcome.fail(str(error))

    def _is_absent(self, why: str) -> None:
        """A newer type may be lacking; but one of which rows are held was there before."""
        held = self._context.held.list_of(self._wanted.experiment, self._type.name)
        if held is not None and held.rows:
            self._outcome.fail(f"{why}, of which {held.rows} rows are held; run again")
        elif self._first_page is not None or self._lists.has_answered:
            self._outcome.fail(f"{why}, of which another list has rows; run again")
        else:
            self._absent = why

    @contextmanager
    def _listed(self) -> Iterator[None]:
        self._context.tally.lists += 1
        try:
            yield
        finally:
            self._context.tally.lists_done += 1

    def _key(self, scope: Scope, scope_id: str, room: str | None = None) -> ListKey:
        return ListKey(self._wanted.experiment, self._type, scope, scope_id, room, self._window)
