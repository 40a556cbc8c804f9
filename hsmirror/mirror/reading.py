"""Lists read until their completeness is proven, or it is clear that it cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import anyio.to_thread

from hsmirror.api.envelope import Page
from hsmirror.api.rows import Row, row_id
from hsmirror.archive.shards import StagedPart
from hsmirror.mirror.context import Context
from hsmirror.mirror.lists import Reading
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
    """Some rows of an experiment-wide list name no room, so that it cannot be split by it: `page` has them."""

    def __init__(self, page: Page) -> None:
        super().__init__("rows that name no room")
        self.page = page


@dataclass(frozen=True, slots=True)
class ProvenList:
    """A list as read: its rows by room, and whether they are proven to be all.

    `short_by` is by how much the server's total exceeds rows that two readings agree on.
    `may_be_proven_by_room` where it is not, and its rooms' lists may be.
    """

    parts: Parts
    total: int | None
    is_proven: bool
    note: str
    metadata: bytes
    of_room: str = ""
    """Whose list it is; empty where it is the experiment's."""
    short_by: int = 0
    may_be_proven_by_room: bool = False

    @property
    def looks_capped(self) -> bool:
        """Did the server stop where it stops every list, short of its total?"""
        return self.short_by > 0 and self.may_be_proven_by_room

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
            raise RoomsUntoldError(page)
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
    while True:
        writer = ListWriter(key, context.staging, on_rows=context.tally.add_rows, on_recordings=on_rows)
        sink = _TellingRooms(writer) if must_tell_rooms else writer
        try:
            reading = await context.reader.read(key, sink, smaller_than=_page_rows(passes))
        except BaseException:
            writer.discard()
            raise
        parts = await writer.finish()
        open_parts.callback(parts.close)
        facts = _facts(key.data_type, writer, reading)
        if passes or facts.repeats:
            staged.append(await anyio.to_thread.run_sync(parts.take_all, limiter=context.staging.threads))
            parts = Parts.sealed(staged[-1])
        if passes and facts.repeats and not facts.may_repeat:
            may_repeat = await anyio.to_thread.run_sync(_differ, key.data_type, staged[-1])
            facts = replace(facts, may_repeat=may_repeat)
        passes.append(facts)
        verdict = judge(passes)
        if verdict.judgement is not Judgement.READ_AGAIN:
            break
        if len(staged) < len(passes):
            staged.append(await anyio.to_thread.run_sync(parts.take_all, limiter=context.staging.threads))
    is_proven = verdict.judgement is Judgement.PROVEN
    note = verdict.note
    if is_proven and facts.repeats and key.data_type.id_fields:
        note = f"{facts.repeats} rows share their id with another one; both are kept"
    if verdict.judgement is Judgement.UNPROVEN and len(staged) > 1:
        parts = Parts.sealed(await anyio.to_thread.run_sync(_together, context, key.data_type, staged))
    if verdict.judgement is Judgement.UNPROVEN and _has_alike(passes):
        # Which of the rows that are alike are real is not known: each stays once, until a reading is proven.
        parts = Parts.sealed(await anyio.to_thread.run_sync(_each_once, context, parts))
    total = reading.claims.last_total
    return ProvenList(
        parts=parts,
        total=total,
        is_proven=is_proven,
        note=note,
        metadata=reading.metadata,
        of_room=key.room or "",
        short_by=(total or 0) - reading.claims.rows if verdict.judgement is Judgement.SHORT else 0,
        may_be_proven_by_room=verdict.may_be_proven_by_room,
    )


def _page_rows(passes: Sequence[PassFacts]) -> int:
    return passes[-1].claims.page_rows if passes else 0


def _has_alike(passes: Sequence[PassFacts]) -> bool:
    """May two rows that are alike be one? Several readings never agreed, or another page repeats it."""
    return len(passes) > 1 or passes[-1].repeats > 0


def _facts(data_type: DataType, writer: ListWriter, reading: Reading) -> PassFacts:
    """What a reading showed. Rows without an id may be alike and still each be real: in one page they are."""
    has_ids = bool(data_type.id_fields)
    return PassFacts(
        reading.claims,
        fingerprint=writer.fingerprint,
        repeats=writer.rows - writer.distinct if has_ids else writer.repeats,
        may_repeat=not has_ids or reading.claims.pages == 1,  # of a page no row is passed over
        warnings=reading.warnings,
        age_seconds=reading.age_seconds,
    )


def _differ(data_type: DataType, parts: PartsByRoom) -> bool:
    """Do rows that share an id all differ in their contents? A server that lists one row twice has moved it."""
    identity = identity_of(data_type)
    for of_room in parts.values():
        rows = Deduplicated(identity)
        if sum(1 for _ in rows.of(rows_of_staged(of_room))) < sum(part.rows for part in of_room):
            return False
    return True


def _together(context: Context, data_type: DataType, staged: Sequence[PartsByRoom]) -> PartsByRoom:
    """All readings of a list that is not proven: the last one's rows, then what only earlier ones showed."""
    identity = identity_of(data_type)
    combined: PartsByRoom = {}
    for room in dict.fromkeys(room for parts in staged for room in parts):
        readings = [parts.get(room, []) for parts in reversed(staged)]
        told = by_content_where_ids_conflict(identity, *map(rows_of_staged, readings))
        combined[room] = write_rows(_union(readings, told), context.staging.builder())
    return combined


def _each_once(context: Context, parts: Parts) -> PartsByRoom:
    """Rows that are alike to the byte, once."""
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
