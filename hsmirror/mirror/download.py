"""Recording files: fetched before their addresses expire, resumed under new ones, sealed once proven.

Adding a recording is synchronous and cheap, from wherever its row is read; a few workers download what the
line-up hands them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import anyio
import anyio.to_thread

from hsmirror.api.addresses import SignedAddress
from hsmirror.api.headers import OfferedHashes
from hsmirror.archive.receipts import FileReceipt, PendingReceipt
from hsmirror.errors import (
    AddressExpiredError,
    BudgetExhaustedError,
    CorruptError,
    ForbiddenError,
    KeyRefusedError,
    ThrottledError,
    TransientError,
    UpstreamError,
)
from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.commit import Commit, Placement
from hsmirror.mirror.context import Context
from hsmirror.mirror.files import PartialFile, PartialNote
from hsmirror.mirror.lineup import LineUp, UnderWay
from hsmirror.mirror.recordings import Recording
from hsmirror.mirror.report import Problem
from hsmirror.pace.downloads import AddressLife, RateLimit
from hsmirror.pace.retry import CORRUPT, REQUESTS

PIECE_BYTES = 1 << 20

_FRUITLESS_TRIES = 5
"""Addresses that expired without a byte gained before a file is given up."""


class FileAnswer(Protocol):
    """What the downloader reads of an answer; `api.storage.FileStream` says what the fields are."""

    @property
    def status(self) -> int: ...
    @property
    def total_bytes(self) -> int | None: ...
    @property
    def etag(self) -> str | None: ...
    @property
    def hashes(self) -> OfferedHashes: ...

    def pieces(self, size_bytes: int) -> AsyncGenerator[bytes | memoryview, None]: ...


class Storage(Protocol):
    """What gives recordings' bytes: `api.transport.Transport`, or a stand-in under a virtual clock."""

    def open_file(
        self, address: SignedAddress, *, start: int = 0, if_match: str | None = None
    ) -> AbstractAsyncContextManager[FileAnswer]: ...


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

    recording: Recording
    path: str
    life: AddressLife | None
    counts: _Counts
    failures: int = 0
    corruptions: int = 0
    fruitless: int = 0
    was_refused: bool = False
    best_bytes: int = 0
    """The furthest that any try has come: only beyond it is there progress."""


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
        self._storage = storage
        self._addresses = addresses
        self._workers = workers
        self._rate = rate
        self._random = random
        self._lineup: LineUp[_Job] = LineUp(addresses, context.clock)
        self._sources: dict[str, str] = {}
        self._counts: dict[str, _Counts] = {}
        self._bytes_wanted = 0
        self._unknown_sizes = 0
        self._bytes_done = 0
        self._bytes_received = 0
        self._stopped_by: UpstreamError | None = None
        self._due: list[PendingReceipt] = []

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
            bytes_done=self._bytes_done,
            bytes_received=self._bytes_received,
        )

    def _mean_bytes(self) -> int:
        """What a file of unknown size is guessed to have."""
        known = sum(each.wanted for each in self._counts.values()) - self._unknown_sizes
        return self._bytes_wanted // known if known > 0 else 0

    # --- what is to be fetched -----------------------------------------------------------------------
    def add(self, recording: Recording) -> None:
        """Line up a recording's file, unless it is held."""
        self._addresses.listed(recording)
        path = self._place(recording)
        if path is None:
            return
        counts = self._counts.setdefault(recording.experiment, _Counts())
        held = self._context.receipts.file(path)
        is_held = held is not None and self._context.held.is_intact(held)
        if held is not None and is_held and recording.size_bytes in {None, held.size_bytes}:
            counts.held += 1
            self._due += self._no_longer_pending(path)
            return
        if recording.pending:
            counts.pending += 1
            self._due += self._pending(path, recording, f"not final upstream: {recording.pending}")
            return
        counts.wanted += 1
        if recording.refusal:
            self._due += self._failed(path, recording, counts, recording.refusal)
            return
        now = self._context.clock.epoch()
        life = None
        if recording.address is not None:
            life = AddressLife(now, recording.address.expires_at)
        self._bytes_wanted += recording.size_bytes or 0
        self._unknown_sizes += recording.size_bytes is None
        self._lineup.add(_Job(recording, path, life, counts))

    def close(self) -> None:
        """No more will be added."""
        self._lineup.close()

    def _place(self, recording: Recording) -> str | None:
        """Where the file goes; None where it has been lined up already.

        Two rows with the same id and format but other objects behind them get names of their own.
        """
        for twin in count():
            path = recording.path(twin)
            source = self._sources.get(path)
            if source is None:
                self._sources[path] = recording.source
                return path
            if source == recording.source:
                return None
        raise AssertionError("count() has no end")

    # --- fetching ------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Work until all is done.

        Raises:
            KeyRefusedError, StorageError: these end the run.
        """
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
            await self._fetch(job)
        except AddressExpiredError as error:
            job.life, job.fruitless = None, job.fruitless + 1
            self._again(job, error, 0.0 if job.fruitless <= _FRUITLESS_TRIES else None)
        except ForbiddenError as error:
            is_first, job.was_refused, job.life = not job.was_refused, True, None
            self._again(job, error, 0.0 if is_first else None)
        except CorruptError as error:
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
            if isinstance(error, BudgetExhaustedError):
                self._stopped_by = error
            self._again(job, error, None)
        else:
            job.counts.fetched += 1
            self._lineup.finished()

    def _again(self, job: _Job, error: UpstreamError, delay_seconds: float | None) -> None:
        """Line the job up again after a pause, in which its worker does other work; None: give it up."""
        if delay_seconds is None:
            self._due += self._failed(job.path, job.recording, job.counts, str(error))
            self._lineup.finished()
        else:
            self._tasks.start_soon(self._line_up_later, job, delay_seconds)

    async def _line_up_later(self, job: _Job, delay_seconds: float) -> None:
        await anyio.sleep(delay_seconds)
        self._lineup.again(job)

    async def _fetch(self, job: _Job) -> None:
        recording = job.recording
        address = await self._lineup.address(job)
        modes = self._context.staging.modes
        partial = PartialFile(self._context.layout, job.path, modes)
        await anyio.to_thread.run_sync(partial.open, recording.source)
        with self._lineup.under_way(job) as under_way:
            if recording.size_bytes is not None:
                under_way.expect(recording.size_bytes - partial.size_bytes)
            total = await self._receive(job, partial, address, under_way)
            await self._seal(job, partial, total)

    async def _receive(
        self, job: _Job, partial: PartialFile, address: SignedAddress, under_way: UnderWay
    ) -> int | None:
        """What is lacking of the file; gives the size of the whole, where it is known."""
        etag = partial.note.etag if partial.note else None
        async with self._storage.open_file(address, start=partial.size_bytes, if_match=etag) as stream:
            total = await self._begin(partial, job.recording, stream)
            under_way.expect(None if total is None else total - partial.size_bytes)
            self._bytes_done += partial.size_bytes
            try:
                if stream.status in {200, 206}:
                    await self._append(partial, stream, under_way)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(partial.keep)
                self._bytes_done -= partial.size_bytes
                if partial.size_bytes > job.best_bytes:
                    job.best_bytes = partial.size_bytes
                    job.failures = job.fruitless = 0
        return total

    async def _begin(self, partial: PartialFile, recording: Recording, stream: FileAnswer) -> int | None:
        """Make what is there fit the answer; gives the size of the whole, where it is known.

        Raises:
            CorruptError: the answer is of another object than the part that is there; it starts anew.
        """
        note = partial.note
        total = stream.total_bytes
        changed = stream.status == 412 or (
            stream.status == 206 and note is not None and note.total_bytes not in {None, total}
        )
        if changed or (stream.status == 416 and total != partial.size_bytes):
            await anyio.to_thread.run_sync(partial.restart)
            raise TransientError(f"{recording} changed at its storage host while it was fetched")
        if stream.status == 200 and partial.size_bytes:
            await anyio.to_thread.run_sync(partial.restart)
        # Not every answer says everything: a 416 has neither hash nor version.
        is_same_version = note is not None and stream.etag in {None, note.etag}
        hashes = stream.hashes or (note.hashes if note and is_same_version else stream.hashes)
        if stream.status in {200, 206}:
            fresh_note = PartialNote(
                recording.source,
                stream.etag,
                total,
                md5=hashes.md5,
                crc32c=hashes.crc32c,
                sha256=hashes.sha256,
            )
            await anyio.to_thread.run_sync(partial.describe, fresh_note)
        await anyio.to_thread.run_sync(partial.expect, hashes)
        return total

    async def _append(self, partial: PartialFile, stream: FileAnswer, under_way: UnderWay) -> None:
        async with aclosing(stream.pieces(PIECE_BYTES)) as pieces:
            async for piece in pieces:
                await anyio.to_thread.run_sync(partial.append, piece)
                self._bytes_done += len(piece)
                self._bytes_received += len(piece)
                pause = self._rate.delay_seconds(len(piece), self._context.clock.monotonic())
                if pause > 0:
                    await anyio.sleep(pause)
                under_way.received(len(piece))

    async def _seal(self, job: _Job, partial: PartialFile, total: int | None) -> None:
        recording = job.recording
        if not partial.size_bytes:
            await anyio.to_thread.run_sync(partial.append, b"")  # nothing came, which can be all there is
        try:
            # No bytes at all are a file only where its row says so.
            least = 1 if recording.size_bytes is None else 0
            proven_by = partial.prove(total, recording.size_bytes, at_least=least)
        except CorruptError:
            await anyio.to_thread.run_sync(partial.restart)
            raise
        receipt = FileReceipt(
            path=job.path,
            experiment=recording.experiment,
            room=recording.room,
            recording_id=recording.recording_id,
            size_bytes=partial.size_bytes,
            sha256=partial.sha256,
            verified_by=proven_by,
            etag=partial.note.etag if partial.note else None,
            fetched_at=self._context.now_text,
        )
        settled = self._no_longer_pending(job.path)
        await self._context.committer.commit(Commit([Placement(partial.path, receipt)], receipts=settled))
        await anyio.to_thread.run_sync(partial.forget_note)
        self._bytes_done += partial.size_bytes

    # --- what is remembered --------------------------------------------------------------------------
    def _failed(self, path: str, recording: Recording, counts: _Counts, why: str) -> list[PendingReceipt]:
        counts.failed += 1
        self._context.tally.problems.append(
            Problem(
                f"{recording.recording_id}: {why}",
                experiment=recording.experiment,
                data_type="files",
                room=recording.room or "",
            )
        )
        return self._pending(path, recording, why, is_failure=True)

    def _pending(
        self, path: str, recording: Recording, why: str, *, is_failure: bool = False
    ) -> list[PendingReceipt]:
        receipt = PendingReceipt(
            path=path,
            experiment=recording.experiment,
            room=recording.room,
            recording_id=recording.recording_id,
            why=why,
            is_failure=is_failure,
            since=self._context.now_text,
        )
        held = self._context.receipts.get(receipt.key)
        if isinstance(held, PendingReceipt) and (held.why, held.is_failure) == (why, is_failure):
            return []
        return [receipt]

    def _no_longer_pending(self, path: str) -> list[PendingReceipt]:
        held = self._context.receipts.get(f"pending {path}")
        if not isinstance(held, PendingReceipt) or not held.why:
            return []
        return [
            PendingReceipt(
                path=path,
                experiment=held.experiment,
                room=held.room,
                recording_id=held.recording_id,
                why="",
                since=self._context.now_text,
            )
        ]
