"""The archive, opened for a run after runs that died."""

from __future__ import annotations

from pathlib import Path

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import ShardReceipt
from hsmirror.archive.segments import MOST_SEGMENTS, segments
from hsmirror.clock import ManualClock
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
