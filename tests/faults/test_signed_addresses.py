"""Faults 24 to 39: addresses that expire, storage hosts that lie, and where no address may lead."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Middleware
from canned_server import answer, serving
from oracle import EXPERIMENT, held_files, ledger_files, receipts
from sync_runs import run_sync, settings_for, the_experiment

from faults.upstream import Handler, connection_of, on, recording, rewriting, serving_rows, site
from hsmirror.api.addresses import parse_address
from hsmirror.clock import SystemClock
from hsmirror.errors import Exit, RefusedAddressError
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.server import LabFaults
from hsmirror.lab.storage import StorageOptions
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.serve.files import entity_tag
from hsmirror.settings import ExperimentSettings

RECORDINGS = {"data_types": ("recordings",)}
SIZE = 60_000
ONE = {"rooms": 1, "events_per_room": 5, "recordings_per_room": 1, "recording_bytes": SIZE}
MINTED = StorageOptions(addresses="minted")


@dataclass(frozen=True, slots=True)
class Stored:
    """One file as the storage host has it: its bytes, and what it says of them."""

    true: bytes
    headers: Mapping[str, str]
    partial_files: Path
    """Where the mirror writes down what it has begun to read."""

    @property
    def half(self) -> bytes:
        return self.true[: SIZE // 2]

    @property
    def rest(self) -> bytes:
        return self.true[SIZE // 2 :]


Lie = Callable[[web.Request, Stored], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class ScriptedStorage:
    """Answers the nth download by the nth of `lies`, given the file as it is; all later ones truly."""

    lies: Sequence[Lie]
    partial_files: Path
    source: Any = None
    ranges: list[str | None] = field(default_factory=list)

    def middleware(self) -> Middleware:
        @web.middleware
        async def scripted(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.ranges.append(request.headers.get("Range"))
            number = len(self.ranges) - 1
            if number >= len(self.lies):
                return await handler(request)
            room, name = request.match_info["room"], request.match_info["name"]
            file = await self.source.recording_file(room, name.rpartition(".")[0])
            hashes = f"crc32c={file.crc32c_base64},md5={file.md5_base64}"
            headers = {"ETag": entity_tag(file), "x-goog-hash": hashes}
            stored = Stored(file.path.read_bytes(), headers, self.partial_files)
            return await self.lies[number](request, stored)

        return scripted


async def start_scripted(start_lab: Any, folder: Path, *lies: Lie, **given: Any) -> tuple[Any, ScriptedStorage]:
    """A lab, and its storage host; `folder` is where the runs are."""
    storage = ScriptedStorage(lies, folder / "archive/.hsmirror/staging/files")
    lab = await start_lab(faults=LabFaults(storage=(storage.middleware(),)), **(ONE | given))
    storage.source = lab.source
    return lab, storage


def is_held_as_it_is(folder: Path, lab: Any) -> bool:
    return held_files(folder / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)


def minted(lab: Any) -> int:
    return sum("/recordings/download/" in each.target for each in lab.requests)


async def send_then_break(
    request: web.Request, part: bytes, stored: Stored, *, promised: int | None = SIZE
) -> web.StreamResponse:
    """`promised` bytes are announced; None: they come in chunks, and the last chunk is missing."""
    response = web.StreamResponse(headers=dict(stored.headers))
    if promised is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = promised
    await response.prepare(request)
    await response.write(part)
    # Time to arrive: a client that sees the end first passes over what it has not read.
    await asyncio.sleep(0.5)
    connection_of(request).close()
    return response


async def half(request: web.Request, stored: Stored) -> web.StreamResponse:
    """Half of the file, and the connection breaks."""
    return await send_then_break(request, stored.half, stored)


def part_of(
    body: bytes, headers: Mapping[str, str], *, start: int = SIZE // 2, total: int = SIZE
) -> web.Response:
    span = f"bytes {start}-{start + len(body) - 1}/{total}"
    return web.Response(status=206, body=body, headers={**headers, "Content-Range": span})


HALVED = f"bytes={SIZE // 2}-"

GOOGLE_EXPIRED = "<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Invalid.</Message></Error>"
AMAZON_EXPIRED = (
    "<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
    "<ServerTime>2026-11-22T02:00:03Z</ServerTime></Error>"
)


async def expired_on_google(request: web.Request, stored: Stored) -> web.StreamResponse:
    return web.Response(status=400, text=GOOGLE_EXPIRED, content_type="application/xml")


async def expired_on_amazon(request: web.Request, stored: Stored) -> web.StreamResponse:
    return web.Response(status=403, text=AMAZON_EXPIRED, content_type="application/xml")


# --- expiry ----------------------------------------------------------------------------------------------
async def test_fault_24_an_address_that_expired_before_the_start_is_renewed_and_never_used(start_lab, tmp_path):
    def long_ago(body: bytes, number: int) -> bytes:
        return body if number else re.sub(rb"X-Goog-Date=\d{8}T", b"X-Goog-Date=20200101T", body)

    faults = LabFaults(api=(rewriting("/data/recordings/", long_ago),))
    lab = await start_lab(rooms=1, events_per_room=5, answers=AnswerOptions(gzip=False), faults=faults)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert lab.statistics().storage_by_status == {200: 2}
    assert lab.statistics().by_endpoint["data/recordings"] == 2


async def test_fault_24_addresses_found_expired_by_their_host_are_not_counted_as_failures(start_lab, tmp_path):
    lab, storage = await start_scripted(start_lab, tmp_path, *[expired_on_google] * 4, storage=MINTED)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert (minted(lab), len(storage.ranges)) == (5, 5)


async def test_fault_24_a_host_whose_addresses_are_always_expired_is_given_up(start_lab, tmp_path):
    lab, storage = await start_scripted(start_lab, tmp_path, *[expired_on_google] * 100, storage=MINTED)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert report.exit_status == Exit.INCOMPLETE
    assert len(storage.ranges) <= 10


async def test_fault_25_a_download_that_breaks_goes_on_from_its_byte_under_a_fresh_address(start_lab, tmp_path):
    """It breaks half-way; when it is resumed, its address has expired meanwhile."""
    lab, storage = await start_scripted(start_lab, tmp_path, half, expired_on_google, storage=MINTED)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert storage.ranges == [None, HALVED, HALVED]
    assert minted(lab) == 2
    assert report.downloaded_bytes == SIZE


class SkewedClock(SystemClock):
    """A machine whose date is wrong."""

    def __init__(self, skew_seconds: float) -> None:
        self._skew_seconds = skew_seconds

    def epoch(self) -> float:
        return time.time() + self._skew_seconds


@pytest.mark.parametrize("skew_seconds", [-86_400.0, 86_400.0], ids=["a day behind", "a day ahead"])
async def test_fault_26_the_servers_clock_counts_and_not_ours(start_lab, tmp_path, skew_seconds):
    """By our clock all addresses have expired, or live a day too long; none is renewed for it."""
    lab = await start_lab(
        rooms=2, events_per_room=5, recordings_per_room=2, storage=StorageOptions(address_seconds=600)
    )
    report = await sync(
        settings_for(lab, tmp_path),
        Secret(lab.key),
        [ExperimentSettings(id=EXPERIMENT, data_types=("recordings",))],
        options=RunOptions(state_folder=tmp_path / "state"),
        clock=SkewedClock(skew_seconds),
    )
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert lab.statistics().by_endpoint["data/recordings"] == 1
    assert lab.statistics().storage_by_status == {200: 4}


@pytest.mark.parametrize("expired", [expired_on_google, expired_on_amazon], ids=["gcs: 400", "s3: 403"])
async def test_fault_27_each_providers_word_for_expiry_is_understood(start_lab, tmp_path, expired):
    dialect = "s3" if expired is expired_on_amazon else "gcs"
    storage = StorageOptions(addresses="minted", dialect=dialect)
    lab, scripted = await start_scripted(start_lab, tmp_path, expired, storage=storage)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert (minted(lab), len(scripted.ranges)) == (2, 2)


@pytest.mark.parametrize("dialect", ["gcs", "s3"])
async def test_fault_27_a_refusal_that_is_no_expiry_is_not_taken_for_one(start_lab, tmp_path, dialect):
    async def denied(request: web.Request, stored: Stored) -> web.StreamResponse:
        return web.Response(
            status=403, text="<Error><Code>AccessDenied</Code></Error>", content_type="application/xml"
        )

    storage = StorageOptions(addresses="minted", dialect=dialect)
    lab, scripted = await start_scripted(start_lab, tmp_path, *[denied] * 100, storage=storage)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert report.exit_status == Exit.INCOMPLETE
    assert len(scripted.ranges) == 2  # once more under a fresh address, in case
    assert "AccessDenied" in report.problems[0].what


# --- what asks for the rest ------------------------------------------------------------------------------
async def test_fault_28_a_range_that_is_ignored_starts_the_file_from_zero(start_lab, tmp_path):
    async def all_of_it(request: web.Request, stored: Stored) -> web.StreamResponse:
        return web.Response(body=stored.true, headers=dict(stored.headers))

    lab, storage = await start_scripted(start_lab, tmp_path, half, all_of_it)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, storage.ranges) == (0, [None, HALVED])
    assert is_held_as_it_is(tmp_path, lab)


async def other_start(request: web.Request, stored: Stored) -> web.StreamResponse:
    return part_of(stored.true[10:], stored.headers, start=10)


async def other_total(request: web.Request, stored: Stored) -> web.StreamResponse:
    return part_of(stored.rest + b"0123456789", stored.headers, total=SIZE + 10)


async def no_span(request: web.Request, stored: Stored) -> web.StreamResponse:
    return web.Response(status=206, body=stored.rest, headers=dict(stored.headers))


@pytest.mark.parametrize("lie", [other_start, other_total, no_span])
async def test_fault_29_a_part_that_is_not_the_one_asked_for_is_refused(start_lab, tmp_path, lie):
    lab, storage = await start_scripted(start_lab, tmp_path, half, lie)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert storage.ranges == [None, HALVED, None if lie is other_total else HALVED]


async def nothing_behind(request: web.Request, stored: Stored) -> web.StreamResponse:
    return web.Response(status=416, headers={"Content-Range": f"bytes */{SIZE}"})


async def test_fault_30_a_416_completes_a_file_whose_size_and_hash_say_so(start_lab, tmp_path):
    """Every byte had come, but not the end of the answer."""

    async def all_but_its_end(request: web.Request, stored: Stored) -> web.StreamResponse:
        return await send_then_break(request, stored.true, stored, promised=None)

    lab, storage = await start_scripted(start_lab, tmp_path, all_but_its_end, nothing_behind)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert storage.ranges == [None, f"bytes={SIZE}-"]


async def test_fault_30_a_416_for_half_a_file_completes_nothing(start_lab, tmp_path):
    lab, storage = await start_scripted(start_lab, tmp_path, half, nothing_behind)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, storage.ranges) == (0, [None, HALVED, None])
    assert is_held_as_it_is(tmp_path, lab)


async def test_fault_30_a_416_does_not_make_wrong_bytes_right(start_lab, tmp_path):
    async def wrong_but_as_many(request: web.Request, stored: Stored) -> web.StreamResponse:
        return await send_then_break(request, bytes(SIZE), stored, promised=None)

    lab, storage = await start_scripted(start_lab, tmp_path, wrong_but_as_many, nothing_behind)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert report.exit_status == 0
    assert is_held_as_it_is(tmp_path, lab)
    assert storage.ranges == [None, f"bytes={SIZE}-", None]


async def test_fault_31_an_object_that_changed_between_two_parts_is_fetched_from_zero(start_lab, tmp_path):
    """The first half is of an older version; the host says so when `If-Match` asks for that one."""

    async def half_of_an_older_one(request: web.Request, stored: Stored) -> web.StreamResponse:
        return await send_then_break(request, bytes(SIZE // 2), replace(stored, headers={"ETag": '"older"'}))

    async def changed(request: web.Request, stored: Stored) -> web.StreamResponse:
        assert request.headers["If-Match"] == '"older"'
        return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")

    lab, storage = await start_scripted(start_lab, tmp_path, half_of_an_older_one, changed)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, storage.ranges) == (0, [None, HALVED, None])
    assert is_held_as_it_is(tmp_path, lab)


@pytest.mark.parametrize("are_same", [True, False], ids=["same bytes", "other bytes"])
async def test_fault_32_under_another_etag_size_and_hash_decide(start_lab, tmp_path, are_same):
    """A host that pays no heed to `If-Match` gives the rest of what may be another version."""

    async def first_half(request: web.Request, stored: Stored) -> web.StreamResponse:
        part = stored.half if are_same else bytes(SIZE // 2)
        return await send_then_break(request, part, replace(stored, headers={"ETag": '"older"'}))

    async def rest_of_another(request: web.Request, stored: Stored) -> web.StreamResponse:
        return part_of(stored.rest, stored.headers)

    lab, storage = await start_scripted(start_lab, tmp_path, first_half, rest_of_another)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert is_held_as_it_is(tmp_path, lab)
    assert storage.ranges == ([None, HALVED] if are_same else [None, HALVED, None])


# --- whole files that are wrong --------------------------------------------------------------------------
async def wrong_hash(request: web.Request, stored: Stored) -> web.StreamResponse:
    headers = {"x-goog-hash": "md5=" + "A" * 22 + "=="}
    return web.Response(body=stored.true, headers=headers)


async def wrong_size(request: web.Request, stored: Stored) -> web.StreamResponse:
    return web.Response(body=stored.true[:-1])


async def html(request: web.Request, stored: Stored) -> web.StreamResponse:
    return web.Response(text="<!doctype html><p>Sign in</p>", content_type="text/html")


async def xml(request: web.Request, stored: Stored) -> web.StreamResponse:
    text = "<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
    return web.Response(text=text, content_type="application/xml")


async def refused_twice(start_lab: Any, folder: Path, lie: Lie) -> None:
    """What is not the file is tried once more, kept nowhere, and reported with where and what."""
    lab, storage = await start_scripted(start_lab, folder, *[lie] * 100)
    report = await run_sync(lab, folder, **RECORDINGS)
    assert report.exit_status == Exit.INCOMPLETE
    assert len(storage.ranges) == 2
    (problem,) = report.problems
    assert (problem.experiment, problem.data_type, problem.room) == (EXPERIMENT, "files", "room_abc123")
    assert "rec_abc123" in problem.what
    assert held_files(folder / "archive", EXPERIMENT) == {}
    assert not list((folder / "archive/.hsmirror/staging").rglob("*.part"))
    (pending,) = receipts(folder / "archive", kind="pending")
    assert pending["is_failure"]


@pytest.mark.parametrize("lie", [wrong_hash, wrong_size])
async def test_fault_33_a_wrong_hash_or_size_is_not_kept_tried_once_more_and_reported(start_lab, tmp_path, lie):
    await refused_twice(start_lab, tmp_path, lie)


@pytest.mark.parametrize("lie", [html, xml])
async def test_fault_34_a_page_under_200_is_no_recording(start_lab, tmp_path, lie):
    await refused_twice(start_lab, tmp_path, lie)


PAGES = [
    b"<?xml version='1.0'?><Error/>",
    b"\xef\xbb\xbf<?xml version='1.0'?><Error/>",
    b"\r\n <!DOCTYPE html><p>Sign in</p>",
    b"<HTML><p>Sign in</p></HTML>",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page[:12].decode("latin-1").strip())
async def test_fault_34_nor_is_a_page_that_calls_itself_a_film_and_has_no_size_to_be_held_against(
    tmp_path, page
):
    async def film(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(body=page, content_type="video/mp4")

    async with site(film) as host:
        row = recording(1, downloadUrl=f"{host.url}/1.mp4?sig=s")
        async with serving_rows({"recordings": [("room_a", row)]}) as lab:
            report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert report.exit_status == Exit.INCOMPLETE
    assert len(host.asked) == 2
    assert held_files(tmp_path / "archive", EXPERIMENT) == {}


async def test_fault_35_no_bytes_at_all_are_a_file_only_where_its_row_says_so(tmp_path):
    async def nothing(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(body=b"", content_type="video/mp4")

    async with site(nothing) as host:
        rows = [
            recording(1, downloadUrl=f"{host.url}/1.mp4?sig=s"),
            recording(2, downloadUrl=f"{host.url}/2.mp4?sig=s", fileSize=0),
            recording(3, downloadUrl=f"{host.url}/3.mp4?sig=s", fileSize=7),
        ]
        async with serving_rows({"recordings": [("room_a", row) for row in rows]}) as lab:
            report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert report.exit_status == Exit.INCOMPLETE
    assert [name for _, name, _ in held_files(tmp_path / "archive", EXPERIMENT)] == ["rec_2"]
    assert sorted(problem.what[:5] for problem in report.problems) == ["rec_1", "rec_3"]


async def test_fault_36_what_is_still_being_recorded_is_noted_and_fetched_once_it_is_final(start_lab, tmp_path):
    lab = await start_lab(rooms=2, events_per_room=5, recordings_per_room=1, last_room_active=True)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, the_experiment(report).files, the_experiment(report).files_pending) == (0, 1, 1)
    assert lab.statistics().storage_requests == 1
    (pending,) = receipts(tmp_path / "archive", kind="pending")
    assert "active" in pending["why"]
    assert not pending.get("is_failure")
    lab.source.add_room(EXPERIMENT)  # which ends the one before it
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert (tmp_path / "archive" / pending["path"]).is_file()


# --- minting ---------------------------------------------------------------------------------------------
async def test_fault_37_an_address_is_minted_just_before_its_download_and_never_for_a_held_file(
    start_lab, tmp_path
):
    """One download at a time, and the first mint is refused by the limits."""

    async def refuse_first(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if number:
            return await handler(request)
        return web.Response(status=429, headers={"Retry-After": "0"})

    faults = LabFaults(api=(on("/recordings/download/", refuse_first),))
    lab = await start_lab(rooms=3, events_per_room=5, recordings_per_room=1, storage=MINTED, faults=faults)
    one = {"limits.max_concurrent_downloads": 1}
    report = await run_sync(lab, tmp_path, overrides=one, **RECORDINGS)
    assert (report.exit_status, report.throttled) == (0, 1)
    order = [
        "mint" if each.site == "api" else "file"
        for each in lab.requests
        if each.site == "storage" or ("/recordings/download/" in each.target and each.status == 200)
    ]
    ahead = list(accumulate(1 if each == "mint" else -1 for each in order))
    assert order.count("mint") == order.count("file") == 3
    assert min(ahead) == 0, "a file was asked for before its address"
    assert max(ahead) <= 2, "more than the next one's address was asked for"
    assert (await run_sync(lab, tmp_path, full=True, **RECORDINGS)).exit_status == 0
    assert minted(lab) == 4


# --- where no address may lead ---------------------------------------------------------------------------
async def synced_recordings(folder: Path, rows: Sequence[bytes]) -> tuple[RunReport, list[str]]:
    """The report, and the paths that the API was asked for beside its lists and documents."""
    async with serving_rows({"recordings": [("room_a", row) for row in rows]}) as lab:
        report = await run_sync(lab, folder, **RECORDINGS)
        known = ("/data/recordings/experiment/", "/experiments/", "/data/rooms/", "/data/recordings/room/")
        return report, [each.target for each in lab.requests if not any(part in each.target for part in known)]


async def test_fault_38_a_download_path_that_leads_away_is_refused_and_the_key_goes_nowhere(tmp_path):
    async with serving(answer(body=b'{"data":{"url":"x"}}')) as other:
        away = [
            f"{other.url}/mint",
            f"//127.0.0.1:{other.port}/mint",
            f"\\\\127.0.0.1:{other.port}\\mint",
            f"@127.0.0.1:{other.port}/mint",
            "/data/../../../admin",
            "/data/%2e%2e/%2E%2E/admin",
            "/data/recordings/x?next=http://evil.example.com/",
            "/data/recordings/x\nX-Injected: 1",
        ]
        rows = [recording(number, downloadPath=path) for number, path in enumerate(away)]
        report, asked = await synced_recordings(tmp_path, rows)
        assert other.heard == []
    assert report.exit_status == Exit.INCOMPLETE
    assert the_experiment(report).files_failed == len(away)
    assert asked == [f"/api/v3/@127.0.0.1:{other.port}/mint"] or asked == []
    assert any("the key is not sent there" in problem.what for problem in report.problems)


PRIVATE = [
    "http://10.0.0.7/f.mp4",
    "https://10.0.0.7/f.mp4",
    "https://192.168.1.1/f.mp4",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fe80::1]/f.mp4",
    "https://[::ffff:10.0.0.7]/f.mp4",
    "https://100.64.0.1/f.mp4",
    "https://0x0a000007/f.mp4",
    "https://167772167/f.mp4",
    "https://0.0.0.0/f.mp4",
    "http://storage.example.com/f.mp4",
    "file:///etc/passwd",
    "ftp://storage.example.com/f.mp4",
    "https://user:pass@storage.example.com/f.mp4",
    "https:///f.mp4",
    "javascript:alert(1)",
]


async def test_fault_39_addresses_that_lead_into_the_network_or_to_files_are_not_visited(tmp_path):
    rows = [recording(number, downloadUrl=f"{link}?sig=s3cret") for number, link in enumerate(PRIVATE)]
    report, _ = await synced_recordings(tmp_path, rows)
    assert report.exit_status == Exit.INCOMPLETE
    assert the_experiment(report).files_failed == len(PRIVATE)
    for problem in report.problems:
        assert "address" in problem.what
        assert "s3cret" not in problem.what
    assert held_files(tmp_path / "archive", EXPERIMENT) == {}


@pytest.mark.parametrize("link", ["http://127.0.0.1:1/f", "https://127.0.0.1:1/f", "https://localhost/f"])
def test_fault_39_loopback_is_visited_only_where_the_api_is_on_loopback_itself(link: str) -> None:
    with pytest.raises(RefusedAddressError):
        parse_address(link)
    assert parse_address(link, loopback_allowed=True).host in {"127.0.0.1", "localhost"}
