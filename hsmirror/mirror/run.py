"""A run: the stages composed, from the lock to the report. The only module that knows them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from hsmirror import __version__
from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.rows import Row
from hsmirror.api.times import epoch_of
from hsmirror.archive import durable
from hsmirror.archive.forgotten import Forgotten
from hsmirror.archive.layout import Layout
from hsmirror.archive.lock import exclusive
from hsmirror.archive.receipts import FileReceipt, PendingReceipt
from hsmirror.archive.retention import drop_superseded
from hsmirror.archive.shards import Form
from hsmirror.archive.sums import bring_up_to_date
from hsmirror.clock import Clock, SystemClock, iso_utc
from hsmirror.errors import (
    BudgetExhaustedError,
    Exit,
    HsmirrorError,
    KeyRefusedError,
)
from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.catalogue import all_experiments, held_experiments
from hsmirror.mirror.commit import Committer
from hsmirror.mirror.connection import Connection, connected
from hsmirror.mirror.context import Context, Tally
from hsmirror.mirror.download import Downloader
from hsmirror.mirror.experiment import ExperimentMirror
from hsmirror.mirror.fetch import Wire
from hsmirror.mirror.held import HeldLists
from hsmirror.mirror.listed_files import ListedFiles
from hsmirror.mirror.lists import ListReader
from hsmirror.mirror.night import Policy
from hsmirror.mirror.opening import open_archive, require_archive_or_nothing
from hsmirror.mirror.plan import wanted_types
from hsmirror.mirror.reading import OnRows
from hsmirror.mirror.recordings import parse_recording
from hsmirror.mirror.report import ExperimentReport, Problem, RunReport
from hsmirror.mirror.settle import Settlement
from hsmirror.mirror.transfer import Storage
from hsmirror.mirror.view import RunView
from hsmirror.mirror.wanted import Wanted
from hsmirror.mirror.write import Staging
from hsmirror.model import Secret, Window
from hsmirror.pace.downloads import RateLimit
from hsmirror.settings import ExperimentSettings, Settings

EXPERIMENTS_AT_ONCE = 8
ALL = "*"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run does otherwise than the settings say.

    `longest_wait_seconds` is how long it may stand still for the limits, None as long as it takes.
    `damaged` are paths whose files `verify` found to be so: they are fetched again.
    `state_folder` holds the budget that runs on this machine share; None for the user's own.
    """

    full: bool = False
    longest_wait_seconds: float | None = None
    state_folder: Path | None = None
    stopped_with: Sequence[Exit] = ()
    """Filled in by whoever cancels the run, before doing so: the status that its report is to tell."""
    damaged: frozenset[str] = frozenset()
    wire: Wire | None = None
    """What answers instead of the API: a stand-in, where time is a virtual one. Files do not come by it."""
    storage: Storage | None = None
    """The same for the storage hosts that recording files come from."""
    on_report: Callable[[RunReport], None] | None = None
    """Hears the report of every run that got as far as the archive, whatever ended it."""


async def sync(
    settings: Settings,
    key: Secret,
    experiments: Sequence[ExperimentSettings],
    *,
    options: RunOptions = RunOptions(),
    on_start: Callable[[RunView], None] | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Bring the archive up to date; the report says what is held, what is missing, and why.

    Raises:
        KeyRefusedError: nothing can be read. ArchiveBusyError: another run holds the archive.
        NotAnArchiveError, StorageError, UsageError: as their texts say. What was committed stands.
    """
    run = _Run(settings, key, options, clock or SystemClock())
    require_archive_or_nothing(run.layout)
    with exclusive(run.layout, run.modes):
        run.open_archive()
        run.require_others_than_forgotten(experiments)
        return await run.execute(experiments, on_start)


class _Run:
    def __init__(self, settings: Settings, key: Secret, options: RunOptions, clock: Clock) -> None:
        self._settings = settings
        self._key = key
        self._options = options
        self._clock = clock
        self._id = ""
        self._started_at = iso_utc(clock.epoch())
        self._started = clock.monotonic()
        self.layout = Layout(settings.archive.path)
        self.modes = durable.Modes(settings.archive.folder_mode, settings.archive.file_mode)
        self._tally = Tally()
        self._reports: dict[str, ExperimentReport] = {}
        self._unlisted: frozenset[str] = frozenset()  # by a proven list, where they are held

    def open_archive(self) -> None:
        """Make or check the archive, and finish what a run that died has left."""
        self._id, self._receipts = open_archive(
            self.layout, self._settings.api.base_url, self.modes, self._clock, self._tally.note
        )

    def require_others_than_forgotten(self, experiments: Sequence[ExperimentSettings]) -> None:
        forgotten = Forgotten(self._receipts.of_no_experiment)
        forgotten.require_others(person for each in experiments for person in each.participants)

    async def execute(
        self, experiments: Sequence[ExperimentSettings], on_start: Callable[[RunView], None] | None
    ) -> RunReport:
        status = Exit.BUG
        self._stages: _Stages | None = None
        try:
            async with self._open_stages() as self._stages:
                view = RunView(self._stages.context, self._stages.downloader)
                if on_start is not None:
                    on_start(view)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(view.keep_up)
                    await self._mirror(self._stages, experiments)
                    tasks.cancel_scope.cancel()
            status = self._status()
        except BaseExceptionGroup as group:
            error = _first(group)
            status = self._status_of(error)
            raise error from None
        except BaseException as error:
            status = self._status_of(error)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                report = self._report(status)
                if self._options.on_report is not None:
                    self._options.on_report(report)
                if status != Exit.STORAGE:
                    await anyio.to_thread.run_sync(self._close_archive, report)
        if report.exit_status == Exit.KEY_REFUSED:
            raise KeyRefusedError(
                "the key lacks every scope that is needed: "
                + "; ".join(dict.fromkeys(problem.what for problem in self._tally.problems))
            )
        return report

    # --- the stages ----------------------------------------------------------------------------------
    @asynccontextmanager
    async def _open_stages(self) -> AsyncIterator[_Stages]:
        settings, options = self._settings, self._options
        async with connected(
            settings,
            self._key,
            self._clock,
            longest_wait_seconds=options.longest_wait_seconds,
            state_folder=options.state_folder,
            wire=options.wire,
        ) as connection:
            if not connection.is_budget_shared:
                self._tally.note(
                    "the user's state folder cannot be written to: other runs will not know of these requests"
                )
            context = self._context(connection)
            loopback_allowed = connection.transport.loopback_allowed
            addresses = FreshAddresses(context, loopback_allowed=loopback_allowed)
            downloader = Downloader(
                context,
                options.storage or connection.transport,
                addresses,
                workers=settings.limits.max_concurrent_downloads,
                rate=RateLimit(settings.limits.max_download_bytes_per_second),
                random=connection.random,
            )
            listed = ListedFiles(context, downloader, addresses)
            yield _Stages(context, downloader, listed, loopback_allowed)

    def _context(self, connection: Connection) -> Context:
        settings = self._settings
        form = Form(settings.archive.compression, settings.archive.shard_size_bytes)
        staging = Staging(
            self.layout.root,
            self.layout.staging_of(self._id),
            form,
            self.modes,
            Forgotten(self._receipts.of_no_experiment),
        )
        return Context(
            layout=self.layout,
            receipts=self._receipts,
            held=HeldLists(self.layout, self._receipts, self._options.damaged, now=self._clock.epoch()),
            policy=Policy(
                settings.archive.settle_seconds, settings.archive.recheck_seconds, self._options.full
            ),
            committer=Committer(self.layout, self._receipts, self.modes, self._id),
            staging=staging,
            settlement=Settlement(
                self.layout,
                self._receipts,
                form.compression,
                staging.builder,
                self._started_at,
                self._options.damaged,
            ),
            fetcher=connection.fetcher,
            reader=connection.reader,
            clock=self._clock,
            tally=self._tally,
        )

    # --- the work ------------------------------------------------------------------------------------
    async def _mirror(self, stages: _Stages, experiments: Sequence[ExperimentSettings]) -> None:
        try:
            chosen = await self._expanded(stages.context.reader, experiments)
        except BudgetExhaustedError as error:
            self._tally.problems.append(Problem(str(error)))
            return
        self._tally.experiments = len(chosen)
        mirrors = {each.id: self._experiment(stages, each) for each in chosen}
        whole = {each.id for each in chosen if _is_whole(each)}
        waiting = iter(list(mirrors))

        async def work() -> None:
            for experiment in waiting:
                mirror = mirrors.pop(experiment)
                report = self._reports[experiment] = await mirror.mirror()
                is_whole = experiment in whole and _has_all_recordings(report)
                await stages.listed.settle(experiment, mirror.room_states, is_whole=is_whole)
                stages.context.held.release(experiment)
                self._tally.experiments_done += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stages.downloader.run)
            if mirrors:
                # The first request alone: a refused key ends the run here.
                with suppress(BudgetExhaustedError):
                    await next(iter(mirrors.values())).define()
            async with anyio.create_task_group() as workers:
                for _ in range(min(EXPERIMENTS_AT_ONCE, len(mirrors))):
                    workers.start_soon(work)
            stages.downloader.close()
        for (kind, name), experiments_without in self._tally.unplaced.items():
            if experiments_without == len(self._reports):
                where = next(iter(self._reports)) if len(self._reports) == 1 else ""
                why = f"{kind} {name} is not in {where or 'any of the experiments'}; check the id"
                room = name if kind == "room" else ""
                self._tally.problems.append(Problem(why, experiment=where, room=room))
        held_files = await anyio.to_thread.run_sync(self._look_at_files, whole)
        for experiment, report in self._reports.items():
            files = stages.downloader.statistics(experiment)
            self._reports[experiment] = msgspec.structs.replace(
                report,
                files=held_files[experiment],
                files_fetched=files.files_fetched,
                files_pending=files.files_pending,
                files_failed=files.files_failed,
            )

    def _look_at_files(self, whole: Container[str]) -> Counter[str]:
        """How many recording files are held of each experiment; tells of those of `whole` ones that are missing
        and did not come again.
        """
        held: Counter[str] = Counter()
        for experiment in self._reports:
            for receipt in self._receipts.of(experiment):
                if isinstance(receipt, FileReceipt):
                    held[experiment] += 1
                    if experiment in whole:
                        self._require_there(receipt)
        return held

    def _require_there(self, receipt: FileReceipt) -> None:
        if durable.has_size(self.layout.location(receipt.path), receipt.size_bytes):
            return
        pending = self._receipts.get(f"pending {receipt.path}")
        if isinstance(pending, PendingReceipt) and pending.why:
            return
        self._tally.problems.append(
            Problem(
                f"{receipt.recording_id}: its file is missing or cut short in the archive, and the server "
                "did not offer it again; restore it from a backup",
                experiment=receipt.experiment,
                data_type="files",
                room=receipt.room or "",
            )
        )

    async def _expanded(
        self, reader: ListReader, experiments: Sequence[ExperimentSettings]
    ) -> list[ExperimentSettings]:
        """`"*"` becomes every experiment that the key may read and that is not named itself.

        Those that are held and no longer listed are asked for all the same.
        """
        named = {each.id: each for each in experiments if each.id != ALL}
        if (everything := next((each for each in experiments if each.id == ALL), None)) is not None:
            catalogue = await all_experiments(reader)
            held = await anyio.to_thread.run_sync(held_experiments, self._receipts)
            doubts = catalogue.doubts_beside(held)
            self._tally.problems.extend(map(Problem, doubts))
            unlisted = [each for each in catalogue.unlisted(held) if each not in named]
            if not doubts:
                self._unlisted = frozenset(unlisted)
            for experiment in unlisted:
                self._tally.note(
                    f"{experiment} is held, and the server does not list it: it is asked for by its id"
                )
            for experiment in (*catalogue.experiments, *unlisted):
                named.setdefault(experiment, msgspec.structs.replace(everything, id=experiment))
        return list(named.values())

    def _experiment(self, stages: _Stages, chosen: ExperimentSettings) -> ExperimentMirror:
        wanted = Wanted(
            chosen.id,
            rooms=tuple(dict.fromkeys(chosen.rooms)),
            participants=tuple(dict.fromkeys(chosen.participants)),
            window=Window(chosen.start_time, chosen.end_time),
        )
        return ExperimentMirror(
            stages.context,
            wanted,
            wanted_types(chosen.data_types),
            concurrent_lists=self._settings.limits.max_concurrent_requests,
            on_recordings=stages.on_recordings(chosen) if chosen.files else None,
            may_be_gone=chosen.id in self._unlisted,
        )

    # --- the end -------------------------------------------------------------------------------------
    def _status(self) -> Exit:
        problems = self._tally.problems
        if not problems and all(report.is_complete for report in self._reports.values()):
            return Exit.COMPLETE
        kinds = [kind for report in self._reports.values() for kind in report.types]
        documented = [kind for kind in kinds if DATA_TYPES[kind.data_type].documented]
        if documented and all(kind.lacks_scope for kind in documented):
            return Exit.KEY_REFUSED
        return Exit.INCOMPLETE

    def _status_of(self, error: BaseException) -> Exit:
        if isinstance(error, HsmirrorError):
            return error.exit_status
        if isinstance(error, Exception):
            return Exit.BUG
        return next(iter(self._options.stopped_with), Exit.INTERRUPTED)

    def _report(self, status: Exit) -> RunReport:
        for line in self._receipts.unreadable_lines:
            self._tally.note(f"a receipt cannot be read ({line}); what it spoke of is read again")
        stages = self._stages
        fetched = stages.context.fetcher.statistics() if stages else None
        return RunReport(
            run=self._id,
            version=__version__,
            archive=str(self.layout.root),
            upstream=self._settings.api.base_url,
            started_at=self._started_at,
            ended_at=iso_utc(self._clock.epoch()),
            kind="repair" if self._options.damaged else "sync",
            exit_status=int(status),
            experiments=tuple(self._reports.values()),
            problems=tuple(self._tally.problems),
            notes=tuple(self._tally.notes),
            requests=fetched.requests if fetched else 0,
            throttled=fetched.throttled if fetched else 0,
            retried=fetched.retried if fetched else 0,
            received_rows=self._tally.rows,
            received_bytes=fetched.received_bytes if fetched else 0,
            downloaded_bytes=stages.downloader.statistics().bytes_received if stages else 0,
            changed_files=stages.context.committer.published_files if stages else 0,
            seconds=round(self._clock.monotonic() - self._started, 3),
            resume_at=iso_utc(ceil(fetched.resume_at)) if fetched and fetched.resume_at else "",
        )

    def _close_archive(self, report: RunReport) -> None:
        self._receipts.merge()
        bring_up_to_date(self.layout, self._receipts, self.modes)
        if self._stages is None or not self._stages.context.committer.has_failed:
            durable.clear_folder(self.layout.root, self.layout.staging_of(self._id))
        keep_seconds = self._settings.archive.keep_superseded_seconds
        if report.is_complete and keep_seconds is not None:
            drop_superseded(self.layout, keep_seconds, self._clock.epoch())
        content = msgspec.json.format(msgspec.json.encode(report)) + b"\n"
        durable.write_whole(self.layout.root, self.layout.report(self._id), content, self.modes)


@dataclass(frozen=True, slots=True)
class _Stages:
    context: Context
    downloader: Downloader
    listed: ListedFiles
    loopback_allowed: bool

    def on_recordings(self, chosen: ExperimentSettings) -> OnRows:
        """Lines up the files of one experiment's recordings as their rows come."""

        def line_up(rows: Sequence[tuple[str | None, Row]]) -> None:
            self.listed.begin_page()
            for room, row in rows:
                recording = parse_recording(
                    row,
                    experiment=chosen.id,
                    room=room,
                    skew_seconds=self.context.fetcher.skew_seconds,
                    loopback_allowed=self.loopback_allowed,
                )
                if recording is not None and _is_in_window(recording.started_at, chosen):
                    self.listed.add(recording)

        return line_up


def _is_whole(chosen: ExperimentSettings) -> bool:
    """Are all recording files of the experiment asked for?"""
    is_narrow = chosen.rooms or chosen.participants or chosen.start_time or chosen.end_time
    has_recordings = not chosen.data_types or "recordings" in chosen.data_types
    return chosen.files and has_recordings and not is_narrow


def _has_all_recordings(report: ExperimentReport) -> bool:
    return any(each.data_type == "recordings" and each.is_complete for each in report.types)


def _is_in_window(started_at: str, chosen: ExperimentSettings) -> bool:
    """Recording lists take no time range: their files are chosen here. One without a time is in every range."""
    started = epoch_of(started_at)
    start, end = epoch_of(chosen.start_time), epoch_of(chosen.end_time)
    return started is None or ((start is None or started >= start) and (end is None or started < end))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that tells most: ours before the cancellations and the rest that it caused."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if isinstance(error, HsmirrorError)), leaves[0])
