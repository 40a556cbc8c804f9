"""Rows on their way to disk: what waits is bounded, over all lists and whatever the size of a page."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_page
from hsmirror.archive import durable, spool
from hsmirror.archive.durable import Modes
from hsmirror.archive.shards import Form, StagedPart, staged_rows
from hsmirror.errors import StorageError
from hsmirror.mirror.write import UNPUBLISHED_BYTES, WAITING_BYTES, ListWriter, Staging
from hsmirror.model import ListKey, Scope

EVENTS = ListKey("exp", DATA_TYPES["events"], Scope.EXPERIMENT, "exp")


def page_of(rows: int, row_bytes: int, *, rooms: int, first: int = 0) -> Page:
    """A page whose rows name one room after another."""
    head = '{{"id":"row{number:09d}","roomId":"room{room:06d}","text":"'
    texts = []
    for number in range(first, first + rows):
        text = head.format(number=number, room=number % rooms)
        texts.append(text + "x" * (row_bytes - len(text) - 2) + '"}')
    return parse_page(f'{{"status":"success","data":[{",".join(texts)}]}}'.encode(), EVENTS.data_type)


def writer_into(staging: Staging) -> ListWriter:
    return ListWriter(EVENTS, staging, on_rows=lambda count: None)


async def sealed_by(writer: ListWriter, staging: Staging) -> dict[str | None, list[StagedPart]]:
    with staging.keeping() as kept:
        return await writer.seal(kept)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


def waiting_files(folder: Path) -> list[Path]:
    """What waits on the disk: spools, and hashes of distinct rows."""
    return [path for path in folder.rglob("*.staged") if ".ndjson" not in path.name]


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path, tmp_path / "staging", Form("none"), Modes())


@pytest.mark.parametrize("rooms", [1, 3, 1000])
async def test_a_large_page_is_not_there_a_second_time_as_lines(staging: Staging, rooms: int) -> None:
    """Beyond what may wait, there are a few pieces at a time; 30 MB of rows cost no 30 MB more."""
    page = page_of(30_000, 1000, rooms=rooms)
    writer = writer_into(staging)
    tracemalloc.start()
    try:
        await writer.write(page)
        parts = await sealed_by(writer, staging)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < WAITING_BYTES + (12 << 20)
    assert sum(part.rows for of_room in parts.values() for part in of_room) == 30_000


async def test_what_waits_is_bounded_over_all_lists_together(staging: Staging) -> None:
    writers = [writer_into(staging) for _ in range(6)]
    for first in range(0, 20_000, 1000):
        for writer in writers:
            await writer.write(page_of(1000, 400, rooms=50, first=first))
            assert staging.waiting_bytes <= WAITING_BYTES
    for writer in writers:
        parts = await sealed_by(writer, staging)
        rows = [row for part in parts["room000007"] for row in staged_rows(part)]
        assert [int(row[10:19]) for row in rows] == list(range(7, 20_000, 50))
    assert staging.waiting_bytes == 0


async def test_a_pass_that_is_given_up_leaves_nothing_waiting(staging: Staging, tmp_path: Path) -> None:
    writer = writer_into(staging)
    await writer.write(page_of(1000, 400, rooms=50))
    assert staging.waiting_bytes > 0
    writer.discard()
    assert staging.waiting_bytes == 0


async def test_rows_that_wait_on_the_disk_are_in_one_file_that_does_not_keep_what_is_taken(
    staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_WORTH_RENEWING_BYTES", 8 << 20)
    writer = writer_into(staging)
    largest_bytes = 0
    for first in range(0, 120_000, 1000):
        await writer.write(page_of(1000, 400, rooms=20, first=first))
        largest_bytes = max(largest_bytes, sum(path.stat().st_size for path in waiting_files(tmp_path)))
    assert 0 < largest_bytes < 40 << 20  # of 48 MB of rows, with 8 bytes a row for what is distinct
    parts = await sealed_by(writer, staging)
    rows = [row for part in parts["room000007"] for row in staged_rows(part)]
    assert [int(row[10:19]) for row in rows] == list(range(7, 120_000, 20))
    assert waiting_files(tmp_path) == []


async def spilling(staging: Staging) -> ListWriter:
    """A writer some of whose rows are on the disk."""
    writer = writer_into(staging)
    for first in range(0, 20_000, 1000):
        await writer.write(page_of(1000, 400, rooms=50, first=first))
    return writer


@pytest.mark.parametrize("failing", ["take", "push"])
async def test_where_the_disk_fails_nothing_is_left_waiting(
    staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    writer, calls = await spilling(staging), 0
    assert waiting_files(tmp_path)
    working = getattr(spool.Spool, failing)

    def fail(self: spool.Spool, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StorageError("the disk reports an input/output error")
        return working(self, *arguments)

    monkeypatch.setattr(spool.Spool, failing, fail)
    with pytest.raises(StorageError):
        if failing == "take":
            await sealed_by(writer, staging)
        for first in range(20_000, 60_000, 1000):
            await writer.write(page_of(1000, 400, rooms=50, first=first))
    writer.discard()
    assert (staging.waiting_bytes, staging.unpublished_bytes, waiting_files(tmp_path)) == (0, 0, [])


async def test_where_a_spool_cannot_be_renewed_nothing_is_left_waiting(
    staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await spilling(staging)
    monkeypatch.setattr(spool.Spool, "is_worth_renewing", True)
    monkeypatch.setattr(durable, "write_all", raising(OSError(errno.ENOSPC, "full")))
    with pytest.raises(StorageError, match="the disk is full"):
        for first in range(20_000, 60_000, 1000):
            await writer.write(page_of(1000, 400, rooms=50, first=first))
    writer.discard()
    assert (staging.waiting_bytes, waiting_files(tmp_path)) == (0, [])


async def test_a_pass_that_is_stopped_as_it_is_sealed_leaves_nothing_waiting(
    staging: Staging, tmp_path: Path
) -> None:
    writer = await spilling(staging)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await sealed_by(writer, staging)
    assert (staging.waiting_bytes, staging.unpublished_bytes, waiting_files(tmp_path)) == (0, 0, [])


# --- small parts ------------------------------------------------------------------------------------------
ROOM = ListKey("exp", DATA_TYPES["events"], Scope.ROOM, "room000000", "room000000")


async def sealed(staging: Staging, rows: int) -> StagedPart:
    writer = ListWriter(ROOM, staging, on_rows=lambda count: None)
    await writer.write(page_of(rows, 400, rooms=1))
    (part,) = (await sealed_by(writer, staging))[ROOM.room]
    assert (part.rows, writer.distinct, staging.waiting_bytes) == (rows, rows, 0)
    return part


async def test_a_small_list_of_a_room_stays_in_memory_and_a_larger_one_does_not(staging: Staging) -> None:
    small, large = await sealed(staging, 100), await sealed(staging, 1000)
    assert (small.in_memory is not None, small.path.exists()) == (True, False)
    assert (large.in_memory is not None, large.path.exists()) == (False, True)


async def test_only_so_much_stays_in_memory_before_it_is_published(staging: Staging) -> None:
    """In all lists together, what Python adds to a part included; from when they are sealed."""
    parts: list[StagedPart] = []
    with ExitStack() as published:
        while not parts or parts[-1].in_memory is not None:
            writer = ListWriter(ROOM, staging, on_rows=lambda count: None)
            await writer.write(page_of(10, 400, rooms=1))
            parts += (await writer.seal(published.enter_context(staging.keeping())))[ROOM.room]
            assert staging.unpublished_bytes < UNPUBLISHED_BYTES + (64 << 10)
        assert len(parts) == UNPUBLISHED_BYTES // (parts[0].size_bytes + 1024) + 2
    assert staging.unpublished_bytes == 0
    assert (await sealed(staging, 100)).in_memory is not None


async def test_lists_that_are_sealed_side_by_side_share_one_bound(staging: Staging) -> None:
    writers = [writer_into(staging) for _ in range(12)]
    for writer in writers:
        for first in range(0, 2_000, 1000):
            await writer.write(page_of(1000, 400, rooms=20, first=first))
    sealed: list[StagedPart] = []
    with ExitStack() as published:

        async def seal(writer: ListWriter) -> None:
            of_rooms = await writer.seal(published.enter_context(staging.keeping()))
            sealed.extend(part for of_room in of_rooms.values() for part in of_room)

        async with anyio.create_task_group() as tasks:
            for writer in writers:
                tasks.start_soon(seal, writer)
        in_memory_bytes = sum(part.size_bytes for part in sealed if part.in_memory is not None)
        assert 3 << 20 < in_memory_bytes < UNPUBLISHED_BYTES + (256 << 10)
    assert (len(sealed), staging.unpublished_bytes) == (240, 0)


async def test_of_a_list_of_many_rooms_the_small_parts_stay_in_memory_up_to_a_bound(staging: Staging) -> None:
    writer = writer_into(staging)
    for first in range(0, 10_000, 1000):
        await writer.write(page_of(1000, 400, rooms=100, first=first))
    parts = [part for of_room in (await sealed_by(writer, staging)).values() for part in of_room]
    in_memory_bytes = sum(part.size_bytes for part in parts if part.in_memory is not None)
    assert (len(parts), sum(part.rows for part in parts)) == (100, 10_000)
    assert 0 < in_memory_bytes < 2 << 20
    assert all(part.path.exists() == (part.in_memory is None) for part in parts)
    assert any(part.path.exists() for part in parts)


async def test_of_a_list_of_many_rooms_the_large_parts_are_written(staging: Staging) -> None:
    writer = writer_into(staging)
    await writer.write(page_of(1000, 400, rooms=2))
    parts = [part for of_room in (await sealed_by(writer, staging)).values() for part in of_room]
    assert [part.in_memory for part in parts] == [None, None]
