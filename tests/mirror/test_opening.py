"""The archive, opened for a run: after runs that died, or after what vouches for it was lost or has changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from oracle import differences
from sync_runs import run_sync

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import FileLike, ShardReceipt, has_check
from hsmirror.archive.segments import MOST_SEGMENTS, segments
from hsmirror.archive.verify import verify
from hsmirror.clock import ManualClock
from hsmirror.errors import Exit
from hsmirror.mirror.opening import open_archive

UPSTREAM = "http://127.0.0.1:1/api/v3"


def shard(number: int) -> ShardReceipt:
    path = f"experiment_id=e/data_type=events/room_id={number}/part-00000.ndjson"
    return ShardReceipt(path=path, experiment="e", data_type="events", room=str(number))


def test_fault_47_runs_that_are_killed_one_after_another_leave_few_segments(tmp_path: Path) -> None:
    """Each leaves the receipts that it came to, and none comes to its end."""
    layout = Layout(tmp_path)
    most = 0
    for number in range(3 * MOST_SEGMENTS):
        clock = ManualClock(1_700_000_000.0 + 3_600 * number)
        _, receipts = open_archive(layout, UPSTREAM, Modes(), clock)
        receipts.append([shard(number)])
        most = max(most, len(segments(layout)))
    assert most == MOST_SEGMENTS + 1
    assert {each.path for each in Archive.open(tmp_path).shards()} == {
        shard(number).path for number in range(3 * MOST_SEGMENTS)
    }


# --- what vouches, lost or changed -------------------------------------------------------------------------
def _lines_gone(layout: Layout) -> None:
    segment = segments(layout)[0]
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[: len(lines) // 2]))


def _rows_changed(layout: Layout) -> None:
    segment = segments(layout)[0]
    segment.write_bytes(re.sub(rb'"rows":([0-9])', rb'"rows":7\1', segment.read_bytes(), count=3))


def _sums_cut(layout: Layout) -> None:
    layout.sums.write_bytes(layout.sums.read_bytes()[:-100])


def _marker_changed(layout: Layout) -> None:
    layout.marker.write_bytes(layout.marker.read_bytes().replace(b"created", b"created_at", 1) + b" ")
    layout.marker.write_bytes(layout.marker.read_bytes().replace(b"created_at", b"created", 1))


SPOILT: dict[str, Callable[[Layout], object]] = {
    "a segment is lost": lambda layout: segments(layout)[0].unlink(),
    "all segments are lost": lambda layout: [each.unlink() for each in segments(layout)],
    "lines are gone": _lines_gone,
    "rows have changed": _rows_changed,
    "the head is lost": lambda layout: layout.head.unlink(),
    "the head is empty": lambda layout: layout.head.write_bytes(b""),
    "the sums are lost": lambda layout: layout.sums.unlink(),
    "the sums are cut": _sums_cut,
    "the marker has changed": _marker_changed,
}


@pytest.mark.parametrize("what", SPOILT)
async def test_fault_120_what_vouches_is_found_changed_and_made_up_for_by_the_next_sync(
    start_lab, tmp_path: Path, what: str
) -> None:
    lab = await start_lab(rooms=2, events_per_room=5, recordings_per_room=1)
    await run_sync(lab, tmp_path)
    lab.source.add_rows("exp_research_001", lab.source.room_ids("exp_research_001")[0], "events", 2)
    await run_sync(lab, tmp_path, days_later=40)
    archive = tmp_path / "archive"
    SPOILT[what](Layout(archive))
    found = verify(archive)
    assert found.unvouched
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.downloaded_bytes) == (Exit.COMPLETE, 0)
    assert verify(archive).is_sound
    assert verify(archive).notes == ()
    assert differences(archive, lab.source) == {}
    if "segment" in what or what in {"lines are gone", "rows have changed", "the head is lost"}:
        assert any("SHA256SUMS" in note for note in report.notes)
    assert (await run_sync(lab, tmp_path)).notes == ()


async def test_fault_120_files_whose_receipts_are_lost_are_taken_up_with_all_that_they_tell(
    start_lab, tmp_path: Path
) -> None:
    """Nothing else would bring back what the server no longer has."""
    lab = await start_lab(rooms=2, events_per_room=5, recordings_per_room=1)
    await run_sync(lab, tmp_path)
    layout = Layout(tmp_path / "archive")
    held = {each.path: each for each in Archive.open(layout.root).files()}
    for segment in segments(layout):
        segment.unlink()
    open_archive(layout, lab.base_url, Modes(), ManualClock(1_900_000_000.0))
    again = {each.path: each for each in Archive.open(layout.root).files()}
    assert {path: _without_circumstances(each) for path, each in again.items()} == {
        path: _without_circumstances(each) for path, each in held.items()
    }
    assert all(each.complete_for == () for each in again.values() if isinstance(each, ShardReceipt))
    assert verify(layout.root).is_sound


def _without_circumstances(receipt: FileLike) -> dict[str, object]:
    """What a receipt says of the file itself, and whose it is."""
    told = ("kind", "path", "experiment", "data_type", "room", "part", "rows", "recording_id")
    of_file = ("size_bytes", "sha256", "content_bytes", "content_sha256")
    fields = msgspec.to_builtins(receipt)
    return {name: fields.get(name) for name in (*told, *of_file)}


def test_an_archive_of_an_older_version_is_taken_up_without_a_word(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    _, receipts = open_archive(layout, UPSTREAM, Modes(), ManualClock(1_700_000_000.0))
    receipts.append([shard(1), shard(2)])
    layout.head.unlink()
    (segment,) = segments(layout)
    segment.write_bytes(re.sub(rb',"check":"[0-9a-f]{8}"}', b"}", segment.read_bytes()))
    notes: list[str] = []
    open_archive(layout, UPSTREAM, Modes(), ManualClock(1_700_003_600.0), notes.append)
    assert notes == []
    assert verify(tmp_path).notes == ()
    assert {each.path for each in Archive.open(tmp_path).shards()} == {shard(1).path, shard(2).path}
    assert all(has_check(line) for each in segments(layout) for line in each.read_bytes().splitlines())


def test_a_run_that_was_cut_off_is_named_by_the_head_as_soon_as_the_next_one_begins(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    _, receipts = open_archive(layout, UPSTREAM, Modes(), ManualClock(1_700_000_000.0))
    receipts.append([shard(1)])
    assert verify(tmp_path).notes
    open_archive(layout, UPSTREAM, Modes(), ManualClock(1_700_003_600.0))
    assert (verify(tmp_path).notes, verify(tmp_path).is_sound) == ((), True)
