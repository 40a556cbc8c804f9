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
from lists_written import page_of, spilling, waiting_files, writer_into

from hsmirror.archive import durable, spool
from hsmirror.archive.shards import StagedPart, staged_rows
from hsmirror.errors import StorageError
from hsmirror.mirror.write import UNPUBLISHED_BYTES, WAITING_BYTES, ListWriter, Staging


async def sealed_by(writer: ListWriter) -> dict[str | None, list[StagedPart]]:
    """All parts of a list, on the disk."""
    parts = await writer.finish()
    try:
        return await anyio.to_thread.run_sync(parts.take_all)
    finally:
        parts.close()


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("rooms", [1, 3, 1000])
async def test_a_large_page_is_not_there_a_second_time_as_lines(staging: Staging, rooms: int) -> None:
    """Beyond what may wait, there are a few pieces at a time; 30 MB of rows cost no 30 MB more."""
    page = page_of(30_000, 1000, rooms=rooms)
    writer = writer_into(staging)
    tracemalloc.start()
    try:
        await writer.write(page)
        parts = await sealed_by(writer)
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
        parts = await sealed_by(writer)
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
    parts = await sealed_by(writer)
    rows = [row for part in parts["room000007"] for row in staged_rows(part)]
    assert [int(row[10:19]) for row in rows] == list(range(7, 120_000, 20))
    assert waiting_files(tmp_path) == []


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
            await sealed_by(writer)
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
        await sealed_by(writer)
    assert (staging.waiting_bytes, staging.unpublished_bytes, waiting_files(tmp_path)) == (0, 0, [])


def test_only_so_much_is_in_memory_before_it_is_published(staging: Staging) -> None:
    """In one commit, and in all of a run together."""
    with staging.unpublished(100_000) as first_bytes, ExitStack() as published:
        granted = [published.enter_context(staging.unpublished(10 << 20)) for _ in range(6)]
        assert (first_bytes, granted[:3], granted[4:]) == (100_000, [1 << 20] * 3, [0, 0])
        assert sum(granted) + first_bytes == staging.unpublished_bytes == UNPUBLISHED_BYTES
    assert staging.unpublished_bytes == 0
