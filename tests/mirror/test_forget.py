"""A withdrawn consent: a person's rows and files are gone from every byte and stay away; nobody else's go."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from oracle import DOCUMENTED, EXPERIMENT, NEWER, contents, held_files, held_rows, ledger_rows, state_of_files
from sync_runs import run_sync, type_reports

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import parse_page
from hsmirror.archive.durable import Modes
from hsmirror.archive.forgotten import Forgotten, unfinished
from hsmirror.archive.layout import Layout, file_path
from hsmirror.archive.lock import exclusive
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import (
    WHOLE,
    Claim,
    FileReceipt,
    ForgottenReceipt,
    ListReceipt,
    PendingReceipt,
    ShardReceipt,
)
from hsmirror.archive.shards import Form, read_rows, staged_rows
from hsmirror.archive.verify import verify
from hsmirror.clock import ManualClock
from hsmirror.errors import ArchiveBusyError, Exit, NotAnArchiveError, UsageError
from hsmirror.lab.data import MadeUpSource
from hsmirror.mirror.asked import Asked
from hsmirror.mirror.commit import Commit, Committer, Placement
from hsmirror.mirror.forget import ForgetReport, forget
from hsmirror.mirror.opening import open_archive
from hsmirror.mirror.people import type_called
from hsmirror.mirror.settle import Settlement, Shelf
from hsmirror.mirror.traces import RowCount
from hsmirror.mirror.write import ListWriter, Staging, write_rows
from hsmirror.model import ListKey, Scope

from .test_commit import Killed, killing

__all__ = ["killing"]  # the fixture, used here too

PERSON = "user_xyz789"
MODES = Modes()
SMALL = {"rooms": 3, "events_per_room": 20, "recordings_per_room": 2}


# --- what is left ------------------------------------------------------------------------------------
def is_of(row: bytes, person: str) -> bool:
    fields = json.loads(row)
    return person in (fields.get("participantId"), fields.get("senderId"))


def assert_all_but(archive: Path, source: MadeUpSource, *people: str, untold: Collection[str] = ()) -> None:
    """The archive holds the ledger's rows and files without these people's, all of them, and is sound."""
    for data_type in (*DOCUMENTED, *NEWER):
        expected = Counter(
            {
                key: count
                for key, count in ledger_rows(source, EXPERIMENT, data_type).items()
                if not any(is_of(key[1], person) for person in people)
            }
        )
        if data_type in untold:
            expected = Counter([(None, row) for _, row in expected.elements()])
        assert held_rows(archive, EXPERIMENT, data_type) == expected, data_type
    kept = {
        json.loads(row)["recordingId"]
        for _, row in ledger_rows(source, EXPERIMENT, "recordings")
        if not any(is_of(row, person) for person in people)
    }
    files = Counter(
        (file.room_id, file.recording_id, file.sha256)
        for file in source.ledger_files(EXPERIMENT)
        if file.recording_id in kept
    )
    assert held_files(archive, EXPERIMENT) == files
    report = verify(archive)
    assert report.is_sound and not report.unexpected, report
    sums = {line.split("  ")[1] for line in (archive / "SHA256SUMS").read_text().splitlines()}
    assert sums == {receipt.path for receipt in Archive.open(archive).files()}


def places_naming(archive: Path, *words: str) -> list[str]:
    """Files with one of the words in their name or in a byte of them, but for chat that others sent to them."""
    found: list[str] = []
    for path, content in contents(archive):
        name = path.relative_to(archive).as_posix()
        for word in words:
            whole_word = re.compile(rb"(?<![0-9A-Za-z_])%s(?![0-9A-Za-z_])" % word.encode())
            lines = [line for line in content.split(b"\n") if whole_word.search(line)]
            if "data_type=chat" in name and not is_compressed(content):
                lines = [line for line in lines if word not in json.loads(line)["recipientIds"]]
            if lines or whole_word.search(name.encode()):
                found.append(f"{name}: {word}")
    return found


def is_compressed(content: bytes) -> bool:
    return content[:2] == b"\x1f\x8b"


def recordings_of(source: MadeUpSource, person: str) -> list[str]:
    rows = (row for _, row in ledger_rows(source, EXPERIMENT, "recordings"))
    return [json.loads(row)["recordingId"] for row in rows if is_of(row, person)]


def with_older_generations(source: MadeUpSource) -> None:
    """Let every room have something new, so that its shards are replaced by the next run."""
    for room in source.room_ids(EXPERIMENT):
        for data_type in ("events", "chat", "recordings"):
            source.add_rows(EXPERIMENT, room, data_type, 3)


@pytest.mark.parametrize("compression", ["gzip", "none"])
async def test_a_person_is_gone_and_everybody_else_is_as_before(start_lab, tmp_path, compression):
    lab = await start_lab(**SMALL)
    overrides = {"archive.compression": compression}
    await run_sync(lab, tmp_path, overrides=overrides)
    archive = tmp_path / "archive"
    before = {path: path.read_bytes() for path in archive.glob("experiment_id=*/files/*/*")}
    report = await forget(archive, PERSON)
    assert (report.is_finished, report.was_forgotten, report.exit_status) == (True, False, Exit.COMPLETE)
    if compression == "gzip":
        assert_all_but(archive, lab.source, PERSON)
    recordings = recordings_of(lab.source, PERSON)
    assert recordings
    assert places_naming(archive, PERSON, *recordings) == []
    removed = {path.name.partition(".")[0] for path in before if not path.exists()}
    assert removed == set(recordings)
    assert report.files == len(recordings)


async def test_older_generations_and_unfinished_downloads_go_too(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    with_older_generations(lab.source)
    await run_sync(lab, tmp_path, full=True)
    archive = tmp_path / "archive"
    partial = archive / ".hsmirror" / "staging" / "files" / "ab.part"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(PERSON.encode())
    partial.with_suffix(".json").write_text('{"source":"/a.mp4","etag":null,"total_bytes":99}')
    older = sorted((archive / ".hsmirror" / "superseded").rglob("part-*"))
    others = {path: [row for row in rows_of_gzip(path) if not is_of(row, PERSON)] for path in older}
    report = await forget(archive, PERSON)
    assert report.older_rows > 0
    assert (report.partial_files, partial.parent.exists()) == (2, False)
    assert_all_but(archive, lab.source, PERSON)
    assert places_naming(archive, PERSON, *recordings_of(lab.source, PERSON)) == []
    # Older generations of other people's rows are still there, as they were.
    assert {path: rows for path, rows in others.items() if rows} == {
        path: rows_of_gzip(path) for path in (archive / ".hsmirror" / "superseded").rglob("part-*")
    }


def rows_of_gzip(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()


async def test_what_stays_and_names_the_person_is_told(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    report = await forget(tmp_path / "archive", PERSON)
    chat = [row for _, row in ledger_rows(lab.source, EXPERIMENT, "chat")]
    sent_to_them = [row for row in chat if PERSON in json.loads(row)["recipientIds"]]
    assert {each.data_type for each in report.still_naming} == {"chat"}
    assert sum(each.rows for each in report.still_naming) == len(sent_to_them) > 0
    assert {each.data_type for each in report.rows_of_nobody} == {"components"}
    assert report.documents_naming == ()


async def test_documents_that_name_the_person_are_told(tmp_path):
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): [b'{"id":1,"participantId":"user_1"}']})
    folder = archive / "experiment_id=e"
    (folder / "config.json").write_text('{"invited":["user_1","user_12"]}')
    (folder / "export.json").write_text('{"invited":["user_12"]}')
    report = await forget(archive, "user_1")
    assert report.documents_naming == ("experiment_id=e/config.json",)


async def test_a_person_alone_in_a_room_leaves_receipts_of_empty_lists(start_lab, tmp_path):
    lab = await start_lab(rooms=1, participants=1, events_per_room=20, recordings_per_room=1)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    await forget(archive, PERSON)
    assert_all_but(archive, lab.source, PERSON)
    assert places_naming(archive, PERSON, *recordings_of(lab.source, PERSON)) == []
    (events,) = (each for each in Archive.open(archive).shards() if each.data_type == "events")
    assert (events.rows, events.sha256, events.complete_for) == (0, None, (WHOLE,))
    assert not list(archive.glob("*/data_type=events"))
    before = state_of_files(archive)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 0
    assert changed_shards(before, state_of_files(archive)) == {}


# --- later runs --------------------------------------------------------------------------------------
def changed_shards(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = {name for name in before.keys() | after.keys() if name.startswith("experiment_id=")}
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


# Without rooms in the rows, one person's two rows of `participants` have one id: the list is proven by two
# readings, of which the rows that are left out are a part.
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rows_name_rooms", [True, False])
async def test_no_later_run_brings_the_person_back(start_lab, tmp_path, full, rows_name_rooms):
    lab = await start_lab(**SMALL, rows_name_rooms=rows_name_rooms)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    await forget(archive, PERSON)
    before = state_of_files(archive)
    report = await run_sync(lab, tmp_path, full=full)
    assert (report.exit_status, report.problems) == (0, ())
    assert all(each.is_complete for each in type_reports(report).values())
    assert changed_shards(before, state_of_files(archive)) == {}
    with_older_generations(lab.source)
    report = await run_sync(lab, tmp_path, full=full)
    assert (report.exit_status, report.problems) == (0, ())
    untold = () if rows_name_rooms else ("agent-decisions", "agent-runs")
    assert_all_but(archive, lab.source, PERSON, untold=untold)
    assert places_naming(archive, PERSON, *recordings_of(lab.source, PERSON)) == []


async def test_the_night_after_costs_no_more_requests_than_the_one_before(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    before = await run_sync(lab, tmp_path)
    await forget(tmp_path / "archive", PERSON)
    assert (await run_sync(lab, tmp_path)).requests == before.requests


async def test_rows_that_are_left_out_count_as_rows_that_came(tmp_path):
    archive = make_archive(tmp_path, {})
    await forget(archive, "me")
    layout = Layout(archive)
    forgotten = Forgotten(Archive.open(archive).receipts)
    staging = Staging(archive, layout.staging_of("run"), Form("none"), MODES, forgotten)
    seen: list[tuple[str | None, bytes]] = []
    key = ListKey("e", DATA_TYPES["events"], Scope.EXPERIMENT, "e")
    writer = ListWriter(
        key,
        staging,
        on_rows=lambda count: None,
        on_recordings=lambda rows: seen.extend((room, bytes(row)) for room, row in rows),
    )
    mine = [row_of("me", number, roomId=room) for number, room in ((1, "r"), (2, "s"), (2, "s"))]
    other = row_of("you", 3, roomId="r")
    body = b'{"status":"success","data":[%s]}' % b",".join((*mine, other))
    await writer.write(parse_page(body, key.data_type))
    assert writer.forgotten_rows == {"r": 1, "s": 2}
    assert seen == [("r", other)]
    parts = await writer.finish()
    assert (writer.rows, writer.distinct) == (4, 3)
    assert parts.rows == 1
    assert [row for part in parts.take("r") for row in staged_rows(part)] == [other]
    assert ("s" in parts, parts.take("s")) == (True, [])


async def test_who_is_forgotten_before_anything_is_held_never_comes_in(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, data_types=("components",))
    report = await forget(tmp_path / "archive", PERSON)
    assert (report.found_nothing, report.is_finished) == (True, True)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert_all_but(tmp_path / "archive", lab.source, PERSON)


async def test_a_forgotten_person_cannot_be_asked_for_and_others_can(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, data_types=("chat",))
    await forget(tmp_path / "archive", PERSON)
    with pytest.raises(UsageError, match="is forgotten in this archive"):
        await run_sync(lab, tmp_path, participants=(PERSON,))
    other = next(
        json.loads(row)["participantId"]
        for _, row in ledger_rows(lab.source, EXPERIMENT, "participants")
        if not is_of(row, PERSON)
    )
    assert (await run_sync(lab, tmp_path, participants=(other,))).exit_status == 0


async def test_what_was_claimed_for_the_person_alone_is_claimed_no_more(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, participants=(PERSON,), data_types=("events", "sync", "chat"))
    archive = tmp_path / "archive"
    assert any(PERSON in str(each.complete_for) for each in Archive.open(archive).shards())
    await forget(archive, PERSON)
    assert not any(each.complete_for for each in Archive.open(archive).shards())
    assert places_naming(archive, PERSON) == []
    await run_sync(lab, tmp_path)
    assert_all_but(archive, lab.source, PERSON)


async def test_a_second_person_can_be_forgotten_and_neither_comes_back(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    people = [
        json.loads(row)["participantId"] for _, row in ledger_rows(lab.source, EXPERIMENT, "participants")
    ]
    second = next(person for person in people if person != PERSON)
    await forget(archive, PERSON)
    await forget(archive, second)
    await run_sync(lab, tmp_path, full=True)
    assert_all_but(archive, lab.source, PERSON, second)
    receipts = [each for each in Archive.open(archive).receipts if isinstance(each, ForgottenReceipt)]
    assert len(receipts) == 2
    assert len({each.salt for each in receipts}) == 1


async def test_to_forget_somebody_twice_changes_nothing(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    await forget(archive, PERSON)
    before = state_of_files(archive)
    report = await forget(archive, PERSON)
    assert (report.was_forgotten, report.found_nothing, report.is_finished) == (True, True, True)
    assert state_of_files(archive) == before


# --- dry runs, locks, refusals -----------------------------------------------------------------------
async def test_a_dry_run_tells_what_goes_and_changes_nothing(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    with_older_generations(lab.source)
    await run_sync(lab, tmp_path, full=True)
    archive = tmp_path / "archive"
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    told = await forget(archive, PERSON, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before
    done = await forget(archive, PERSON)
    assert told.rows > 0 and told.older_rows > 0 and told.files > 0
    names = ("rows", "by_room", "files", "file_bytes", "older_rows", "older_files", "still_naming")
    assert [getattr(told, name) for name in names] == [getattr(done, name) for name in names]
    (receipt,) = (each for each in Archive.open(archive).receipts if isinstance(each, ForgottenReceipt))
    assert (receipt.rows, receipt.files) == (done.rows + done.older_rows, done.files + done.older_files)


async def test_fault_49_while_a_run_holds_the_archive_nothing_is_removed(tmp_path):
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): [row_of("p")]})
    before = state_of_files(archive)
    with exclusive(Layout(archive), MODES), pytest.raises(ArchiveBusyError):
        await forget(archive, "p")
    assert state_of_files(archive) == before


async def test_a_folder_that_is_no_archive_is_left_alone(tmp_path):
    with pytest.raises(NotAnArchiveError):
        await forget(tmp_path, PERSON)
    assert list(tmp_path.iterdir()) == []


async def test_no_id_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--participant"):
        await forget(make_archive(tmp_path, {}), "")


# --- made-up archives --------------------------------------------------------------------------------
def row_of(person: str, number: int = 1, **fields: object) -> bytes:
    return json.dumps({"id": f"{person}_{number}", "participantId": person, **fields}).encode()


def make_archive(
    folder: Path,
    rows: Mapping[Shelf, Iterable[bytes]],
    files: Mapping[FileReceipt, bytes] | None = None,
    *,
    shard_bytes: int = 1 << 20,
    receipts: Iterable[Any] = (),
) -> Path:
    """An archive with just these rows, files and receipts."""
    layout = Layout(folder / "archive")
    run_id, held = open_archive(layout, "http://127.0.0.1:1/api/v3", MODES, ManualClock())
    with exclusive(layout, MODES):
        form = Form("none", shard_bytes)
        staging = Staging(layout.root, layout.staging_of(run_id), form, MODES)
        settlement = Settlement(layout, held, form.compression, staging.builder, "")
        committer = Committer(layout, held, MODES, run_id)
        commits = []
        for shelf, of_shelf in rows.items():
            parts = write_rows(of_shelf, staging.builder())
            settled = settlement.settle(shelf, parts, Asked(type_called(shelf.data_type)))
            commits += [settled.commit] if settled.commit else []
        for receipt, content in (files or {}).items():
            staged = staging.new_path()
            staged.write_bytes(content)
            commits.append(Commit([Placement(staged, receipt)]))
        committer._carry_out([*commits, Commit(receipts=list(receipts))])
        shutil.rmtree(layout.staging, ignore_errors=True)
    return layout.root


def id_of(row: bytes) -> str:
    fields = json.loads(row)
    return str(fields.get("id") or fields["recordingId"])


def recording(person: str | None, recording_id: str, **fields: object) -> bytes:
    return json.dumps(
        {"recordingId": recording_id, "participantId": person, "format": "mp4", **fields}
    ).encode()


def file_receipt(recording_id: str, twin: int = 0, extension: str = "mp4") -> FileReceipt:
    path = file_path("e", "r", recording_id, extension, twin)
    return FileReceipt(
        path=path, experiment="e", room="r", recording_id=recording_id, size_bytes=1, sha256=sha256_of(b"x")
    )


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def ids_held(archive: Path) -> list[str]:
    return [
        id_of(row)
        for receipt in Archive.open(archive).shards()
        if receipt.sha256
        for row in read_rows(archive / receipt.path)
    ]


@pytest.mark.parametrize(
    ("row", "person"),
    [
        (b'{"id":"1","participantId":"\\u0075ser_1"}', "user_1"),
        (b'{"id":"1","participantId":"J\\u00fcrgen"}', "J\u00fcrgen"),
        ('{"id":"1","participantId":"J\u00fcrgen"}'.encode(), "J\u00fcrgen"),
        (b'{"id":"1","participantId":"a\\/b"}', "a/b"),
        (b'{"id":"1","participantId":42}', "42"),
        (b'{"id":"1","text":"\\ud800","participantId":"user_1"}', "user_1"),
        (b'{"id":"1" , "participantId" : "user_1"}', "user_1"),
    ],
)
async def test_a_row_is_theirs_however_their_id_is_written(tmp_path, row, person):
    others = [row_of("user_12"), row_of("user_1", text="\n").replace(b'"user_1"', b'"user_2"')]
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): [others[0], row, others[1]]})
    report = await forget(archive, person)
    assert report.rows == 1
    (receipt,) = Archive.open(archive).shards()
    assert list(read_rows(archive / receipt.path)) == others


async def test_parts_that_are_left_follow_each_other(tmp_path):
    """All of the first part and some of the third one are the person's."""
    shelf = Shelf("e", "events", "r")
    rows = [
        row_of("me" if number < 20 or number % 7 == 0 else "you", number, text="x" * 30) for number in range(90)
    ]
    archive = make_archive(tmp_path, {shelf: rows}, shard_bytes=1000)
    parts = len(list(archive.glob("*/data_type=events/*/*")))
    assert parts > 5
    await forget(archive, "me")
    names = sorted(path.name for path in archive.glob("*/data_type=events/*/*"))
    assert names == [f"part-{number:05d}.ndjson" for number in range(len(names))]
    assert len(names) < parts
    assert ids_held(archive) == [json.loads(row)["id"] for row in rows if not is_of(row, "me")]
    assert verify(archive).is_sound


async def test_all_files_of_their_recordings_go_whatever_their_names_and_nobody_elses(tmp_path):
    rows = [
        recording("me", "Rec/1"),
        recording("me", "Rec/2", format="ndjson"),
        recording("you", "Rec/10"),
        recording("you", "Rec/3"),
    ]
    mine = [file_receipt("Rec/1"), file_receipt("Rec/1", 1), file_receipt("Rec/2", extension="ndjson")]
    others = [file_receipt("Rec/10"), file_receipt("Rec/3")]
    files = dict.fromkeys((*mine, *others), b"x")
    archive = make_archive(tmp_path, {Shelf("e", "recordings", "r"): rows}, files)
    report = await forget(archive, "me")
    assert report.files == 3
    left = {path.relative_to(archive).as_posix() for path in archive.glob("*/files/*/*")}
    assert left == {each.path for each in others}
    assert {each.path for each in Archive.open(archive).files() if isinstance(each, FileReceipt)} == left


async def test_a_file_that_may_be_somebody_elses_stays_and_is_told(tmp_path):
    rows = [recording("me", "both", url="one"), recording("you", "both", url="two")]
    file = file_receipt("both")
    archive = make_archive(tmp_path, {Shelf("e", "recordings", "r"): rows}, {file: b"x"})
    report = await forget(archive, "me")
    assert report.shared_files == (file.path,)
    assert (archive / file.path).exists()


async def test_a_recording_without_an_id_goes_with_its_file_where_nobody_else_has_such(tmp_path):
    rows = [recording("me", ""), recording("you", "rec_1")]
    mine, other = file_receipt("row-0123456789abcdef"), file_receipt("rec_1")
    archive = make_archive(tmp_path, {Shelf("e", "recordings", "r"): rows}, {mine: b"x", other: b"x"})
    await forget(archive, "me")
    assert [(archive / each.path).exists() for each in (mine, other)] == [False, True]


async def test_a_recording_that_names_nobody_in_their_room_is_told(tmp_path):
    rows = [recording("me", "rec_1"), recording(None, "rec_2")]
    archive = make_archive(tmp_path, {Shelf("e", "recordings", "r"): rows})
    report = await forget(archive, "me")
    assert report.rows_of_nobody == (RowCount("e", "recordings", "r", 1),)


async def test_reports_and_reasons_no_longer_name_the_person_or_their_recordings(tmp_path):
    pending = PendingReceipt(
        path=file_path("e", "r", "rec_1", "mp4"),
        experiment="e",
        room="r",
        recording_id="rec_1",
        why="404",
        is_failure=True,
    )
    listed = ListReceipt(experiment="e", data_type="events", is_complete=False, why="participant me: 500")
    claimed = ShardReceipt(
        path="experiment_id=e/data_type=chat/room_id=r/part-00000.ndjson",
        experiment="e",
        data_type="chat",
        room="r",
        complete_for=(Claim(participant="me"),),
    )
    rows = {Shelf("e", "recordings", "r"): [recording("me", "rec_1")]}
    archive = make_archive(tmp_path, rows, receipts=[pending, listed, claimed])
    report = archive / ".hsmirror" / "runs" / "20260101T000000Z-0000.json"
    report.parent.mkdir()
    report.write_text('{"problems":[{"what":"rec_1: 404"},{"what":"participant me: 500"},{"what":"some"}]}')
    draft = archive / "receipts" / "x.jsonl.staged"
    draft.write_text("me")
    await forget(archive, "me")
    texts = [path.read_text() for path in (archive / "receipts").iterdir()] + [report.read_text()]
    assert not any("rec_1" in text or '"me"' in text or "participant me" in text for text in texts)
    assert json.loads(report.read_text())["problems"][2] == {"what": "some"}
    assert not draft.exists()
    held = Archive.open(archive).receipts
    assert held.get(pending.key) is None
    assert held.get(claimed.key) is None
    of_list = held.get(listed.key)
    assert isinstance(of_list, ListReceipt)
    assert of_list.why == "participant (forgotten): 500"


async def test_an_id_that_is_a_number_spoils_no_number(tmp_path):
    others = [row_of("you", 7, count=7, sent_to=["7"]), row_of("you", 8, count=7)]
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): [row_of("7"), *others]})
    report = archive / ".hsmirror" / "runs" / "20260707T000000Z-0000.json"
    report.parent.mkdir()
    report.write_text('{"rows":7,"ended_at":"2026-07-07T00:00:07Z","problems":[{"what":"participant 7: 500"}]}')
    done = await forget(archive, "7")
    assert json.loads(report.read_text()) == {
        "rows": 7,
        "ended_at": "2026-07-07T00:00:07Z",
        "problems": [{"what": "participant (forgotten): 500"}],
    }
    assert done.still_naming == (RowCount("e", "events", "r", 1),)
    assert done.documents_naming == ()


async def test_fault_46_what_is_damaged_is_left_and_told_and_the_removal_is_finished_once_it_is_mended(
    tmp_path,
):
    shelf = Shelf("e", "events", "r")
    archive = make_archive(tmp_path, {shelf: [row_of("me"), row_of("you")]})
    path = archive / shelf.path(0, "none")
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"you_1", b"you_7"))
    report = await forget(archive, "me")
    assert (report.is_finished, report.exit_status) == (False, Exit.INCOMPLETE)
    assert "events of room r" in report.unreadable[0]
    assert path.read_bytes() != sound
    path.write_bytes(sound)
    assert (await forget(archive, "me")).is_finished
    assert ids_held(archive) == ["you_1"]


async def test_an_older_generation_that_cannot_be_searched_goes(tmp_path):
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): [row_of("me")]})
    older = archive / ".hsmirror/superseded/20260101T000000Z-0000/experiment_id=e/data_type=chat/room_id=r"
    older.mkdir(parents=True)
    (older / "part-00000.ndjson.gz.superseded").write_bytes(gzip.compress(row_of("me"))[:-9])
    report = await forget(archive, "me")
    assert report.unreadable_older_shards == 1
    assert not older.exists()


async def test_a_shard_that_no_receipt_names_is_searched_too(tmp_path):
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): []})
    stray = archive / "experiment_id=e/data_type=events/room_id=other/part-00000.ndjson"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(row_of("me") + b"\n" + row_of("you") + b"\n")
    await forget(archive, "me")
    assert stray.read_bytes() == row_of("you") + b"\n"


async def test_a_copy_of_a_shard_is_searched_too_whatever_a_program_has_called_it(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    shard = next((tmp_path / "archive").glob("*/data_type=events/*/*.ndjson.gz"))
    copy = shard.with_name("part-00000 (conflicted copy).ndjson.gz")
    shutil.copy(shard, copy)
    await forget(tmp_path / "archive", PERSON)
    assert not places_naming(tmp_path / "archive", PERSON)
    assert not any(is_of(row, PERSON) for row in read_rows(copy))


async def test_a_file_of_theirs_that_is_missing_is_not_waited_for(start_lab, tmp_path):
    """It had a receipt: nobody is to look for it any more, in a backup or elsewhere."""
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    files = [
        next(archive.glob(f"experiment_id=*/files/*/{recording}.*"))
        for recording in recordings_of(lab.source, PERSON)
    ]
    for lost in files[:2]:
        lost.unlink()
    report = await forget(archive, PERSON)
    assert (report.is_finished, report.files) == (True, len(files) - 2)
    assert verify(archive).is_sound
    assert (await run_sync(lab, tmp_path)).exit_status == Exit.COMPLETE
    assert_all_but(archive, lab.source, PERSON)


async def test_what_links_lead_to_is_left_alone(tmp_path):
    outside = tmp_path / "outside.ndjson"
    outside.write_bytes(row_of("me") + b"\n")
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): [row_of("me")]})
    link = archive / "experiment_id=e/data_type=events/room_id=r/part-00007.ndjson"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    await forget(archive, "me")
    assert outside.read_bytes() == row_of("me") + b"\n"


async def test_permissions_stay_as_the_archive_has_them(tmp_path):
    shelf = Shelf("e", "events", "r")
    archive = make_archive(tmp_path, {shelf: [row_of("me"), row_of("you")]})
    for path in archive.rglob("*"):
        path.chmod(0o750 if path.is_dir() else 0o640)
    await forget(archive, "me")
    assert {oct(path.stat().st_mode & 0o777) for path in archive.rglob("part-*")} == {"0o640"}


# --- killed anywhere ---------------------------------------------------------------------------------
def archive_of_two_generations(folder: Path) -> Path:
    """Of `me` and `you`: rows and recordings in one room, and a room of `me` alone; each in two versions."""
    both, alone, recordings, chat = (
        Shelf("e", data_type, room)
        for data_type, room in (("events", "r"), ("events", "s"), ("recordings", "r"), ("chat", "r"))
    )
    files = {file_receipt(each): b"x" for each in ("rec_1", "rec_2")}
    claimed = ShardReceipt(
        path=Shelf("e", "sync", "r").path(0, "none"),
        experiment="e",
        data_type="sync",
        room="r",
        complete_for=(Claim(participant="me"),),
    )
    for size in (2, 3):
        rows = {
            both: [row_of(person, number) for number in range(size) for person in ("me", "you")],
            alone: [row_of("me", number) for number in range(size)],
            recordings: [
                recording("me", "rec_1", fileSize=size),
                recording("you", "rec_2", fileSize=size),
            ],
            chat: [row_of("you", number, senderId="me") for number in range(size)],
        }
        archive = make_archive(folder, rows, files, receipts=[claimed])
        files = {}
    report = archive / ".hsmirror" / "runs" / "20260101T000000Z-0000.json"
    report.parent.mkdir()
    report.write_text('{"problems":[{"what":"rec_1: 404"}]}')
    return archive


@pytest.mark.timeout(300)
async def test_fault_47_killed_at_any_step_it_is_finished_by_the_next_call(
    tmp_path, killing: Callable[[int | None], list[str]]
):
    whole = archive_of_two_generations(tmp_path)
    assert list((whole / ".hsmirror" / "superseded").rglob("part-*"))
    step, was_killed = 0, True
    while was_killed:
        step += 1
        archive = tmp_path / f"killed-{step}"
        shutil.copytree(whole, archive)
        killing(step)
        try:
            await forget(archive, "me")
            was_killed = False
        except Killed:
            pass
        killing(None)
        report = verify(archive)
        assert report.is_sound, (step, report)
        assert was_killed or not is_unfinished(archive)
        assert (await forget(archive, "me")).is_finished, step
        report = verify(archive)
        assert report.is_sound and not report.unexpected, (step, report)
        assert ids_held(archive) == ["you_0", "you_1", "you_2", "rec_2"], step
        assert [path.name for path in archive.glob("*/files/*/*")] == ["rec_2.mp4"], step
        assert places_naming(archive, "me", "rec_1") == [], step
        assert receipts_naming(archive, "me", "rec_1") == [], step
        shutil.rmtree(archive)
    assert step > 60


def receipts_naming(archive: Path, *words: str) -> list[bytes]:
    lines = [line for path in (archive / "receipts").iterdir() for line in path.read_bytes().splitlines()]
    return [line for line in lines if any(b'"%s' % word.encode() in line for word in words)]


def is_unfinished(archive: Path) -> bool:
    receipts = [each for each in Archive.open(archive).receipts if isinstance(each, ForgottenReceipt)]
    return bool(unfinished(receipts)) or not receipts


async def test_a_sync_between_a_killed_removal_and_its_end_brings_nothing_back(
    start_lab, tmp_path, killing: Callable[[int | None], list[str]]
):
    lab = await start_lab(rooms=2, events_per_room=8, recordings_per_room=2)
    await run_sync(lab, tmp_path)
    whole = tmp_path / "archive"
    for step in (12, 40, 80, 120):
        folder = tmp_path / str(step)
        shutil.copytree(whole, folder / "archive")
        killing(step)
        with pytest.raises(Killed):
            await forget(folder / "archive", PERSON)
        killing(None)
        await run_sync(lab, folder, full=True)
        assert (await forget(folder / "archive", PERSON)).is_finished
        assert (await run_sync(lab, folder, full=True)).exit_status == 0
        assert_all_but(folder / "archive", lab.source, PERSON)
        assert places_naming(folder / "archive", PERSON, *recordings_of(lab.source, PERSON)) == []


# --- who is forgotten --------------------------------------------------------------------------------
def test_nobody_is_forgotten_where_no_receipt_says_so() -> None:
    assert not Forgotten()
    assert "anybody" not in Forgotten()


async def test_the_receipt_does_not_tell_the_id(tmp_path) -> None:
    archive = make_archive(tmp_path, {Shelf("e", "events", "r"): [row_of("me")]})
    report: ForgetReport = await forget(archive, "me")
    assert report.participant == "me"
    receipts = Archive.open(archive).receipts
    assert "me" in Forgotten(receipts)
    assert "m" not in Forgotten(receipts)
    (receipt,) = (each for each in receipts if isinstance(each, ForgottenReceipt))
    assert len(receipt.person) == 64
    assert len(receipt.salt) == 32
