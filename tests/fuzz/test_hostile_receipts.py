"""Receipts that were planted or damaged: never a crash, never a path outside the archive."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import differences
from sync_runs import run_sync

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout, is_own_path
from hsmirror.archive.receipts import (
    FORMAT,
    AbsenceReceipt,
    Claim,
    ForgottenReceipt,
    IntentReceipt,
    ListReceipt,
    Marker,
    ShardReceipt,
    read_marker,
    write_marker,
)
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.status import status
from hsmirror.archive.sums import bring_up_to_date
from hsmirror.archive.verify import verify
from hsmirror.clock import ManualClock
from hsmirror.errors import DamagedError, Exit, HsmirrorError, UsageError
from hsmirror.mirror.opening import open_archive

MODES = Modes()
SECRET = b"not of this archive\n"
SHA256 = hashlib.sha256(SECRET).hexdigest()
SHARD = {
    "kind": "shard",
    "path": "experiment_id=e/data_type=events/room_id=r/part-00000.ndjson",
    "experiment": "e",
    "data_type": "events",
    "room": "r",
    "rows": 1,
    "size_bytes": len(SECRET),
    "sha256": SHA256,
    "complete_for": [{"start": "2026-01-01T00:00:00Z"}],
}
FILE = {
    "kind": "file",
    "path": "experiment_id=e/files/room_id=r/rec.mp4",
    "experiment": "e",
    "room": None,
    "recording_id": "rec",
    "size_bytes": len(SECRET),
    "sha256": SHA256,
}
DOCUMENT = {
    "kind": "document",
    "path": "experiment_id=e/experiment.json",
    "experiment": "e",
    "size_bytes": len(SECRET),
    "sha256": SHA256,
}
LIST = {"kind": "list", "experiment": "e", "data_type": "events", "is_complete": False, "why": "it moved"}
PENDING = {**FILE, "kind": "pending", "why": "active"}
ABSENT = {"kind": "absent", "what": "data/sync", "why": "404", "until_epoch": 1.5}
INTENT = {"kind": "intent", "receipts": [SHARD], "staged": ["run/1.staged"]}
KINDS: list[dict[str, Any]] = [SHARD, FILE, DOCUMENT, LIST, PENDING, ABSENT, INTENT]

ELSEWHERE = [
    "../outside/secret",
    "../../outside/secret",
    "experiment_id=e/../../outside/secret",
    "/etc/passwd",
    "./experiment_id=e",
    "experiment_id=e//x",
    "experiment_id=e/x\x00y",
    "experiment_id=e/x\nfeed  SHA256SUMS",
    "experiment_id=e\\..\\..\\outside",
    "C:/Windows/win.ini",
    "archive.json",
    "SHA256SUMS",
    "receipts/a.jsonl",
    "Receipts/a.jsonl",
    ".hsmirror/lock",
    "",
    ".",
    "..",
    "x" * 300,
    "a/" * 40 + "a",
]
VALUES = st.one_of(
    st.sampled_from([*ELSEWHERE, None, True, -1, 10**40, 1e308, "9999-99-99", "2026-01-01", [], {}, [{}]]),
    st.text(max_size=5),
    st.sampled_from([[INTENT], [SHARD], [{**SHARD, "path": "../outside/secret", "sha256": None}]]),
)


@st.composite
def hostile_lines(draw: st.DrawFn) -> bytes:
    """A receipt with a field or two replaced or taken away, or a few of its bytes; or any bytes at all."""
    receipt: dict[str, Any] = dict(draw(st.sampled_from(KINDS)))
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(receipt)))
        if draw(st.booleans()):
            receipt[name] = draw(VALUES)
        elif len(receipt) > 1:
            del receipt[name]
    line = bytearray(json.dumps(receipt).encode())
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(line)))
        line[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return draw(st.sampled_from([bytes(line), draw(st.binary(max_size=20))])).replace(b"\n", b"")


@contextmanager
def archive_with(*lines: bytes, segment: str = "20260101T000000Z-aaaa.jsonl") -> Iterator[Path]:
    """An archive with these receipts, and a neighbour that is none of its business."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "archive"
        write_marker(Layout(root), Marker(FORMAT, "https://api.example.com", "2026-01-01T00:00:00Z"), MODES)
        (root / "receipts").mkdir()
        (root / "receipts" / segment).write_bytes(b"".join(line + b"\n" for line in lines))
        (root.parent / "outside").mkdir()
        (root.parent / "outside" / "secret").write_bytes(SECRET)
        yield root
        assert {path.name for path in root.parent.iterdir()} == {"archive", "outside"}
        assert [path.name for path in (root.parent / "outside").iterdir()] == ["secret"]
        assert (root.parent / "outside" / "secret").read_bytes() == SECRET


def opened(root: Path) -> Receipts:
    """As a run opens it: what a dead one has left is finished first."""
    return open_archive(Layout(root), "https://api.example.com", MODES, ManualClock(1_800_000_000.0))[1]


def line(receipt: dict[str, Any], **changed: object) -> bytes:
    return json.dumps(receipt | changed).encode()


# --- anything at all --------------------------------------------------------------------------------------
@given(lines=st.lists(hostile_lines(), min_size=1, max_size=4))
@example(lines=[b'{"kind":"shard","x":' + b"[" * 5000])
@example(lines=[line(INTENT, receipts=[])])
@example(lines=[line(SHARD, complete_for=[{"start": "soon"}])])
@example(lines=[line(SHARD, path="experiment_id=e/x\x00y")])
@example(
    lines=[
        line(INTENT, receipts=[{**DOCUMENT, "path": "../outside/secret"}], staged=["../../../outside/secret"])
    ]
)
@example(lines=[line(INTENT, receipts=[{**SHARD, "path": "../outside/secret", "sha256": None}], staged=[])])
def test_fault_64_any_line_is_a_receipt_within_the_archive_or_counted_as_unreadable(lines: list[bytes]) -> None:
    with archive_with(*lines) as root:
        for look in (verify, status, opened):
            look(root)
        receipts = Receipts(Layout(root), MODES, "reader")
        read = len(list(receipts)) + len(receipts.unreadable_lines)
        assert read <= len([each for each in lines if each]) + len(KINDS)
        for receipt in receipts:
            assert is_own_path(getattr(receipt, "path", "experiment_id=e"))


def test_fault_46_the_lines_beside_a_hostile_one_still_count() -> None:
    with archive_with(b"{broken", line(LIST), b"\xff", line(ABSENT)) as root:
        receipts = Receipts(Layout(root), MODES, "reader")
        assert len(list(receipts)) == 2
        assert len(receipts.unreadable_lines) == 2


# --- paths that lead elsewhere ----------------------------------------------------------------------------
@pytest.mark.parametrize("path", ELSEWHERE)
def test_fault_64_a_path_that_is_not_the_layouts_own_is_not_followed(path: str) -> None:
    assert not is_own_path(path)
    with archive_with() as root:
        layout = Layout(root)
        for follow in (
            layout.absolute,
            layout.leads_through_link,
            lambda path: layout.superseded_path("run", path),
        ):
            with pytest.raises(DamagedError, match="is no path of an archive"):
                follow(path)


@pytest.mark.parametrize("receipt", [SHARD, FILE, DOCUMENT], ids=["shard", "file", "document"])
@pytest.mark.parametrize("path", ELSEWHERE[:4])
def test_fault_64_verify_never_calls_a_file_outside_the_archive_sound(
    path: str, receipt: dict[str, Any]
) -> None:
    with archive_with(line(receipt, path=path)) as root:
        try:
            report = verify(root)
        except DamagedError:
            return
        assert report.checked_files == 0


@pytest.mark.parametrize("kind", ["shard", "file", "document", "pending"])
@pytest.mark.parametrize(
    "path", [*ELSEWHERE[:2], "/etc/passwd", "..", "../archive/archive.json", ".", "", "\0/x"]
)
def test_fault_64_verify_looks_for_strangers_in_the_archive_alone(path: str, kind: str) -> None:
    planted = line(next(each for each in KINDS if each["kind"] == kind), path=path)
    for lines in ([planted], [line(SHARD, sha256=None), planted], [line(ABSENT), planted, line(LIST)]):
        with archive_with(*lines) as root, mock.patch.object(os, "scandir", wraps=os.scandir) as scanned:
            report = verify(root)
            looked_into = {Path(call.args[0]).resolve() for call in scanned.call_args_list}
            assert all(each.is_relative_to(root.resolve()) for each in looked_into)
        assert report.unexpected == ()
        assert len(report.unreadable_receipts) == 1


def test_fault_64_verify_looks_for_strangers_behind_no_link() -> None:
    with archive_with(line(SHARD), line(FILE)) as root:
        (root / "experiment_id=e").symlink_to(root.parent / "outside")
        report = verify(root)
        assert report.unexpected == ()
        assert len(report.damaged) == 2


@pytest.mark.parametrize(
    "intent",
    [
        line(INTENT, receipts=[{**SHARD, "path": "../outside/secret", "sha256": None}], staged=[]),
        line(INTENT, receipts=[{**DOCUMENT, "path": "../outside/secret"}], staged=["1.staged"]),
    ],
    ids=["retire a file outside", "replace a file outside"],
)
def test_fault_64_a_planted_intent_moves_nothing_out_there(intent: bytes) -> None:
    """`archive_with` sees to it that the neighbour is as it was."""
    with archive_with(intent) as root:
        try:
            receipts = opened(root)
        except DamagedError:
            return
        assert not [each for each in receipts if isinstance(each, IntentReceipt)]


def test_fault_64_a_planted_intent_takes_nothing_in_from_outside() -> None:
    with archive_with(line(INTENT, receipts=[DOCUMENT], staged=["../../../outside/secret"])) as root:
        (root / ".hsmirror" / "staging").mkdir(parents=True)
        opened(root)
        assert not (root / DOCUMENT["path"]).exists()


@pytest.mark.parametrize("content", [b"", SECRET + b"x", SECRET.upper()])
def test_fault_46_what_is_staged_and_is_not_what_was_intended_is_not_put_in_place(content: bytes) -> None:
    with archive_with(line(INTENT, receipts=[DOCUMENT], staged=["run/1.staged"])) as root:
        (root / ".hsmirror" / "staging" / "run").mkdir(parents=True)
        (root / ".hsmirror" / "staging" / "run" / "1.staged").write_bytes(content)
        assert opened(root).document(DOCUMENT["path"]) is None
        assert not (root / DOCUMENT["path"]).exists()


def test_fault_47_what_is_staged_as_it_was_intended_is_put_in_place() -> None:
    with archive_with(line(INTENT, receipts=[DOCUMENT], staged=["run/1.staged"])) as root:
        (root / ".hsmirror" / "staging" / "run").mkdir(parents=True)
        (root / ".hsmirror" / "staging" / "run" / "1.staged").write_bytes(SECRET)
        assert opened(root).document(DOCUMENT["path"]) is not None
        assert (root / DOCUMENT["path"]).read_bytes() == SECRET


# --- links ------------------------------------------------------------------------------------------------
def test_fault_64_a_planted_intent_retires_nothing_through_a_link() -> None:
    gone = {**SHARD, "path": "experiment_id=e/secret", "sha256": None}
    with archive_with(line(INTENT, receipts=[gone], staged=[])) as root:
        (root / "experiment_id=e").symlink_to(root.parent / "outside")
        with pytest.raises(HsmirrorError, match="link"):
            opened(root)


def test_fault_64_verify_does_not_read_through_a_linked_folder() -> None:
    """The bytes behind the link are the right ones; they are not in the archive all the same."""
    with archive_with(line(DOCUMENT, path="experiment_id=e/secret")) as root:
        (root / "experiment_id=e").symlink_to(root.parent / "outside")
        (damaged,) = verify(root).damaged
        assert "link" in damaged


def test_fault_64_verify_does_not_read_through_a_linked_file() -> None:
    with archive_with(line(DOCUMENT)) as root:
        (root / "experiment_id=e").mkdir()
        (root / DOCUMENT["path"]).symlink_to(root.parent / "outside" / "secret")
        (damaged,) = verify(root).damaged
        assert "link" in damaged


def test_fault_64_a_link_is_found_wherever_in_a_path_it_stands() -> None:
    with archive_with() as root:
        layout = Layout(root)
        path = DOCUMENT["path"]
        (root / "experiment_id=e").mkdir()
        assert not layout.leads_through_link(path)
        (root / path).symlink_to(root.parent / "outside" / "secret")
        assert layout.leads_through_link(path)
        (root / path).unlink()
        (root / "experiment_id=e").rmdir()
        (root / "experiment_id=e").symlink_to(root.parent / "outside")
        assert layout.leads_through_link(path)


# --- segments ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["zzzz.jsonl", "00000000T000000Z-.jsonl", ".jsonl"])
def test_fault_95_what_no_run_can_have_called_so_is_no_segment_and_stays(name: str) -> None:
    with archive_with(line(LIST), segment=name) as root:
        assert list(opened(root)) == []
        assert segments(Layout(root)) == []
        assert (root / "receipts" / name).exists()


def test_fault_51_a_segment_of_the_end_of_time_is_named() -> None:
    """No run can come after it."""
    name = "99991231T235959Z-aaaa.jsonl"
    with archive_with(line(LIST), segment=name) as root, pytest.raises(UsageError, match=name):
        opened(root)


# --- whatever happens to what vouches -----------------------------------------------------------------------
ROWS = b'{"id":1}\n'
ARCHIVE = "20260101T000000Z-aaaa", "20260102T000000Z-bbbb", "20260103T000000Z-cccc"


def vouched_archive(root: Path, *, last_run_ends: bool = True) -> Layout:
    """Receipts of every kind, of three runs; the last one may have been killed before it came to its end."""
    layout = Layout(root)
    write_marker(layout, Marker(FORMAT, "https://api.example.com", "2026-01-01T00:00:00Z"), MODES)
    for number, run_id in enumerate(ARCHIVE):
        receipts = Receipts(layout, MODES, run_id)
        receipts.append(
            [
                sound_shard(layout, number, "a"),
                sound_shard(layout, number, "b"),
                ListReceipt(
                    experiment="e", data_type=f"events{number}", is_complete=number > 1, why="it moved"
                ),
                AbsenceReceipt(what=f"data/{number}", why="404", until_epoch=1.5),
                ForgottenReceipt(person=f"{number}" * 64, salt="ab", began_at="2026-01-01", finished_at="2026"),
            ]
        )
        if last_run_ends or run_id != ARCHIVE[-1]:
            bring_up_to_date(layout, receipts, MODES)
    return layout


def sound_shard(layout: Layout, number: int, room: str) -> ShardReceipt:
    path = f"experiment_id=e/data_type=events{number}/room_id={room}/part-00000.ndjson"
    (layout.root / path).parent.mkdir(parents=True)
    (layout.root / path).write_bytes(ROWS)
    return ShardReceipt(
        path=path,
        experiment="e",
        data_type=f"events{number}",
        room=room,
        rows=1,
        size_bytes=len(ROWS),
        sha256=hashlib.sha256(ROWS).hexdigest(),
        content_bytes=len(ROWS),
        content_sha256=hashlib.sha256(ROWS).hexdigest(),
        complete_for=(Claim(participant="p"),),
    )


def meaning(layout: Layout) -> tuple[Any, ...]:
    """What readers make of it: those who have hsmirror, and those who have `sha256sum`."""
    receipts = Receipts(layout, MODES, "reader")
    return (
        read_marker(layout),
        {each.key: each for each in receipts},
        set(layout.sums.read_bytes().splitlines()),
    )


def changed(draw: st.DataObject, content: bytes, *, only_bits: bool) -> bytes | None:
    """Bits flipped, the file cut, bytes or lines dropped or doubled; None: the file is gone."""
    how = (
        "bit"
        if only_bits
        else draw.draw(st.sampled_from(["bit", "cut", "drop", "double", "line", "again", "gone"]))
    )
    at = draw.draw(st.integers(0, max(len(content) - 1, 0)))
    lines = content.splitlines(keepends=True)
    line_number = draw.draw(st.integers(0, max(len(lines) - 1, 0)))
    match how:
        case "bit":
            flipped = content[at] ^ (1 << draw.draw(st.integers(0, 7)))
            return content[:at] + bytes([flipped]) + content[at + 1 :]
        case "cut":
            return content[:at]
        case "drop":
            return content[:at] + content[at + draw.draw(st.integers(1, 300)) :]
        case "double":
            size = draw.draw(st.integers(1, 300))
            return content[: at + size] + content[at : at + size] + content[at + size :]
        case "line":
            return b"".join(lines[:line_number] + lines[line_number + 1 :])
        case "again":
            return b"".join(lines[: line_number + 1] + lines[line_number:])
    return None


@pytest.fixture(scope="module")
def vouched(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Such archives, by whether their last run has ended."""
    roots = {ends: tmp_path_factory.mktemp("vouched") for ends in (True, False)}
    for ends, root in roots.items():
        vouched_archive(root, last_run_ends=ends)
        assert verify(root).is_sound
    return roots


@given(draw=st.data(), last_run_ends=st.booleans())
@settings(max_examples=100)
def test_fault_120_whatever_happens_to_one_of_what_vouches_is_noticed_or_changes_nothing(
    vouched: dict[bool, Path], draw: st.DataObject, last_run_ends: bool
) -> None:
    """Of a run that was killed, whose lines nothing counts yet, no more than a change of a line is noticed."""
    before = meaning(Layout(vouched[last_run_ends]))
    with tempfile.TemporaryDirectory() as scratch:
        layout = Layout(shutil.copytree(vouched[last_run_ends], Path(scratch, "archive")))
        paths = [layout.marker, layout.sums, layout.head, *segments(layout)]
        path = draw.draw(st.sampled_from(paths))
        is_of_killed = not last_run_ends and path == paths[-1]
        content = changed(draw, path.read_bytes(), only_bits=is_of_killed)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        try:
            is_noticed = not verify(layout.root).is_sound
        except HsmirrorError:
            is_noticed = True
        assert is_noticed or meaning(layout) == before


# --- a whole run ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("shard", {"fetched_at": "soon"}),
        ("shard", {"complete_for": [{"start": "soon"}]}),
        ("shard", {"size_bytes": -1, "rows": -5, "gone_rows": 10**30}),
        ("shard", {"part": 10**9}),
        ("shard", {"sha256": "../../../outside/secret"}),
        ("shard", {"path": "../outside/secret"}),
        ("shard", {"experiment": "\x00", "room": "../.."}),
        ("list", {"read_at": "soon", "whole_at": "soon"}),
        ("list", {"rooms_read_at": {"room": "soon"}}),
        ("list", {"way": "the scenic one"}),
        ("list", {"total": -1, "rows": 10**30}),
        ("file", {"size_bytes": 10**30, "sha256": "zz"}),
        ("document", {"path": "experiment_id=e/../../../outside/secret"}),
    ],
)
async def test_fault_46_a_run_over_a_hostile_receipt_ends_with_a_true_report(
    start_lab, tmp_path: Path, kind: str, changed: dict[str, Any]
) -> None:
    """Each is a receipt that this archive really has, with a field or two that nobody wrote there."""
    lab = await start_lab(rooms=2, events_per_room=5, recordings_per_room=1)
    assert (await run_sync(lab, tmp_path)).exit_status == Exit.COMPLETE
    (segment,) = (tmp_path / "archive" / "receipts").glob("*.jsonl")
    real = next(each for each in map(json.loads, segment.read_bytes().splitlines()) if each["kind"] == kind)
    with segment.open("ab") as file:
        file.write(line(real | changed) + b"\n")
    report = await run_sync(lab, tmp_path)
    assert report.exit_status in {Exit.COMPLETE, Exit.INCOMPLETE}
    again = await run_sync(lab, tmp_path, full=True)
    assert again.exit_status in {Exit.COMPLETE, Exit.INCOMPLETE}
    assert differences(tmp_path / "archive", lab.source) == {}
