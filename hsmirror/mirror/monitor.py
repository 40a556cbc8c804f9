"""Who watches over unattended runs is told of each: by a file for Prometheus, by a ping.

Neither ever changes how a run ends: what cannot be told is a remark.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from hsmirror.api.ping import Signal, ping
from hsmirror.archive import durable
from hsmirror.archive.status import StatusReport, status
from hsmirror.clock import Clock
from hsmirror.errors import Exit, HsmirrorError, StorageError, UpstreamError
from hsmirror.mirror.metrics import Ended, render
from hsmirror.mirror.report import RunReport
from hsmirror.settings import Settings

PING_SECONDS = 5.0
"""How long a monitor may take to answer."""

PARTING_PING_SECONDS = 2.0
"""The same after a signal, when the process has to be out soon."""

_WORDS = {
    Exit.COMPLETE: "complete",
    Exit.BUG: "a bug in hsmirror",
    Exit.USAGE: "usage or configuration",
    Exit.INCOMPLETE: "incomplete",
    Exit.KEY_REFUSED: "the key was refused",
    Exit.ARCHIVE_BUSY: "another run holds the archive",
    Exit.DAMAGED: "damage was found",
    Exit.STORAGE: "the disk is full or cannot be written to",
    Exit.INTERRUPTED: "interrupted",
    Exit.TERMINATED: "terminated",
}


class Monitor:
    """Tells of one run. `remark` hears what could not be told, and why."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        remark: Callable[[str], None],
        stopped_with: Sequence[Exit] = (),
    ) -> None:
        self._archive = settings.archive.path
        self._metrics_file = settings.monitor.metrics_file
        self._address = settings.monitor.ping_address
        self._clock = clock
        self._remark = remark
        self._stopped_with = stopped_with
        self._started = clock.monotonic()
        self._report: RunReport | None = None

    def __repr__(self) -> str:
        pings = "pings" if self._address else "does not ping"
        return f"<Monitor of {self._archive}, metrics in {self._metrics_file}, {pings}>"

    def hear(self, report: RunReport) -> None:
        """The run's report, as soon as there is one: of a run that fails, nothing is returned."""
        self._report = report

    async def watch(self, work: Callable[[], Awaitable[RunReport]]) -> RunReport:
        """Do the work of a run, and tell of its start and its end. Raises what the work raises."""
        try:
            await self._ping(Signal.START, "", PING_SECONDS)
            self._report = await work()
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self.tell_end(self._status_of(error))
            raise
        with anyio.CancelScope(shield=True):
            await self.tell_end(self._report.exit_status)
        return self._report

    async def tell_end(self, exit_status: int) -> None:
        """Write the metrics and ping."""
        ended = Ended(
            archive=str(self._archive),
            exit_status=exit_status,
            ended_at=self._clock.epoch(),
            duration_seconds=round(self._clock.monotonic() - self._started, 3),
            report=self._report,
        )
        if self._metrics_file is not None:
            await anyio.to_thread.run_sync(self._write_metrics, self._metrics_file, ended)
        signal = Signal.SUCCESS if exit_status == Exit.COMPLETE else Signal.FAILURE
        seconds = PARTING_PING_SECONDS if self._stopped_with else PING_SECONDS
        await self._ping(signal, summary(ended), seconds)

    def _status_of(self, error: BaseException) -> Exit:
        while isinstance(error, BaseExceptionGroup):
            inner = error.exceptions
            error = next((one for one in inner if isinstance(one, HsmirrorError)), inner[0])
        if isinstance(error, HsmirrorError):
            return error.exit_status
        if isinstance(error, Exception):
            return Exit.BUG
        return next(iter(self._stopped_with), Exit.INTERRUPTED)

    def _write_metrics(self, path: Path, ended: Ended) -> None:
        try:
            write_metrics(path, render(ended, _held(self._archive)))
        except StorageError as error:
            self._remark(f"{error}; the metrics are those of an earlier run")

    async def _ping(self, signal: Signal, body: str, timeout_seconds: float) -> None:
        if self._address is None:
            return
        try:
            await ping(self._address, signal, body, timeout_seconds=timeout_seconds)
        except UpstreamError as error:
            self._remark(f"the monitor was not told of the run's {_MOMENTS[signal]}: {error}")


_MOMENTS = {Signal.START: "start", Signal.SUCCESS: "success", Signal.FAILURE: "failure"}


def summary(ended: Ended) -> str:
    """One line on how the run ended: numbers alone, no name that came from the server."""
    names = {int(each): words for each, words in _WORDS.items()}
    parts = [names.get(ended.exit_status, "unknown"), f"exit status {ended.exit_status}"]
    if ended.report is not None:
        report = ended.report
        parts += [
            f"{report.changed_files} files changed",
            f"{report.requests} requests",
            f"{len(report.problems)} problems",
        ]
        if report.resume_at:
            parts.append(f"the limits are used up until {report.resume_at}")
    return ", ".join([*parts, f"{ended.duration_seconds:.0f} s"])


def write_metrics(path: Path, content: bytes) -> None:
    """In one step, so that no reader meets half of it; readable to all, as its reader is another user.

    Raises:
        StorageError: it cannot be written; its folder must be there.
    """
    with durable.disk_errors(f"write the metrics to {path}"):
        path.parent.stat()
    durable.write_whole(path.parent, path, content, durable.Modes(folder=0o755, file=0o644))


def _held(archive: Path) -> StatusReport | None:
    try:
        return status(archive)
    except HsmirrorError:
        return None
