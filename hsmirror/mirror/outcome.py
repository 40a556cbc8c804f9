"""What becomes of one data type in a run: rows held by room, what changed, and why it is not complete."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import ceil, inf

import anyio
import anyio.to_thread

from hsmirror.api.envelope import members_of
from hsmirror.archive.layout import sidecar_path
from hsmirror.archive.receipts import WHOLE, Claim
from hsmirror.archive.shards import StagedPart
from hsmirror.errors import DamagedError
from hsmirror.mirror.asked import Asked
from hsmirror.mirror.context import Context
from hsmirror.mirror.differences import Differences
from hsmirror.mirror.documents import document_commit
from hsmirror.mirror.moved import RoomRows, moved_rows, without
from hsmirror.mirror.night import HeldList, Room
from hsmirror.mirror.parts import kept_bytes
from hsmirror.mirror.reading import ProvenList
from hsmirror.mirror.report import Problem
from hsmirror.mirror.settle import Settled, Shelf
from hsmirror.mirror.write import rows_of, write_rows
from hsmirror.model import DataType, Scope, Window

_TIMELINE_MEMBERS = ("timeline", "variableNames", "matrixColumns", "droppedWrites", "mode")

_NOTHING: array[int] = array("q")

_ROOMS_SETTLED_AT_ONCE = 128
"""In one go of a worker thread, which cannot be interrupted."""


@dataclass(frozen=True, slots=True)
class _Rows:
    held: int
    gone: int


class Outcome:
    """Settles and commits what is read of one data type, and keeps count of it.

    `held` is what was there before; `is_full` says that an empty list is meant to be believed, `is_known` that
    a room is this experiment's.
    """

    def __init__(
        self,
        context: Context,
        experiment: str,
        data_type: DataType,
        window: Window,
        *,
        held: HeldList | None,
        is_full: bool,
        is_known: Callable[[str], bool],
    ) -> None:
        self._context = context
        self._experiment = experiment
        self._type = data_type
        self._window = window
        self._is_full = is_full
        self._is_known = is_known
        self._before = held
        self._new: dict[Room, array[int] | None] = {}
        """Of rooms that got rows in this run: what came; None where that is not told from the rest."""
        self._at_work: defaultdict[Room, anyio.Lock] = defaultdict(anyio.Lock)
        self._rows: dict[Room, _Rows] = {}
        if held is not None:
            self._rows = {
                room: _Rows(each.rows + each.gone_rows, each.gone_rows) for room, each in held.rooms.items()
            }
        self._looks_up = held is None
        self._reasons: dict[str, None] = {}
        self._was_read = True
        self.read_at: dict[Room, float] = {}
        """When rooms were read in this run and proven complete."""
        self.changed_rooms: set[Room] = set()
        self.changed_shards = 0
        self.is_unread = False
        """The list as a whole was not proven; single rooms that were not are known by what is held of them."""
        self.rows_read = 0
        known = held.differences if held is not None else {}
        self.differences = Differences.since(known, context.policy.settle_seconds)

    def __repr__(self) -> str:
        return f"<Outcome of {self._type.name}, rows={self.rows}, complete={self.is_complete}>"

    @property
    def rows(self) -> int:
        """Rows held, those that are gone upstream included."""
        return sum(each.held for each in self._rows.values())

    @property
    def rows_upstream(self) -> int:
        """Rows held that were upstream when they were last read."""
        return sum(each.held - each.gone for each in self._rows.values())

    @property
    def rooms_with_rows(self) -> int:
        return sum(1 for each in self._rows.values() if each.held)

    @property
    def is_complete(self) -> bool:
        return not self._reasons

    @property
    def why(self) -> str:
        """Why it is not complete."""
        reasons = list(self._reasons)
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        return "; ".join(reasons[:3]) + more

    @property
    def unread(self) -> str:
        """Why there may be more upstream than was read; empty where only what was held is at fault."""
        return "" if self._was_read else self.why

    def fail(self, why: str, *, room: str = "", was_read: bool = False, is_unproven: bool = False) -> None:
        """It is not complete. `was_read`: what the server lists was read all the same.

        `is_unproven`: the list as a whole is not proven, so that no total proves it the next night.
        """
        self._reasons[why] = None
        self._was_read &= was_read
        self.is_unread |= is_unproven
        self._context.tally.problems.append(
            Problem(why, experiment=self._experiment, data_type=self._type.name, room=room)
        )

    def note(self, text: str) -> None:
        self._context.tally.note(f"{self._type.name} of {self._experiment}: {text}")

    def upstream_rows_of(self, rooms: Iterable[Room]) -> int:
        """Rows held of these rooms that were upstream when they were last read."""
        return sum(each.held - each.gone for room in rooms if (each := self._rows_of(room)) is not None)

    async def _upstream_rows_within(self, asked: Asked, rooms: Sequence[Room]) -> int:
        """How many of those a reading would show. For a narrow one the rows themselves are looked at."""
        if not asked.is_narrow:
            return self.upstream_rows_of(rooms)

        def count() -> int:
            shown = (row for room in rooms for row in self._rows_upstream(room) if asked.speaks_for(row))
            return sum(1 for _ in shown)

        return await anyio.to_thread.run_sync(count, limiter=self._context.settling)

    def _rows_upstream(self, room: Room) -> Iterator[bytes]:
        """Those of a room that were when they were last read; none where they are damaged."""
        with suppress(DamagedError):
            yield from islice(self._rows_held(room), self.upstream_rows_of([room]))

    def _rows_of(self, room: Room) -> _Rows | None:
        """A narrow run is not told what is held: there the receipts are asked, room by room."""
        if not self._looks_up or room in self._rows:
            return self._rows.get(room)
        parts = Shelf(self._experiment, self._type.name, room).held(self._context.receipts)
        rows = _Rows(sum(part.rows for part in parts), max((part.gone_rows for part in parts), default=0))
        return rows if parts and parts[0].sha256 else None

    async def settle(
        self,
        found: ProvenList,
        rooms: Iterable[Room],
        *,
        participant: str | None = None,
        are_gone: bool = False,
        is_last_word: bool = True,
    ) -> bool:
        """Hold what came against what is held, and commit the difference; is it proven to be all?

        Where what came is not proven, and that is not the `is_last_word`, it is read otherwise after this.
        An empty list after a full one is suspicious: nothing is taken for gone then, unless `are_gone` or a
        full run says that it is meant.
        """
        rooms = list(rooms)
        if self.is_wrong_total(found) and is_last_word:
            found = replace(found, is_proven=True)
        claim = Claim(self._window.start, self._window.end, participant)
        asked = Asked(self._type, claim, is_proven=found.is_proven)
        is_suspicious = not (found.rows or are_gone or self._is_full)
        if is_suspicious and (held_before := await self._upstream_rows_within(asked, rooms)):
            where = rooms[0] if len(rooms) == 1 else None
            self.fail(
                f"the server lists none of the {held_before} rows that are held"
                f"{f' of room {where}' if where else ''}; nothing was dropped. If they were "
                "deleted on purpose, `hsmirror sync --full` marks them as gone",
                room=where or "",
            )
            return False
        waiting = iter(rooms)
        while some := list(islice(waiting, _ROOMS_SETTLED_AT_ONCE)):
            await self._settle_some(found, some, asked)
        own = set(rooms)
        if others := [room for room in found.parts if room not in own]:
            await self._file_elsewhere(found, others, list_of=rooms[0])
        self.rows_read += found.rows
        if not found.is_proven:
            if is_last_word:
                self.fail(found.note + self._when_it_counts(found), is_unproven=not found.of_room)
            return False
        if claim == WHOLE:
            now = self._context.clock.epoch()
            self.read_at.update(dict.fromkeys(rooms, now))
        if found.note:
            self.note(found.note)
        return True

    def is_wrong_total(self, found: ProvenList) -> bool:
        """Has it stood for long enough that the list falls short of its total? Not where it looks cut off."""
        has_stood = self.differences.has_stood(found.of_room, found.short_by, self._context.clock.epoch())
        return has_stood and found.short_by > 0 and not self._is_cut_off(found)

    def _is_cut_off(self, found: ProvenList) -> bool:
        """Does it look cut off, and is there no shorter list that shows the rest?"""
        return found.looks_capped and (bool(found.of_room) or Scope.ROOM not in self._type.scopes)

    def _when_it_counts(self, found: ProvenList) -> str:
        if not found.short_by or self._is_cut_off(found):
            return ""
        hours = ceil(self._context.policy.settle_seconds / 3600)
        return f"; it is read again each night until that has stood for {hours} h"

    async def _settle_some(self, found: ProvenList, some: Sequence[Room], asked: Asked) -> None:
        def settle_all(in_memory_bytes: int) -> list[Settled]:
            settled: list[Settled] = []
            for room in some:
                parts = found.parts.take(room, in_memory_bytes=in_memory_bytes)
                in_memory_bytes -= kept_bytes(parts)
                settled.append(self._context.settlement.settle(self._shelf(room), parts, asked))
            return settled

        async with self._alone_with(some):
            with self._context.staging.unpublished(found.parts.small_bytes(some)) as in_memory_bytes:
                if len(some) == 1 and self._is_quick(some[0], found, in_memory_bytes):
                    settled = settle_all(in_memory_bytes)
                else:
                    settled = await anyio.to_thread.run_sync(
                        settle_all, in_memory_bytes, limiter=self._context.settling
                    )
                await self._context.committer.commit(*[each.commit for each in settled if each.commit])
            for room, each in zip(some, settled, strict=True):
                self._take_in(room, each)

    @asynccontextmanager
    async def _alone_with(self, rooms: Sequence[Room]) -> AsyncIterator[None]:
        """Lists of several rooms may be settled at once, and one may have rows of another's room."""
        if len(rooms) > 1:  # a list that is read by itself
            yield
            return
        async with self._at_work[rooms[0]]:
            yield

    async def _file_elsewhere(self, found: ProvenList, others: Sequence[Room], *, list_of: Room) -> None:
        """Rows that name another room than the one whose list they came in: added there, if it is known.

        That says nothing about the other room's list.
        """
        asked = Asked(self._type, is_proven=False, only_adds=True)
        known = dict.fromkeys(room for room in others if room is not None and self._is_known(room))
        for room in known:
            await self._settle_some(found, [room], asked)
        if known:
            self.note(f"the list of room {list_of} has rows of {_named(list(known))}; they are filed there")
        if unknown := [room for room in others if room not in known]:
            self.fail(
                f"the list of room {list_of} has rows of {_named(unknown)}, which the server does not list as "
                "this experiment's; they were left out",
                room=list_of or "",
            )

    async def take_out_moved(self) -> None:
        """Rows that are gone from one room and came in another leave the former: a row stands once."""
        if not any(each.gone for each in self._rows.values()):
            return
        since = self._rows_compared_at()
        rooms = [
            RoomRows(room, partial(self._rows_held, room), each.held, each.gone, self._came_since(room, since))
            for room, each in self._rows.items()
            if each.held
        ]
        try:
            moved = await anyio.to_thread.run_sync(
                moved_rows, rooms, self._type, limiter=self._context.settling
            )
            for room, contents in moved.items():
                await self._take_out(room, contents)
        except DamagedError as error:
            self.note(f"whether rows have moved to another room cannot be told: {error}")

    async def _take_out(self, room: Room, contents: Counter[bytes]) -> None:
        """From a room's shard, the older generation kept."""
        count, gone = contents.total(), self._rows[room].gone
        settlement, shelf = self._context.settlement, self._shelf(room)

        def reduce() -> Settled:
            # Those that are gone stand last: of rows that are alike, the others stay.
            rows = without(self._rows_held(room), contents)
            left = write_rows(rows, self._context.staging.builder())
            return settlement.reduced(shelf, left, gone_rows=gone - count)

        settled = await anyio.to_thread.run_sync(reduce, limiter=self._context.settling)
        if settled.commit is not None:
            await self._context.committer.commit(settled.commit)
        self._take_in(room, settled)
        self.note(f"{count} rows of room {room} are in another room now; the older shard is kept as superseded")

    def _rows_held(self, room: Room) -> Iterator[bytes]:
        receipts = self._shelf(room).held(self._context.receipts)
        return rows_of(self._context.layout.absolute(each.path) for each in receipts if each.sha256)

    def _shelf(self, room: Room) -> Shelf:
        return Shelf(self._experiment, self._type.name, room)

    def _is_quick(self, room: Room, found: ProvenList, in_memory_bytes: int) -> bool:
        """Is it small, and nothing of it held? To seal and settle it takes less than to have a thread do it."""
        shelf = self._shelf(room)
        is_in_memory = in_memory_bytes > 0 or not found.parts.small_bytes([room])
        return is_in_memory and found.parts.is_quick(room) and not self._context.settlement.holds(shelf)

    async def take_out_of_no_room(self, left: Sequence[StagedPart] | None) -> None:
        """Rows that were held of no room, and that a room has now, leave the tree; `left` are the others.

        They are not gone: a reader of the tree would see them twice.
        """
        if left is None:
            return
        settled = await anyio.to_thread.run_sync(self._context.settlement.reduced, self._shelf(None), left)
        if settled.commit is not None:
            await self._context.committer.commit(settled.commit)
        self._take_in(None, settled)

    async def keep_timeline(self, room: str | None, found: ProvenList) -> None:
        """What a variables answer says beside its rows is data, too."""
        document = members_of(found.metadata, _TIMELINE_MEMBERS)
        path = sidecar_path(self._experiment, self._type.name, room)
        commit = document_commit(self._context, self._experiment, path, document)
        if commit is not None:
            await self._context.committer.commit(commit)

    def _take_in(self, room: Room, settled: Settled) -> None:
        self._rows[room] = _Rows(settled.rows, settled.gone_rows)
        if (new := self._new_rows(room, settled)) is None or new:
            self._new[room] = new
        self.changed_shards += settled.changed_shards
        if settled.changed_shards:
            self.changed_rooms.add(room)
        if settled.note:
            self.note(settled.note)
        if settled.problem:
            self.fail(settled.problem, room=room or "", was_read=True)

    def _rows_compared_at(self) -> float:
        """Until when rows that came are known to be none of those that are gone."""
        before = self._before
        if before is None:
            return inf
        known = {room: each.gone_rows for room, each in before.rooms.items()}
        is_more_gone = any(each.gone > known.get(room, 0) for room, each in self._rows.items())
        return min(before.whole_at, before.recorded_at) if is_more_gone else before.recorded_at

    def _came_since(self, room: Room, since: float) -> array[int] | None:
        """The marks of what came to a room, in this run or in narrow ones before it; None: any may have."""
        if room in self._new or self._before is None:
            return self._new.get(room, _NOTHING)
        before = self._before.rooms.get(room)
        return None if before is not None and before.changed_at >= since else _NOTHING

    def _new_rows(self, room: Room, settled: Settled) -> array[int] | None:
        """The marks of what came since the other rooms were last known; None where all of it may have."""
        if self._before is None:
            return settled.new_rows
        before = self._before.rooms.get(room)
        if before is None or not before.is_proven:
            return None
        return settled.new_rows if before.changed_at < self._before.whole_at else None


def _named(rooms: Sequence[Room]) -> str:
    """The first few of some rooms."""
    shown = ", ".join("no room" if room is None else f"room {room}" for room in rooms[:3])
    return f"{shown} and {len(rooms) - 3} more" if len(rooms) > 3 else shown
