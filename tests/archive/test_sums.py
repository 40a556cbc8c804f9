"""`SHA256SUMS`: a line for every file that is held, written anew only where a receipt may have come since."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import DocumentReceipt, FileReceipt, ListReceipt, Receipt, ShardReceipt
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.sums import write_sums

MODES = Modes()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def shard(path: str, sha256: str | None = "a") -> ShardReceipt:
    return ShardReceipt(path=path, experiment="e", data_type="events", room="r", sha256=sha256)


def run(layout: Layout, *receipts: Receipt, run_id: str = "20260101T000000Z-a") -> str:
    """A run that ends with the sums, a minute after the last change to them."""
    held = Receipts(layout, MODES, run_id)
    held.append(receipts)
    written_at = layout.sums.stat().st_mtime if layout.sums.exists() else 0
    write_sums(layout, held, MODES, now=written_at + 60)
    return layout.sums.read_text()


def older_segments(layout: Layout) -> None:
    """As if the receipts had been written an hour before all else."""
    for segment in segments(layout):
        hour_ago = layout.sums.stat().st_mtime_ns - 3_600 * 10**9
        os.utime(segment, ns=(hour_ago, hour_ago))


def test_every_file_that_is_held_has_a_line_in_order_of_paths(layout: Layout) -> None:
    assert (
        run(
            layout,
            shard("experiment_id=b/one", "1"),
            FileReceipt(
                path="experiment_id=a/two",
                experiment="a",
                room=None,
                recording_id="x",
                size_bytes=1,
                sha256="2",
            ),
            DocumentReceipt(path="experiment_id=a/experiment.json", experiment="a", size_bytes=1, sha256="3"),
            shard("experiment_id=a/empty", None),
            shard("experiment_id=a/retired", "4"),
            shard("experiment_id=a/retired", None),
            ListReceipt(experiment="a", data_type="events"),
        )
        == "3  experiment_id=a/experiment.json\n2  experiment_id=a/two\n1  experiment_id=b/one\n"
    )


def test_an_archive_without_receipts_has_an_empty_one(layout: Layout) -> None:
    assert run(layout) == ""


def test_a_night_without_receipts_leaves_it_alone(layout: Layout) -> None:
    run(layout, shard("e/one"))
    older_segments(layout)
    before = layout.sums.stat()
    run(layout, run_id="20260102T000000Z-a")
    assert (layout.sums.stat().st_ino, layout.sums.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_receipts_that_speak_of_no_file_leave_it_alone(layout: Layout) -> None:
    run(layout, shard("e/one"))
    before = layout.sums.stat()
    run(layout, ListReceipt(experiment="e", data_type="events"), run_id="20260102T000000Z-a")
    assert layout.sums.stat().st_ino == before.st_ino


def test_a_run_that_died_before_it_wrote_the_sums_is_made_up_for(layout: Layout) -> None:
    run(layout, shard("e/one"))
    older_segments(layout)
    Receipts(layout, MODES, "20260102T000000Z-a").append([shard("e/two", "b")])
    assert run(layout, run_id="20260103T000000Z-a") == "a  e/one\nb  e/two\n"


def test_one_that_is_missing_comes_back(layout: Layout) -> None:
    run(layout, shard("e/one"))
    layout.sums.unlink()
    assert run(layout, run_id="20260102T000000Z-a") == "a  e/one\n"


def test_one_that_was_edited_is_put_right_by_the_next_run_that_changes_something(layout: Layout) -> None:
    """An editor makes it newer than all receipts; in the future even, where the clock was ahead."""
    run(layout, shard("e/one"))
    for number, ahead_seconds in enumerate((0, 3_600)):
        layout.sums.write_text("edited\n")
        edited_at = layout.sums.stat().st_mtime + ahead_seconds
        os.utime(layout.sums, (edited_at, edited_at))
        listed = ListReceipt(experiment="e", data_type="events", total=number)
        assert run(layout, listed, run_id=f"2026010{number + 2}T000000Z-a") == "a  e/one\n"


def test_one_that_was_edited_is_put_right_by_a_run_that_merges(layout: Layout) -> None:
    run(layout, shard("e/one"))
    older_segments(layout)
    layout.sums.write_text("edited\n")
    receipts = Receipts(layout, MODES, "20260102T000000Z-a")
    receipts.rewrite(lambda receipt: receipt)
    older_segments(layout)
    write_sums(layout, receipts, MODES, now=layout.sums.stat().st_mtime + 60)
    assert layout.sums.read_text() == "a  e/one\n"


def test_a_time_that_is_yet_to_come_says_nothing(layout: Layout) -> None:
    """The clock was ahead once; a run died since before it wrote the sums."""
    run(layout, shard("e/one"))
    Receipts(layout, MODES, "20260102T000000Z-a").append([shard("e/two", "b")])
    ahead = layout.sums.stat().st_mtime + 3_600
    os.utime(layout.sums, (ahead, ahead))
    write_sums(layout, Receipts(layout, MODES, "20260103T000000Z-a"), MODES, now=ahead - 1_800)
    assert layout.sums.read_text() == "a  e/one\nb  e/two\n"


def test_a_night_without_receipts_does_not_read_them(layout: Layout) -> None:
    run(layout, shard("e/one"))
    older_segments(layout)
    receipts = Receipts(layout, MODES, "20260102T000000Z-a")
    with mock.patch.object(Receipts, "below", side_effect=AssertionError("read")):
        write_sums(layout, receipts, MODES, now=layout.sums.stat().st_mtime + 60)
