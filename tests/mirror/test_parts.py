"""The rows of a list by room: each room's are sealed once, when they are taken; none is left waiting."""

from __future__ import annotations

from pathlib import Path

import pytest
from lists_written import EVENTS, page_of, spilling, waiting_files, writer_into

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.archive.shards import staged_rows
from hsmirror.mirror.parts import Parts
from hsmirror.mirror.write import ListWriter, Staging
from hsmirror.model import ListKey, Scope

ROOM = ListKey("exp", DATA_TYPES["events"], Scope.ROOM, "room000000", "room000000")


async def finished(staging: Staging, rows: int, *, key: ListKey = ROOM, rooms: int = 1) -> Parts:
    writer = ListWriter(key, staging, on_rows=lambda count: None)
    for first in range(0, rows, 1000):
        await writer.write(page_of(min(1000, rows - first), 400, rooms=rooms, first=first))
    parts = await writer.finish()
    assert (parts.rows, writer.distinct) == (rows, rows)
    return parts


async def test_a_small_list_of_a_room_stays_in_memory_and_a_larger_one_does_not(staging: Staging) -> None:
    for rows, is_small in ((100, True), (1000, False)):
        parts = await finished(staging, rows)
        assert parts.is_quick(ROOM.room) == is_small
        assert (parts.small_bytes([ROOM.room]) > rows * 400) == is_small
        (part,) = parts.take(ROOM.room, in_memory_bytes=1 << 20)
        assert (part.rows, part.in_memory is not None, part.path.exists()) == (rows, is_small, not is_small)
        parts.close()
    assert staging.waiting_bytes == 0


async def test_where_there_is_no_room_in_memory_a_small_part_is_written(staging: Staging) -> None:
    parts = await finished(staging, 100)
    (part,) = parts.take(ROOM.room)
    assert (part.in_memory, part.path.stat().st_size) == (None, part.size_bytes)


async def test_a_room_is_sealed_once_and_one_without_rows_has_no_parts(staging: Staging) -> None:
    parts = await finished(staging, 100, key=EVENTS, rooms=4)
    assert [*parts] == [f"room{number:06d}" for number in range(4)]
    assert [len(parts.take(room)) for room in (*parts, "another", None)] == [1] * 4 + [0] * 2
    assert "room000003" in parts
    with pytest.raises(RuntimeError, match="room room000003 were taken before"):
        parts.take("room000003")
    assert staging.waiting_bytes == 0


async def test_what_is_not_taken_waits_no_more_once_parts_are_closed(staging: Staging, tmp_path: Path) -> None:
    parts = await (await spilling(staging)).finish()
    parts.take("room000007")
    waiting_bytes = staging.waiting_bytes
    assert waiting_bytes > 0
    assert waiting_files(tmp_path)
    parts.close()
    assert (staging.waiting_bytes, waiting_files(tmp_path)) == (0, [])
    with pytest.raises(RuntimeError):
        parts.take("room000008")


async def test_nothing_is_left_on_the_disk_beside_parts_that_are_all_taken(
    staging: Staging, tmp_path: Path
) -> None:
    parts = await (await spilling(staging)).finish()
    assert waiting_files(tmp_path)
    assert sum(part.rows for of_room in parts.take_all().values() for part in of_room) == parts.rows
    assert (staging.waiting_bytes, waiting_files(tmp_path)) == (0, [])


async def test_rows_that_wait_on_the_disk_are_not_quick(staging: Staging) -> None:
    writer = writer_into(staging)
    for first in range(0, 20_000, 1000):
        await writer.write(page_of(1000, 400, rooms=200, first=first))
    parts = await writer.finish()
    assert not any(map(parts.is_quick, parts))
    assert parts.small_bytes(parts) > 200 * 40_000
    (part,) = parts.take("room000007", in_memory_bytes=1)
    assert [int(row[10:19]) for row in staged_rows(part)] == list(range(7, 20_000, 200))
    assert part.in_memory is not None
    parts.close()
