"""`SHA256SUMS`: a line for every file that is held; `receipts/HEAD`: what vouches for it and for the receipts.

Both are written anew only where the head does not name what is there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from unittest import mock

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.head import broken_segments, read_head
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import (
    FORMAT,
    DocumentReceipt,
    FileReceipt,
    ListReceipt,
    Marker,
    Receipt,
    ShardReceipt,
    write_marker,
)
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.sums import bring_up_to_date

MODES = Modes()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def shard(path: str, sha256: str | None = "a") -> ShardReceipt:
    return ShardReceipt(path=path, experiment="e", data_type="events", room="r", sha256=sha256)


def run(layout: Layout, *receipts: Receipt, run_id: str = "20260101T000000Z-a") -> str:
    """A run that ends with the sums."""
    held = opened(layout, run_id)
    held.append(receipts)
    bring_up_to_date(layout, held, MODES)
    return layout.sums.read_text()


def opened(layout: Layout, run_id: str = "20260102T000000Z-a") -> Receipts:
    if not layout.marker.exists():
        write_marker(layout, Marker(FORMAT, "https://api.example.com", "2026-01-01T00:00:00Z"), MODES)
    return Receipts(layout, MODES, run_id)


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


def test_a_night_without_receipts_leaves_it_and_the_head_alone_whatever_the_clock_says(layout: Layout) -> None:
    run(layout, shard("e/one"))
    os.utime(layout.sums, (0, 0))
    before = [path.stat() for path in (layout.sums, layout.head)]
    run(layout, run_id="20260102T000000Z-a")
    after = [path.stat() for path in (layout.sums, layout.head)]
    assert [(each.st_ino, each.st_mtime_ns) for each in after] == [
        (each.st_ino, each.st_mtime_ns) for each in before
    ]


def test_receipts_that_speak_of_no_file_leave_it_alone(layout: Layout) -> None:
    run(layout, shard("e/one"))
    before = layout.sums.stat()
    run(layout, ListReceipt(experiment="e", data_type="events"), run_id="20260102T000000Z-a")
    assert layout.sums.stat().st_ino == before.st_ino


def test_a_run_that_died_before_it_wrote_the_sums_is_made_up_for_though_they_are_the_newest(
    layout: Layout,
) -> None:
    """As a copy has them that keeps no times."""
    run(layout, shard("e/one"))
    opened(layout).append([shard("e/two", "b")])
    os.utime(layout.sums)
    assert run(layout, run_id="20260103T000000Z-a") == "a  e/one\nb  e/two\n"


@pytest.mark.parametrize(
    "content", [None, b"", b"a  e/one\n", b"a  e/one\nb  e/two\nc  e/three\n", b"edited\n"]
)
def test_one_that_is_missing_or_was_edited_comes_back(layout: Layout, content: bytes | None) -> None:
    run(layout, shard("e/one"), shard("e/two", "b"))
    layout.sums.unlink()
    if content is not None:
        layout.sums.write_bytes(content)
    assert run(layout, run_id="20260102T000000Z-a") == "a  e/one\nb  e/two\n"


def test_a_night_without_receipts_does_not_read_them(layout: Layout) -> None:
    run(layout, shard("e/one"))
    receipts = opened(layout)
    with mock.patch.object(Receipts, "below", side_effect=AssertionError("read")):
        bring_up_to_date(layout, receipts, MODES)


# --- the head ---------------------------------------------------------------------------------------------
def test_the_head_has_the_hashes_of_all_that_vouches_for_the_rest(layout: Layout) -> None:
    run(layout, shard("e/one"))
    run(layout, shard("e/two"), run_id="20260102T000000Z-a")
    named = [layout.marker, layout.sums, *segments(layout)]
    expected = [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {name_of(each, layout)}" for each in named]
    assert layout.head.read_text().splitlines() == expected


def name_of(path: Path, layout: Layout) -> str:
    return path.relative_to(layout.root).as_posix()


def test_a_run_that_begins_does_not_name_its_own_segment_which_is_yet_to_grow(layout: Layout) -> None:
    run(layout, shard("e/one"))
    receipts = opened(layout)
    receipts.append([shard("e/two")])
    bring_up_to_date(layout, receipts, MODES, is_beginning=True)
    head = read_head(layout)
    assert head is not None
    assert head.names(layout) == {name_of(segments(layout)[0], layout)}


def test_a_segment_that_has_changed_keeps_the_hash_that_it_had(layout: Layout) -> None:
    """A run that goes on without looking must not vouch for the change."""
    run(layout, shard("e/one"))
    (segment,) = segments(layout)
    segment.write_bytes(segment.read_bytes() * 2)
    run(layout, shard("e/two"), run_id="20260102T000000Z-a")
    head = read_head(layout)
    assert head is not None
    assert [path for path, _ in broken_segments(layout, head)] == [name_of(segment, layout)]


def test_segments_that_were_merged_are_not_missed_before_the_head_is_written(layout: Layout) -> None:
    for number in range(3):
        run(layout, shard(f"e/{number}"), run_id=f"2026010{number + 1}T000000Z-a")
    opened(layout, "20260104T000000Z-a").rewrite(lambda receipt: receipt)
    head = read_head(layout)
    assert head is not None
    assert list(broken_segments(layout, head)) == []
    segments(layout)[0].unlink()
    assert len(list(broken_segments(layout, head))) == 3
