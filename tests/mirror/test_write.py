"""Rows on their way to disk: what waits is bounded, over all lists and whatever the size of a page."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_page
from hsmirror.archive import spool
from hsmirror.archive.durable import Modes
from hsmirror.archive.shards import Form, StagedPart, staged_rows
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
        parts = await writer.seal()
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
        parts = await writer.seal()
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
        waiting = [path for path in tmp_path.rglob("*.staged") if ".ndjson" not in path.name]
        largest_bytes = max(largest_bytes, sum(path.stat().st_size for path in waiting))
    assert 0 < largest_bytes < 40 << 20  # of 48 MB of rows, with 8 bytes a row for what is distinct
    parts = await writer.seal()
    rows = [row for part in parts["room000007"] for row in staged_rows(part)]
    assert [int(row[10:19]) for row in rows] == list(range(7, 120_000, 20))
    assert not [path for path in tmp_path.rglob("*.staged") if ".ndjson" not in path.name]


# --- small parts ------------------------------------------------------------------------------------------
ROOM = ListKey("exp", DATA_TYPES["events"], Scope.ROOM, "room000000", "room000000")


async def sealed(staging: Staging, rows: int) -> StagedPart:
    writer = ListWriter(ROOM, staging, on_rows=lambda count: None)
    await writer.write(page_of(rows, 400, rooms=1))
    (part,) = (await writer.seal())[ROOM.room]
    assert (part.rows, writer.distinct, staging.waiting_bytes) == (rows, rows, 0)
    return part


async def test_a_small_list_of_a_room_stays_in_memory_and_a_larger_one_does_not(staging: Staging) -> None:
    small, large = await sealed(staging, 100), await sealed(staging, 1000)
    assert (small.in_memory is not None, small.path.exists()) == (True, False)
    assert (large.in_memory is not None, large.path.exists()) == (False, True)


async def test_only_so_much_stays_in_memory_before_it_is_published(staging: Staging) -> None:
    small = await sealed(staging, 100)
    with staging.publishing([small] * (UNPUBLISHED_BYTES // small.size_bytes + 1)):
        assert (await sealed(staging, 100)).path.exists()
    assert (await sealed(staging, 100)).in_memory is not None


async def test_of_a_list_of_many_rooms_the_small_parts_stay_in_memory_up_to_a_bound(staging: Staging) -> None:
    writer = writer_into(staging)
    for first in range(0, 10_000, 1000):
        await writer.write(page_of(1000, 400, rooms=100, first=first))
    parts = [part for of_room in (await writer.seal()).values() for part in of_room]
    in_memory_bytes = sum(part.size_bytes for part in parts if part.in_memory is not None)
    assert (len(parts), sum(part.rows for part in parts)) == (100, 10_000)
    assert 0 < in_memory_bytes < 2 << 20
    assert all(part.path.exists() == (part.in_memory is None) for part in parts)
    assert any(part.path.exists() for part in parts)


async def test_of_a_list_of_many_rooms_the_large_parts_are_written(staging: Staging) -> None:
    writer = writer_into(staging)
    await writer.write(page_of(1000, 400, rooms=2))
    parts = [part for of_room in (await writer.seal()).values() for part in of_room]
    assert [part.in_memory for part in parts] == [None, None]
