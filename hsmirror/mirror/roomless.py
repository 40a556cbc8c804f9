"""Rows that belong to no room, where rows do not name theirs: what an experiment lists beyond its rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

import anyio.to_thread

from hsmirror.api.rows import Row
from hsmirror.archive.shards import StagedPart
from hsmirror.mirror.context import Context
from hsmirror.mirror.distinct import DistinctCounter
from hsmirror.mirror.merge import RowSet
from hsmirror.mirror.outcome import Outcome
from hsmirror.mirror.parts import Parts
from hsmirror.mirror.reading import OnRows, identity_of, proven_list
from hsmirror.mirror.settle import Shelf
from hsmirror.mirror.write import rows_of, rows_of_staged, write_rows
from hsmirror.model import ListKey


async def read_roomless(
    context: Context,
    key: ListKey,
    rooms: Sequence[str],
    outcome: Outcome,
    *,
    on_rows: OnRows | None,
    read_new_rooms: Callable[[], Awaitable[Sequence[str]]],
    are_rooms_known: bool,
) -> None:
    """Read the experiment's list, and keep what none of `rooms` has; those are held already.

    `read_new_rooms` reads the rooms that have been opened meanwhile, and those that were left alone: their rows
    are not without a room. Where rooms are not known, what seems to belong to none may be a new one's, and is
    not filed.

    Raises:
        UpstreamError: the list cannot be read.
    """
    seen: list[tuple[str | None, Row]] = []
    reading = proven_list(context, key, on_rows=None if on_rows is None else seen.extend)
    async with reading as found:
        whole = await anyio.to_thread.run_sync(_all_parts, found.parts)
        left = await anyio.to_thread.run_sync(_beyond, context, key, whole, rooms)
        if await anyio.to_thread.run_sync(_has_news, context, key, left):
            rooms = [*rooms, *await read_new_rooms()]
            left = await anyio.to_thread.run_sync(_beyond, context, key, whole, rooms)
    of_rooms, rows = outcome.upstream_rows_of(rooms), sum(part.rows for part in left)
    if rows and not are_rooms_known:
        outcome.fail(
            f"{rows} rows are in none of the rooms that are known, and the server lists no rooms; run again",
            is_unproven=True,
        )
        return
    if key.window.is_whole and rows != found.rows - of_rooms:
        outcome.fail(
            f"the experiment lists {found.rows} rows and its rooms {of_rooms}, but {rows} of the former "
            "are in no room: the lists do not fit together; run again",
            is_unproven=True,
        )
        return
    identity = identity_of(key.data_type)
    roomless = {identity(row) for row in rows_of_staged(left)}
    await outcome.take_out_of_no_room(await anyio.to_thread.run_sync(_still_roomless, context, key, rooms))
    await outcome.settle(replace(found, parts=Parts.sealed({None: left})), [None], are_gone=bool(found.rows))
    if on_rows is not None:
        on_rows([(None, row) for _, row in seen if identity(bytes(row)) in roomless])


def are_rows_distinct(context: Context, key: ListKey, rooms: Sequence[str]) -> bool:
    """Are no two rows held of these rooms the same one? Counted on the disk where they are many; for a thread.

    Raises:
        DamagedError: a shard does not give its rows.
    """
    counter = DistinctCounter(context.staging.new_path, context.staging.modes)
    identity = identity_of(key.data_type)
    rows = 0
    try:
        for room in rooms:
            held = list(_held_rows(context, key, room))
            rows += len(held)
            counter.add(identity(row) or row for row in held)
        return counter.count() == rows
    finally:
        counter.close()


def _still_roomless(context: Context, key: ListKey, rooms: Sequence[str]) -> list[StagedPart] | None:
    """What is held of no room, without what a room has now; None where there is nothing to take out.

    Raises:
        DamagedError: it has other bytes than were written, which nobody knew.
    """
    files = [
        receipt
        for receipt in Shelf(key.experiment, key.data_type.name, None).held(context.receipts)
        if receipt.sha256
    ]
    if not (files and all(map(context.held.is_intact, files))):
        return None  # what comes takes its place, and what of it is sound stays
    paths = [context.layout.absolute(receipt.path) for receipt in files]
    left = write_rows(_of_rooms(context, key, rooms).without(rows_of(paths)), context.staging.builder())
    return left if sum(part.rows for part in left) < sum(receipt.rows for receipt in files) else None


def _all_parts(parts: Parts) -> list[StagedPart]:
    return [part for of_room in parts.take_all().values() for part in of_room]


def _beyond(
    context: Context, key: ListKey, whole: Sequence[StagedPart], rooms: Sequence[str]
) -> list[StagedPart]:
    held = _of_rooms(context, key, rooms)
    return write_rows(held.without(rows_of_staged(whole)), context.staging.builder())


def _has_news(context: Context, key: ListKey, left: Sequence[StagedPart]) -> bool:
    """Are there rows among those of no known room that are not held of none?"""
    if not left:
        return False
    held = RowSet(identity_of(key.data_type))
    for row in _held_rows(context, key, None):
        held.add(row)
    return next(held.without(rows_of_staged(left)), None) is not None


def _of_rooms(context: Context, key: ListKey, rooms: Sequence[str]) -> RowSet:
    held = RowSet(identity_of(key.data_type))
    for room in rooms:
        for row in _held_rows(context, key, room):
            held.add(row)
    return held


def _held_rows(context: Context, key: ListKey, room: str | None) -> Iterator[bytes]:
    shelf = Shelf(key.experiment, key.data_type.name, room)
    files = [receipt for receipt in shelf.held(context.receipts) if receipt.sha256]
    return rows_of(context.layout.absolute(receipt.path) for receipt in files)
