"""In which order things reach the disk: bytes, name, folder, and only then the receipt."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsmirror.archive.durable import Modes, append, has_size, make_folder
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FileReceipt, ShardReceipt
from hsmirror.archive.segments import Receipts as AllReceipts
from hsmirror.archive.shards import Form, ShardBuilder
from hsmirror.clock import ManualClock
from hsmirror.errors import StorageError
from hsmirror.mirror.budget_file import BudgetFile
from hsmirror.mirror.commit import Commit, Committer, Placement
from hsmirror.mirror.files import PartialFile, PartialNote
from hsmirror.model import Secret

MODES = Modes()
ROW = b"{}\n"
SHARD = "experiment_id=e/data_type=events/room_id=r/part-00000.ndjson"
FOLDER = SHARD.rpartition("/")[0]
RUN = "20260101T000000Z-a"
RECEIPTS = f"receipts/{RUN}.jsonl"
FILES = "experiment_id=e/files/room_id=r"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")


class Door:
    """What the system was asked for, in order: `write PATH`, `sync PATH`, `place PATH`, `remove PATH`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.done: list[str] = []
        write, fsync, replace, unlink = os.write, os.fsync, os.replace, Path.unlink

        def watched_write(descriptor: int, content: bytes) -> int:
            self._note("write", Path(f"/proc/self/fd/{descriptor}").readlink())
            return write(descriptor, content)

        def watched_fsync(descriptor: int) -> None:
            self._note("sync", Path(f"/proc/self/fd/{descriptor}").readlink())
            fsync(descriptor)

        def watched_replace(source: Path, target: Path) -> None:
            self._note("place", Path(target))
            replace(source, target)

        def watched_unlink(path: Path, missing_ok: bool = False) -> None:
            self._note("remove", path)
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(os, "write", watched_write)
        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "replace", watched_replace)
        monkeypatch.setattr(Path, "unlink", watched_unlink)

    def _note(self, what: str, path: Path) -> None:
        if path.is_relative_to(self.root):
            self.done.append(f"{what} {path.relative_to(self.root)}")

    def require_order(self, *steps: str) -> None:
        """These happened one after another, whatever else did in between."""
        at = -1
        for step in steps:
            assert step in self.done[at + 1 :], f"{step!r} is not where it belongs in {self.done}"
            at = self.done.index(step, at + 1)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "archive")
    make_folder(layout.root, layout.staging_of("run"), MODES)
    return layout


@pytest.fixture
def door(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    return Door(layout.root, monkeypatch)


def receipt(sha256: str | None = "a", path: str = SHARD) -> ShardReceipt:
    return ShardReceipt(
        path=path, experiment="e", data_type="events", room="r", rows=1, size_bytes=len(ROW), sha256=sha256
    )


def placement(layout: Layout, name: str = "1.staged", path: str = SHARD) -> Placement:
    staged = layout.staging_of("run") / name
    append(staged, ROW, MODES)
    return Placement(staged, receipt(path=path))


async def commit(layout: Layout, *commits: Commit) -> None:
    receipts = AllReceipts(layout, MODES, RUN)
    await Committer(layout, receipts, MODES, "run").commit(*commits)


async def test_fault_43_a_new_file_is_bytes_then_name_then_folder_then_receipt(
    layout: Layout, door: Door
) -> None:
    await commit(layout, Commit([placement(layout)]))
    door.require_order(
        "sync .hsmirror/staging/run/1.staged",
        f"place {SHARD}",
        f"sync {FOLDER}",
        f"write {RECEIPTS}",
        f"sync {RECEIPTS}",
        "sync receipts",
    )
    assert f"write {RECEIPTS}" not in door.done[: door.done.index(f"place {SHARD}")]


async def test_fault_43_a_file_whose_content_is_still_in_memory_takes_the_same_way(
    layout: Layout, door: Door
) -> None:
    await commit(layout, Commit([Placement(layout.staging_of("run") / "1.staged", receipt(), ROW)]))
    door.require_order(
        "write .hsmirror/staging/run/1.staged",
        "sync .hsmirror/staging/run/1.staged",
        f"place {SHARD}",
        f"sync {FOLDER}",
        f"write {RECEIPTS}",
        f"sync {RECEIPTS}",
    )
    assert (layout.root / SHARD).read_bytes() == ROW


async def test_fault_43_every_folder_on_the_way_is_named_on_the_disk_before_its_file(
    layout: Layout, door: Door
) -> None:
    await commit(layout, Commit([placement(layout)]))
    door.require_order(
        "sync .", "sync experiment_id=e", "sync experiment_id=e/data_type=events", f"place {SHARD}"
    )


async def test_fault_43_a_replacement_is_intended_and_the_older_one_kept_on_the_disk_before_it_takes_its_place(
    layout: Layout, door: Door
) -> None:
    await commit(layout, Commit([placement(layout)]))
    door.done.clear()
    await commit(layout, Commit([placement(layout, "2.staged")]))
    older = f".hsmirror/superseded/run/{FOLDER}"
    door.require_order(
        "sync .hsmirror/staging/run/2.staged",
        "sync .hsmirror/staging/run",
        f"write {RECEIPTS}",
        f"sync {RECEIPTS}",
        f"sync {older}",
        f"place {SHARD}",
        f"sync {FOLDER}",
        f"write {RECEIPTS}",
        f"sync {RECEIPTS}",
    )


async def test_fault_43_files_that_belong_together_are_intended_before_the_first_is_placed(
    layout: Layout, door: Door
) -> None:
    second = SHARD.replace("part-00000", "part-00001")
    await commit(layout, Commit([placement(layout), placement(layout, "2.staged", second)]))
    door.require_order(f"sync {RECEIPTS}", f"place {SHARD}", f"place {second}", f"write {RECEIPTS}")


async def test_fault_47_a_recording_is_intended_before_it_is_placed(layout: Layout, door: Door) -> None:
    """It is fetched already, and is not to be fetched again."""
    await commit(layout, Commit([recording(layout, "rec")]))
    place = f"{FILES}/rec.mp4"
    door.require_order(
        "sync .hsmirror/staging/run/rec.part",
        "sync .hsmirror/staging/run",
        f"sync {RECEIPTS}",
        f"place {place}",
        f"sync {FILES}",
        f"write {RECEIPTS}",
        f"sync {RECEIPTS}",
    )


async def test_recordings_that_are_committed_together_share_all_syncs_but_their_own(
    layout: Layout, door: Door
) -> None:
    await commit(layout, Commit([recording(layout, "first")]))  # which makes the folders
    door.done.clear()
    await commit(layout, *(Commit([recording(layout, f"rec_{number}")]) for number in range(20)))
    synced = Counter(step for step in door.done if step.startswith("sync"))
    assert synced == {
        **{f"sync .hsmirror/staging/run/rec_{number}.part": 1 for number in range(20)},
        "sync .hsmirror/staging/run": 1,
        f"sync {RECEIPTS}": 2,
        f"sync {FILES}": 1,
    }


def recording(layout: Layout, name: str) -> Placement:
    staged = layout.staging_of("run") / f"{name}.part"
    append(staged, b"film", MODES)
    found = FileReceipt(
        path=f"{FILES}/{name}.mp4", experiment="e", room="r", recording_id=name, size_bytes=4, sha256="a"
    )
    return Placement(staged, found)


async def test_fault_43_a_retired_file_is_kept_on_the_disk_before_it_goes_and_its_receipt_comes_last(
    layout: Layout, door: Door
) -> None:
    await commit(layout, Commit([placement(layout)]))
    door.done.clear()
    await commit(layout, Commit(retired=[receipt(sha256=None)]))
    door.require_order(
        f"sync {RECEIPTS}",
        f"sync .hsmirror/superseded/run/{FOLDER}",
        f"remove {SHARD}",
        f"sync {FOLDER}",
        f"write {RECEIPTS}",
        f"sync {RECEIPTS}",
    )


def test_fault_43_a_part_is_on_the_disk_before_its_note_says_so(layout: Layout, door: Door) -> None:
    partial = PartialFile(layout, "experiment_id=e/files/room_id=r/rec.mp4", MODES)
    partial.open("source")
    partial.describe(PartialNote("source", None, None))
    partial.append(b"0123456789")
    door.done.clear()
    partial.keep()
    part = partial.path.relative_to(layout.root).as_posix()
    note = part.replace(".part", ".json")
    door.require_order(f"sync {part}", f"write {note}.staged", f"sync {note}.staged", f"place {note}")


# --- lengths ----------------------------------------------------------------------------------------------
def test_fault_42_a_shard_that_came_out_shorter_than_it_was_written_is_not_sealed(layout: Layout) -> None:
    """Stands in for a file system that loses bytes without a word."""
    builder = ShardBuilder(layout.staging_of("run"), "1", Form("none"), MODES)
    builder.add(b"1\n" * (1 << 20))
    builder.flush()
    (staged,) = layout.staging_of("run").iterdir()
    os.truncate(staged, 10)
    builder.add(b"2\n")
    with pytest.raises(StorageError, match="another length"):
        builder.seal()


def test_fault_42_bytes_that_the_system_claims_to_have_taken_are_looked_for(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(
        os, "write", lambda descriptor, content: write(descriptor, content[:3]) and len(content)
    )
    with pytest.raises(StorageError):
        append(layout.root / "file", b"0123456789", MODES)
    assert (layout.root / "file").read_bytes() == b""


def test_fault_64_a_link_to_a_file_of_the_right_size_is_not_the_file(layout: Layout) -> None:
    (layout.root / "file").write_bytes(b"0123456789")
    (layout.root / "link").symlink_to(layout.root / "file")
    assert has_size(layout.root / "file", 10)
    assert not has_size(layout.root / "file", 9)
    assert not has_size(layout.root / "link", 10)
    assert not has_size(layout.root / "missing", 0)


# --- locks ------------------------------------------------------------------------------------------------
def test_fault_14_two_runs_are_never_both_between_catching_up_and_sending(tmp_path: Path) -> None:
    files = [BudgetFile(tmp_path, "https://api.example.com", Secret("key"), ManualClock(1e9)) for _ in range(2)]
    entered = threading.Event()

    def enter() -> None:
        with files[1].exclusive():
            entered.set()

    other = threading.Thread(target=enter)
    with files[0].exclusive():
        other.start()
        assert not entered.wait(0.1)
    other.join()
    assert entered.is_set()
    for file in files:
        file.close()
