"""Recording files: fetched before their addresses expire, resumed under new ones, sealed once proven.

Lining up a file is synchronous and cheap, from wherever its row is read; a few workers download what the
line-up hands them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
import anyio.to_thread
import msgspec

from hsmirror.archive.layout import playlist_path
from hsmirror.archive.receipts import FileReceipt, PendingReceipt
from hsmirror.errors import (
    AddressExpiredError,
    BudgetExhaustedError,
    CorruptError,
    ForbiddenError,
    IntermediaryError,
    KeyRefusedError,
    NotFoundError,
    StorageError,
    ThrottledError,
    TransientError,
    UnaffordableListError,
    UpstreamError,
)
from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.commit import Commit, Placement
from hsmirror.mirror.context import Context
from hsmirror.mirror.files import PartialFile, part_names
from hsmirror.mirror.lineup import LineUp
from hsmirror.mirror.listed_files import Task, as_listed
from hsmirror.mirror.pending import pending_receipts, settled_receipts
from hsmirror.mirror.recordings import Recording
from hsmirror.mirror.report import Problem
from hsmirror.mirror.transfer import Fetched, Storage, Transfers
from hsmirror.mirror.waiting import Packed, Packer
from hsmirror.pace.downloads import AddressLife, RateLimit
from hsmirror.pace.retry import CORRUPT, REQUESTS

_FRUITLESS_TRIES = 5
"""Addresses that expired without a byte gained before a file is given up."""


_UNCOMMITTED_FILES = 32
"""Fetched, and waiting for their commit while others are fetched: a group costs little more than one file."""


@dataclass(frozen=True, slots=True)
class DownloadStatistics:
    """What the progress display and the report read; sizes as far as they are known."""

    files: int
    files_done: int
    files_fetched: int
    files_held: int
    files_pending: int
    files_failed: int
    bytes: int
    bytes_done: int
    bytes_received: int


@dataclass(slots=True)
class _Counts:
    wanted: int = 0
    fetched: int = 0
    held: int = 0
    pending: int = 0
    failed: int = 0


@dataclass(slots=True, eq=False)
class _Job:
    """One file to fetch, and the address that it is fetched from at the moment."""

    packer: Packer
    packed: Packed
    path: str
    life: AddressLife | None
    counts: _Counts
    perhaps: tuple[FileReceipt, ...] = ()
    is_believed: bool = False
    is_held: bool = False
    """These three as those of its task."""
    was_looked_at: bool = False
    failures: int = 0
    corruptions: int = 0
    fruitless: int = 0
    was_refused: bool = False
    best: tuple[int, int] = (0, 0)
    """The furthest that any try has come: only beyond it is there progress."""

    @property
    def recording(self) -> Recording:
        return self.packer.unpack(self.packed)

    @recording.setter
    def recording(self, recording: Recording) -> None:
        self.packed = recording  # its turn has come


class Downloader:
    """Fetches the files of one run. `run` works until `close` was called and all is done."""

    def __init__(
        self,
        context: Context,
        storage: Storage,
        addresses: FreshAddresses,
        *,
        workers: int,
        rate: RateLimit,
        random: Callable[[], float],
    ) -> None:
        self._context = context
        self._addresses = addresses
        self._workers = workers
        self._transfers = Transfers(storage, rate, context.clock, downloads_at_once=workers)
        self._random = random
        self._lineup: LineUp[_Job] = LineUp(addresses, context.clock)
        self._packer = Packer()
        self._counts: dict[str, _Counts] = {}
        self._bytes_wanted = 0
        self._unknown_sizes = 0
        self._bytes_done = 0
        self._uncommitted = anyio.Semaphore(_UNCOMMITTED_FILES)
        self._stopped_by: UpstreamError | None = None
        self._due: list[PendingReceipt | FileReceipt] = []
        self._parts: set[str] = set()
        """Of which files there may be a part already."""

    def __repr__(self) -> str:
        return f"<Downloader {self._lineup!r}>"

    def statistics(self, experiment: str | None = None) -> DownloadStatistics:
        """Of one experiment, or of all; the byte counts are of all."""
        counts = [each for name, each in self._counts.items() if experiment in {None, name}]
        fetched, held = sum(each.fetched for each in counts), sum(each.held for each in counts)
        failed = sum(each.failed for each in counts)
        return DownloadStatistics(
            files=sum(each.wanted for each in counts),
            files_done=fetched + failed,
            files_fetched=fetched,
            files_held=held,
            files_pending=sum(each.pending for each in counts),
            files_failed=failed,
            bytes=self._bytes_wanted + self._unknown_sizes * self._mean_bytes(),
            bytes_done=self._bytes_done + self._transfers.under_way_bytes,
            bytes_received=self._transfers.received_bytes,
        )

    def _mean_bytes(self) -> int:
        """What a file of unknown size is guessed to have."""
        known = sum(each.wanted for each in self._counts.values()) - self._unknown_sizes
        return self._bytes_wanted // known if known > 0 else 0

    # --- what is to be fetched -----------------------------------------------------------------------
    def fetch(self, task: Task) -> None:
        """Line up a file."""
        recording = task.recording
        counts = self._counts_of(recording)
        counts.wanted += 1
        self._bytes_wanted += recording.size_bytes or 0
        self._unknown_sizes += recording.size_bytes is None
        life = None
        if recording.address is not None:
            life = AddressLife(self._context.clock.epoch(), recording.address.expires_at)
        job = _Job(
            self._packer, recording, task.path, life, counts, task.perhaps, task.is_believed, task.is_held
        )
        self._lineup.add(job)
        job.packed = self._packer.pack(recording)  # until its turn comes

    def is_there(self, path: str, recording: Recording) -> None:
        """A listed file is held."""
        self._counts_of(recording).held += 1
        self._due += settled_receipts(self._context, path)

    def pends(self, path: str, recording: Recording, why: str) -> None:
        """A listed file is not to be had yet."""
        self._counts_of(recording).pending += 1
        self._due += pending_receipts(self._context, path, recording, why)

    def fails(self, path: str, recording: Recording, why: str) -> None:
        """A listed file cannot be had."""
        counts = self._counts_of(recording)
        counts.wanted += 1
        self._fail(path, recording, counts, why)

    def has_none(self, path: str, recording: Recording) -> None:
        """A listed recording came to nothing upstream."""
        why = f"its status is {recording.status[:40]!r}, and it has no file"
        self._context.tally.note(f"{recording}: {why}")
        self.pends(path, recording, why)

    def _counts_of(self, recording: Recording) -> _Counts:
        return self._counts.setdefault(recording.experiment, _Counts())

    def close(self) -> None:
        """No more will be added."""
        self._lineup.close()

    # --- fetching ------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Work until all is done.

        Raises:
            KeyRefusedError, StorageError: these end the run.
        """
        self._parts = await anyio.to_thread.run_sync(part_names, self._context.layout)
        async with anyio.create_task_group() as self._tasks:
            self._lineup.begin(self._tasks)
            for _ in range(self._workers):
                self._tasks.start_soon(self._work)
        await self._context.committer.commit(Commit(receipts=self._due))

    async def _work(self) -> None:
        while (job := await self._lineup.next()) is not None:
            await self._attend(job)

    async def _attend(self, job: _Job) -> None:
        """One try at a file; afterwards it is done, given up, or lined up again."""
        try:
            if self._stopped_by is not None:
                raise self._stopped_by
            if job.perhaps and not job.was_looked_at and (held := await self._look(job)) is not None:
                self._is_held(job, held)
                return
            partial, fetched = await self._fetch(job)
        except AddressExpiredError as error:
            job.life, job.fruitless = None, job.fruitless + 1
            self._again(job, error, 0.0 if job.fruitless <= _FRUITLESS_TRIES else None)
        except ForbiddenError as error:
            is_first, job.was_refused, job.life = not job.was_refused, True, None
            self._again(job, error, 0.0 if is_first else None)
        except (CorruptError, IntermediaryError) as error:
            job.corruptions += 1
            self._again(job, error, CORRUPT.first_seconds if job.corruptions < 2 else None)
        except (TransientError, ThrottledError) as error:
            job.failures += 1
            delay = REQUESTS.delay_seconds(job.failures, self._random)
            if isinstance(error, ThrottledError) and delay is not None:
                delay = max(delay, error.retry_after_seconds or 0.0)
            self._again(job, error, delay)
        except KeyRefusedError:
            raise
        except UpstreamError as error:
            # A list that is too long for the limits keeps addresses from its own recordings alone.
            if isinstance(error, BudgetExhaustedError) and not isinstance(error, UnaffordableListError):
                self._stopped_by = error
            self._again(job, error, None)
        else:
            async with _kept_unless_committed(partial):
                await self._uncommitted.acquire()
            self._tasks.start_soon(self._commit, job, partial, fetched)

    def _again(self, job: _Job, error: UpstreamError, delay_seconds: float | None) -> None:
        """Line the job up again after a pause, in which its worker does other work; None: give it up."""
        if delay_seconds is None:
            self._give_up(job, error)
            self._lineup.finished()
        else:
            self._tasks.start_soon(self._line_up_later, job, delay_seconds)

    async def _line_up_later(self, job: _Job, delay_seconds: float) -> None:
        await anyio.sleep(delay_seconds)
        self._lineup.again(job)

    def _give_up(self, job: _Job, error: UpstreamError) -> None:
        recording = job.recording
        if job.is_held:
            job.counts.wanted -= 1
            job.counts.held += 1
            self._context.tally.note(f"{recording}: held, and could not be looked at ({error})")
        elif recording.progress == "failed" and isinstance(error, NotFoundError):
            job.counts.wanted -= 1
            self.has_none(job.path, recording)
        else:
            self._fail(job.path, recording, job.counts, str(error))

    async def _look(self, job: _Job) -> FileReceipt | None:
        """Which of the held files that it may be it is, by its host; None: it is to be fetched."""
        address = await self._lineup.address(job)
        held = await self._transfers.look(address, job.perhaps, is_believed=job.is_believed)
        job.was_looked_at = True
        job.is_held = job.is_held and held is not None
        return held

    def _is_held(self, job: _Job, held: FileReceipt) -> None:
        job.counts.wanted -= 1
        job.counts.held += 1
        recording = job.recording
        self._bytes_wanted -= recording.size_bytes or 0
        self._unknown_sizes -= recording.size_bytes is None
        now = as_listed(held, recording)
        if now != held or not self._context.policy.is_full:  # which looks at all, whenever it was last done
            self._due.append(msgspec.structs.replace(now, looked_at=self._context.now_text))
        self._due += settled_receipts(self._context, job.path)
        self._lineup.finished()

    async def _fetch(self, job: _Job) -> tuple[PartialFile, Fetched]:
        recording = job.recording
        address = await self._lineup.address(job)
        partial = PartialFile(self._context.layout, job.path, self._context.staging.modes)
        if partial.name in self._parts:
            await anyio.to_thread.run_sync(partial.open, recording.source)
        self._parts.add(partial.name)
        try:
            with self._lineup.under_way(job) as under_way:
                return partial, await self._transfers.fetch(recording, address, partial, under_way)
        finally:
            progress = self._transfers.progress(partial)
            if progress > job.best:
                job.best = progress
                job.failures = job.fruitless = 0

    async def _commit(self, job: _Job, partial: PartialFile, fetched: Fetched) -> None:
        recording, content = job.recording, fetched.content
        # A playlist is named for what it is, and not for the film whose place it takes.
        path = playlist_path(job.path) if content.is_playlist else job.path
        receipt = self._receipt(path, recording, partial, fetched)
        settled = () if content.is_playlist else settled_receipts(self._context, job.path)
        self._bytes_done += receipt.size_bytes
        held = next((each for each in job.perhaps if each.sha256 == receipt.sha256), None)
        try:
            async with _kept_unless_committed(partial):
                if held is not None:  # its host did not tell that it is the same
                    now = msgspec.structs.replace(as_listed(held, recording), looked_at=self._context.now_text)
                    commit = Commit(receipts=[now, *settled])
                    await self._context.committer.commit(commit)
                elif not self._is_held_alike(receipt):
                    await self._context.committer.commit(
                        Commit([Placement(content.path, receipt)], receipts=settled)
                    )
                if held is not None or partial.is_noted or content.path != partial.path or content.is_playlist:
                    await anyio.to_thread.run_sync(partial.clear)
        finally:
            self._uncommitted.release()
        if content.is_playlist:
            why = f"its storage host has an HLS playlist in its place, kept as {path}; the film is not held"
            self._fail(job.path, recording, job.counts, why)
        else:
            job.counts.fetched += 1
            self._note_oddities(receipt)
        self._lineup.finished()

    def _receipt(self, path: str, recording: Recording, partial: PartialFile, fetched: Fetched) -> FileReceipt:
        content = fetched.content
        is_stored_otherwise = bool(content.coding)
        return FileReceipt(
            path=path,
            experiment=recording.experiment,
            room=recording.room,
            recording_id=recording.recording_id,
            size_bytes=content.size_bytes,
            sha256=content.sha256,
            verified_by=fetched.proven_by,
            etag=partial.note.etag if partial.note else None,
            fetched_at=self._context.now_text,
            listed_bytes=None if recording.size_bytes == content.size_bytes else recording.size_bytes,
            stored_coding=content.coding,
            stored_bytes=partial.size_bytes if is_stored_otherwise else 0,
            stored_sha256=partial.sha256 if is_stored_otherwise else "",
            is_playlist=content.is_playlist,
            source=recording.source,
            object_kind=recording.object_kind,
            said=recording.said,
        )

    def _is_held_alike(self, receipt: FileReceipt) -> bool:
        """A playlist is asked for again in every run, in case that the film has come."""
        held = self._context.receipts.file(receipt.path)
        if held is None or not receipt.is_playlist:
            return False
        return held.sha256 == receipt.sha256 and self._context.held.is_intact(held)

    def _note_oddities(self, receipt: FileReceipt) -> None:
        what = f"recording {receipt.recording_id} of experiment {receipt.experiment}"
        if receipt.stored_coding:
            self._context.tally.note(
                f"{what} is stored {receipt.stored_coding}-encoded; what is held is unpacked: "
                f"{receipt.size_bytes} bytes of {receipt.stored_bytes}"
            )
        if receipt.listed_bytes is not None and receipt.listed_bytes != receipt.host_bytes:
            self._context.tally.note(
                f"{what} is held with the {receipt.host_bytes} bytes that its storage "
                f"host names; its row says {receipt.listed_bytes}"
            )

    # --- what is remembered --------------------------------------------------------------------------
    def _fail(self, path: str, recording: Recording, counts: _Counts, why: str) -> None:
        counts.failed += 1
        self._context.tally.problems.append(
            Problem(
                f"{recording.recording_id}: {why}",
                experiment=recording.experiment,
                data_type="files",
                room=recording.room or "",
            )
        )
        self._due += pending_receipts(self._context, path, recording, why, is_failure=True)


@asynccontextmanager
async def _kept_unless_committed(partial: PartialFile) -> AsyncIterator[None]:
    """Stopped before its commit's turn came, or failed with the commit of another, a recording is for the next
    run to commit, and is not fetched again. Where the commit is under way all the same, it takes the file away.
    """
    try:
        yield
    except (anyio.get_cancelled_exc_class(), StorageError):
        with anyio.CancelScope(shield=True), suppress(StorageError):
            await anyio.to_thread.run_sync(partial.keep)
        raise
