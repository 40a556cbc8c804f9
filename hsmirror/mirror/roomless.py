"""Rows that belong to no room, where rows do not name theirs: what an experiment lists beyond its rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import anyio.to_thread

from hsmirror.api.envelope import Page
from hsmirror.api.paging import Ask
from hsmirror.api.rows import Row
from hsmirror.api.signatures import content_of
from hsmirror.archive.shards import StagedPart
from hsmirror.errors import DamagedError, InvalidParameterError, NotFoundError
from hsmirror.mirror.context import Context
from hsmirror.mirror.distinct import DistinctCounter
from hsmirror.mirror.lists import ListReader
from hsmirror.mirror.merge import Identity, RowSet, by_content_where_ids_conflict
from hsmirror.mirror.outcome import Outcome
from hsmirror.mirror.parts import Parts, PartsByRoom
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
    read_other_rooms: Callable[[Sequence[str], int | None], Awaitable[Sequence[str]]],
    are_rooms_known: bool,
) -> int | None:
    """Read the experiment's list, and keep what none of `rooms` has; those are held already. Gives its total.

    `read_other_rooms` reads the given rooms again, those that have been opened meanwhile, which it gives back,
    and those that may have got rows, now that the list has this total: they are not without a room. Where rooms
    are not known, what seems to belong to none may be a new one's, and is not filed.

    Raises:
        UpstreamError: the list cannot be read.
    """
    seen: list[tuple[str | None, Row]] = []
    reading = proven_list(context, key, on_rows=None if on_rows is None else seen.extend)
    async with reading as found:
        listed = await anyio.to_thread.run_sync(found.parts.take_all)
        beyond = await anyio.to_thread.run_sync(_beyond, context, key, listed, rooms)
        if beyond.is_news:
            # What rooms have and is no longer listed may be these rows in an older version: read all again.
            has_changed = beyond.in_rooms < outcome.upstream_rows_of(rooms)
            rooms = [*rooms, *await read_other_rooms(beyond.rooms, None if has_changed else found.total)]
            beyond = await anyio.to_thread.run_sync(_beyond, context, key, listed, rooms)
    left = beyond.of_no_room
    of_rooms = outcome.upstream_rows_of(rooms)
    if why := _do_not_fit(key, found.rows, beyond, of_rooms, are_rooms_known=are_rooms_known):
        outcome.fail(f"{why}; run again", is_unproven=True)
        return found.total
    still = await anyio.to_thread.run_sync(_still_roomless, context, key, rooms, beyond.identity)
    await outcome.take_out_of_no_room(still)
    await outcome.settle(replace(found, parts=Parts.sealed({None: left})), [None], are_gone=bool(found.rows))
    if on_rows is not None:
        identity = identity_of(key.data_type)
        roomless = {identity(row) for row in rows_of_staged(left)}
        on_rows([(None, row) for _, row in seen if identity(bytes(row)) in roomless])
    return found.total


def _do_not_fit(key: ListKey, listed: int, beyond: _Beyond, of_rooms: int, *, are_rooms_known: bool) -> str:
    """Why what the experiment lists and what its rooms have do not make one whole; empty where they do."""
    rows = sum(part.rows for part in beyond.of_no_room)
    if beyond.rooms:
        return f"rows of room {beyond.rooms[0]} came while its list was read"
    if rows and not are_rooms_known:
        return f"{rows} rows are in none of the rooms that are known, and the server lists no rooms"
    if key.window.is_whole and beyond.is_news and beyond.in_rooms < of_rooms:
        return f"{of_rooms - beyond.in_rooms} rows of rooms changed while these were read"
    if key.window.is_whole and rows + beyond.in_rooms != listed:
        return (
            f"the experiment lists {listed} rows, of which {rows} are in no room, and its rooms have "
            f"{beyond.in_rooms} of them: the lists do not fit together"
        )
    return ""


async def are_all_in_rooms(context: Context, key: ListKey, page: Page, rooms: Sequence[str]) -> bool:
    """Are the rows of a page, which is the whole list of the experiment, those of its rooms?

    Raises:
        DamagedError: a shard does not give its rows.
    """

    def look() -> bool:
        listed = [content_of(row) for row in page.rows]
        of_rooms = partial(_rows_of_rooms, context, key, rooms)
        identity = by_content_where_ids_conflict(identity_of(key.data_type), listed, of_rooms())
        return next(_row_set(of_rooms(), identity).without(listed), None) is None

    return await anyio.to_thread.run_sync(look, limiter=context.settling)


def is_whole_list(page: Page) -> bool:
    """Does the first page of a list say that it is all of it?"""
    return _says_all(page, rows=len(page.rows), total=len(page.rows))


async def ends_at(reader: ListReader, key: ListKey, total: int) -> bool:
    """Does the last page of a list say that `total` rows are all? One request."""
    last = max(0, total - 1)
    try:
        page = await reader.page(key, Ask(last, 2))
    except (InvalidParameterError, NotFoundError):
        return False
    return _says_all(page, rows=last + len(page.rows), total=total)


def _says_all(page: Page, *, rows: int, total: int) -> bool:
    claims = page.pagination
    is_end = claims.has_more is not True and claims.total == rows == total
    return is_end and not (page.warnings or page.age_seconds)


async def are_rows_distinct(context: Context, key: ListKey, rooms: Sequence[str]) -> bool:
    """Is no row in two of these rooms? It would make up, in their sum, for one that is in none.

    Counted on the disk where they are many.

    Raises:
        DamagedError: a shard does not give its rows.
    """
    return await anyio.to_thread.run_sync(_are_distinct, context, key, rooms, limiter=context.settling)


def _are_distinct(context: Context, key: ListKey, rooms: Sequence[str]) -> bool:
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


def _still_roomless(
    context: Context, key: ListKey, rooms: Sequence[str], identity: Identity
) -> list[StagedPart] | None:
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
    of_rooms = _row_set(_rows_of_rooms(context, key, rooms), identity)
    left = write_rows(of_rooms.without(rows_of(paths)), context.staging.builder())
    return left if sum(part.rows for part in left) < sum(receipt.rows for receipt in files) else None


@dataclass(frozen=True, slots=True)
class _Beyond:
    """What the experiment lists and no known room has: rows of no room, and of which rooms there are others.

    `is_news`: some of it is not held of no room. `identity` tells rows apart: by content where ids are shared.
    """

    of_no_room: list[StagedPart]
    in_rooms: int
    """Rows of the rooms that the experiment lists, too: more than it lists where one is in two rooms."""
    rooms: list[str]
    is_news: bool
    identity: Identity


def _beyond(context: Context, key: ListKey, listed: PartsByRoom, rooms: Sequence[str]) -> _Beyond:
    def everything() -> Iterator[bytes]:
        return (row for parts in listed.values() for row in rows_of_staged(parts))

    of_rooms = partial(_rows_of_rooms, context, key, rooms)
    identity = by_content_where_ids_conflict(identity_of(key.data_type), everything(), of_rooms())
    in_rooms = _row_set(of_rooms(), identity)
    left = write_rows(in_rooms.without(rows_of_staged(listed.get(None, []))), context.staging.builder())
    others = [
        room
        for room, parts in listed.items()
        if room is not None and next(in_rooms.without(rows_of_staged(parts)), None) is not None
    ]
    is_news = bool(others) or _is_news(context, key, left, identity)
    # Rows of rooms that the experiment does not list went meanwhile, or before.
    gone = sum(1 for _ in _row_set(everything(), identity).without(of_rooms()))
    return _Beyond(left, sum(1 for _ in of_rooms()) - gone, others, is_news, identity)


def _is_news(context: Context, key: ListKey, left: Sequence[StagedPart], identity: Identity) -> bool:
    """Is there a row that is not held of no room? Where these are damaged, they are what is fetched again."""
    try:
        held = _row_set(_held_rows(context, key, None), identity)
    except DamagedError:
        return False
    return next(held.without(rows_of_staged(left)), None) is not None


def _row_set(rows: Iterable[bytes], identity: Identity) -> RowSet:
    row_set = RowSet(identity)
    for row in rows:
        row_set.add(row)
    return row_set


def _rows_of_rooms(context: Context, key: ListKey, rooms: Sequence[str]) -> Iterator[bytes]:
    return chain.from_iterable(_held_rows(context, key, room) for room in rooms)


def _held_rows(context: Context, key: ListKey, room: str | None) -> Iterator[bytes]:
    shelf = Shelf(key.experiment, key.data_type.name, room)
    files = [receipt for receipt in shelf.held(context.receipts) if receipt.sha256]
    return rows_of(context.layout.absolute(receipt.path) for receipt in files)
