"""Faults 12 to 23: limits, broken answers, slow servers, redirects and TLS, as a run meets them."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest
from aiohttp import web
from canned_server import NOW, CannedServer, answer, download, get, serving, talking_to
from oracle import EXPERIMENT, differences, held_rows, ledger_rows
from sync_runs import run_sync, settings_for, type_reports
from virtual_time import FakeAnswer, ScriptedWire, VirtualClock, fetcher_over, run_in_virtual_time

from faults import processes
from faults.upstream import Fault, Handler, connection_of, on
from hsmirror.api.headers import LONGEST_RETRY_AFTER_SECONDS
from hsmirror.api.transport import LARGEST_BODY_BYTES
from hsmirror.clock import ManualClock
from hsmirror.errors import (
    Exit,
    ForbiddenError,
    KeyRefusedError,
    ThrottledError,
    TimedOutError,
    UnreachableError,
)
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.limits import LimitOptions
from hsmirror.lab.server import LabFaults
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.retry import THROTTLES
from hsmirror.settings import ExperimentSettings

SMALL = {"rooms": 2, "events_per_room": 20, "recordings_per_room": 0}
EVENTS = {"data_types": ("events",), "files": False}


def a_request(endpoint: str) -> Request:
    return Request(endpoint, f"{endpoint}/room/r", {}, Urgency.DOCUMENTED)


# --- limits ----------------------------------------------------------------------------------------------
def test_fault_12_a_429_without_retry_after_rests_the_whole_key_and_longer_each_time() -> None:
    """Two endpoints: the first is refused three times, and until it is not, nothing goes to the second."""

    async def night(clock: VirtualClock) -> list[tuple[float, str]]:
        wire = ScriptedWire(clock, [*[ThrottledError("429")] * 3, FakeAnswer()])
        fetcher = fetcher_over(wire, slots=1)
        async with asyncio.TaskGroup() as tasks:
            for endpoint in ("data/events", "data/chat"):
                tasks.create_task(fetcher.get(a_request(endpoint)))
        return list(zip(wire.sent_at, wire.paths, strict=True))

    sent = run_in_virtual_time(night)
    gaps = [after - before for (before, _), (after, _) in pairwise(sent)]
    assert len(sent) == 5
    assert gaps[0] > 1.0
    assert gaps[1] > 1.5 * gaps[0]
    assert gaps[2] > 1.5 * gaps[1]


def test_fault_12_clients_that_were_refused_together_do_not_come_back_together() -> None:
    """The same refusal, three draws of chance, three pauses."""
    delays = {THROTTLES.delay_seconds(1, lambda chance=chance: chance) for chance in (0.0, 0.5, 1.0)}
    assert len(delays) == 3


RETRY_AFTERS = {
    "7": 7.0,
    " 7 ": 7.0,
    "0": 0.0,
    "2.5": 2.5,
    "-5": 0.0,
    "99999999999": LONGEST_RETRY_AFTER_SECONDS,
    "9" * 31: LONGEST_RETRY_AFTER_SECONDS,
    "9" * 400: None,
    "1e400": LONGEST_RETRY_AFTER_SECONDS,
    "nan": None,
    "soon": None,
    "": None,
    formatdate(NOW + 30, usegmt=True): 30.0,
    formatdate(NOW - 30, usegmt=True): 0.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": LONGEST_RETRY_AFTER_SECONDS,
    "Thu, 01 Jan 1970 00:00:00 GMT": 0.0,
    "Fri, 99 Foo 2026 99:99:99 GMT": None,
}


@pytest.mark.parametrize("value", RETRY_AFTERS, ids=lambda value: repr(value[:40]))
async def test_fault_13_retry_after_is_parsed_and_clamped_whatever_it_says(value: str) -> None:
    async with serving(answer("429 Too Many Requests", Retry_After=value)) as server:
        with pytest.raises(ThrottledError) as caught:
            await get(server)
        with pytest.raises(ThrottledError) as of_file:
            await download(server)
    assert caught.value.retry_after_seconds == of_file.value.retry_after_seconds == RETRY_AFTERS[value]


@pytest.mark.parametrize("skew_seconds", [-7200, 7200])
async def test_fault_13_a_date_to_retry_after_is_one_of_the_servers_clock(skew_seconds: int) -> None:
    """Its own `Date` says what it means by it, however wrong our clock is."""
    server_now = NOW + skew_seconds
    refusal = answer(
        "429 Too Many Requests",
        Date=formatdate(server_now, usegmt=True),
        Retry_After=formatdate(server_now + 30, usegmt=True),
    )
    async with serving(refusal) as server:
        with pytest.raises(ThrottledError) as caught:
            await get(server)
        with pytest.raises(ThrottledError) as of_file:
            await download(server)
    assert caught.value.retry_after_seconds == of_file.value.retry_after_seconds == 30.0


async def test_fault_13_an_absurd_retry_after_ends_an_unattended_run_with_a_sane_time(start_lab, tmp_path):
    async def refuse(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "1e400"})

    lab = await start_lab(faults=LabFaults(api=(on("/data/", refuse),)), **SMALL)
    report = await sync(
        settings_for(lab, tmp_path),
        Secret(lab.key),
        [ExperimentSettings(id=EXPERIMENT)],
        options=RunOptions(state_folder=tmp_path / "state", longest_wait_seconds=0),
    )
    assert report.exit_status == Exit.INCOMPLETE
    assert report.resume_at[:2] == "20"
    assert report.resume_at > report.ended_at


@pytest.mark.parametrize(
    ("limits", "settings"),
    [
        (LimitOptions(requests_per_hour=25), {"HSMIRROR_LIMITS__REQUESTS_PER_HOUR": "25"}),
        (
            LimitOptions(requests_per_minute_per_endpoint=3),
            {"HSMIRROR_LIMITS__REQUESTS_PER_MINUTE_PER_ENDPOINT": "3"},
        ),
    ],
    ids=["an hour", "a minute and endpoint"],
)
def test_fault_14_both_limits_are_kept_across_processes(start_lab_in_thread, tmp_path, limits, settings):
    """Two processes, the second after the first; the server, which counts too, never has to refuse."""
    lab = start_lab_in_thread(limits=limits, **SMALL)
    arguments = processes.sync_arguments("--full", "--no-wait", "--json")
    statuses = [processes.run(tmp_path, *arguments, lab=lab, environ=settings).status for _ in range(2)]
    assert statuses[-1] == Exit.INCOMPLETE
    assert lab.statistics().throttled == 0
    counted = lab.statistics()
    if limits.requests_per_hour == 25:
        assert counted.requests == 25
    else:
        assert max(count for name, count in counted.by_endpoint.items() if name.startswith("data/")) == 3


# --- trouble that passes ---------------------------------------------------------------------------------
TROUBLES: dict[str, int] = {
    "events": 500,
    "chat": 502,
    "ratings/continuous": 503,
    "ratings/sparse": 504,
    "sync": 408,
    "components": 0,
}


async def test_fault_15_trouble_that_passes_is_not_noticed(start_lab, tmp_path):
    """Each data type's first request meets another trouble; 0 is a connection that is reset."""

    async def fail_once(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if number:
            return await handler(request)
        status = next(status for name, status in TROUBLES.items() if f"/data/{name}/" in request.path)
        if status:
            return web.Response(status=status, text="<html>trouble</html>")
        connection_of(request).abort()
        return web.Response()

    faults = tuple(on(f"/data/{name}/", fail_once) for name in TROUBLES)
    lab = await start_lab(faults=LabFaults(api=faults), **SMALL)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    assert lab.statistics().by_status[500] == lab.statistics().by_status[408] == 1


@pytest.mark.parametrize("failure", [UnreachableError("no such name"), TimedOutError("504")], ids=str)
def test_fault_15_trouble_that_stays_is_given_up_after_a_bounded_number_of_tries(failure: Exception) -> None:
    async def night(clock: VirtualClock) -> tuple[int, float]:
        wire = ScriptedWire(clock, [failure])
        with pytest.raises(type(failure)):
            await fetcher_over(wire).get(a_request("data/events"))
        return len(wire.sent_at), clock.monotonic()

    tries, seconds = run_in_virtual_time(night)
    assert tries == 6
    assert 5 < seconds < 60


async def test_fault_15_a_connection_that_went_stale_while_it_was_kept_is_no_failure() -> None:
    """The server closes each connection without having said so."""
    async with serving(answer()) as server, talking_to(server.url) as wire:
        for _ in range(3):
            assert (await wire.get("data", {}, timeout_seconds=5)).body == b"{}"


async def test_fault_16_a_key_that_is_revoked_midway_stops_everything_at_once(start_lab, tmp_path):
    """Thirty rooms of every type are still to be read: no more than what is under way is asked for."""
    answered = 0

    @web.middleware
    async def revoked(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal answered
        answered += 1
        if answered > 25:
            return web.json_response(
                {"status": "error", "error": {"code": "X", "message": "revoked"}}, status=401
            )
        return await handler(request)

    lab = await start_lab(
        rooms=30,
        events_per_room=5,
        recordings_per_room=0,
        rows_name_rooms=False,
        answers=AnswerOptions(latency_seconds=0.01),
        faults=LabFaults(api=(revoked,)),
    )
    with pytest.raises(KeyRefusedError):
        await run_sync(lab, tmp_path, overrides={"limits.max_concurrent_requests": 4})
    assert 1 <= lab.statistics().by_status[401] <= 4


async def test_fault_16_a_forbidden_type_is_given_up_at_once_for_all_rooms(start_lab, tmp_path):
    async def forbid(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        return web.json_response(
            {"status": "error", "error": {"code": "FORBIDDEN", "message": "no"}}, status=403
        )

    faults = LabFaults(api=(on("/data/chat/", forbid),))
    lab = await start_lab(rooms=20, events_per_room=5, recordings_per_room=0, faults=faults)
    rooms = tuple(lab.source.room_ids(EXPERIMENT))
    report = await run_sync(
        lab,
        tmp_path,
        rooms=rooms,
        data_types=("events", "chat"),
        overrides={"limits.max_concurrent_requests": 4},
    )
    assert report.exit_status == Exit.INCOMPLETE
    assert sum("/data/chat/" in each.target for each in lab.requests) <= 4
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == ledger_rows(
        lab.source, EXPERIMENT, "events"
    )
    (problem,) = report.problems
    assert (problem.data_type, "403 no" in problem.what) == ("chat", True)


def test_fault_16_what_is_forbidden_is_asked_once() -> None:
    async def night(clock: VirtualClock) -> int:
        wire = ScriptedWire(clock, [ForbiddenError("403")])
        with pytest.raises(ForbiddenError):
            await fetcher_over(wire).get(a_request("data/events"))
        return len(wire.sent_at)

    assert run_in_virtual_time(night) == 1


# --- broken bodies ---------------------------------------------------------------------------------------
async def whole_body(request: web.Request, handler: Handler) -> bytes:
    page = await handler(request)
    assert isinstance(page, web.Response)
    assert isinstance(page.body, bytes)
    return page.body


async def cut_short(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
    """All rows but the last ones, under a length that promises more."""
    if number:
        return await handler(request)
    body = await whole_body(request, handler)
    response = web.StreamResponse(
        headers={"Content-Length": str(len(body)), "Content-Type": "application/json"}
    )
    await response.prepare(request)
    await response.write(body[: len(body) - 40])
    connection_of(request).close()
    return response


async def without_its_end(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
    """Every byte of the body, but not the chunk that says that it is the end."""
    if number:
        return await handler(request)
    body = await whole_body(request, handler)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(body)
    connection_of(request).close()
    return response


async def corrupt_gzip(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
    """One bit of the compressed body is another."""
    if number:
        return await handler(request)
    packed = bytearray(gzip.compress(await whole_body(request, handler)))
    packed[-6] ^= 0x40  # of the checksum: only that tells
    return web.Response(
        body=bytes(packed), headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )


async def asked_for_again(start_lab: Any, folder: Path, fault: Fault) -> None:
    """A broken body costs one more request, and nothing of it is used."""
    plain = AnswerOptions(gzip=False)
    lab = await start_lab(answers=plain, faults=LabFaults(api=(on("/data/events/", fault),)), **SMALL)
    report = await run_sync(lab, folder, **EVENTS)
    assert (report.exit_status, report.problems, report.retried) == (0, (), 1)
    assert held_rows(folder / "archive", EXPERIMENT, "events") == ledger_rows(lab.source, EXPERIMENT, "events")
    assert sum("/data/events/" in each.target for each in lab.requests) == 2


async def test_fault_17_a_body_cut_short_is_asked_for_again_and_nothing_of_it_used(start_lab, tmp_path):
    await asked_for_again(start_lab, tmp_path, cut_short)


async def test_fault_19_a_chunked_body_without_its_end_is_no_body(start_lab, tmp_path):
    await asked_for_again(start_lab, tmp_path, without_its_end)


async def test_fault_20_a_corrupt_gzip_body_is_asked_for_again(start_lab, tmp_path):
    await asked_for_again(start_lab, tmp_path, corrupt_gzip)


ERROR_UNDER_200 = {"status": "error", "error": {"code": "INTERNAL", "message": "something broke"}}


async def test_fault_18_html_or_an_error_under_200_is_asked_for_again_and_then_named(start_lab, tmp_path):
    """Events recover; chat stays a sign-in page, sync metrics an error."""

    async def page(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if "/data/events/" in request.path and number:
            return await handler(request)
        return web.Response(text="<!doctype html><title>Sign in</title>", content_type="text/html")

    async def error(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        return web.json_response(ERROR_UNDER_200)

    faults = (on("/data/events/", page), on("/data/chat/", page), on("/data/sync/", error))
    lab = await start_lab(faults=LabFaults(api=faults), **SMALL)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    assert set(differences(tmp_path / "archive", lab.source)) == {"chat", "sync"}
    assert "HTML" in type_reports(report)["chat"].why
    assert "error" in type_reports(report)["sync"].why
    for data_type in ("chat", "sync"):
        assert sum(f"/data/{data_type}/" in each.target for each in lab.requests) == 3


async def test_fault_20_a_body_that_explodes_stops_at_a_cap_and_costs_its_type_alone(start_lab, tmp_path):
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(8 << 20)
    bomb = b"".join(deflate.compress(zeros) for _ in range(LARGEST_BODY_BYTES // len(zeros) + 1))
    bomb += deflate.flush()

    async def explode(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    assert len(bomb) < 4 << 20
    lab = await start_lab(faults=LabFaults(api=(on("/data/chat/", explode),)), **SMALL)
    report = await run_sync(lab, tmp_path, data_types=("events", "chat"), files=False)
    assert report.exit_status == Exit.INCOMPLETE
    assert "larger than 512 MiB" in type_reports(report)["chat"].why
    assert type_reports(report)["events"].is_complete


# --- slow servers ----------------------------------------------------------------------------------------
class HurriedClock(ManualClock):
    """Each look at it takes ten seconds."""

    def monotonic(self) -> float:
        self.advance(10.0)
        return self.now


def trickling(head: bytes, byte: bytes, every_seconds: float) -> Any:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(byte)
            await writer.drain()
            await asyncio.sleep(every_seconds)

    return trickle


LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"


async def test_fault_21_one_byte_a_second_is_too_slow_for_an_answer_and_for_a_file() -> None:
    async with (
        serving(trickling(LARGE, b" ", 0.01)) as server,
        talking_to(server.url, HurriedClock(NOW)) as wire,
    ):
        with pytest.raises(TimedOutError, match="less than 1 KiB a second"):
            await wire.get("data", {}, timeout_seconds=30)
        async with wire.open_file(server.address()) as stream:
            with pytest.raises(TimedOutError, match="less than 1 KiB a second"):
                _ = [piece async for piece in stream.pieces(1 << 20)]


async def test_fault_21_an_answer_that_comes_steadily_and_never_ends_runs_into_its_deadline() -> None:
    """100 KiB a second are fast enough; the deadline is for the whole."""
    async with serving(trickling(LARGE, bytes(1024), 0.01)) as server, talking_to(server.url) as wire:
        began = anyio.current_time()
        with pytest.raises(TimedOutError, match="in time"):
            await wire.get("data", {}, timeout_seconds=0.4)
        assert anyio.current_time() - began < 5


# --- redirects -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_fault_22_a_redirect_to_another_host_is_refused_and_that_host_hears_nothing(
    start_lab, tmp_path, status
):
    async with serving(answer()) as other:

        async def redirect(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": f"{other.url}{request.path_qs}"})

        lab = await start_lab(faults=LabFaults(api=(on("/data/chat/", redirect),)), **SMALL)
        report = await run_sync(lab, tmp_path)
        assert other.heard == []
    assert report.exit_status == Exit.INCOMPLETE
    assert [problem.data_type for problem in report.problems] == ["chat"]
    assert "redirects to another host" in report.problems[0].what
    assert sum("/data/chat/" in each.target for each in lab.requests) == 1


# --- TLS -------------------------------------------------------------------------------------------------
CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""Made for these tests: a key and its self-signed certificate, for the name `localhost` alone, until 2126."""


@dataclass(slots=True)
class TlsServer:
    """Answers over TLS with `answers.answers`; counts handshakes begun and requests heard."""

    answers: CannedServer
    port: int = 0
    connections: int = field(default=0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self.answers.serve(reader, writer)


@asynccontextmanager
async def serving_tls(*answers: bytes) -> AsyncIterator[TlsServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    canned = TlsServer(CannedServer(answers))
    server = await asyncio.start_server(canned.serve, "127.0.0.1", 0, ssl=context)
    canned.port = server.sockets[0].getsockname()[1]
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: None)  # clients that hang up
    try:
        yield canned
    finally:
        server.close()


async def synced_over_tls(folder: Path, base_url: str, *, trusting: bool) -> processes.Ended:
    lab: Any = SimpleNamespace(base_url=base_url, key="hst_test_" + "t" * 64)
    environ = {"SSL_CERT_FILE": str(CERTIFICATE)} if trusting else {}
    arguments = processes.sync_arguments("--type", "events", "--no-wait")
    return await anyio.to_thread.run_sync(lambda: processes.run(folder, *arguments, lab=lab, environ=environ))


async def test_fault_22_a_redirect_from_https_to_plain_http_is_refused(tmp_path: Path) -> None:
    async with serving(answer()) as plain:
        location = plain.url.replace("127.0.0.1", "localhost")
        async with serving_tls(answer("307 Moved", Location=f"{location}/api/v3/x")) as server:
            ended = await synced_over_tls(tmp_path, f"https://localhost:{server.port}/api/v3", trusting=True)
            assert server.answers.heard  # so the certificate was trusted
        assert plain.heard == []
    assert ended.status == Exit.INCOMPLETE
    assert "redirects to another host" in ended.err


@pytest.mark.parametrize(
    ("host", "trusting"),
    [
        pytest.param("localhost", False, id="signed by nobody known"),
        pytest.param("127.0.0.1", True, id="for another name"),
    ],
)
async def test_fault_23_a_certificate_that_does_not_fit_ends_it_before_a_byte_is_sent(
    tmp_path: Path, host: str, trusting: bool
) -> None:
    async with serving_tls(answer()) as server:
        ended = await synced_over_tls(tmp_path, f"https://{host}:{server.port}/api/v3", trusting=trusting)
        assert server.answers.heard == []
    assert ended.status == Exit.INCOMPLETE
    assert "cannot be trusted: the TLS handshake failed" in ended.err
