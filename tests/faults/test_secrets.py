"""Faults 62 to 65 and 116: what must never be told, read, followed or shown."""

from __future__ import annotations

import base64
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson
import pytest
from aiohttp import web
from oracle import EXPERIMENT, contents, differences, held_rows, ledger_rows
from sync_runs import run_sync, type_reports

from faults import processes
from faults.upstream import GivenRows, Handler, connection_of, event, files_below, on, serving_rows
from hsmirror.archive.verify import verify
from hsmirror.errors import HsmirrorError
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.keys import LabKey
from hsmirror.lab.server import LabFaults
from hsmirror.lab.storage import StorageOptions

SMALL = {"rooms": 2, "events_per_room": 20, "recordings_per_room": 1}
ROOM = "room_abc123"
EVENTS = {"data_types": ("events",), "files": False}


# --- secrets ---------------------------------------------------------------------------------------------
def echo_the_key(on_path: str) -> Any:
    """An error that repeats what came in the header, as some gateways do."""

    async def echo(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        said = {"code": "BAD", "message": f"bad key {request.headers['X-API-Key']}"}
        return web.json_response({"status": "error", "error": said}, status=400)

    return on(on_path, echo)


async def echo_the_signature(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
    """Amazon's own 403 for a wrong signature repeats the address, and the one that it calculated."""
    text = (
        f"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>{request.query_string}</StringToSign></Error>"
    )
    return web.Response(
        status=403, text=text, content_type="application/xml", reason=request.query_string[:900]
    )


@pytest.mark.parametrize("addresses", ["inline", "minted"])
def test_fault_62_the_key_and_signatures_stand_in_no_byte_that_is_written(
    start_lab_in_thread, tmp_path, addresses
):
    """A run that talks as much as it can, with errors that repeat secrets; then one that is all well."""
    is_well = False

    @web.middleware
    async def sometimes(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_well:
            return await handler(request)
        fault = echo_the_signature if "/recordings/" in request.path else None
        return await (fault(request, handler, 0) if fault else handler(request))

    @web.middleware
    async def echoing(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request) if is_well else await echo_the_key("/data/chat/")(request, handler)

    lab = start_lab_in_thread(
        storage=StorageOptions(addresses=addresses),
        faults=LabFaults(api=(echoing,), storage=(sometimes,)),
        **SMALL,
    )
    said = []
    for status, more in ((3, ("-vv",)), (0, ("-vv", "--json"))):
        is_well = status == 0
        with processes.running(tmp_path, *processes.sync_arguments(*more), lab=lab) as process:
            if sys.platform == "linux":
                said.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode())
            ended = processes.ended(process)
        assert ended.status == status
        said += [ended.out, ended.err]
    assert differences(tmp_path / "archive", lab.source) == {}
    secrets = (lab.key, lab.key.removeprefix("hst_test_"), "Signature=", "X-Goog-Credential=", "GOOG4-RSA")
    read = 0
    for text in said:
        assert not [secret for secret in secrets if secret in text]
    for path, content in contents(tmp_path):
        read += len(content)
        assert not [secret for secret in secrets if secret.encode() in content], path
    assert read > 20_000


def repeating(request: web.Request) -> list[str]:
    """What gateways are known to repeat: the key, its end, what goes into a header, and signed URLs."""
    key = request.headers["X-API-Key"]
    return [
        f"the key {key} is bad",
        f"the key that ends in …{key[-10:]} is bad",
        f"Basic {base64.b64encode(f':{key}'.encode()).decode()}",
        "see https://h.example.org/f?X-Goog-Expires=9&X-Goog-Signature=c0ffee0secret1",
        f"{'x' * 280} /files/f?sig=c0ffee0secret2",
        "wrong: Signature=c0ffee0secret3",
    ]


def test_fault_116_what_a_server_repeats_of_secrets_stands_nowhere(start_lab_in_thread, tmp_path):
    """In the texts of errors, in the scopes that they want, and in warnings."""
    types = ("events", "chat", "recordings", "sync", "components", "participants")
    warns = False

    @web.middleware
    async def repeat(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = next((name for name in types if f"/data/{name}/" in request.path), None)
        if name is None:
            return await handler(request)
        said = repeating(request)[types.index(name)]
        if warns:
            metadata = {"_warnings": [said]}
            return web.json_response({"status": "success", "data": [], "metadata": metadata})
        error = {"code": "FORBIDDEN", "message": said, "details": {"required": [said]}}
        return web.json_response({"status": "error", "error": error}, status=403)

    key = LabKey("hst_test_" + "Zq3x9hT5bXcV2mN8kL0wAaRtYuIoPsDfGhJkQweEdC1r4v7B6n5M3l2K1j0H9g8F")
    lab = start_lab_in_thread(keys=(key,), faults=LabFaults(api=(repeat,)), **SMALL)
    shown = ""
    for warns in (True, False):  # noqa: B007  # the server looks at it
        ended = processes.run(tmp_path, *processes.sync_arguments("--no-wait", "-vv"), lab=lab)
        assert ended.status in {3, 4}
        shown += ended.out + ended.err
    written = b"".join(content for _, content in contents(tmp_path)).decode("utf-8", "replace")
    secret = lab.key.removeprefix("hst_test_")
    encoded = base64.b64encode(f":{lab.key}".encode()).decode()[16:]
    parts = {text[at : at + 10] for text in (secret, encoded) for at in range(len(text) - 9)}
    for part in (*parts, "0secret", "c0ffee"):
        assert part not in shown
        assert part not in written


def test_fault_62_a_key_on_the_command_line_is_not_taken(start_lab_in_thread, tmp_path):
    """Arguments are everybody's to read: there is no option for a key, and no key in the configuration."""
    lab = start_lab_in_thread(**SMALL)
    ended = processes.run(tmp_path, *processes.sync_arguments("--api-key", lab.key))
    assert ended.status == 2
    (tmp_path / "hsmirror.toml").write_text(f'[api]\nkey = "{lab.key}"\n')
    ended = processes.run(tmp_path, *processes.sync_arguments())
    assert ended.status == 2
    assert lab.key not in ended.out + ended.err
    assert lab.statistics().requests == 0


# --- permissions -----------------------------------------------------------------------------------------
@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits")
@pytest.mark.parametrize(
    ("mode", "users_umask", "folders", "files"),
    [
        ("", 0o000, 0o700, 0o600),
        ("0750", 0o000, 0o750, 0o640),
        ("0750", 0o077, 0o750, 0o640),
    ],
)
async def test_fault_63_the_archive_is_private_unless_configured_otherwise(
    start_lab, tmp_path, mode, users_umask, folders, files
):
    """Whatever the umask, through two runs, superseded files and reports included."""
    lab = await start_lab(**SMALL)
    overrides = {"archive.mode": mode} if mode else None
    for _ in range(2):
        with umask(users_umask):
            assert (await run_sync(lab, tmp_path, full=True, overrides=overrides)).exit_status == 0
        lab.source.add_rows(EXPERIMENT, ROOM, "events", 3)
    archive = tmp_path / "archive"
    paths = [archive, *archive.rglob("*")]
    assert any("superseded" in path.parts for path in paths)
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (folders if path.is_dir() else files), path


# --- planted links ---------------------------------------------------------------------------------------
FOLDERS = [
    f"experiment_id={EXPERIMENT}",
    f"experiment_id={EXPERIMENT}/data_type=events",
    f"experiment_id={EXPERIMENT}/data_type=events/room_id={ROOM}",
    f"experiment_id={EXPERIMENT}/files",
    f"experiment_id={EXPERIMENT}/files/room_id={ROOM}",
    "receipts",
    ".hsmirror",
    ".hsmirror/staging",
    ".hsmirror/staging/files",
    ".hsmirror/superseded",
    ".hsmirror/runs",
]
FILES = [
    f"experiment_id={EXPERIMENT}/experiment.json",
    f"experiment_id={EXPERIMENT}/data_type=events/room_id={ROOM}/part-00000.ndjson.gz",
    f"experiment_id={EXPERIMENT}/files/room_id={ROOM}/rec_abc123.mp4",
    "SHA256SUMS",
    "SHA256SUMS.staged",
    "archive.json.staged",
    ".hsmirror/lock",
]


ONE = {"rooms": 1, "events_per_room": 5, "recordings_per_room": 1}
WRITING = {"data_types": ("events", "chat", "recordings")}


async def sync_of_changed_data(lab: Any, folder: Path) -> None:
    """A run that has to write everywhere; it may refuse, it may not follow."""
    for data_type in ("events", "chat", "recordings"):
        lab.source.add_rows(EXPERIMENT, ROOM, data_type, 1)
    try:
        await run_sync(lab, folder, full=True, **WRITING)
    except HsmirrorError as error:
        assert "link" in str(error) or "not a folder" in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
@pytest.mark.parametrize("place", FOLDERS)
@pytest.mark.parametrize("is_first", [True, False], ids=["before the first run", "later"])
async def test_fault_64_a_link_in_the_place_of_a_folder_is_not_followed(start_lab, tmp_path, place, is_first):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.docx").write_bytes(b"years of work")
    (outside / "thesis.docx").chmod(0o644)
    archive = tmp_path / "archive"
    lab = await start_lab(**ONE)
    if is_first:
        await run_sync(lab, tmp_path, data_types=("sync",), files=False)  # so that it is an archive
    else:
        await run_sync(lab, tmp_path, **WRITING)
    planted = archive / place
    if planted.is_dir():
        planted.rename(tmp_path / "moved away")
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(outside, target_is_directory=True)
    await sync_of_changed_data(lab, tmp_path)
    assert files_below(outside) == {"thesis.docx": b"years of work"}
    assert stat.S_IMODE((outside / "thesis.docx").stat().st_mode) == 0o644
    assert {path.name for path in outside.iterdir()} == {"thesis.docx"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
@pytest.mark.parametrize("place", FILES)
@pytest.mark.parametrize("dangles", [False, True], ids=["to a file", "to nothing"])
async def test_fault_64_a_link_in_the_place_of_a_file_is_not_written_through(
    start_lab, tmp_path, place, dangles
):
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside / "thesis.docx"
    if not dangles:
        target.write_bytes(b"years of work")
        target.chmod(0o644)
    archive = tmp_path / "archive"
    lab = await start_lab(**ONE)
    await run_sync(lab, tmp_path, **WRITING)
    planted = archive / place
    planted.unlink(missing_ok=True)
    planted.symlink_to(target)
    await sync_of_changed_data(lab, tmp_path)
    assert files_below(outside) == ({} if dangles else {"thesis.docx": b"years of work"})
    if not dangles:
        assert stat.S_IMODE(target.stat().st_mode) == 0o644
    planted.unlink(missing_ok=True)
    assert (await run_sync(lab, tmp_path, full=True, **WRITING)).exit_status == 0
    assert held_rows(archive, EXPERIMENT, "events") == ledger_rows(lab.source, EXPERIMENT, "events")
    assert verify(archive).is_sound


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
async def test_fault_64_a_link_in_the_place_of_this_runs_receipts_is_not_written_through(start_lab, tmp_path):
    """Their name is not to be guessed; a planted segment of another name is at most read."""
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(b'{"kind":"list","experiment":"exp_1","data_type":"events"}\n')
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    before = outside.read_bytes()
    (tmp_path / "archive/receipts/20981231T235959Z-ffff.jsonl").symlink_to(outside)
    await sync_of_changed_data(lab, tmp_path)
    assert outside.read_bytes() == before


# --- what comes from outside -----------------------------------------------------------------------------
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"


async def test_fault_65_terminal_escapes_of_a_server_do_not_reach_the_terminal(tmp_path):
    """In an experiment's name, an error's text, a room's id and a warning."""

    async def refuse(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        error = {"code": ESCAPES, "message": f"{ESCAPES} no"}
        return web.json_response({"status": "error", "error": error}, status=400)

    name = orjson.dumps({"id": EXPERIMENT, "name": f"Study {ESCAPES}"})
    room = f"room {ESCAPES}"
    source = GivenRows(
        {"events": [(room, event(1, room))], "variables": [(room, b'{"name":"x"}')]}, experiment_row=name
    )
    faults = LabFaults(api=(on("/data/chat/", refuse), on("/data/variables/", refuse)))
    async with serving_rows(source, faults=faults) as lab:
        for more in (("-vv",), ("--json",)):
            arguments = processes.sync_arguments("--no-wait", *more)
            ended = await anyio.to_thread.run_sync(
                lambda arguments=arguments: processes.run(tmp_path, *arguments, lab=lab)
            )
            assert ended.status == 3
            said = ended.out + ended.err
            assert "chat" in said
            assert not CONTROLS.search(said if more != ("--json",) else ended.err)
            assert not re.search("[\x00-\x09\x0b-\x1f]", ended.out)  # JSON itself escapes these
    ended = await anyio.to_thread.run_sync(lambda: processes.run(tmp_path, "status", "archive"))
    assert ended.out
    assert not CONTROLS.search(ended.out + ended.err)


HEADS = {
    "chat": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    "sync": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
}


async def test_fault_65_headers_without_end_are_cut_off_and_the_answer_is_asked_for_again(start_lab, tmp_path):
    """Too many of them, and one that is too long."""

    async def endless(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if number:
            return await handler(request)
        connection_of(request).write(next(head for name, head in HEADS.items() if f"/{name}/" in request.path))
        connection_of(request).close()
        return web.Response()

    faults = LabFaults(api=tuple(on(f"/data/{name}/", endless) for name in HEADS))
    lab = await start_lab(faults=faults, **SMALL)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems, report.retried) == (0, (), 2)
    assert differences(tmp_path / "archive", lab.source) == {}


def deep(depth: int) -> bytes:
    return b'{"id":"event_1","roomId":"room_a","x":' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize("depth", [100, 500, 5_000, 1_000_000])
async def test_fault_65_deep_json_is_kept_or_refused_and_nothing_overflows(tmp_path, depth):
    async with serving_rows({"events": [("room_a", deep(depth))]}, answers=AnswerOptions(gzip=False)) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    if report.exit_status == 0:
        assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == {("room_a", deep(depth)): 1}
    else:
        assert report.exit_status == 3
        assert type_reports(report)["events"].why
        assert depth > 500
