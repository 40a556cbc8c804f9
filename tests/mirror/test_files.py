"""Parts of recording files that runs leave behind: gone on with where that helps, and cleared where not."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from conftest import StartLab
from faults import disk
from oracle import differences, held_files
from sync_runs import run_sync

from hsmirror.api.headers import OfferedHashes
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FileReceipt, Receipt
from hsmirror.archive.segments import Receipts
from hsmirror.errors import StorageError
from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.server import Lab
from hsmirror.mirror import download, files
from hsmirror.mirror.commit import Commit, Committer
from hsmirror.mirror.files import PartialFile, PartialNote, settle_partial_files
from hsmirror.mirror.transfer import Transfers

MODES = Modes()
NOW = 2_000_000_000.0
DAY = 86_400.0
PATH = "experiment_id=e/files/room_id=r/rec.mp4"
NOTE = PartialNote("/bucket/rec.mp4", '"v1"', 100)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "archive")


def part_of(layout: Layout, content: bytes, *, days_old: float = 0.0) -> PartialFile:
    """A part that a run has left, with its note."""
    part = PartialFile(layout, PATH, MODES)
    part.open(NOTE.source)
    part.describe(NOTE)
    part.append(content)
    part.keep()
    for path in layout.partial_files.iterdir():
        os.utime(path, (NOW - days_old * DAY,) * 2)
    return part


def receipts_of(layout: Layout, *receipts: Receipt) -> Receipts:
    found = Receipts(layout, MODES, "run")
    found.append(receipts)
    return found


def held(**given: object) -> FileReceipt:
    receipt = FileReceipt(
        path=PATH, experiment="e", room="r", recording_id="rec", size_bytes=100, sha256="0" * 64, etag='"v1"'
    )
    return msgspec.structs.replace(receipt, **given)


def left_of(layout: Layout) -> list[str]:
    return sorted(path.suffix for path in layout.partial_files.iterdir())


def test_a_part_that_a_run_may_go_on_with_stays(layout: Layout) -> None:
    part_of(layout, b"x" * 40, days_old=6)
    settle_partial_files(layout, receipts_of(layout), now=NOW)
    assert left_of(layout) == [".json", ".part"]


def test_a_part_that_no_run_has_touched_for_a_week_goes(layout: Layout) -> None:
    part_of(layout, b"x" * 40, days_old=8)
    settle_partial_files(layout, receipts_of(layout), now=NOW)
    assert left_of(layout) == []


def test_a_part_of_a_file_that_is_held_by_now_goes(layout: Layout) -> None:
    part_of(layout, b"x" * 40)
    settle_partial_files(layout, receipts_of(layout, held()), now=NOW)
    assert left_of(layout) == []


@pytest.mark.parametrize("other", [{"etag": '"v0"'}, {"size_bytes": 99}])
def test_a_part_of_a_newer_version_of_what_is_held_stays(layout: Layout, other: dict[str, object]) -> None:
    part_of(layout, b"x" * 40)
    settle_partial_files(layout, receipts_of(layout, held(**other)), now=NOW)
    assert left_of(layout) == [".json", ".part"]


@pytest.mark.parametrize("missing", [".json", ".part"])
def test_a_part_without_its_note_goes_and_a_note_without_its_part(layout: Layout, missing: str) -> None:
    part = part_of(layout, b"x" * 40)
    part.path.with_suffix(missing).unlink()
    settle_partial_files(layout, receipts_of(layout), now=NOW)
    assert left_of(layout) == []


@pytest.mark.parametrize("note", [b"{", b"", b"\xff"])
def test_a_note_that_cannot_be_read_is_none(layout: Layout, note: bytes) -> None:
    part = part_of(layout, b"x" * 40)
    part.path.with_suffix(".json").write_bytes(note)
    part.path.with_suffix(".json.staged").write_bytes(b"{")
    settle_partial_files(layout, receipts_of(layout), now=NOW)
    assert left_of(layout) == []


def test_a_part_is_cut_to_what_was_synced(layout: Layout) -> None:
    part = part_of(layout, b"x" * 40)
    with part.path.open("ab") as file:
        file.write(b"not synced")
    again = PartialFile(layout, PATH, MODES)
    again.open(NOTE.source)
    assert (again.size_bytes, part.path.stat().st_size) == (40, 40)


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")
@pytest.mark.parametrize("synced_before", [False, True])
def test_fault_41_a_part_whose_sync_failed_is_not_kept_by_a_second_try(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, synced_before: bool
) -> None:
    """The system may call the next sync of the same bytes a success, though it never wrote them."""
    part = part_of(layout, b"x" * 40) if synced_before else PartialFile(layout, PATH, MODES)
    part.describe(NOTE)
    monkeypatch.setattr(files, "_SYNC_BYTES", 1)
    refused = disk.refuse(
        monkeypatch, "fsync", errno.EIO, below=layout.root, where=lambda path: path.endswith(".part"), times=1
    )
    with pytest.raises(StorageError, match="input/output error"):
        part.append(b"lost")
    part.keep()  # as whoever fetched it does, however that ended
    assert refused
    again = PartialFile(layout, PATH, MODES)
    again.open(NOTE.source)
    assert again.size_bytes == 0


def test_a_file_with_a_receipt_keeps_its_place(layout: Layout) -> None:
    part = part_of(layout, b"x" * 100)
    place = layout.absolute(PATH)
    place.parent.mkdir(parents=True)
    part.path.rename(place)
    settle_partial_files(layout, receipts_of(layout, held()), now=NOW)
    assert place.exists()
    assert left_of(layout) == []


async def test_fault_47_killed_before_the_receipt_a_recording_is_not_fetched_again(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = await start_lab(rooms=1, recordings_per_room=1)
    append = Receipts.append

    class Killed(BaseException):
        pass

    def dies(self: Receipts, receipts: Sequence[Receipt]) -> None:
        if any(isinstance(receipt, FileReceipt) for receipt in receipts):
            raise Killed
        append(self, receipts)

    monkeypatch.setattr(Receipts, "append", dies)
    with pytest.raises(BaseException) as died:  # a group with the death in it
        await run_sync(lab, tmp_path)
    assert "Killed" in repr(died.value)
    monkeypatch.undo()
    assert len(held_files(tmp_path / "archive", "exp_research_001")) == 1

    await require_nothing_to_fetch(lab, tmp_path)
    superseded = tmp_path / "archive" / ".hsmirror" / "superseded"
    assert list(superseded.rglob("*.mp4*")) + list(superseded.rglob("*.webm*")) == []


async def test_stopped_before_its_commit_a_recording_is_not_fetched_again(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = await start_lab(rooms=1, recordings_per_room=2)
    waiting, both_wait = 0, anyio.Event()

    async def wait_for_ever() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both_wait.set()
        await anyio.sleep_forever()

    with commits_of_files(monkeypatch, wait_for_ever):
        await stopped_when(both_wait, lab, tmp_path)

    await require_nothing_to_fetch(lab, tmp_path)


async def test_stopped_while_too_many_others_wait_for_their_commit_a_recording_is_not_fetched_again(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = await start_lab(rooms=1, recordings_per_room=2)
    monkeypatch.setattr(download, "_UNCOMMITTED_FILES", 1)
    fetch, fetched = Transfers.fetch, 0
    both_are_fetched = anyio.Event()

    async def count(self: Transfers, *arguments: Any) -> str:
        nonlocal fetched
        proven_by = await fetch(self, *arguments)
        fetched += 1
        if fetched == 2:
            both_are_fetched.set()
        return proven_by

    monkeypatch.setattr(Transfers, "fetch", count)
    with commits_of_files(monkeypatch, anyio.sleep_forever):
        await stopped_when(both_are_fetched, lab, tmp_path)

    await require_nothing_to_fetch(lab, tmp_path)


async def test_a_recording_whose_commit_failed_with_that_of_another_is_not_fetched_again(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = await start_lab(rooms=1, recordings_per_room=1)

    async def fail() -> None:
        raise StorageError("cannot sync another file: the disk reports an input/output error: check it")

    with commits_of_files(monkeypatch, fail), pytest.raises(StorageError, match="another file"):
        await run_sync(lab, tmp_path)

    await require_nothing_to_fetch(lab, tmp_path)


async def stopped_when(happened: anyio.Event, lab: Lab[MadeUpSource], folder: Path) -> None:
    """A sync that is cancelled then."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_sync, lab, folder)
        await happened.wait()
        tasks.cancel_scope.cancel()


async def require_nothing_to_fetch(lab: Lab[MadeUpSource], folder: Path) -> None:
    """A sync finds all recordings already there, and ends complete."""
    report = await run_sync(lab, folder)
    assert (report.exit_status, report.downloaded_bytes) == (0, 0)
    assert differences(folder / "archive", lab.source) == {}


@contextmanager
def commits_of_files(
    monkeypatch: pytest.MonkeyPatch, carry_out: Callable[[], Awaitable[None]]
) -> Iterator[None]:
    """What becomes of recordings' commits; those of lists are carried out."""
    commit = Committer.commit

    async def commit_lists_alone(self: Committer, *commits: Commit) -> None:
        if any(isinstance(each.receipt, FileReceipt) for one in commits for each in one.placements):
            await carry_out()
        else:
            await commit(self, *commits)

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "commit", commit_lists_alone)
        yield


def test_a_part_has_no_note_until_some_of_it_is_kept(layout: Layout) -> None:
    part = PartialFile(layout, PATH, MODES)
    part.describe(NOTE)
    part.append(b"x" * 40)
    assert (left_of(layout), part.is_noted) == ([".part"], False)
    part.keep()
    assert (left_of(layout), part.is_noted) == ([".json", ".part"], True)


def test_of_a_file_that_is_in_its_place_nothing_is_left(layout: Layout) -> None:
    part = part_of(layout, b"x" * 40)
    part.inflated_path.write_bytes(b"xx")
    part.clear()
    assert left_of(layout) == []


def test_offered_hashes_are_noted(layout: Layout) -> None:
    part = part_of(layout, b"x")
    part.describe(msgspec.structs.replace(NOTE, md5=b"m"))
    part.keep()
    again = PartialFile(layout, PATH, MODES)
    again.open(NOTE.source)
    assert again.note is not None
    assert again.note.hashes == OfferedHashes(md5=b"m")
