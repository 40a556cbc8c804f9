"""Faults 40 to 46: disks that are full, broken or slow to keep their word; names that no file system takes."""

from __future__ import annotations

import ast
import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import anyio
import orjson
import pytest
from aiohttp import web
from oracle import (
    EXPERIMENT,
    differences,
    held_files,
    held_rows,
    ledger_files,
    lines,
    receipts,
    shards,
    state_of_files,
)
from sync_runs import run_sync

import hsmirror
from faults import disk, processes
from faults.upstream import connection_of, event, recording, serving_rows, site
from hsmirror.archive.verify import verify
from hsmirror.errors import Exit, StorageError
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.server import LabFaults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")

SMALL = {"rooms": 2, "events_per_room": 20, "recordings_per_room": 1}
ROOM = "room_abc123"
ADVICE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
}


def current(archive: Path) -> dict[str, tuple[int, int, str]]:
    """What a reader of the archive sees: everything that is not hsmirror's own."""
    return {name: state for name, state in state_of_files(archive).items() if name.startswith("experiment_id=")}


# --- disks that refuse -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "code"),
    [
        pytest.param("write", errno.ENOSPC, id="ENOSPC while writing"),
        pytest.param("write", errno.EDQUOT, id="EDQUOT while writing"),
        pytest.param("replace", errno.ENOSPC, id="ENOSPC for a new name"),
        pytest.param("open", errno.EROFS, id="EROFS for any file"),
        pytest.param("mkdir", errno.EACCES, id="EACCES for a folder"),
    ],
)
async def test_fault_40_a_disk_that_refuses_ends_the_run_with_7_and_the_old_generation_stands(
    start_lab, tmp_path, monkeypatch, call, code
):
    archive = tmp_path / "archive"
    lab = await start_lab(**SMALL)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    lab.source.add_rows(EXPERIMENT, ROOM, "events", 3)
    lab.source.add_room(EXPERIMENT)
    before = current(archive)
    with monkeypatch.context() as patch:
        refused = disk.refuse(
            patch, call, code, below=archive, where=lambda path: not path.endswith((".hsmirror/lock", ".log"))
        )
        with pytest.raises(StorageError, match=ADVICE[code]) as caught:
            await run_sync(lab, tmp_path, full=True)
    assert refused
    assert caught.value.exit_status == Exit.STORAGE
    assert {name: current(archive)[name] for name in before} == before
    assert verify(archive).is_sound
    report = await run_sync(lab, tmp_path, full=True)
    assert (report.exit_status, differences(archive, lab.source)) == (0, {})


def test_fault_40_the_command_says_what_to_do_and_ends_with_7(start_lab_in_thread, tmp_path):
    """A folder that cannot be made: its parent is a file."""
    lab = start_lab_in_thread(rooms=1, events_per_room=5, recordings_per_room=0)
    (tmp_path / "file").write_bytes(b"")
    ended = processes.run(tmp_path, "sync", EXPERIMENT, "--archive", "file/archive", lab=lab)
    assert ended.status in {Exit.STORAGE, Exit.USAGE}
    assert "Traceback" not in ended.err
    assert "file/archive" in ended.err


@pytest.mark.parametrize("where", ["staging/2", "staging/files", "receipts/", "experiment_id="])
async def test_fault_41_what_could_not_be_synced_is_written_anew(start_lab, tmp_path, monkeypatch, where):
    """A failed sync may have thrown pages away for good: nothing that it was of is used again."""
    archive = tmp_path / "archive"
    lab = await start_lab(**SMALL)
    with monkeypatch.context() as patch:
        refused = disk.refuse(
            patch, "fsync", errno.EIO, below=archive, where=lambda path: f"/{where}" in f"{path}/", times=1
        )
        with pytest.raises(StorageError, match="input/output error"):
            await run_sync(lab, tmp_path)
    assert len(refused) == 1
    synced: set[str] = set()
    true_fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.add(disk.path_of(descriptor))
        true_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, differences(archive, lab.source)) == (0, {})
    assert verify(archive).is_sound
    assert synced


async def test_fault_41_of_a_recording_whose_sync_failed_no_byte_is_gone_on_from(
    start_lab, tmp_path, monkeypatch
):
    asked: list[str | None] = []

    @web.middleware
    async def break_once(request: web.Request, handler: Any) -> web.StreamResponse:
        asked.append(request.headers.get("Range"))
        if len(asked) > 1:
            return await handler(request)
        response = web.StreamResponse(headers={"Content-Length": "60000"})
        await response.prepare(request)
        await response.write(bytes(30_000))
        await anyio.sleep(0.3)  # what comes after the mirror has begun to read, it keeps
        connection_of(request).close()
        return response

    one = {"rooms": 1, "events_per_room": 5, "recordings_per_room": 1, "recording_bytes": 60_000}
    lab = await start_lab(faults=LabFaults(storage=(break_once,)), **one)
    with monkeypatch.context() as patch:
        disk.refuse(patch, "fsync", errno.EIO, below=tmp_path, where=lambda path: path.endswith(".part"))
        with pytest.raises(StorageError, match="input/output error"):
            await run_sync(lab, tmp_path, data_types=("recordings",))
    report = await run_sync(lab, tmp_path, data_types=("recordings",))
    assert report.exit_status == 0
    assert asked == [None, None]
    assert held_files(tmp_path / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)


async def test_fault_42_a_write_that_takes_a_part_only_is_gone_on_with(start_lab, tmp_path, monkeypatch):
    lab = await start_lab(**SMALL)
    bitten = disk.write_in_small_bites(monkeypatch, below=tmp_path / "archive", bite_bytes=1000)
    report = await run_sync(lab, tmp_path)
    assert len(bitten) > 10
    assert (report.exit_status, differences(tmp_path / "archive", lab.source)) == (0, {})
    assert verify(tmp_path / "archive").is_sound


@pytest.mark.parametrize("what", [".ndjson.gz.staged", ".part"], ids=["a shard", "a recording file"])
async def test_fault_42_bytes_that_a_write_lost_are_noticed_before_the_name_is_in_place(
    start_lab, tmp_path, monkeypatch, what
):
    """A file server that takes a byte less than it says, as some do when they are full."""
    archive = tmp_path / "archive"
    lab = await start_lab(**SMALL)
    with monkeypatch.context() as patch:
        shortened = disk.lose_written_bytes(patch, where=lambda path: path.endswith(what))
        with pytest.raises(StorageError, match=r"cannot write .*: (the disk reports|it came out)"):
            await run_sync(lab, tmp_path)
    assert shortened
    assert verify(archive).is_sound
    assert not [name for name in current(archive) if name.endswith(what.removesuffix(".staged"))]
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, differences(archive, lab.source)) == (0, {})


async def test_fault_43_bytes_then_names_then_receipts(start_lab, tmp_path, monkeypatch):
    """For every file that a run puts in place: synced, moved, its folder synced, its receipt synced."""
    archive = tmp_path / "archive"
    steps: list[tuple[str, str]] = []
    written: dict[str, str] = {}
    true_fsync, true_replace, true_write = os.fsync, os.replace, os.write

    def name_of(target: Any) -> str:
        return os.path.relpath(disk.path_of(target), archive)

    def fsync(descriptor: int) -> None:
        true_fsync(descriptor)
        steps.append(("sync", name_of(descriptor)))

    def replace(source: Any, target: Any) -> None:
        steps.append(("from", name_of(source)))
        true_replace(source, target)
        steps.append(("place", name_of(target)))

    def write(descriptor: int, content: Any) -> int:
        if name_of(descriptor).endswith(".jsonl"):
            for line in bytes(content).splitlines():
                receipt = orjson.loads(line)
                if receipt["kind"] in {"shard", "file", "document"} and receipt.get("sha256"):
                    steps.append(("receipt", receipt["path"]))
                    written[receipt["path"]] = name_of(descriptor)
        return true_write(descriptor, content)

    for name, call in {"fsync": fsync, "replace": replace, "write": write}.items():
        monkeypatch.setattr(os, name, call)
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    lab.source.add_rows(EXPERIMENT, ROOM, "events", 3)
    await run_sync(lab, tmp_path, full=True)

    placed = [
        number
        for number, (step, name) in enumerate(steps)
        if step == "place" and name.startswith("experiment_id=")
    ]
    assert len(placed) > 20
    for number in placed:
        name, staged = steps[number][1], steps[number - 1][1]
        folder = os.path.dirname(name)  # noqa: PTH120  # of a relative text
        assert ("sync", staged) in steps[:number], f"{name} was put in place before its bytes were synced"
        receipted = steps.index(("receipt", name), number)
        assert ("sync", folder) in steps[number:receipted], f"{folder} was not synced before its receipt"
        assert ("sync", written[name]) in steps[receipted:], f"the receipt of {name} was not synced"


# --- network file systems --------------------------------------------------------------------------------
def test_fault_44_nothing_relies_on_sqlite_or_on_memory_maps() -> None:
    """Neither is safe on NFS and SMB."""
    package = Path(hsmirror.__file__).parent
    imported: set[str] = set()
    for module in package.rglob("*.py"):
        if "export" in module.parts:  # writes tables for analysis beside the archive, not into it
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    assert "anyio" in imported
    assert not imported & {"sqlite3", "aiosqlite", "dbm", "shelve", "mmap", "lmdb"}


async def test_fault_44_an_archive_whose_lock_is_not_kept_stays_sound(start_lab, tmp_path, monkeypatch):
    """Two runs that both believe to be alone: what one of them may lose is its work, not the archive's."""
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    lab = await start_lab(answers=AnswerOptions(latency_seconds=0.02), **SMALL)
    archive = tmp_path / "archive"
    statuses: list[int] = []

    async def one() -> None:
        try:
            statuses.append((await run_sync(lab, tmp_path)).exit_status)
        except StorageError as error:
            statuses.append(error.exit_status)

    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await anyio.sleep(0.1)
            tasks.start_soon(one)
        assert verify(archive).is_sound
        lab.source.add_rows(EXPERIMENT, ROOM, "events", 3)
    report = await run_sync(lab, tmp_path, full=True)
    assert (report.exit_status, differences(archive, lab.source)) == (0, {})


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
async def test_fault_44_a_file_system_without_locks_is_said_to_be_one(start_lab, tmp_path, monkeypatch, code):
    """Never a traceback: the run goes on without the lock, or says what is wrong."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    lab = await start_lab(rooms=1, events_per_room=5, recordings_per_room=0)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        try:
            report = await run_sync(lab, tmp_path)
        except StorageError as error:
            assert "lock" in str(error)
        else:
            assert report.exit_status == 0
            assert verify(tmp_path / "archive").is_sound


# --- hostile ids -----------------------------------------------------------------------------------------
HOSTILE = [
    "../x",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "nul\0byte",
    "CON",
    "con",
    "aux.txt",
    "COM1",
    "x" * 300,
    "x" * 299 + "y",
    "Ü" * 150,
    "Case",
    "case",
    "cASE",
    "caf\u00e9",
    "cafe\u0301",
    ".hidden",
    "-rf",
    "trailing.",
    "trailing ",
    " leading",
    "a=b",
    "100%",
    "%2e%2e",
    "%2E%2E",
    "__HIVE_DEFAULT_PARTITION__",
    "__hive_default_partition__",
    "new\nline",
    "tab\t",
    'star*?<>|:"',
    "\u202eevil",
    "\U0001f600",
    "~",
    "%~",
    "part-00000.ndjson.gz",
]


async def test_fault_45_hostile_rooms_and_recordings_get_safe_reversible_names_that_never_meet(tmp_path):
    """Each id is a room's and a recording's; every room is also asked for by its id."""

    async def film(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(body=f"film:{request.path}".encode(), content_type="video/mp4")

    async with site(film) as host:
        rows = {
            "events": [(each, event(number, each)) for number, each in enumerate(HOSTILE)],
            "variables": [(each, orjson.dumps({"name": each, "value": 1})) for each in HOSTILE],
            "recordings": [
                (each, recording(0, each, recordingId=each, downloadUrl=f"{host.url}/{number}.mp4?sig=s"))
                for number, each in enumerate(HOSTILE)
            ],
        }
        async with serving_rows(rows) as lab:
            report = await run_sync(lab, tmp_path)
            before = state_of_files(tmp_path / "archive")
            again = await run_sync(lab, tmp_path, full=True)
    assert (report.exit_status, report.problems) == (0, ())
    assert (again.exit_status, state_of_files(tmp_path / "archive")) == (0, before)

    archive = tmp_path / "archive"
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "state"}
    for path in archive.rglob("*"):
        assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-%=~"), (
            path
        )
        assert len(path.name) <= 255
        assert not path.name.endswith((".", " "))
    folded = [path.as_posix().casefold() for path in archive.rglob("*")]
    assert len(set(folded)) == len(folded)
    for data_type in ("events", "recordings"):
        by_room = {receipt["room"]: receipt for receipt in receipts(archive, kind="shard", data_type=data_type)}
        for each in HOSTILE:
            assert by_room[each]["rows"] == 1
            folder = Path(by_room[each]["path"]).parent.name.removeprefix("room_id=")
            if "%~" not in folder:
                assert unquote_to_bytes(folder).decode() == each
    assert len(shards(archive, EXPERIMENT, "events")) == len(HOSTILE)
    files = {receipt["recording_id"]: receipt for receipt in receipts(archive, kind="file")}
    for number, each in enumerate(HOSTILE):
        assert (archive / files[each]["path"]).read_bytes() == f"film:/{number}.mp4".encode()
    (sums,) = [line for line in (archive / "SHA256SUMS").read_text().split("\n") if not line]
    assert sums == ""
    assert verify(archive).is_sound


async def test_fault_45_a_room_whose_id_is_half_a_character_is_held_too(tmp_path):
    """`\\ud800` is legal JSON and no Unicode text: such a room goes under U+FFFD, its row stays as it came."""
    row = b'{"id":"event_1","roomId":"r\\ud800"}'
    async with serving_rows({"events": [(None, row)]}) as lab:
        report = await run_sync(lab, tmp_path, data_types=("events",))
    assert report.exit_status in {0, 3}
    (shard,) = shards(tmp_path / "archive", EXPERIMENT, "events")
    assert lines(shard) == [row]


# --- bit rot ---------------------------------------------------------------------------------------------
def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_fault_46_bit_rot_is_found_by_verify_and_mended_by_its_repair(start_lab_in_thread, tmp_path):
    lab = start_lab_in_thread(rooms=2, events_per_room=20, recordings_per_room=2)
    archive = tmp_path / "archive"
    assert processes.run(tmp_path, *processes.sync_arguments(), lab=lab).status == 0
    (shard, other), film = shards(archive, EXPERIMENT, "events"), next(archive.glob("*/files/*/*.mp4"))
    flip(shard)
    flip(film)
    other.write_bytes(other.read_bytes()[:-1])
    ended = processes.run(tmp_path, "verify", "archive", "--json")
    assert ended.status == Exit.DAMAGED
    found = orjson.loads(ended.out)
    damaged = {each.partition(": ")[0] for each in found["damaged"]}
    assert damaged == {path.relative_to(archive).as_posix() for path in (shard, film, other)}
    ended = processes.run(tmp_path, "verify", "archive", "--repair", "--json", lab=lab)
    assert ended.status == 0
    assert set(orjson.loads(ended.out)["repaired"]) == damaged
    assert differences(archive, lab.source) == {}


async def test_fault_46_what_is_damaged_is_mended_from_upstream(start_lab, tmp_path):
    """What is missing, or of another size, is fetched again by the next run that reads everything."""
    archive = tmp_path / "archive"
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    shard, other = shards(archive, EXPERIMENT, "events")
    shard.unlink()
    other.write_bytes(other.read_bytes()[:-1])
    next(archive.glob("*/files/*/*")).unlink()
    assert not verify(archive).is_sound
    report = await run_sync(lab, tmp_path, full=True)
    assert (report.exit_status, differences(archive, lab.source)) == (0, {})
    assert verify(archive).is_sound
    assert held_rows(archive, EXPERIMENT, "events").total() == 40
