"""Receipts: appended, read back, the last one for a key counts, and no damage stops the reading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import (
    FORMAT,
    WHOLE,
    AbsenceReceipt,
    Claim,
    DocumentReceipt,
    FileReceipt,
    IntentReceipt,
    ListReceipt,
    Marker,
    PendingReceipt,
    Receipt,
    ShardReceipt,
    read_marker,
    write_marker,
)
from hsmirror.archive.segments import MOST_SEGMENTS, Receipts, segments
from hsmirror.errors import NotAnArchiveError

MODES = Modes()


def opened(root: Path, run_id: str = "20260101T000000Z-a") -> Receipts:
    return Receipts(Layout(root), MODES, run_id)


def shard(path: str = "e/part-00000", *, rows: int = 1, sha256: str | None = "a") -> ShardReceipt:
    return ShardReceipt(path=path, experiment="e", data_type="events", room="r", rows=rows, sha256=sha256)


ONE_OF_EACH: list[Receipt] = [
    ShardReceipt(
        path="s",
        experiment="e",
        data_type="events",
        room=None,
        rows=3,
        sha256="a",
        complete_for=(WHOLE, Claim(start="2026-01-01T00:00:00Z", participant="p")),
        gone_rows=1,
    ),
    FileReceipt(path="f", experiment="e", room="r", recording_id="x", size_bytes=1, sha256="b", etag='"e"'),
    DocumentReceipt(path="d", experiment="e", size_bytes=1, sha256="c"),
    ListReceipt(experiment="e", data_type="events", total=5, is_complete=False, why="it moved"),
    PendingReceipt(path="f2", experiment="e", room=None, recording_id="y", why="active", is_failure=True),
    AbsenceReceipt(what="data/sync", why="404", until_epoch=1.5),
    IntentReceipt(receipts=(shard("other"),), staged=("0000001.0.staged",)),
]


def test_every_kind_of_receipt_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    opened(tmp_path).append(ONE_OF_EACH)
    assert list(opened(tmp_path)) == ONE_OF_EACH


def test_a_receipt_is_one_line_and_a_run_writes_one_segment(tmp_path: Path) -> None:
    receipts = opened(tmp_path, "20260101T000000Z-a")
    for receipt in ONE_OF_EACH:
        receipts.append([receipt])
    (segment,) = segments(Layout(tmp_path))
    assert segment.name == "20260101T000000Z-a.jsonl"
    assert len(segment.read_bytes().splitlines()) == len(ONE_OF_EACH)


def test_a_run_that_changes_nothing_leaves_no_segment(tmp_path: Path) -> None:
    opened(tmp_path).append([])
    assert segments(Layout(tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_the_last_receipt_for_a_key_counts_within_a_run_and_across_runs(tmp_path: Path) -> None:
    opened(tmp_path, "20260101T000000Z-a").append([shard(rows=1), shard(rows=2)])
    assert opened(tmp_path).shard("e/part-00000") == shard(rows=2)
    opened(tmp_path, "20260102T000000Z-a").append([shard(rows=3)])
    assert opened(tmp_path).shard("e/part-00000") == shard(rows=3)


def test_a_receipt_is_found_under_its_own_kind_only(tmp_path: Path) -> None:
    receipts = opened(tmp_path)
    receipts.append(ONE_OF_EACH)
    assert receipts.shard("s") is not None
    assert receipts.file("f") is not None
    assert receipts.document("d") is not None
    assert receipts.shard("f") is None
    assert receipts.file("d") is None
    assert receipts.document("s") is None
    assert receipts.get("absent data/sync") == ONE_OF_EACH[5]


def test_an_intent_stands_until_the_last_of_its_receipts_has_come(tmp_path: Path) -> None:
    receipts = opened(tmp_path)
    intent = IntentReceipt(receipts=(shard("one"), shard("two")), staged=("1.staged", "2.staged"))
    receipts.append([intent])
    assert opened(tmp_path).get("intent two") == intent
    receipts.append([shard("one")])
    assert opened(tmp_path).get("intent two") == intent
    receipts.append([shard("two")])
    assert opened(tmp_path).get("intent two") is None


# --- crashes and damage ----------------------------------------------------------------------------------
@given(cut=st.integers(0, 2000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fault_47_a_segment_cut_anywhere_gives_the_whole_lines_before_the_cut(tmp_path: Path, cut: int) -> None:
    root = tmp_path / str(cut)
    receipts = opened(root)
    receipts.append(ONE_OF_EACH)
    (segment,) = segments(Layout(root))
    content = segment.read_bytes()
    segment.write_bytes(content[:cut])
    read = opened(root)
    whole_lines = content[:cut].count(b"\n")
    found = list(read)
    assert found[:whole_lines] == ONE_OF_EACH[:whole_lines]
    assert len(found) <= whole_lines + 1  # a line that lacks its line break alone is whole
    assert read.unreadable_lines == []
    segment.unlink()


def test_fault_47_the_next_run_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    opened(tmp_path, "20260101T000000Z-a").append([shard("one"), shard("two")])
    (segment,) = segments(Layout(tmp_path))
    segment.write_bytes(segment.read_bytes()[:-10])
    opened(tmp_path, "20260102T000000Z-a").append([shard("three")])
    assert [receipt.key for receipt in opened(tmp_path)] == ["one", "three"]


@given(at=st.integers(0, 400), value=st.integers(0, 255))
@example(at=30, value=0xFF)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fault_46_a_damaged_byte_never_stops_the_reading(tmp_path: Path, at: int, value: int) -> None:
    root = tmp_path / f"{at}-{value}"
    opened(root, "20260101T000000Z-a").append([shard("one"), shard("two")])
    (segment,) = segments(Layout(root))
    content = bytearray(segment.read_bytes())
    content[at % len(content)] = value
    segment.write_bytes(bytes(content))
    opened(root, "20260102T000000Z-a").append([shard("three")])
    assert opened(root).shard("three") is not None


def test_fault_46_a_damaged_line_is_named(tmp_path: Path) -> None:
    opened(tmp_path, "20260101T000000Z-a").append([shard("one"), shard("two"), shard("three")])
    (segment,) = segments(Layout(tmp_path))
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(lines[0] + b"{broken\n" + lines[2])
    receipts = opened(tmp_path)
    assert receipts.unreadable_lines == ["20260101T000000Z-a.jsonl, line 2"]
    assert [receipt.key for receipt in receipts] == ["one", "three"]


def test_a_receipt_of_a_kind_that_a_newer_version_knows_is_passed_over(tmp_path: Path) -> None:
    opened(tmp_path).append([shard("one"), shard("two")])
    (segment,) = segments(Layout(tmp_path))
    segment.write_bytes(b'{"kind":"hologram","path":"x"}\n' + segment.read_bytes())
    assert len(list(opened(tmp_path))) == 2


# --- merging ---------------------------------------------------------------------------------------------
def runs(root: Path, count: int) -> list[str]:
    ids = [f"202601{day:02d}T000000Z-{day % 7}" for day in range(1, 32)] + [
        f"202602{day:02d}T000000Z-{day % 7}" for day in range(1, 29)
    ]
    for number, run_id in enumerate(ids[:count]):
        opened(root, run_id).append([shard("same", rows=number), shard(f"own-{number}")])
    return ids[:count]


def test_few_segments_are_not_merged(tmp_path: Path) -> None:
    runs(tmp_path, MOST_SEGMENTS)
    opened(tmp_path).merge()
    assert len(segments(Layout(tmp_path))) == MOST_SEGMENTS


def test_many_segments_become_one_that_says_the_same(tmp_path: Path) -> None:
    last = runs(tmp_path, MOST_SEGMENTS + 1)[-1]
    before = {receipt.key: receipt for receipt in opened(tmp_path)}
    receipts = opened(tmp_path, last)
    receipts.merge()
    assert len(segments(Layout(tmp_path))) == 1
    assert {receipt.key: receipt for receipt in opened(tmp_path)} == before
    receipts.append([shard("same", rows=999)])
    assert opened(tmp_path).shard("same") == shard("same", rows=999)
    opened(tmp_path, "20260301T000000Z-0").append([shard("same", rows=1000)])
    assert opened(tmp_path).shard("same") == shard("same", rows=1000)


@pytest.mark.parametrize("left", [1, 2, 25, MOST_SEGMENTS, MOST_SEGMENTS + 1])
def test_fault_47_a_merge_that_dies_while_removing_the_old_segments_loses_nothing(
    tmp_path: Path, left: int
) -> None:
    """`left` of the old ones, the newest, are still there beside the merged one."""
    last = runs(tmp_path, MOST_SEGMENTS + 1)[-1]
    old = {segment: segment.read_bytes() for segment in segments(Layout(tmp_path))}
    before = {receipt.key: receipt for receipt in opened(tmp_path)}
    opened(tmp_path, last).merge()
    for segment in list(old)[-left:]:
        segment.write_bytes(old[segment])
    assert {receipt.key: receipt for receipt in opened(tmp_path)} == before


# --- claims ----------------------------------------------------------------------------------------------
START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.none() | st.integers(-3, 3).map(lambda halves: START + timedelta(seconds=halves / 2))


def text(moment: datetime | None) -> str | None:
    """As the settings normalise a time."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


@given(a=st.tuples(MOMENTS, MOMENTS), b=st.tuples(MOMENTS, MOMENTS))
@example(a=(None, START), b=(None, START + timedelta(seconds=0.5)))
@example(a=(START + timedelta(seconds=0.5), None), b=(START, None))
def test_a_claim_covers_another_only_where_its_times_do(
    a: tuple[datetime | None, datetime | None], b: tuple[datetime | None, datetime | None]
) -> None:
    """Whole seconds and fractions of them are written differently, and a text order is not a time order."""
    starts_early = a[0] is None or (b[0] is not None and a[0] <= b[0])
    ends_late = a[1] is None or (b[1] is not None and a[1] >= b[1])
    covers = Claim(text(a[0]), text(a[1])).covers(Claim(text(b[0]), text(b[1])))
    assert covers == (starts_early and ends_late)


def test_a_claim_for_one_participant_never_passes_for_all_or_for_another() -> None:
    one, other = Claim(participant="p"), Claim(participant="q")
    assert one.covers(one)
    assert WHOLE.covers(one)
    assert not one.covers(WHOLE)
    assert not one.covers(other)


# --- the marker ------------------------------------------------------------------------------------------
def test_the_marker_says_what_the_archive_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    marker = Marker(FORMAT, "https://api.hyperstudy.io/api/v3", "2026-01-01T00:00:00Z")
    write_marker(layout, marker, MODES)
    assert read_marker(layout) == marker


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not an archive"),
        (b"[]", "not what hsmirror writes"),
        (b'{"format":1,"upstream":"\xff","created":"c"}', "not what hsmirror writes"),
        (b'{"format":99,"upstream":"u","created":"c"}', "update hsmirror"),
    ],
)
def test_a_folder_that_is_no_archive_of_ours_is_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    layout = Layout(tmp_path)
    if content is not None:
        layout.marker.write_bytes(content)
    with pytest.raises(NotAnArchiveError, match=said):
        read_marker(layout)
