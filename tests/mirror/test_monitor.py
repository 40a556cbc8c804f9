from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from canned_server import CannedServer, answer, serving
from exposition import samples, value

from hsmirror.clock import ManualClock
from hsmirror.errors import ArchiveBusyError, Exit, HsmirrorError, StorageError
from hsmirror.mirror.monitor import Monitor
from hsmirror.mirror.report import Problem, RunReport
from hsmirror.settings import ArchiveSettings, MonitorSettings, Settings

Work = Callable[[], Awaitable[RunReport]]


def report(exit_status: int = 0, **given: Any) -> RunReport:
    base: dict[str, Any] = {"version": "0", "archive": "/a", "upstream": "u", "started_at": "", "ended_at": ""}
    return RunReport(run="r", exit_status=exit_status, **base | given)


def ending_with(result: RunReport | BaseException) -> Work:
    async def work() -> RunReport:
        if isinstance(result, BaseException):
            raise result
        return result

    return work


class Watched:
    """A monitor of an archive in a folder, and what it remarked."""

    def __init__(self, folder: Path, *, url: str = "", metrics: Path | None = None) -> None:
        self.remarks: list[str] = []
        self.stopped_with: list[Exit] = []
        settings = Settings(
            archive=ArchiveSettings(path=folder / "archive"),
            monitor=MonitorSettings(ping_url=url, metrics_file=metrics),
        )
        self.monitor = Monitor(
            settings, ManualClock(), remark=self.remarks.append, stopped_with=self.stopped_with
        )


def targets(server: CannedServer) -> list[str]:
    return [heard.target for heard in server.heard]


# --- pings -------------------------------------------------------------------------------------------------
async def test_a_complete_run_pings_its_start_and_its_success(tmp_path: Path) -> None:
    async with serving(answer()) as server:
        watched = Watched(tmp_path, url=f"{server.url}/5ecret")

        assert await watched.monitor.watch(ending_with(report())) == report()

        assert targets(server) == ["/5ecret/start", "/5ecret"]
        assert watched.remarks == []


async def test_a_run_that_is_not_complete_pings_its_failure(tmp_path: Path) -> None:
    async with serving(answer()) as server:
        watched = Watched(tmp_path, url=f"{server.url}/5ecret")

        await watched.monitor.watch(ending_with(report(Exit.INCOMPLETE)))

        assert targets(server) == ["/5ecret/start", "/5ecret/fail"]


@pytest.mark.parametrize(
    "error", [StorageError("the disk is full"), ValueError("a bug"), ExceptionGroup("", [StorageError("full")])]
)
async def test_a_run_that_raises_pings_its_failure_and_raises_the_same(
    tmp_path: Path, error: Exception
) -> None:
    async with serving(answer()) as server:
        watched = Watched(tmp_path, url=f"{server.url}/5ecret")

        with pytest.raises(type(error)):
            await watched.monitor.watch(ending_with(error))

        assert targets(server) == ["/5ecret/start", "/5ecret/fail"]


async def test_a_run_that_is_cancelled_pings_its_failure(tmp_path: Path) -> None:
    async with serving(answer()) as server:
        watched = Watched(tmp_path, url=f"{server.url}/5ecret", metrics=tmp_path / "m.prom")
        with anyio.CancelScope() as scope:

            async def work() -> RunReport:
                watched.stopped_with.append(Exit.TERMINATED)
                scope.cancel()
                await anyio.sleep_forever()
                raise AssertionError

            await watched.monitor.watch(work)

        assert targets(server) == ["/5ecret/start", "/5ecret/fail"]
    assert value(samples((tmp_path / "m.prom").read_bytes()), "last_run_exit_status") == Exit.TERMINATED


async def test_a_cancellation_during_the_first_ping_is_a_failure_too(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:

        async def cancel(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            scope.cancel()
            await reader.read()

        async with serving(cancel, answer()) as server:
            watched = Watched(tmp_path, url=f"{server.url}/5ecret", metrics=tmp_path / "m.prom")

            await watched.monitor.watch(ending_with(report()))

    assert targets(server) == ["/5ecret/start", "/5ecret/fail"]
    assert value(samples((tmp_path / "m.prom").read_bytes()), "last_run_exit_status") == Exit.INTERRUPTED


async def test_a_monitor_that_cannot_be_told_is_a_remark_without_its_address(tmp_path: Path) -> None:
    async with serving(answer("404 Not Found")) as server:
        watched = Watched(tmp_path, url=f"{server.url}/5ecret")

        assert (await watched.monitor.watch(ending_with(report()))).is_complete

    assert watched.remarks == [
        f"the monitor was not told of the run's {moment}: the monitor answered 404: check monitor.ping_url"
        for moment in ("start", "success")
    ]


async def test_what_is_sent_holds_numbers_and_no_name_from_the_server(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    async def keep_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.read(10_000))
        writer.write(answer())

    problems = (Problem("row of participant user_7 is missing", "exp_1", "chat", "room_1"),)
    run_report = report(Exit.INCOMPLETE, requests=9, changed_files=4, problems=problems)
    async with serving(answer(), keep_body) as server:
        await Watched(tmp_path, url=f"{server.url}/5ecret").monitor.watch(ending_with(run_report))

    assert bodies == [b"incomplete, exit status 3, 4 files changed, 9 requests, 1 problems, 0 s"]


# --- metrics -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("result", "status"),
    [
        (report(), 0),
        (report(Exit.INCOMPLETE), 3),
        (ArchiveBusyError("busy"), 5),
        (StorageError("full"), 7),
        (KeyError("bug"), 1),
    ],
)
async def test_metrics_are_written_whatever_the_end(
    tmp_path: Path, result: RunReport | BaseException, status: int
) -> None:
    path = tmp_path / "m.prom"
    try:
        await Watched(tmp_path, metrics=path).monitor.watch(ending_with(result))
    except (HsmirrorError, KeyError) as error:
        assert error is result

    found = samples(path.read_bytes())
    assert value(found, "last_run_exit_status", archive=str(tmp_path / "archive")) == status
    assert [each.name for each in tmp_path.iterdir()] == ["m.prom"]


async def test_metrics_of_a_run_that_raises_have_the_figures_that_it_had(tmp_path: Path) -> None:
    watched = Watched(tmp_path, metrics=tmp_path / "m.prom")

    async def work() -> RunReport:
        watched.monitor.hear(report(Exit.STORAGE, requests=9))
        raise StorageError("full")

    with pytest.raises(StorageError):
        await watched.monitor.watch(work)

    assert value(samples((tmp_path / "m.prom").read_bytes()), "last_run_requests") == 9


async def test_metrics_can_be_read_by_another_user(tmp_path: Path) -> None:
    path = tmp_path / "m.prom"

    await Watched(tmp_path, metrics=path).monitor.watch(ending_with(report()))

    assert path.stat().st_mode & 0o777 == 0o644


async def test_metrics_that_cannot_be_written_are_a_remark(tmp_path: Path) -> None:
    watched = Watched(tmp_path, metrics=tmp_path / "no-folder/m.prom")

    assert (await watched.monitor.watch(ending_with(report()))).is_complete

    (remark,) = watched.remarks
    assert "no-folder/m.prom" in remark
    assert not (tmp_path / "no-folder").exists()
