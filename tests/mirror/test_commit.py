"""The commit, stopped at each of its steps: the next run finishes what is left, and nothing held is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.archive import durable
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import Claim, IntentReceipt
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.shards import Form, read_rows
from hsmirror.archive.verify import verify
from hsmirror.clock import ManualClock
from hsmirror.errors import StorageError
from hsmirror.mirror.asked import Asked
from hsmirror.mirror.commit import Committer
from hsmirror.mirror.opening import open_archive
from hsmirror.mirror.settle import Settlement, Shelf
from hsmirror.mirror.write import Staging, write_rows

MODES = Modes()
EVERYTHING = Asked(DATA_TYPES["events"])
NARROW = Asked(DATA_TYPES["events"], Claim(participant="p"))
UPSTREAM = "http://127.0.0.1:1/api/v3"
SMALL, LARGE, SHRINKING, EMPTY = (
    Shelf("e", "events", room) for room in ("small", "large", "shrinking", "empty")
)
FIRST = {SMALL: range(3), LARGE: range(40), SHRINKING: range(25), EMPTY: range(0)}
SECOND = {SMALL: range(5), LARGE: range(70), SHRINKING: range(10, 30), EMPTY: range(3)}


class Killed(BaseException):
    """Stands in for the end of the process: nothing that handles errors may catch it."""


def row_id(row: bytes) -> str:
    return str(json.loads(row)["id"])


def run(root: Path, wanted: dict[Shelf, range], *, day: int, compression: str) -> None:
    """One run over rows that are there already: settle, commit; in parts of 600 bytes, so in several."""
    layout = Layout(root)
    run_id, receipts = open_archive(layout, UPSTREAM, MODES, ManualClock(1_700_000_000.0 + 86_400 * day))
    staging = Staging(root, layout.staging_of(run_id), Form(compression, 600), MODES)
    settlement = Settlement(layout, receipts, compression, staging.builder, "")
    committer = Committer(layout, receipts, MODES, run_id)
    commits = []
    for shelf, ids in wanted.items():
        rows = [b'{"id":%d,"text":"%s"}' % (number, b"x" * 30) for number in ids]
        parts = write_rows(rows, staging.builder())
        settled = settlement.settle(shelf, parts, EVERYTHING)
        commits += [settled.commit] if settled.commit else []
    committer._carry_out(commits)


def held(root: Path) -> dict[str | None, list[str]]:
    """The ids of all rows by room, each file's hash checked against its receipt."""
    found: dict[str | None, list[str]] = {}
    for receipt in Archive.open(root).shards():
        if receipt.sha256 is not None:
            path = root / receipt.path
            assert hashlib.sha256(path.read_bytes()).hexdigest() == receipt.sha256
            found.setdefault(receipt.room, []).extend(row_id(row) for row in read_rows(path))
    return found


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[str]]]:
    """`killing(n)` ends the process at its n-th change of the disk, a write after half of it; None: never."""
    state: dict[str, Any] = {"left": None, "done": []}

    def watch(name: str) -> None:
        true = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if state["left"] is not None:
                state["left"] -= 1
                state["done"].append(name)
                if state["left"] == 0:
                    if name == "write":
                        true(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                    raise Killed(name)
            return true(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("replace", "link", "write", "fsync", "unlink", "mkdir"):
        watch(name)

    def arm(at: int | None) -> list[str]:
        state["left"], state["done"] = at, []
        return state["done"]  # type: ignore[no-any-return]

    yield arm
    arm(None)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_fault_47_killed_at_any_step_the_next_run_finishes_and_nothing_held_is_lost(
    tmp_path: Path, killing: Callable[[int | None], list[str]], compression: str
) -> None:
    step, was_killed = 0, True
    while was_killed:
        step += 1
        root = tmp_path / str(step)
        run(root, FIRST, day=1, compression="none")
        killing(step)
        try:
            run(root, SECOND, day=2, compression=compression)
            was_killed = False
        except Killed:
            pass
        killing(None)
        assert verify(root).is_sound, (step, verify(root))
        open_archive(Layout(root), UPSTREAM, MODES, ManualClock(1_700_000_000.0 + 86_400 * 3))
        report = verify(root)
        # The first shard of a place may have come there without its receipt: a stray until it is read again.
        assert set(report.strays) <= {EMPTY.path(0, compression)}, (step, report)
        assert msgspec.structs.replace(report, strays=()).is_sound, (step, report)
        for shelf, ids in FIRST.items():
            ids_held = held(root).get(shelf.room, [])
            before = {str(number) for number in ids}
            after = before | {str(number) for number in SECOND[shelf]}
            assert len(ids_held) == len(set(ids_held))
            assert set(ids_held) in (before, after), f"step {step}: {shelf.room} is of two generations"
        run(root, SECOND, day=4, compression=compression)
        tree = {
            path.relative_to(root).as_posix()
            for path in root.rglob("*.ndjson*")
            if ".hsmirror" not in path.parts
        }
        assert tree == {receipt.path for receipt in Archive.open(root).shards() if receipt.sha256}
        assert verify(root).is_sound, (step, verify(root))
    assert step > 20


@pytest.mark.parametrize("is_narrow", [True, False])
def test_fault_54_one_version_of_an_id_does_not_take_the_place_of_all_that_are_held(
    tmp_path: Path, is_narrow: bool
) -> None:
    layout = Layout(tmp_path)
    run_id, receipts = open_archive(layout, UPSTREAM, MODES, ManualClock())
    staging = Staging(tmp_path, layout.staging_of(run_id), Form("none", 600), MODES)
    settlement = Settlement(layout, receipts, "none", staging.builder, "")
    committer = Committer(layout, receipts, MODES, run_id)
    readings = [
        [b'{"id":1,"x":"one"}', b'{"id":1,"x":"other"}'],
        [b'{"id":1,"x":"one"}', b'{"id":2,"x":"new"}'],
    ]
    for number, rows in enumerate(readings):
        parts = write_rows(rows, staging.builder())
        narrow = is_narrow and number > 0
        settled = settlement.settle(SMALL, parts, NARROW if narrow else EVERYTHING)
        assert settled.commit is not None
        committer._carry_out([settled.commit])
    (receipt,) = Archive.open(tmp_path).shards()
    assert set(read_rows(tmp_path / receipt.path)) == {row for rows in readings for row in rows}


def test_an_intent_whose_files_are_gone_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, FIRST, day=1, compression="none")
    before = held(tmp_path)
    receipts = Receipts(Layout(tmp_path), MODES, "20300101T000000Z-x")
    committer = Committer(Layout(tmp_path), receipts, MODES, "20300101T000000Z-x")
    staging = Staging(tmp_path, Layout(tmp_path).staging_of("x"), Form("none", 600), MODES)
    settlement = Settlement(Layout(tmp_path), receipts, "none", staging.builder, "")
    parts = write_rows([b'{"id":%d}' % number for number in range(90)], staging.builder())
    settled = settlement.settle(LARGE, parts, EVERYTHING)
    assert settled.commit is not None
    intent = committer._intent(settled.commit)
    assert intent is not None
    receipts.append([intent])
    for part in parts:
        part.path.unlink()
    open_archive(Layout(tmp_path), UPSTREAM, MODES, ManualClock(1_900_000_000.0))
    assert held(tmp_path) == before
    assert verify(tmp_path).is_sound


def leave_an_intent(root: Path) -> tuple[Path, ...]:
    """As a run leaves an archive that is killed after the first of its moves; gives the parts still staged."""
    run(root, FIRST, day=1, compression="none")
    layout = Layout(root)
    run_id, receipts = open_archive(layout, UPSTREAM, MODES, ManualClock(1_700_000_000.0 + 86_400 * 2))
    committer = Committer(layout, receipts, MODES, run_id)
    staging = Staging(root, layout.staging_of(run_id), Form("none", 600), MODES)
    settlement = Settlement(layout, receipts, "none", staging.builder, "")
    parts = write_rows([b'{"id":%d,"text":"new"}' % number for number in range(90)], staging.builder())
    settled = settlement.settle(LARGE, parts, EVERYTHING)
    assert settled.commit is not None
    intent = committer._intent(settled.commit)
    assert intent is not None
    receipts.append([intent])
    first, *others = settled.commit.placements
    durable.publish(root, [committer._move(first)], MODES)
    return tuple(placement.staged for placement in others)


def refuse_to_read(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[Path], bool]) -> None:
    """Reading some files fails, as on a bad spot of a disk."""
    opened = Path.open

    def refuse(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "r" in mode and wanted(self):
            raise OSError(errno.EIO, "bad disk")
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)


def test_fault_41_an_intent_whose_staged_files_cannot_be_read_is_reported_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = leave_an_intent(tmp_path)
    assert staged
    refuse_to_read(monkeypatch, lambda path: path in staged)
    notes: list[str] = []
    clock = ManualClock(1_900_000_000.0)
    _, receipts = open_archive(Layout(tmp_path), UPSTREAM, MODES, clock, notes.append)
    assert len(notes) == 1
    assert "cannot be finished" in notes[0]
    assert "input/output error" in notes[0]
    assert not [receipt for receipt in receipts if isinstance(receipt, IntentReceipt)]
    monkeypatch.undo()
    run(tmp_path, SECOND, day=5, compression="none")
    assert verify(tmp_path).is_sound


def test_fault_41_where_the_older_file_cannot_be_read_the_newer_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = leave_an_intent(tmp_path)
    refuse_to_read(monkeypatch, lambda path: path.name == "part-00001.ndjson" and bool(staged[0].exists()))
    notes: list[str] = []
    open_archive(Layout(tmp_path), UPSTREAM, MODES, ManualClock(1_900_000_000.0), notes.append)
    assert notes == []
    monkeypatch.undo()
    assert set(held(tmp_path)["large"]) >= {str(number) for number in range(90)}
    assert verify(tmp_path).is_sound


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")
def test_fault_43_an_intent_is_written_when_its_staged_files_have_their_names_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, FIRST, day=1, compression="none")
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    run(tmp_path, SECOND, day=2, compression="none")
    path = segments(Layout(tmp_path))[-1]
    segment, folder = f"receipts/{path.name}", f".hsmirror/staging/{path.stem}"
    last_file = max(at for at, name in enumerate(synced) if name.startswith(f"{folder}/"))
    assert last_file < synced.index(folder) < synced.index(segment)


def test_fault_43_an_intent_is_open_until_all_of_its_receipts_are_there(tmp_path: Path) -> None:
    """The blocks of one write may reach the disk in any order: of the receipts at the end of a commit, the last
    may be there and the others be zeros.
    """
    run(tmp_path, FIRST, day=1, compression="none")
    run(tmp_path, SECOND, day=2, compression="none")
    (_, segment) = segments(Layout(tmp_path))
    lines = segment.read_bytes().splitlines()
    large = [
        at for at, line in enumerate(lines) if b"room_id=large/" in line and b'"kind":"intent"' not in line
    ]
    assert len(large) > 1
    for at in large[:-1]:
        lines[at] = bytes(len(lines[at]))
    segment.write_bytes(b"".join(line + b"\n" for line in lines))
    assert verify(tmp_path).is_sound
    open_archive(Layout(tmp_path), UPSTREAM, MODES, ManualClock(1_900_000_000.0))
    assert set(held(tmp_path)["large"]) == {str(number) for number in SECOND[LARGE]}


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")
def test_fault_41_a_receipt_that_could_not_be_synced_is_not_there_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may hand out bytes that it never wrote: the next run would call complete what is not safe."""
    run(tmp_path, FIRST, day=1, compression="none")
    before = {path.name: path.read_bytes() for path in (tmp_path / "receipts").iterdir()}
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().parent.name == "receipts":
            raise OSError(errno.EIO, "bad disk")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError):
        run(tmp_path, SECOND, day=2, compression="none")
    after = {path.name: path.read_bytes() for path in (tmp_path / "receipts").iterdir()}
    assert {name: content for name, content in after.items() if content} == before


def test_fault_47_a_folder_that_is_not_ours_and_cannot_be_read_does_not_stop_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `lost+found` cannot, where the archive is a disk of its own."""
    run(tmp_path, FIRST, day=1, compression="none")
    assert any((tmp_path / ".hsmirror" / "staging").iterdir())
    (tmp_path / "lost+found").mkdir()
    opened, scanned = os.open, os.scandir

    def refused(path: Path | str | int) -> None:
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied")

    def refuse_open(path: Path, *arguments: Any, **options: Any) -> int:
        refused(path)
        return opened(path, *arguments, **options)

    def refuse_scan(path: Path) -> Any:
        refused(path)
        return scanned(path)

    monkeypatch.setattr(os, "open", refuse_open)
    monkeypatch.setattr(os, "scandir", refuse_scan)
    open_archive(Layout(tmp_path), UPSTREAM, MODES, ManualClock(1_900_000_000.0))
    monkeypatch.undo()
    assert not any((tmp_path / ".hsmirror" / "staging").iterdir())
