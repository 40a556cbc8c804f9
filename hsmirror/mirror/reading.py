"""Lists read until their completeness is proven, or it is clear that it cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread

from hsmirror.api.envelope import Page
from hsmirror.api.rows import Row, row_id
from hsmirror.archive.shards import StagedPart
from hsmirror.mirror.context import Context
from hsmirror.mirror.merge import (
    Deduplicated,
    Identity,
    RowSet,
    by_content_where_ids_conflict,
    content_digest,
)
from hsmirror.mirror.parts import Parts, PartsByRoom
from hsmirror.mirror.proof import Judgement, PassFacts, judge
from hsmirror.mirror.write import ListWriter, rows_of_staged, write_rows
from hsmirror.model import DataType, ListKey

OnRows = Callable[[Sequence[tuple[str | None, Row]]], None]


class RoomsUntoldError(Exception):
    """Some rows of an experiment-wide list name no room, so that it cannot be split by it.

    `total` is what the server says of the list.
    """

    def __init__(self, total: int | None) -> None:
        super().__init__("rows that name no room")
        self.total = total


@dataclass(frozen=True, slots=True)
class ProvenList:
    """A list as read: its rows by room, and whether they are proven to be all."""

    parts: Parts
    total: int | None
    is_proven: bool
    note: str
    metadata: bytes

    @property
    def rows(self) -> int:
        return self.parts.rows


def nothing_found() -> ProvenList:
    """An empty list: what a room that is no longer there has."""
    return ProvenList(Parts.sealed({}), total=None, is_proven=True, note="", metadata=b"{}")


class _TellingRooms:
    """A sink that stops at the first page with a row that names no room."""

    def __init__(self, writer: ListWriter) -> None:
        self._writer = writer

    async def write(self, page: Page) -> None:
        if None in page.rooms:
            raise RoomsUntoldError(page.pagination.total)
        await self._writer.write(page)


def identity_of(data_type: DataType) -> Identity:
    """How rows of this type are told apart."""
    return lambda row: row_id(row, data_type)


@asynccontextmanager
async def proven_list(
    context: Context,
    key: ListKey,
    *,
    must_tell_rooms: bool = False,
    on_rows: OnRows | None = None,
) -> AsyncIterator[ProvenList]:
    """A list that is read, again where its pages disagree, until `proof.judge` is content or gives up.

    Its parts are good for as long as the context is open.

    Raises:
        RoomsUntoldError: `must_tell_rooms`, and a row names none.
        UpstreamError: the list cannot be read.
    """
    with ExitStack() as open_parts:
        yield await _read_proven(context, key, open_parts, must_tell_rooms=must_tell_rooms, on_rows=on_rows)


async def _read_proven(
    context: Context,
    key: ListKey,
    open_parts: ExitStack,
    *,
    must_tell_rooms: bool,
    on_rows: OnRows | None,
) -> ProvenList:
    passes: list[PassFacts] = []
    staged: list[PartsByRoom] = []
    forgotten: Counter[int] = Counter()
    while True:
        writer = ListWriter(key, context.staging, on_rows=context.tally.add_rows, on_recordings=on_rows)
        sink = _TellingRooms(writer) if must_tell_rooms else writer
        try:
            reading = await context.reader.read(key, sink)
        except BaseException:
            writer.discard()
            raise
        parts = await writer.finish()
        open_parts.callback(parts.close)
        forgotten |= writer.forgotten_marks
        # Rows without an id may be alike to the byte and still each be real. In one page they are; over several
        # a row that came twice and one that was passed over look the same, and a second reading has to agree.
        distinct = writer.distinct
        has_ids = bool(key.data_type.id_fields)
        facts = PassFacts(
            reading.claims,
            distinct=distinct if has_ids else writer.rows,
            is_ambiguous=not has_ids and distinct < writer.rows and reading.claims.pages > 1,
            fingerprint=writer.fingerprint,
            warnings=reading.warnings,
        )
        passes.append(facts)
        distinct_in_all: int | None = None
        if len(passes) > 1 or facts.distinct != facts.claims.rows:
            staged.append(await anyio.to_thread.run_sync(parts.take_all, limiter=context.staging.threads))
            combined, distinct_in_all = await anyio.to_thread.run_sync(
                _combine,
                context,
                key.data_type,
                staged,
                passes,
                len(forgotten) if has_ids else forgotten.total(),
            )
            parts = Parts.sealed(combined)
        verdict = judge(passes, distinct_in_all=distinct_in_all)
        if verdict.judgement is not Judgement.READ_AGAIN:
            break
        if len(staged) < len(passes):
            staged.append(await anyio.to_thread.run_sync(parts.take_all, limiter=context.staging.threads))
    if verdict.judgement is Judgement.UNPROVEN and facts.is_ambiguous:
        # Which of the rows that are alike are real is not known: each stays once, until a reading is proven.
        parts = Parts.sealed(await anyio.to_thread.run_sync(_each_once, context, parts))
    return ProvenList(
        parts=parts,
        total=reading.claims.last_total,
        is_proven=verdict.judgement is Judgement.PROVEN,
        note=verdict.note,
        metadata=reading.metadata,
    )


def _combine(
    context: Context,
    data_type: DataType,
    staged: Sequence[PartsByRoom],
    passes: Sequence[PassFacts],
    forgotten_rows: int,
) -> tuple[PartsByRoom, int]:
    """All passes together: the last one's rows without repeats, then what only earlier ones showed.

    Where the last pass is clean by itself, it alone counts: what it lacks has gone meanwhile.
    """
    last = passes[-1]
    is_clean = (
        not last.claims.total_moved
        and not last.claims.has_shifted
        and last.distinct == last.claims.rows
        and last.claims.last_total == last.claims.rows
        and not last.is_ambiguous
    )
    if is_clean:
        return staged[-1], last.distinct
    identity = identity_of(data_type)
    rooms = dict.fromkeys(room for parts in staged for room in parts)
    combined: PartsByRoom = {}
    for room in rooms:
        readings = [parts.get(room, []) for parts in reversed(staged)]
        told = by_content_where_ids_conflict(identity, *map(rows_of_staged, readings))
        combined[room] = write_rows(_union(readings, told), context.staging.builder())
    # Rows that were left out are part of the list that is to be proven.
    return combined, forgotten_rows + sum(part.rows for parts in combined.values() for part in parts)


def _each_once(context: Context, parts: Parts) -> PartsByRoom:
    """Rows without an id, those that are alike to the byte once."""
    once: PartsByRoom = {}
    for room in list(parts):
        once[room] = write_rows(_distinct(parts.take(room)), context.staging.builder())
    return once


def _distinct(parts: Iterable[StagedPart]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for row in rows_of_staged(parts):
        digest = content_digest(row)
        if digest not in seen:
            seen.add(digest)
            yield row


def _union(readings: Sequence[Sequence[StagedPart]], identity: Identity) -> Iterator[bytes]:
    seen = RowSet(identity)
    for parts in readings:
        # A reading's own twins are not measured against each other: only earlier readings count.
        of_this = RowSet(identity)
        for row in seen.without(Deduplicated(identity).of(rows_of_staged(parts))):
            yield row
            of_this.add(row)
        seen.update(of_this)
