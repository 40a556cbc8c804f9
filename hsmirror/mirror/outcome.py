"""What becomes of one data type in a run: rows held by room, what changed, and why it is not complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import anyio.to_thread

from hsmirror.api.envelope import members_of
from hsmirror.archive.layout import sidecar_path
from hsmirror.archive.receipts import WHOLE, Claim
from hsmirror.archive.shards import StagedPart
from hsmirror.mirror.context import Context
from hsmirror.mirror.documents import document_commit
from hsmirror.mirror.night import HeldList, Room
from hsmirror.mirror.parts import kept_bytes
from hsmirror.mirror.reading import ProvenList, identity_of
from hsmirror.mirror.report import Problem
from hsmirror.mirror.settle import Settled, Shelf
from hsmirror.model import DataType, Window

_TIMELINE_MEMBERS = ("timeline", "variableNames", "matrixColumns", "droppedWrites", "mode")

_ROOMS_SETTLED_AT_ONCE = 128
"""In one go of a worker thread, which cannot be interrupted."""


@dataclass(frozen=True, slots=True)
class _Rows:
    held: int
    gone: int


class Outcome:
    """Settles and commits what is read of one data type, and keeps count of it.

    `held` is what was there before; `is_full` says that an empty list is meant to be believed.
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
    ) -> None:
        self._context = context
        self._experiment = experiment
        self._type = data_type
        self._window = window
        self._is_full = is_full
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
        self.rows_read = 0

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

    def fail(self, why: str, *, room: str = "", was_read: bool = False) -> None:
        """It is not complete. `was_read`: what the server lists was read all the same."""
        self._reasons[why] = None
        self._was_read &= was_read
        self._context.tally.problems.append(
            Problem(why, experiment=self._experiment, data_type=self._type.name, room=room)
        )

    def note(self, text: str) -> None:
        self._context.tally.note(f"{self._type.name} of {self._experiment}: {text}")

    def upstream_rows_of(self, rooms: Iterable[Room]) -> int:
        """Rows held of these rooms that were upstream when they were last read."""
        return sum(each.held - each.gone for room in rooms if (each := self._rows_of(room)) is not None)

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
    ) -> None:
        """Hold what came against what is held, and commit the difference.

        An empty list after a full one is suspicious: nothing is taken for gone then, unless `are_gone` or a
        full run says that it is meant.
        """
        rooms = list(rooms)
        claim = Claim(self._window.start, self._window.end, participant)
        held_before = self.upstream_rows_of(rooms)
        if not found.rows and held_before and claim == WHOLE and not (are_gone or self._is_full):
            where = rooms[0] if len(rooms) == 1 else None
            self.fail(
                f"the server lists none of the {held_before} rows that are held"
                f"{f' of room {where}' if where else ''}; nothing was dropped. If they were "
                "deleted on purpose, `hsmirror sync --full` marks them as gone",
                room=where or "",
            )
            return
        settle = partial(
            self._context.settlement.settle,
            claim=claim if found.is_proven else None,
            is_narrow=claim != WHOLE,
            identity=identity_of(self._type),
        )

        def settle_some(some: Sequence[Room], in_memory_bytes: int) -> list[Settled]:
            settled: list[Settled] = []
            for room in some:
                parts = found.parts.take(room, in_memory_bytes=in_memory_bytes)
                in_memory_bytes -= kept_bytes(parts)
                settled.append(settle(Shelf(self._experiment, self._type.name, room), parts))
            return settled

        waiting = iter(rooms)
        while some := list(islice(waiting, _ROOMS_SETTLED_AT_ONCE)):
            with self._context.staging.unpublished(found.parts.small_bytes(some)) as in_memory_bytes:
                if len(some) == 1 and self._is_quick(some[0], found, in_memory_bytes):
                    settled = settle_some(some, in_memory_bytes)
                else:
                    settled = await anyio.to_thread.run_sync(
                        settle_some, some, in_memory_bytes, limiter=self._context.settling
                    )
                await self._context.committer.commit(*[each.commit for each in settled if each.commit])
            for room, each in zip(some, settled, strict=True):
                self._take_in(room, each)
        self.rows_read += found.rows
        if not found.is_proven:
            self.fail(found.note)
            return
        if claim == WHOLE:
            now = self._context.clock.epoch()
            self.read_at.update(dict.fromkeys(rooms, now))
        if found.note:
            self.note(found.note)

    def _is_quick(self, room: Room, found: ProvenList, in_memory_bytes: int) -> bool:
        """Is it small, and nothing of it held? To seal and settle it takes less than to have a thread do it."""
        shelf = Shelf(self._experiment, self._type.name, room)
        is_in_memory = in_memory_bytes > 0 or not found.parts.small_bytes([room])
        return is_in_memory and found.parts.is_quick(room) and not self._context.settlement.holds(shelf)

    async def take_out_of_no_room(self, left: Sequence[StagedPart] | None) -> None:
        """Rows that were held of no room, and that a room has now, leave the tree; `left` are the others.

        They are not gone: a reader of the tree would see them twice.
        """
        if left is None:
            return
        shelf = Shelf(self._experiment, self._type.name, None)
        settled = await anyio.to_thread.run_sync(self._context.settlement.reduced, shelf, left)
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
        self.changed_shards += settled.changed_shards
        if settled.changed_shards:
            self.changed_rooms.add(room)
        if settled.note:
            self.note(settled.note)
        if settled.problem:
            self.fail(settled.problem, room=room or "", was_read=True)
