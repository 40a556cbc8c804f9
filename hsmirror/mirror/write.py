"""Pages in, staged shards out: rows split by room, counted, hashed and compressed on the way.

Memory is bounded by what waits for its piece to fill; when many rooms wait at once, it goes to disk, into one
file a list. Small parts stay in memory until the commit that publishes them writes them: one file, one look at
it, one sync.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import anyio
import anyio.to_thread

from hsmirror.api.envelope import Page
from hsmirror.api.rows import Row
from hsmirror.api.signatures import content_of, without_signatures
from hsmirror.archive.durable import Modes, make_folder
from hsmirror.archive.forgotten import Forgotten
from hsmirror.archive.shards import PIECE_BYTES, Form, ShardBuilder, StagedPart, read_rows, staged_rows
from hsmirror.archive.spool import Spool
from hsmirror.mirror.distinct import DistinctCounter
from hsmirror.mirror.parts import Parts
from hsmirror.mirror.people import person_of
from hsmirror.model import ListKey

WAITING_BYTES = 6 << 20
"""Of rows in memory, in all lists of a run together, before they are spilled."""

UNPUBLISHED_BYTES = 4 << 20
"""Of sealed parts in memory, in all lists of a run together: further ones are written to staging."""

_UNPUBLISHED_BYTES_AT_ONCE = 1 << 20
"""At most, of that, in one commit: there are others."""

_SMALL_ROWS = 10_000
"""Of more, however short, a thread counts how many are distinct."""

_GATHERED_BYTES = 2 * PIECE_BYTES
"""Of a page, before it is written what fills a piece: a large page is not there a second time as lines."""

_WRITING_THREADS = 2
"""What one of them compresses is more than the event loop can take apart; each holds a few pieces."""


class Staging:
    """Where a run's shards grow, how much of them waits in memory, and whose rows do not get there."""

    def __init__(
        self, root: Path, folder: Path, form: Form, modes: Modes, forgotten: Forgotten | None = None
    ) -> None:
        self._root = root
        self._folder = folder
        self.form = form
        self.modes = modes
        self.forgotten = forgotten or Forgotten()
        self.waiting_bytes = 0
        self.unpublished_bytes = 0
        self.threads = anyio.CapacityLimiter(_WRITING_THREADS)
        self._counting = Lock()
        self._count = 0

    def __repr__(self) -> str:
        return f"<Staging in {self._folder}, {self.waiting_bytes} bytes waiting>"

    def new_path(self) -> Path:
        """A name that nothing else has."""
        return self._folder / f"{self._new_name()}.staged"

    def count_waiting(self, size_bytes: int) -> None:
        """So many bytes more wait in memory; any thread may say so."""
        with self._counting:
            self.waiting_bytes += size_bytes

    def count_released(self, size_bytes: int) -> None:
        """So many wait in memory no more."""
        self.count_waiting(-size_bytes)

    @contextmanager
    def unpublished(self, size_bytes: int) -> Iterator[int]:
        """How many of so many bytes may be in memory, sealed, until this ends and they are published."""
        free_bytes = max(0, UNPUBLISHED_BYTES - self.unpublished_bytes)
        granted_bytes = min(size_bytes, free_bytes, _UNPUBLISHED_BYTES_AT_ONCE)
        self.unpublished_bytes += granted_bytes
        try:
            yield granted_bytes
        finally:
            self.unpublished_bytes -= granted_bytes

    def builder(self, form: Form | None = None) -> ShardBuilder:
        """A builder with names of its own, in the run's form if not in another."""
        return ShardBuilder(self._folder, self._new_name(), form or self.form, self.modes)

    def _new_name(self) -> str:
        if self._count == 0:
            make_folder(self._root, self._folder, self.modes)
        self._count += 1
        return f"{self._count:07d}"


class ListWriter:
    """The sink of one pass through one list.

    Rows go to the room that they name, or, where they name none, to the one that the list is of. `on_rows`
    hears how many came; `on_recordings` sees those of rooms that were asked for, signatures and all.

    Rows of people who are forgotten count as rows that came, since they are part of the list, and go nowhere.
    """

    def __init__(
        self,
        key: ListKey,
        staging: Staging,
        *,
        on_rows: Callable[[int], None],
        on_recordings: Callable[[Sequence[tuple[str | None, Row]]], None] | None = None,
    ) -> None:
        self._key = key
        self._staging = staging
        self._on_rows = on_rows
        self._on_recordings = on_recordings
        self._builders: dict[str | None, ShardBuilder] = {}
        self._spool: Spool | None = None
        self._counter = DistinctCounter(staging.new_path, staging.modes)
        self.rows = 0
        self.distinct = 0
        """Of `rows`; counted when the list is finished."""
        self.repeats = 0
        """Rows of which another page has the same identity; counted then, too."""
        self.forgotten_rows: Counter[str | None] = Counter()
        """Of `rows`, by room: those that were left out."""
        self.strangers = 0
        """Of `rows`: those that name another experiment, which are left out, too."""

    def __repr__(self) -> str:
        return f"<ListWriter of {self._key}, rows={self.rows}, rooms={len(self._builders)}>"

    @property
    def fingerprint(self) -> int:
        return self._counter.fingerprint

    async def write(self, page: Page) -> None:
        """Take in one page; the heavy part runs in a worker thread."""
        self.rows += len(page.rows)
        self._on_rows(len(page.rows))
        self._counter.add(_identities(page))
        rows_at_once = max(1, len(page.rows) * PIECE_BYTES // max(1, page.size_bytes))
        full: dict[ShardBuilder, None] = {}
        gathered_bytes = 0
        for room, rows in self._by_room(self._without_forgotten(self._without_strangers(page))):
            if self._on_recordings is not None and self._key.room in {None, room}:
                self._on_recordings([(room, row) for row in rows])
            builder = self._builder(room)
            for start in range(0, len(rows), rows_at_once):
                lines = self._lines(rows[start : start + rows_at_once])
                builder.add(lines)
                self._staging.count_waiting(len(lines))
                gathered_bytes += len(lines)
                if builder.pending_bytes >= PIECE_BYTES:
                    full[builder] = None
                if gathered_bytes >= _GATHERED_BYTES:
                    await self._make_room(full)
                    full, gathered_bytes = {}, 0
        await self._make_room(full)

    def discard(self) -> None:
        """The pass came to nothing: what waits in memory goes."""
        self._staging.count_released(sum(builder.waiting_bytes for builder in self._builders.values()))
        self._builders = {}
        self._counter.close()
        if self._spool is not None:
            self._spool.close()

    async def finish(self) -> Parts:
        """What was read, by room; nothing more is written. To be closed by whoever has it."""
        try:
            if self.rows <= _SMALL_ROWS:
                self.distinct = self._counter.count()
            else:
                self.distinct = await anyio.to_thread.run_sync(
                    self._counter.count, limiter=self._staging.threads
                )
        except BaseException:
            self.discard()
            raise
        self.repeats = self._counter.distinct_in_batches - self.distinct
        self._counter.close()
        builders, self._builders = self._builders, {}
        spool, self._spool = self._spool, None
        rows = self.rows - self.forgotten_rows.total() - self.strangers
        return Parts(builders, rows=rows, spool=spool, release=self._staging.count_released)

    def _builder(self, room: str | None) -> ShardBuilder:
        builder = self._builders.get(room)
        if builder is None:
            builder = self._builders[room] = self._staging.builder()
        return builder

    def _without_forgotten(self, page: Page) -> Page:
        """A room of nobody else stays a room, without rows: it is known to have been read."""
        forgotten = self._staging.forgotten
        if not forgotten:
            return page
        people = [person_of(bytes(row), self._key.data_type) for row in page.rows]
        kept: list[int] = []
        for number, person in enumerate(people):
            if person is None or person not in forgotten:
                kept.append(number)
                continue
            room = self._room_of(page.rooms[number])
            self.forgotten_rows[room] += 1
            self._builder(room)
        return page.only(kept)

    def _without_strangers(self, page: Page) -> Page:
        """A row of another experiment never lies under the one that was asked for."""
        own = page.of({None, self._key.experiment})
        self.strangers += len(page.rows) - len(own.rows)
        return own

    async def _make_room(self, full: Iterable[ShardBuilder]) -> None:
        """Write what fills a piece; where much waits all the same, move it to disk as it is."""
        if builders := list(full):
            await self._write_out(builders, _flush)
        if self._staging.waiting_bytes > WAITING_BYTES:
            waiting = [builder for builder in self._builders.values() if builder.waiting_bytes]
            await self._write_out(waiting, self._spill)

    async def _write_out(
        self, builders: Sequence[ShardBuilder], write: Callable[[Iterable[ShardBuilder]], None]
    ) -> None:
        before = sum(builder.waiting_bytes for builder in builders)
        try:
            await anyio.to_thread.run_sync(write, builders, limiter=self._staging.threads)
        finally:
            self._staging.count_waiting(sum(builder.waiting_bytes for builder in builders) - before)

    def _spill(self, builders: Iterable[ShardBuilder]) -> None:
        older = self._spool
        if older is not None and not older.is_worth_renewing:
            for builder in builders:
                builder.spill(older)
            return
        newer = self._spool = Spool(self._staging.new_path())
        try:
            for builder in self._builders.values():  # those that wait in the older one, too
                builder.spill(newer)
        finally:
            if older is not None:
                older.close()

    def _by_room(self, page: Page) -> Iterator[tuple[str | None, Sequence[Row]]]:
        """A row is filed by what it says of itself: a room's list may have rows of its break-out rooms, too."""
        own = self._key.room
        if own is not None and {None, own}.issuperset(page.rooms):
            yield own, page.rows
            return
        grouped: defaultdict[str | None, list[Row]] = defaultdict(list)
        for room, row in zip(page.rooms, page.rows, strict=True):
            grouped[self._room_of(room)].append(row)
        yield from grouped.items()

    def _room_of(self, named: str | None) -> str | None:
        return named if named is not None else self._key.room

    def _lines(self, rows: Sequence[Row]) -> bytes:
        is_recordings = self._key.data_type.name == "recordings"
        return without_signatures(b"\n".join((*rows, b"")), always=is_recordings)


def _flush(builders: Iterable[ShardBuilder]) -> None:
    for builder in builders:
        builder.flush()


def _identities(page: Page) -> Iterable[object]:
    """One identity for a row, whatever else is on its page: its room and id, or, without an id, its content.

    A person can be in two rooms.
    """
    if None not in page.ids:
        return zip(page.rooms, page.ids, strict=True)
    if not any(page.ids):
        return map(content_of, page.rows)
    keys = zip(page.rooms, page.ids, page.rows, strict=True)
    return (content_of(row) if row_id is None else (room, row_id) for room, row_id, row in keys)


def write_rows(rows: Iterable[bytes], builder: ShardBuilder) -> list[StagedPart]:
    """Seal rows that come one by one (a merge); for a worker thread."""
    batch: list[bytes] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row) + 1
        if size >= PIECE_BYTES:
            builder.add(b"\n".join((*batch, b"")))
            builder.flush()
            batch, size = [], 0
    if batch:
        builder.add(b"\n".join((*batch, b"")))
    return builder.seal()


def rows_of(paths: Iterable[Path]) -> Iterator[bytes]:
    """The rows of several shards, one after another."""
    for path in paths:
        yield from read_rows(path)


def rows_of_staged(parts: Iterable[StagedPart]) -> Iterator[bytes]:
    """The same of parts that are not published yet."""
    for part in parts:
        yield from staged_rows(part)
