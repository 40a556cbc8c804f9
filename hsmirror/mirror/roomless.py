"""Rows that belong to no room, where rows do not name theirs: what an experiment lists beyond its rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import anyio.to_thread

from hsmirror.api.envelope import Row
from hsmirror.archive.shards import StagedPart
from hsmirror.mirror.context import Context
from hsmirror.mirror.merge import RowSet
from hsmirror.mirror.outcome import Outcome
from hsmirror.mirror.reading import OnRows, identity_of, read_proven
from hsmirror.mirror.settle import Shelf
from hsmirror.mirror.write import rows_of, write_rows
from hsmirror.model import ListKey


async def read_roomless(
    context: Context,
    key: ListKey,
    rooms: Sequence[str],
    outcome: Outcome,
    *,
    on_rows: OnRows | None,
    read_new_rooms: Callable[[], Awaitable[Sequence[str]]],
) -> None:
    """Read the experiment's list, and keep what none of `rooms` has; those are held already.

    `read_new_rooms` reads the rooms that have been opened meanwhile: their rows are not without a room.

    Raises:
        UpstreamError: the list cannot be read.
    """
    seen: list[tuple[str | None, Row]] = []
    found = await read_proven(context, key, on_rows=seen.extend)
    whole = [part for parts in found.parts.values() for part in parts]
    left = await anyio.to_thread.run_sync(_beyond, context, key, whole, rooms)
    if left and (new := await read_new_rooms()):
        rooms = [*rooms, *new]
        left = await anyio.to_thread.run_sync(_beyond, context, key, whole, rooms)
    of_rooms, rows = outcome.upstream_rows_of(rooms), sum(part.rows for part in left)
    if rows != found.rows - of_rooms:
        outcome.fail(
            f"the experiment lists {found.rows} rows and its rooms {of_rooms}, but {rows} of the former "
            "are in no room: the lists do not fit together; run again"
        )
        return
    await outcome.settle(replace(found, parts={None: left}, rows=rows), [None], are_gone=bool(found.rows))
    if on_rows is not None:
        identity = identity_of(key.data_type)
        roomless = {identity(row) for row in rows_of(part.path for part in left)}
        on_rows([(None, row) for _, row in seen if identity(bytes(row)) in roomless])


def _beyond(
    context: Context, key: ListKey, whole: Sequence[StagedPart], rooms: Sequence[str]
) -> list[StagedPart]:
    held = RowSet(identity_of(key.data_type))
    for room in rooms:
        shelf = Shelf(key.experiment, key.data_type.name, room)
        files = [receipt for receipt in shelf.held(context.receipts) if receipt.sha256]
        for row in rows_of(context.layout.absolute(receipt.path) for receipt in files):
            held.add(row)
    return write_rows(held.without(rows_of(part.path for part in whole)), context.staging.builder())
