"""What the receipts say of the lists that are held, room by room."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout, shard_path, sidecar_path
from hsmirror.archive.receipts import WHOLE, Claim, ListReceipt, Receipt, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.mirror.held import HeldLists
from hsmirror.mirror.night import HeldRoom
from hsmirror.mirror.plan import Way

MODES = Modes()
ROWS = b'{"id":1}\n'
NOW = 1_800_000_000.0
READ_AT = "2026-11-22T02:00:03Z"
READ_AT_EPOCH = 1_795_312_803.0


def shard(
    room: str | None = "r",
    *,
    part: int = 0,
    compression: str = "gzip",
    rows: int = 1,
    gone_rows: int = 0,
    sha256: str | None = "a",
    complete_for: tuple[Claim, ...] = (WHOLE,),
    fetched_at: str = READ_AT,
    data_type: str = "events",
) -> ShardReceipt:
    return ShardReceipt(
        path=shard_path("e", data_type, room, part, compression),
        experiment="e",
        data_type=data_type,
        room=room,
        part=part,
        rows=rows,
        size_bytes=len(ROWS) if sha256 else 0,
        sha256=sha256,
        complete_for=complete_for,
        gone_rows=gone_rows,
        fetched_at=fetched_at,
    )


def held(root: Path, *receipts: Receipt, damaged: tuple[str, ...] = ()) -> HeldLists:
    """The files of all that have one are there."""
    layout = Layout(root)
    store = Receipts(layout, MODES, "20260101T000000Z-a")
    store.append(receipts)
    for receipt in receipts:
        if isinstance(receipt, ShardReceipt) and receipt.sha256:
            place = layout.absolute(receipt.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(ROWS)
    return HeldLists(layout, Receipts(layout, MODES, "reader"), damaged, now=NOW)


def room_of(lists: HeldLists, room: str | None = "r") -> HeldRoom:
    found = lists.list_of("e", "events")
    assert found is not None
    return found.rooms[room]


def test_a_room_is_what_its_shard_says(tmp_path: Path) -> None:
    lists = held(tmp_path, shard(rows=5, gone_rows=2))
    assert room_of(lists) == HeldRoom(rows=3, gone_rows=2, changed_at=READ_AT_EPOCH)


def test_parts_are_added_up_and_what_is_gone_of_them_counts_once(tmp_path: Path) -> None:
    later = "2026-11-23T02:00:03Z"
    lists = held(
        tmp_path,
        shard(part=1, rows=5, gone_rows=2, fetched_at=later),
        shard(part=0, rows=7, gone_rows=2),
    )
    assert room_of(lists) == HeldRoom(rows=10, gone_rows=2, changed_at=READ_AT_EPOCH + 86_400)


def test_a_list_that_is_known_to_be_empty_is_proven_without_a_file(tmp_path: Path) -> None:
    lists = held(tmp_path, shard(rows=0, sha256=None))
    assert room_of(lists) == HeldRoom(changed_at=READ_AT_EPOCH)


@pytest.mark.parametrize("retired_first", [True, False])
def test_of_a_room_with_files_those_that_were_retired_say_nothing(tmp_path: Path, retired_first: bool) -> None:
    retired = shard(compression="none", sha256=None, rows=0, complete_for=(), fetched_at="2026-11-23T02:00:03Z")
    current = shard(rows=5)
    lists = held(tmp_path, *((retired, current) if retired_first else (current, retired)))
    assert room_of(lists) == HeldRoom(rows=5, changed_at=READ_AT_EPOCH)


def test_what_is_complete_for_a_part_of_the_time_is_not_proven(tmp_path: Path) -> None:
    lists = held(tmp_path, shard(complete_for=(Claim(start="2026-01-01T00:00:00Z"),)))
    assert not room_of(lists).is_proven


@pytest.mark.parametrize("what", ["missing", "short", "damaged", "sidecar"])
def test_a_room_with_a_file_that_is_not_as_it_should_be_is_not_intact(tmp_path: Path, what: str) -> None:
    first, second = shard(), shard(part=1)
    damaged = {"damaged": (second.path,), "sidecar": (sidecar_path("e", "events", "r"),)}.get(what, ())
    lists = held(tmp_path, first, second, shard("other"), damaged=damaged)
    if what == "missing":
        (tmp_path / second.path).unlink()
    if what == "short":
        (tmp_path / second.path).write_bytes(ROWS[:-1])
    assert not room_of(lists).is_intact
    assert room_of(lists, "other").is_intact


def test_times_of_a_clock_that_was_ahead_count_for_nothing(tmp_path: Path) -> None:
    lists = held(tmp_path, shard(fetched_at="2999-01-01T00:00:00Z"))
    assert room_of(lists).changed_at == 0.0


def test_rooms_are_those_of_all_data_types_of_the_experiment(tmp_path: Path) -> None:
    lists = held(tmp_path, shard("b"), shard(None), shard("a", data_type="chat", sha256=None))
    assert lists.rooms_of("e") == ["a", "b"]
    assert lists.rooms_of("another") == []


def test_a_list_is_as_it_was_when_its_experiment_was_first_asked_for(tmp_path: Path) -> None:
    """A run goes by what it found; what it commits meanwhile is no surprise to it."""
    layout = Layout(tmp_path)
    store = Receipts(layout, MODES, "20260101T000000Z-a")
    store.append([shard("a", sha256=None), ListReceipt(experiment="e", data_type="chat", way="room", total=3)])
    lists = HeldLists(layout, store, now=NOW)
    assert lists.rooms_of("e") == ["a"]
    store.append([shard("b", sha256=None)])
    assert lists.rooms_of("e") == ["a"]
    chat = lists.list_of("e", "chat")
    assert chat is not None
    assert (chat.way, chat.total, chat.rooms) == (Way.ROOMS, 3, {})
    lists.release("e")
    assert lists.rooms_of("e") == ["a", "b"]


def test_without_an_archive_nothing_is_held(tmp_path: Path) -> None:
    lists = HeldLists(Layout(tmp_path), None, now=NOW)
    assert lists.list_of("e", "events") is None
    assert lists.rooms_of("e") == []
