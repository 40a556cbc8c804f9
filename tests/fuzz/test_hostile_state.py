"""What hsmirror has written itself, damaged since: it is passed over or named, and never ends a run."""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sync_runs import run_sync

from hsmirror.api.headers import OfferedHashes
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FORMAT, Marker, read_marker, write_marker
from hsmirror.archive.shards import read_rows
from hsmirror.archive.status import status
from hsmirror.archive.verify import verify
from hsmirror.clock import ManualClock
from hsmirror.errors import DamagedError, NotAnArchiveError
from hsmirror.mirror.budget_file import BudgetFile
from hsmirror.mirror.files import PartialFile, PartialNote
from hsmirror.model import Secret
from hsmirror.pace.budget import Budget, Limits

MODES = Modes()
NOW = 1_800_000_000.0
DEEP = b"[" * 5_000

BYTES = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"format":1}', b'"\\ud800"', DEEP, b'{"a":' + DEEP]
    ),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A content with some of its bytes replaced, or cut off, or another one altogether."""
    mutated = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(mutated)))
        mutated[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    cut = draw(st.integers(0, len(mutated)))
    return draw(st.sampled_from([bytes(mutated), bytes(mutated[:cut]), draw(BYTES)]))


@contextmanager
def an_archive() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_marker(Layout(root), Marker(FORMAT, "https://api.example.com", "2026-01-01T00:00:00Z"), MODES)
        yield root


# --- archive.json -----------------------------------------------------------------------------------------
MARKER = b'{"format": 1, "upstream": "https://api.example.com", "created": "2026-01-01T00:00:00Z"}'


@given(content=damaged(MARKER))
@example(content=b'{"a":' + DEEP)
def test_fault_46_any_marker_is_one_or_none(content: bytes) -> None:
    with an_archive() as root:
        (root / "archive.json").write_bytes(content)
        try:
            assert read_marker(Layout(root)).format == FORMAT
        except NotAnArchiveError as error:
            assert str(root) in str(error)


# --- reports of runs --------------------------------------------------------------------------------------
REPORT = json.dumps({"run": "r", "exit_status": 0, "ended_at": "2026-01-01T00:00:00Z", "notes": ["x"]}).encode()


@given(report=damaged(REPORT), document=damaged(b'{"id": "e", "name": "the name"}'))
@example(report=b"\xff", document=b"{}")
@example(report=b'{"run":"\xff"}', document=b"{}")
@example(report=b"{}", document=b'{"name":"\xff"}')
@example(report=DEEP, document=DEEP)
def test_fault_46_status_reads_past_any_damaged_report_or_definition(report: bytes, document: bytes) -> None:
    with an_archive() as root:
        (root / "receipts").mkdir()
        segment = Layout(root).segment("20260101T000000Z-aaaa")
        segment.write_bytes(b'{"kind":"list","experiment":"e","data_type":"events"}\n')
        (root / "experiment_id=e").mkdir()
        (root / "experiment_id=e" / "experiment.json").write_bytes(document)
        (root / ".hsmirror" / "runs").mkdir(parents=True)
        (root / ".hsmirror" / "runs" / "a.json").write_bytes(report)
        assert [each.id for each in status(root).experiments] == ["e"]


# --- notes beside partial files ---------------------------------------------------------------------------
HELD = b"0123456789"
NOTE = json.dumps(
    {
        "source": "bucket/rec.mp4",
        "etag": '"e"',
        "total_bytes": 20,
        "synced_bytes": 10,
        "md5": base64.b64encode(bytes(16)).decode(),
        "crc32c": None,
        "sha256": None,
    }
).encode()


@given(note=damaged(NOTE), held=st.sampled_from([b"", HELD, HELD * 2]))
@example(note=b'{"source":"\xff"}', held=HELD)
@example(note=b'{"a":' + DEEP, held=HELD)
@example(note=NOTE.replace(b": 10", b": -1"), held=HELD)
@example(note=NOTE.replace(b": 10", b": 1e9"), held=HELD)
@example(note=NOTE.replace(b": 10", b": 99999999999999999999"), held=HELD)
def test_fault_46_a_damaged_note_costs_at_most_what_was_there(note: bytes, held: bytes) -> None:
    """Whatever is gone on from is a beginning of what is there, of the object that was asked for."""
    with an_archive() as root:
        partial = PartialFile(Layout(root), "experiment_id=e/files/room_id=r/rec.mp4", MODES)
        partial.open("bucket/rec.mp4")
        partial.append(held)
        partial.path.with_suffix(".json").write_bytes(note)
        again = PartialFile(Layout(root), "experiment_id=e/files/room_id=r/rec.mp4", MODES)
        again.open("bucket/rec.mp4")
        assert again.note is None or again.note.source == "bucket/rec.mp4"
        assert 0 <= again.size_bytes <= len(held)
        there = again.path.read_bytes() if again.path.exists() else b""
        assert there == held[: again.size_bytes]
        again.describe(PartialNote("bucket/rec.mp4", None, None))
        again.expect(OfferedHashes(md5=bytes(16)))
        again.append(b"x")
        again.keep()


# --- the budget file --------------------------------------------------------------------------------------
BUDGET_LINE = b"1800000000.000 0badcafe data/events\n"


@given(
    content=st.lists(damaged(BUDGET_LINE) | st.just(BUDGET_LINE), max_size=6).map(b"".join),
    appended=damaged(BUDGET_LINE),
)
@example(content=b"nan x y\ninf x y\n-inf x y\n1e999 x y\n-5 x y\n", appended=b"")
@example(content=b"\n\n \n  \n" + DEEP, appended=b"\xff\n")
@example(content=BUDGET_LINE * 40_000, appended=b"")
def test_fault_14_any_budget_file_costs_at_most_an_hour_and_never_the_run(
    content: bytes, appended: bytes
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, clock = Path(scratch), ManualClock(NOW)
        first = BudgetFile(folder, "https://api.example.com", Secret("key"), clock)
        (path,) = folder.glob("budget-*.log")
        path.write_bytes(content)
        second = BudgetFile(folder, "https://api.example.com", Secret("key"), clock)
        budget = Budget(Limits(1000, 100))
        try:
            with second.exclusive():
                second.catch_up(budget)
            with path.open("ab") as file:
                file.write(appended)
            first.sent("data/events")
            second.catch_up(budget)
            # What a run has noted counts until it must have been counted, which is seconds later.
            assert budget.wait_seconds("data/events", clock.monotonic()) <= 3600 + 5
        finally:
            first.close()
            second.close()
        assert path.stat().st_size <= (1 << 20) + len(content) + len(appended) + 100


# --- shards -----------------------------------------------------------------------------------------------
ROWS = b"".join(b'{"id":"%d"}\n' % number for number in range(200))


@pytest.mark.parametrize("suffix", [".ndjson.gz", ".ndjson.zst", ".ndjson"])
@given(data=st.data())
def test_fault_46_any_bytes_of_a_shard_are_rows_or_damage(suffix: str, data: st.DataObject) -> None:
    whole = {".ndjson.gz": gzip.compress(ROWS, mtime=0), ".ndjson.zst": _zstd(ROWS), ".ndjson": ROWS}[suffix]
    content = data.draw(damaged(whole) | st.just(whole + whole[:7]) | st.binary(max_size=30).map(whole.__add__))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"part-00000{suffix}"
        path.write_bytes(content)
        try:
            rows = list(read_rows(path))
        except DamagedError as error:
            assert str(path) in str(error)
            return
        assert all(b"\n" not in row for row in rows)
        if suffix == ".ndjson":
            assert b"\n".join(rows) == content.removesuffix(b"\n")


def _zstd(content: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    compressed: bytes = zstandard.ZstdCompressor().compress(content)
    return compressed


# --- a whole run over damage ------------------------------------------------------------------------------
@pytest.mark.parametrize("byte", [b"\x00", b"#"], ids=["no longer JSON", "another id"])
async def test_fault_46_a_rotten_byte_in_an_uncompressed_shard_is_neither_kept_nor_in_the_way(
    start_lab, tmp_path: Path, byte: bytes
) -> None:
    """Without compression there is no checksum but the receipt's: a merge must not make the byte a row. Nor
    does anything show what the damaged rows were, where those that come are not the same: that is said once.
    """
    uncompressed = {"archive.compression": "none"}
    lab = await start_lab(rooms=2, events_per_room=20, recordings_per_room=0)
    await run_sync(lab, tmp_path, overrides=uncompressed)
    shard = min((tmp_path / "archive").glob("*/data_type=events/*/*.ndjson"))
    content = bytearray(shard.read_bytes())
    at = content.index(b'"id":"') + 7
    content[at : at + 1] = byte
    shard.write_bytes(bytes(content))
    grown = await start_lab(rooms=2, events_per_room=21, recordings_per_room=0)
    report = await run_sync(grown, tmp_path, overrides=uncompressed, full=True)
    (problem,) = report.problems
    assert report.exit_status == 3
    assert "20 of its 20 rows" in problem.what
    assert shard.parent.name == f"room_id={problem.room}"
    assert bytes(content).split(b"\n")[0] not in shard.read_bytes()
    assert verify(tmp_path / "archive").is_sound
    assert (await run_sync(grown, tmp_path, overrides=uncompressed)).exit_status == 0
