"""The rows of a list that has been read, by room: what is to be settled, a room at a time.

Most rooms are sealed only when they are settled. So a list of thousands of them has a few files under way at a
time, and what is small is written once, by the commit that publishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from hsmirror.archive.shards import ShardBuilder, StagedPart
from hsmirror.archive.spool import Spool
from hsmirror.mirror.night import Room

PartsByRoom: TypeAlias = "dict[Room, list[StagedPart]]"

_A_PART_BYTES = 1 << 10
"""What Python adds to a part's own bytes."""


class Parts:
    """What is there of each room, in the order in which the rooms came: parts, or the builder that seals them.

    `rows` are those of all rooms. Builders may share a `spool`; `release` hears how many bytes of their rows
    wait in memory no more.
    """

    def __init__(
        self,
        rooms: Mapping[Room, ShardBuilder | list[StagedPart]],
        *,
        rows: int,
        spool: Spool | None = None,
        release: Callable[[int], None] | None = None,
    ) -> None:
        self._rooms: dict[Room, ShardBuilder | list[StagedPart] | None] = dict(rooms)
        self._is_closed = False
        self._spool = spool
        self._release = release
        self.rows = rows

    @classmethod
    def sealed(cls, parts: Mapping[Room, list[StagedPart]]) -> Parts:
        """Of parts that are there already."""
        return cls(parts, rows=sum(part.rows for of_room in parts.values() for part in of_room))

    def __repr__(self) -> str:
        return f"<Parts of {len(self._rooms)} rooms, rows={self.rows}>"

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms)

    def __contains__(self, room: object) -> bool:
        return room in self._rooms

    def is_quick(self, room: Room) -> bool:
        """Does it take less to seal a room's rows in memory than to have a thread do it?"""
        there = self._rooms.get(room)
        if isinstance(there, ShardBuilder):
            return there.is_small and there.waiting_bytes == there.pending_bytes
        return not there

    def small_bytes(self, rooms: Iterable[Room]) -> int:
        """What these rooms' small parts may come to in memory."""
        builders = [each for room in rooms if isinstance(each := self._rooms.get(room), ShardBuilder)]
        return sum(builder.pending_bytes + _A_PART_BYTES for builder in builders if builder.is_small)

    def take(self, room: Room, *, in_memory_bytes: int = 0) -> list[StagedPart]:
        """A room's parts, none where it has no rows; once, and in a worker thread unless it is quick.

        A small one stays in memory where there are `in_memory_bytes` for it.

        Raises:
            StorageError: the disk refuses.
        """
        there = self._rooms.get(room, [])
        if there is None or self._is_closed:  # no rows would be taken for none left
            raise RuntimeError(f"the parts of room {room} were taken before")
        if room in self._rooms:
            self._rooms[room] = None
        if isinstance(there, list):
            return there
        builder, waiting_bytes = there, there.waiting_bytes
        try:
            return builder.seal_in_memory() if in_memory_bytes > 0 and builder.is_small else builder.seal()
        finally:
            self._count_released(waiting_bytes)

    def take_all(self) -> PartsByRoom:
        """Of all rooms, on the disk; in a worker thread."""
        try:
            return {room: self.take(room) for room in list(self._rooms)}
        finally:
            self._close_spool()

    def close(self) -> None:
        """What was not taken goes."""
        builders = [each for each in self._rooms.values() if isinstance(each, ShardBuilder)]
        self._rooms = {}
        self._is_closed = True
        self._count_released(sum(builder.waiting_bytes for builder in builders))
        self._close_spool()

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _count_released(self, size_bytes: int) -> None:
        if self._release is not None:
            self._release(size_bytes)


def kept_bytes(parts: Iterable[StagedPart]) -> int:
    """What parts hold in memory."""
    return sum(_A_PART_BYTES + len(part.in_memory) for part in parts if part.in_memory is not None)
