"""Files that no receipt knows, and what vouches for the receipts."""

from __future__ import annotations

import hashlib
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from hsmirror.archive import vouchers
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FORMAT, IntentReceipt, ListReceipt, Marker, ShardReceipt, write_marker
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.sums import bring_up_to_date
from hsmirror.archive.verify import verify
from hsmirror.clock import ManualClock
from hsmirror.errors import DamagedError
from hsmirror.mirror.opening import open_archive

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


RUN = "20260101T000000Z-a"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "archive")
    write_marker(layout, Marker(FORMAT, "https://api.example.com", "2026-01-01T00:00:00Z"), Modes())
    receipts = Receipts(layout, Modes(), RUN)
    receipts.append([receipt(path) for path in PATHS])
    for path in PATHS:
        place = layout.absolute(path)
        place.parent.mkdir(parents=True)
        place.write_bytes(ROWS)
    bring_up_to_date(layout, receipts, Modes())
    return layout.root


def strangers(archive: Path) -> list[str]:
    """In an experiment, in a room, where no experiment is, at the top."""
    paths = [
        "experiment_id=a/notes.txt",
        f"{Path(PATHS[0]).parent.as_posix()}/copy.txt",
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
    report = verify(archive)
    assert sorted(report.unexpected) == sorted([*paths, "experiment_id=b/link"])
    assert (report.checked_files, report.is_sound) == (len(PATHS), True)


def test_samples_look_beside_what_they_check_and_together_everywhere(archive: Path) -> None:
    inside, beside, *elsewhere = strangers(archive)
    by_part = {part: verify(archive, sample=(part, PARTS)) for part in range(1, PARTS + 1)}
    assert {beside} <= set(by_part[part_of(PATHS[0])].unexpected)
    assert inside in by_part[part_of("experiment_id=a")].unexpected
    assert set(elsewhere) <= set(by_part[part_of("receipts")].unexpected)
    for part, report in by_part.items():
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


# --- files that readers take for ours ----------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    [
        "part-00000 (conflicted copy 2026-11-29).ndjson",
        "part-00000.sync-conflict-20261129-101010-ABCDEFG.ndjson.gz",
        "part-00000 (1).ndjson.zst",
        "Copy of part-00000.ndjson",
        "part-00000.ndjson.gz",
        "part-00001.ndjson",
        "._part-00000.ndjson",
        "PART-00000 - COPY.NDJSON.GZ",
    ],
)
def test_fault_95_a_shard_that_no_receipt_knows_is_a_stray(archive: Path, name: str) -> None:
    stray = f"{Path(PATHS[0]).parent.as_posix()}/{name}"
    (archive / stray).write_bytes(ROWS)
    for report in (verify(archive), verify(archive, sample=(part_of(PATHS[0]), PARTS))):
        assert (report.strays, report.is_sound) == ((stray,), False)
        assert stray not in report.unexpected


@pytest.mark.parametrize(
    "folder",
    [
        "experiment_id=a/data_type=events/room_id=r0 (1)",
        "experiment_id=a/data_type=events copy/room_id=r0",
        "experiment_id=a (1)/data_type=events/room_id=r0",
        "backup/experiment_id=a/data_type=events/room_id=r0",
        "backup",
    ],
)
def test_fault_95_so_is_one_in_a_folder_that_is_none_of_ours(archive: Path, folder: str) -> None:
    (archive / folder).mkdir(parents=True)
    (archive / folder / "part-00000.ndjson").write_bytes(ROWS)
    found = [each for part in range(1, PARTS + 1) for each in verify(archive, sample=(part, PARTS)).strays]
    assert verify(archive).strays == tuple(found) == (f"{folder}/part-00000.ndjson",)


def test_fault_95_a_link_to_a_partition_is_one_too_for_readers_follow_it(archive: Path) -> None:
    (archive / "experiment_id=a/data_type=events/room_id=twin").symlink_to(archive / Path(PATHS[0]).parent)
    assert verify(archive).strays == ("experiment_id=a/data_type=events/room_id=twin",)


def test_fault_95_a_copy_of_a_segment_is_one_and_other_files_among_the_receipts_are_not(archive: Path) -> None:
    for name in (f"{RUN} (1).jsonl", ".DS_Store"):
        (archive / "receipts" / name).write_bytes(b"{}")
    report = verify(archive)
    assert (report.strays, report.unexpected) == ((f"receipts/{RUN} (1).jsonl",), ("receipts/.DS_Store",))


def test_a_copy_of_a_recording_is_named_and_harmless(archive: Path) -> None:
    copy = "experiment_id=a/files/room_id=r0/rec (1).mp4"
    (archive / copy).parent.mkdir(parents=True)
    (archive / copy).write_bytes(b"x")
    report = verify(archive)
    assert (report.strays, report.unexpected, report.is_sound) == ((), (copy,), True)


def test_a_shard_that_a_run_under_way_has_put_in_its_place_is_no_stray(archive: Path) -> None:
    """Its receipt comes in a moment; or the run has died, and the next one takes its place."""
    new = path_of("a", 99)
    (archive / new).parent.mkdir()
    (archive / new).write_bytes(ROWS)
    assert verify(archive).strays == (new,)
    Layout(archive).staging_of("20260102T000000Z-a").mkdir(parents=True)
    report = verify(archive)
    assert (report.strays, report.unexpected, report.is_sound) == ((), (new,), True)
    (archive / new).with_name("part-00000 (1).ndjson").write_bytes(ROWS)
    (archive / PATHS[0]).with_name("part-00000.ndjson.gz").write_bytes(ROWS)
    assert len(verify(archive).strays) == 2


def test_what_is_hidden_beside_the_experiments_is_nobodys_and_harmless(archive: Path) -> None:
    older = f".stversions/{PATHS[0]}"
    (archive / older).parent.mkdir(parents=True)
    (archive / older).write_bytes(ROWS)
    assert (verify(archive).strays, verify(archive).unexpected) == ((), (older,))


# --- what vouches ------------------------------------------------------------------------------------------
def test_fault_120_rows_are_counted_and_held_against_the_receipt(archive: Path) -> None:
    wrong = msgspec.structs.replace(receipt(PATHS[0]), rows=3)
    receipts = Receipts(Layout(archive), Modes(), "20260102T000000Z-a")
    receipts.append([wrong])
    bring_up_to_date(Layout(archive), receipts, Modes())
    assert verify(archive).damaged == (f"{PATHS[0]}: 1 rows, where its receipt says 3",)


def test_a_run_under_way_or_cut_off_leaves_the_sums_behind_and_that_is_told(archive: Path) -> None:
    assert verify(archive).notes == ()
    Receipts(Layout(archive), Modes(), "20260102T000000Z-a").append([receipt(PATHS[0])])
    report = verify(archive)
    assert report.is_sound
    assert "SHA256SUMS" in report.notes[0]


def test_a_run_that_died_between_the_sums_and_the_head_is_no_damage(archive: Path) -> None:
    layout = Layout(archive)
    head = layout.head.read_bytes()
    receipts = Receipts(layout, Modes(), "20260102T000000Z-a")
    receipts.append([receipt(PATHS[0], None)])
    layout.absolute(PATHS[0]).unlink()
    bring_up_to_date(layout, receipts, Modes())
    layout.head.write_bytes(head)
    report = verify(archive)
    assert (report.unvouched, report.is_sound) == ((), True)


def test_a_run_that_ends_while_it_is_looked_at_is_no_damage(archive: Path) -> None:
    layout = Layout(archive)
    looked_at = vouchers.broken_segments
    ended: list[Path] = []

    def a_run_ends(*arguments: Any) -> Any:
        if not ended:
            receipts = Receipts(layout, Modes(), "20260102T000000Z-a")
            receipts.append([receipt(PATHS[1])])
            receipts.rewrite(lambda each: each)
            bring_up_to_date(layout, receipts, Modes())
            ended.extend(segments(layout))
        return looked_at(*arguments)

    with mock.patch.object(vouchers, "broken_segments", a_run_ends):
        assert verify(archive).unvouched == ()
    assert ended


def test_an_archive_of_an_older_version_is_sound_and_said_to_be_one(archive: Path) -> None:
    layout = Layout(archive)
    layout.head.unlink()
    (segment,) = segments(layout)
    segment.write_bytes(re.sub(rb',"check":"[0-9a-f]{8}"}', b"}", segment.read_bytes()))
    report = verify(archive)
    assert report.is_sound
    assert "older version" in report.notes[0]


def test_fault_120_a_lost_segment_of_an_older_version_is_told_by_the_sums(archive: Path) -> None:
    layout = Layout(archive)
    layout.head.unlink()
    (segment,) = segments(layout)
    lines = re.sub(rb',"check":"[0-9a-f]{8}"}', b"}", segment.read_bytes()).splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-3]))
    (unvouched,) = verify(archive).unvouched
    assert unvouched == "SHA256SUMS: 3 lines in it are of no file that is held so"
    notes: list[str] = []
    clock = ManualClock(1_800_000_000.0)
    open_archive(layout, "https://api.example.com", Modes(), clock, notes.append)
    assert verify(archive).is_sound
    assert "3 files whose receipts were lost" in notes[0]


def test_fault_120_all_receipts_lost_are_told_by_the_sums(archive: Path) -> None:
    shutil.rmtree(archive / "receipts")
    assert len(verify(archive).unvouched) == 2
    open_archive(Layout(archive), "https://api.example.com", Modes(), ManualClock(1_800_000_000.0))
    assert (verify(archive).is_sound, verify(archive).checked_files) == (True, len(PATHS))


def test_fault_120_what_vouches_is_looked_at_by_each_sample(archive: Path) -> None:
    segments(Layout(archive))[0].unlink()
    for part in range(1, PARTS + 1):
        assert not verify(archive, sample=(part, PARTS)).is_sound


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"format": 3, "upstream": "https://api.example.com"'])
def test_fault_120_an_archive_that_has_lost_its_marker_is_damaged_and_can_be_mended_by_hand(
    archive: Path, content: bytes | None
) -> None:
    marker = Layout(archive).marker
    marker.unlink()
    if content is not None:
        marker.write_bytes(content)
    with pytest.raises(DamagedError, match="write it anew") as raised:
        verify(archive)
    (as_told,) = re.findall(r"\{.*\}", str(raised.value))
    marker.write_text(as_told.replace("api.base_url", "https://api.example.com"))
    assert [each.partition(":")[0] for each in verify(archive).unvouched] == ["archive.json"]
    open_archive(Layout(archive), "https://api.example.com", Modes(), ManualClock(1_800_000_000.0))
    assert verify(archive).is_sound


def test_a_head_that_names_what_is_none_of_ours_is_not_followed(archive: Path) -> None:
    head = Layout(archive).head
    head.write_bytes(head.read_bytes() + f"{SHA256}  ../outside\n".encode())
    assert verify(archive).unvouched == ("receipts/HEAD: it is cut short, or has changed",)
