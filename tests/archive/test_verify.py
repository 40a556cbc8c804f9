"""Files that no receipt knows: looked for everywhere, in a sample only beside what is checked."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FORMAT, IntentReceipt, ListReceipt, Marker, ShardReceipt, write_marker
from hsmirror.archive.segments import Receipts
from hsmirror.archive.verify import verify

ROWS = b'{"id":1}\n'
SHA256 = hashlib.sha256(ROWS).hexdigest()
PARTS = 4


def path_of(experiment: str, room: int) -> str:
    return f"experiment_id={experiment}/data_type=events/room_id=r{room}/part-00000.ndjson"


PATHS = [path_of(experiment, room) for experiment in ("a", "b") for room in range(8)]


def receipt(path: str, sha256: str | None = SHA256) -> ShardReceipt:
    return ShardReceipt(
        path=path, experiment="e", data_type="events", room="r", rows=1, size_bytes=len(ROWS), sha256=sha256
    )


def part_of(path: str) -> int:
    return zlib.crc32(path.encode()) % PARTS + 1


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "archive")
    write_marker(layout, Marker(FORMAT, "https://api.example.com", "2026-01-01T00:00:00Z"), Modes())
    Receipts(layout, Modes(), "20260101T000000Z-a").append([receipt(path) for path in PATHS])
    for path in PATHS:
        place = layout.absolute(path)
        place.parent.mkdir(parents=True)
        place.write_bytes(ROWS)
    return layout.root


def strangers(archive: Path) -> list[str]:
    """In an experiment, in a room, where no experiment is, at the top."""
    paths = [
        "experiment_id=a/notes.txt",
        f"{Path(PATHS[0]).parent.as_posix()}/copy.ndjson",
        "elsewhere/deep/down.txt",
        "stray.txt",
    ]
    for path in paths:
        (archive / path).parent.mkdir(parents=True, exist_ok=True)
        (archive / path).write_bytes(b"")
    return paths


def test_all_files_that_no_receipt_knows_are_named(archive: Path) -> None:
    paths = strangers(archive)
    (archive / "experiment_id=b" / "link").symlink_to(archive.parent)
    (archive / "SHA256SUMS").write_bytes(b"")
    report = verify(archive)
    assert sorted(report.unexpected) == sorted([*paths, "experiment_id=b/link"])
    assert (report.checked_files, report.is_sound) == (len(PATHS), True)


def test_a_sample_looks_beside_what_it_checks(archive: Path) -> None:
    _, beside, *_ = strangers(archive)
    for part in range(1, PARTS + 1):
        report = verify(archive, sample=(part, PARTS))
        assert report.unexpected == ((beside,) if part == part_of(PATHS[0]) else ())
        assert report.checked_files == sum(part_of(path) == part for path in PATHS)


def test_what_is_about_to_be_put_in_place_or_retired_is_expected(archive: Path) -> None:
    other = hashlib.sha256(b"other\n").hexdigest()
    changed, retired, new = receipt(PATHS[0], other), receipt(PATHS[1], None), receipt(path_of("c", 1), other)
    layout = Layout(archive)
    Receipts(layout, Modes(), "20260102T000000Z-a").append([IntentReceipt(receipts=(changed, new, retired))])
    layout.absolute(changed.path).write_bytes(b"other\n")
    layout.absolute(retired.path).unlink()
    layout.absolute(new.path).parent.mkdir(parents=True)
    layout.absolute(new.path).write_bytes(b"other\n")
    report = verify(archive)
    assert (report.is_sound, report.unexpected, report.checked_files) == (True, (), len(PATHS) - 1)


def test_lists_that_were_not_proven_are_named_by_a_sample_too(archive: Path) -> None:
    unproven = ListReceipt(experiment="a", data_type="chat", is_complete=False, why="it moved")
    Receipts(Layout(archive), Modes(), "20260102T000000Z-a").append([unproven])
    assert verify(archive, sample=(1, PARTS)).unproven == ("chat of a: it moved",)


def test_what_lies_beside_the_experiments_is_found_without_going_through_them_for_each(archive: Path) -> None:
    gone_through = 0

    class Folders(list[str]):
        def __iter__(self) -> Iterator[str]:
            nonlocal gone_through
            gone_through += 1
            return super().__iter__()

    for number in range(50):
        (archive / f"stray-{number}.txt").write_bytes(b"")
    with mock.patch.object(Receipts, "folders", Folders(["experiment_id=a", "experiment_id=b"])):
        report = verify(archive)
    assert len(report.unexpected) == 50
    assert gone_through <= 2
