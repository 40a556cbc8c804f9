"""Which rooms have changed, where rows do not name theirs: told by one reading of the experiment's list.

An id that is held and no longer listed tells its room at once. The person of a row that is new was in rooms of
which rows are held. Nothing is proven so: it says which rooms to read first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import anyio.to_thread

from hsmirror.api.envelope import Page
from hsmirror.api.rows import row_id
from hsmirror.archive.segments import Receipts
from hsmirror.errors import DamagedError
from hsmirror.mirror.context import Context
from hsmirror.mirror.people import person_of
from hsmirror.mirror.settle import Shelf
from hsmirror.mirror.write import rows_of
from hsmirror.model import DataType, ListKey

MOST_ROWS = 1_000_000
"""Held in memory meanwhile, as ids and persons."""


async def rooms_that_moved(context: Context, key: ListKey, rooms: Iterable[str]) -> list[str]:
    """The rooms of `rooms` that have probably changed, likeliest first.

    Raises:
        UpstreamError: the experiment's list cannot be read.
    """
    held = await anyio.to_thread.run_sync(_Held, context, key, list(rooms))
    seen = _Seen(key.data_type, held)
    await context.reader.read(key, seen)
    likely = Counter(room for row_id, room in held.room_of_id.items() if row_id not in seen.ids)
    for person in seen.people_of_new_rows:
        likely.update(held.rooms_of_person.get(person, ()))
    return [room for room, _ in likely.most_common()]


class _Held:
    """Ids and persons of the rows that are held."""

    def __init__(self, context: Context, key: ListKey, rooms: Iterable[str]) -> None:
        self.room_of_id: dict[str, str] = {}
        self.rooms_of_person: dict[str, set[str]] = {}
        for room in rooms:
            for row in self._rows(context, context.receipts, key, room):
                if (told := row_id(row, key.data_type)) is not None:
                    self.room_of_id[told] = room
                if (person := person_of(row, key.data_type)) is not None:
                    self.rooms_of_person.setdefault(person, set()).add(room)

    @staticmethod
    def _rows(context: Context, receipts: Receipts, key: ListKey, room: str) -> Iterator[bytes]:
        shelf = Shelf(key.experiment, key.data_type.name, room)
        paths = [context.layout.absolute(shard.path) for shard in shelf.held(receipts) if shard.sha256]
        try:
            yield from rows_of(paths)
        except DamagedError:
            return  # then this room is read anyway


class _Seen:
    """A sink that keeps the ids alone, and whose rows are new."""

    def __init__(self, data_type: DataType, held: _Held) -> None:
        self.ids: set[str] = set()
        self.people_of_new_rows: set[str] = set()
        self._type = data_type
        self._held = held

    async def write(self, page: Page) -> None:
        for told, row in zip(page.ids, page.rows, strict=True):
            if told is None:
                continue
            self.ids.add(told)
            if told not in self._held.room_of_id and (person := person_of(bytes(row), self._type)) is not None:
                self.people_of_new_rows.add(person)
