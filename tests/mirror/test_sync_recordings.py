"""Recording files over real HTTP: addresses that expire, downloads that break off, storage hosts that lie."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from oracle import EXPERIMENT, differences, held_files, ledger_files, receipts
from sync_runs import run_sync, the_experiment

from hsmirror.api.addresses import SignedAddress
from hsmirror.errors import UnaffordableListError
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.server import LabFaults
from hsmirror.lab.storage import StorageOptions
from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.download import Downloader
from hsmirror.mirror.listed_files import Task
from hsmirror.mirror.recordings import Recording

FEW = {"events_per_room": 10, "recordings_per_room": 2}
RECORDINGS = {"data_types": ("recordings",)}
FIRST = "rec_abc123"

DIALECTS = pytest.mark.parametrize("dialect", ["gcs", "s3"])
ADDRESSES = pytest.mark.parametrize("addresses", ["inline", "minted", "url"])

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@DIALECTS
@ADDRESSES
async def test_files_come_out_however_their_addresses_are_given(start_lab, tmp_path, dialect, addresses):
    lab = await start_lab(rooms=3, storage=StorageOptions(dialect=dialect, addresses=addresses), **FEW)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    assert the_experiment(report).files_fetched == 6
    assert lab.statistics().storage_requests == 6
    assert lab.statistics().storage_requests_with_key == 0


@pytest.mark.parametrize("rooms_named", [True, False])
async def test_files_lie_in_their_rooms_even_if_no_row_names_those(start_lab, tmp_path, rooms_named):
    storage = StorageOptions(addresses="minted")
    lab = await start_lab(rooms=2, storage=storage, rows_name_rooms=rooms_named, room_field="newer", **FEW)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_files(tmp_path / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)


async def test_a_file_that_is_held_is_neither_fetched_nor_minted_again(start_lab, tmp_path):
    lab = await start_lab(rooms=3, storage=StorageOptions(addresses="minted"), **FEW)

    def minted() -> int:
        return sum("/recordings/download/" in each.target for each in lab.requests)

    await run_sync(lab, tmp_path)
    assert (minted(), lab.statistics().storage_requests) == (6, 6)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 0
    assert (the_experiment(report).files, the_experiment(report).files_fetched) == (6, 0)
    assert (minted(), lab.statistics().storage_requests) == (6, 6)


async def test_a_recording_that_still_goes_on_is_noted_as_pending_and_fetched_later(start_lab, tmp_path):
    lab = await start_lab(rooms=2, last_room_active=True, **FEW)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert (the_experiment(report).files, the_experiment(report).files_pending) == (3, 1)
    (pending,) = receipts(tmp_path / "archive", kind="pending")
    assert "'active'" in pending["why"]
    assert not (tmp_path / "archive" / pending["path"]).exists()

    lab.source.add_room(EXPERIMENT)  # which ends the one before it, and goes on itself
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, the_experiment(report).files, the_experiment(report).files_pending) == (0, 5, 1)
    assert held_files(tmp_path / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)
    assert (tmp_path / "archive" / pending["path"]).exists()
    (still,) = (each["path"] for each in receipts(tmp_path / "archive", kind="pending") if each["why"])
    assert still != pending["path"]


async def test_without_files_the_rows_are_held_alone(start_lab, tmp_path):
    lab = await start_lab(rooms=2, **FEW)
    report = await run_sync(lab, tmp_path, files=False)
    assert (report.exit_status, the_experiment(report).files) == (0, 0)
    assert lab.statistics().storage_requests == 0
    assert set(differences(tmp_path / "archive", lab.source)) == {"files"}


# --- downloads that outlive their addresses ----------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Begun:
    """One download as the storage host saw it begin."""

    first_byte: int
    began_at: datetime
    expires_at: datetime


@dataclass(slots=True)
class CutConnections:
    """Every download's connection breaks off after `seconds`."""

    seconds: float
    begun: list[Begun] = field(default_factory=list)

    def middleware(self) -> Any:
        @web.middleware
        async def cut(request: web.Request, handler: Handler) -> web.StreamResponse:
            asked_for = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "bytes=0-"))
            assert asked_for is not None
            signed_at, life = (
                next(value for name, value in request.query.items() if name.endswith(end))
                for end in ("-Date", "-Expires")
            )
            expires_at = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            expires_at += timedelta(seconds=int(life))
            self.begun.append(Begun(int(asked_for[1]), datetime.now(UTC), expires_at))
            assert request.transport is not None
            timer = asyncio.get_running_loop().call_later(self.seconds, request.transport.abort)
            try:
                return await handler(request)
            finally:
                timer.cancel()

        return cut


@pytest.mark.parametrize(("addresses", "dialect"), [("inline", "gcs"), ("minted", "s3"), ("url", "s3")])
async def test_a_download_that_outlives_its_address_goes_on_from_its_byte_under_a_new_one(
    start_lab, tmp_path, dialect, addresses
):
    """It takes 4 s; addresses live 3 s, and connections 1.6 s."""
    size_bytes, bytes_per_second = 400_000, 100_000
    cuts = CutConnections(seconds=1.6)
    lab = await start_lab(
        rooms=1,
        events_per_room=10,
        recordings_per_room=1,
        recording_bytes=size_bytes,
        storage=StorageOptions(
            dialect=dialect, addresses=addresses, address_seconds=3, bytes_per_second=bytes_per_second
        ),
        faults=LabFaults(storage=(cuts.middleware(),)),
    )
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_files(tmp_path / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)
    starts = [each.first_byte for each in cuts.begun]
    assert starts == sorted(set(starts))
    assert len({each.expires_at for each in cuts.begun}) > 1
    assert all(each.began_at < each.expires_at for each in cuts.begun)
    twice = lab.statistics().storage_bytes_sent - size_bytes
    assert twice <= 0.2 * bytes_per_second * len(starts)


async def test_addresses_that_expired_while_others_downloaded_are_renewed_before_use(start_lab, tmp_path):
    """One download at a time, 0.7 s each; the addresses of all six came at once and live 3 s."""
    cuts = CutConnections(seconds=60)
    lab = await start_lab(
        rooms=3,
        recording_bytes=70_000,
        storage=StorageOptions(address_seconds=3, bytes_per_second=100_000),
        faults=LabFaults(storage=(cuts.middleware(),)),
        **FEW,
    )
    report = await run_sync(lab, tmp_path, overrides={"limits.max_concurrent_downloads": 1}, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_files(tmp_path / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)
    assert all(each.began_at < each.expires_at for each in cuts.begun)
    assert len(cuts.begun) == 6


# --- storage hosts that lie --------------------------------------------------------------------------
@dataclass(slots=True)
class LyingStorage:
    """A storage host whose answers for one recording are `lie`'s, the first `times` times.

    `lie` is given the request and the file's true bytes. `asked` are the `Range` fields, in order.
    """

    lie: Callable[[web.Request, bytes], web.StreamResponse]
    times: int = 1_000
    recording_id: str = FIRST
    source: Any = None
    asked: list[str | None] = field(default_factory=list)

    def middleware(self) -> Any:
        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            room, name = request.match_info["room"], request.match_info["name"]
            if not name.startswith(f"{self.recording_id}."):
                return await handler(request)
            self.asked.append(request.headers.get("Range"))
            if len(self.asked) > self.times:
                return await handler(request)
            file = await self.source.recording_file(room, self.recording_id)
            lie = self.lie(request, file.path.read_bytes())
            lie.headers.setdefault("x-goog-hash", f"crc32c={file.crc32c_base64},md5={file.md5_base64}")
            return lie

        return answer


async def start_lying(start_lab, storage: LyingStorage, **given: Any) -> Any:
    lab = await start_lab(faults=LabFaults(storage=(storage.middleware(),)), **(FEW | {"rooms": 1} | given))
    storage.source = lab.source
    return lab


def other_bytes(request: web.Request, true: bytes) -> web.StreamResponse:
    return web.Response(body=true[:100] + b"?" + true[101:], content_type="video/mp4")


def too_few_bytes(request: web.Request, true: bytes) -> web.StreamResponse:
    return web.Response(body=true[:-1], content_type="video/mp4")


def nothing(request: web.Request, true: bytes) -> web.StreamResponse:
    return web.Response(body=b"", content_type="video/mp4")


def an_error_under_200(request: web.Request, true: bytes) -> web.StreamResponse:
    text = "<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
    return web.Response(text=text, content_type="application/xml")


@pytest.mark.parametrize("lie", [other_bytes, too_few_bytes, nothing, an_error_under_200])
async def test_a_file_that_is_not_what_it_should_be_is_tried_once_more_and_not_kept(start_lab, tmp_path, lie):
    storage = LyingStorage(lie)
    lab = await start_lying(start_lab, storage)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 3
    assert len(storage.asked) == 2
    (problem,) = report.problems
    assert FIRST in problem.what
    assert (problem.experiment, problem.room) == (EXPERIMENT, "room_abc123")
    assert the_experiment(report).files_failed == 1
    assert [each[1] for each in held_files(tmp_path / "archive", EXPERIMENT)] == ["rec_abc123_1"]
    (pending,) = receipts(tmp_path / "archive", kind="pending")
    assert (pending["recording_id"], pending["is_failure"]) == (FIRST, True)


async def test_a_file_that_could_not_be_fetched_is_fetched_by_the_next_run(start_lab, tmp_path):
    storage = LyingStorage(other_bytes, times=2)
    lab = await start_lying(start_lab, storage)
    assert (await run_sync(lab, tmp_path)).exit_status == 3
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    assert receipts(tmp_path / "archive", kind="pending")[0]["why"] == ""


async def test_a_wrong_copy_followed_by_the_right_one_is_no_failure(start_lab, tmp_path):
    storage = LyingStorage(other_bytes, times=1)
    lab = await start_lying(start_lab, storage)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert storage.asked == [None, None]
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_an_error_page_is_no_recording_even_where_no_size_and_no_hash_is_known(start_lab, tmp_path):
    """The fifth recording of the lab's first room has no `fileSize`."""
    fifth = "rec_abc123_4"

    def page(request: web.Request, true: bytes) -> web.StreamResponse:
        answer = web.Response(text="<!doctype html><p>Sign in</p>", content_type="text/html")
        answer.headers["x-goog-hash"] = ""
        return answer

    lab = await start_lying(start_lab, LyingStorage(page, recording_id=fifth), recordings_per_room=5)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert report.exit_status == 3
    assert fifth not in {each[1] for each in held_files(tmp_path / "archive", EXPERIMENT)}


@dataclass(slots=True)
class BreaksThenLies:
    """The first download breaks off half-way; what asks for the rest gets `lie`'s answer, once."""

    lie: Callable[[bytes], web.Response]
    asked: list[str | None] = field(default_factory=list)
    source: Any = None

    def middleware(self) -> Any:
        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.asked.append(request.headers.get("Range"))
            if len(self.asked) > 2:
                return await handler(request)
            room, name = request.match_info["room"], request.match_info["name"]
            file = await self.source.recording_file(room, name.rpartition(".")[0])
            true = file.path.read_bytes()
            if len(self.asked) == 2:
                return self.lie(true)
            response = web.StreamResponse(headers={"Content-Length": str(len(true)), "ETag": '"one"'})
            await response.prepare(request)
            await response.write(true[: len(true) // 2])
            await asyncio.sleep(1.0)  # time to arrive: a connection that is reset loses what is under way
            assert request.transport is not None
            request.transport.abort()
            return response

        return answer


def whole_in_spite_of_range(true: bytes) -> web.Response:
    return web.Response(body=true, content_type="video/mp4", headers={"ETag": '"one"'})


def from_another_start(true: bytes) -> web.Response:
    span = f"bytes 10-{len(true) - 1}/{len(true)}"
    return web.Response(status=206, body=true[10:], headers={"Content-Range": span, "ETag": '"one"'})


def of_another_total(true: bytes) -> web.Response:
    half = len(true) // 2
    span = f"bytes {half}-{len(true) + 9}/{len(true) + 10}"
    return web.Response(status=206, body=true[half:] + b"0123456789", headers={"Content-Range": span})


def changed_meanwhile(true: bytes) -> web.Response:
    return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")


def nothing_behind_it(true: bytes) -> web.Response:
    return web.Response(status=416, headers={"Content-Range": f"bytes */{len(true)}"})


@pytest.mark.parametrize(
    "lie",
    [whole_in_spite_of_range, from_another_start, of_another_total, changed_meanwhile, nothing_behind_it],
)
async def test_a_rest_that_is_not_what_was_asked_for_spoils_nothing(start_lab, tmp_path, lie):
    faults = BreaksThenLies(lie)
    lab = await start_lab(
        rooms=1,
        events_per_room=10,
        recordings_per_room=1,
        recording_bytes=300_000,
        faults=LabFaults(storage=(faults.middleware(),)),
    )
    faults.source = lab.source
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_files(tmp_path / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)
    assert faults.asked[1] == "bytes=150000-"


async def test_an_address_within_a_private_network_is_not_visited(start_lab, tmp_path):
    """Faults of the API's answer: a row whose address leads elsewhere is reported, and nothing is fetched."""

    @web.middleware
    async def elsewhere(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if "/data/recordings/" in request.path and isinstance(answer, web.Response):
            assert isinstance(answer.body, bytes)
            answer.body = re.sub(
                rb'"downloadUrl":"http://[^/]+/', b'"downloadUrl":"http://10.0.0.7/', answer.body
            )
        return answer

    lab = await start_lab(rooms=1, answers=AnswerOptions(gzip=False), faults=LabFaults(api=(elsewhere,)), **FEW)
    report = await run_sync(lab, tmp_path, **RECORDINGS)
    assert report.exit_status == 3
    assert the_experiment(report).files_failed == 2
    assert lab.statistics().storage_requests == 0
    assert all("10.0.0.7" in problem.what and "?" not in problem.what for problem in report.problems)


async def test_a_list_that_the_limits_do_not_leave_keeps_addresses_from_its_own_recordings_alone(
    start_lab, tmp_path, monkeypatch
):
    lab = await start_lab(rooms=2, events_per_room=10, recordings_per_room=3)
    fetch = Downloader.fetch
    addresses: dict[str, SignedAddress] = {}
    rooms: set[str | None] = set()

    def fetch_without_address(self: Downloader, task: Task) -> None:
        recording = task.recording
        assert recording.address is not None
        addresses[recording.source] = recording.address
        rooms.add(recording.room)
        fetch(self, replace(task, recording=replace(recording, address=None)))

    async def fresh(self: FreshAddresses, recording: Recording) -> Recording:
        if recording.room == min(rooms, key=str):
            raise UnaffordableListError("its list is too long", resume_at=0.0, exceeds_limits=False)
        return replace(recording, address=addresses[recording.source])

    monkeypatch.setattr(Downloader, "fetch", fetch_without_address)
    monkeypatch.setattr(FreshAddresses, "fresh", fresh)
    report = await run_sync(lab, tmp_path, overrides={"limits.max_concurrent_downloads": 1}, **RECORDINGS)
    assert (the_experiment(report).files_fetched, the_experiment(report).files_failed) == (3, 3)
