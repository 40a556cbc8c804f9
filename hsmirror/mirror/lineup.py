"""The recording files that wait to be fetched: which of them is next, and its address at hand by then.

Adding a file is synchronous and cheap. A worker that asks for the next one gets it with an address that lives;
shortly before a download ends, the next one's address is asked for, so that nobody stands still for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

from hsmirror.api.addresses import SignedAddress
from hsmirror.clock import Clock
from hsmirror.errors import UpstreamError
from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.ahead import OnceAhead
from hsmirror.mirror.recordings import Recording
from hsmirror.pace.download_queue import DownloadQueue
from hsmirror.pace.downloads import AddressLife, needs_fresh_address, next_address_in_seconds


class Candidate(Protocol):
    """One file to fetch, with its address and that one's life, both None where it has none yet."""

    recording: Recording
    life: AddressLife | None


Job = TypeVar("Job", bound=Candidate)


class Pace:
    """How fast things have gone so far."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._received_bytes = 0
        self._under_way = 0
        self._busy_seconds = 0.0
        self._busy_since = 0.0
        self.last_bytes_per_second = 0.0
        """Of the download that has last come on."""
        self.address_seconds = 0.0
        """How long the last address took to come."""

    def bytes_per_second(self) -> float:
        """Of all downloads together, while there were any; 0 before the first byte."""
        busy = self._busy_seconds
        if self._under_way:
            busy += self._clock.monotonic() - self._busy_since
        return self._received_bytes / busy if busy > 0 else 0.0

    def received(self, size_bytes: int, *, bytes_per_second: float) -> None:
        """So much has come, by a download that is so fast."""
        self._received_bytes += size_bytes
        self.last_bytes_per_second = bytes_per_second

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While a file is fetched."""
        if not self._under_way:
            self._busy_since = self._clock.monotonic()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._busy_seconds += self._clock.monotonic() - self._busy_since


class UnderWay:
    """One download under way: tells when its end is near."""

    def __init__(self, pace: Pace, clock: Clock, life: AddressLife | None, ahead: OnceAhead) -> None:
        self._pace = pace
        self._clock = clock
        self._life = life
        self._ahead = ahead
        self._started = clock.monotonic()
        self._received_bytes = 0
        self._left_bytes: int | None = None

    def expect(self, left_bytes: int | None) -> None:
        """So much is still to come; None: that is not known."""
        self._left_bytes = left_bytes
        if left_bytes is not None and self._pace.last_bytes_per_second:
            self._ahead.due_in(
                next_address_in_seconds(
                    self._life,
                    left_bytes=left_bytes,
                    bytes_per_second=self._pace.last_bytes_per_second,
                    takes_seconds=self._pace.address_seconds,
                )
            )

    def received(self, size_bytes: int) -> None:
        """More has come."""
        self._received_bytes += size_bytes
        seconds = max(self._clock.monotonic() - self._started, 1e-6)
        self._pace.received(size_bytes, bytes_per_second=self._received_bytes / seconds)
        if self._left_bytes is not None:
            self.expect(self._left_bytes - size_bytes)


class LineUp(Generic[Job]):
    """Files to fetch, handed to the workers one by one."""

    def __init__(self, addresses: FreshAddresses, clock: Clock) -> None:
        self._addresses = addresses
        self._clock = clock
        self._queue: DownloadQueue[Job] = DownloadQueue()
        self._ready: deque[Job] = deque()
        self._refused: dict[Job, UpstreamError] = {}
        """Those of the ready whose addresses could not be had."""
        self._preparing = 0
        self._idle = 0
        self._ending = 0
        self._unfinished = 0
        self._is_closed = False
        self._news = anyio.Event()
        self._pace = Pace(clock)

    def __repr__(self) -> str:
        return f"<LineUp waiting={len(self._queue)} ready={len(self._ready)} unfinished={self._unfinished}>"

    def begin(self, tasks: TaskGroup) -> None:
        """To be called once: `tasks` are where addresses are waited for."""
        self._tasks = tasks

    def add(self, job: Job) -> None:
        """Line up a file."""
        self._unfinished += 1
        self._queue.add(job, job.life, source=job.recording.recording_id, size_bytes=job.recording.size_bytes)
        self._wake()

    def again(self, job: Job) -> None:
        """One that broke off is next: its address may live for a while yet, and its part is there."""
        self._ready.append(job)
        self._wake()

    def finished(self) -> None:
        """A file was fetched, or given up."""
        self._unfinished -= 1
        if not self._unfinished:
            self._wake()

    def close(self) -> None:
        """No more will be added."""
        self._is_closed = True
        self._wake()

    async def next(self) -> Job | None:
        """The next file; None where there will be none any more."""
        self._idle += 1
        try:
            while not self._ready:
                if self._is_closed and not self._unfinished:
                    return None
                self._prepare()
                if not self._ready:
                    await self._news.wait()
            return self._ready.popleft()
        finally:
            self._idle -= 1

    async def address(self, job: Job) -> SignedAddress:
        """Where to fetch it from now.

        Raises:
            UpstreamError: there is no address to be had.
        """
        if (error := self._refused.pop(job, None)) is not None:
            raise error
        recording = job.recording
        if recording.address is None or needs_fresh_address(job.life, now=self._clock.epoch()):
            asked_at = self._clock.monotonic()
            job.recording = await self._addresses.fresh(recording)
            address = job.recording.address
            assert address is not None
            job.life = AddressLife(self._clock.epoch(), address.expires_at)
            self._pace.address_seconds = self._clock.monotonic() - asked_at
            return address
        return recording.address

    @contextmanager
    def under_way(self, job: Job) -> Iterator[UnderWay]:
        """To be held while a file is fetched."""
        is_ending = False

        def end_is_near() -> None:
            nonlocal is_ending
            is_ending = True
            self._ending += 1
            # Not here: a timer calls this, and what is raised in one reaches nobody.
            self._tasks.start_soon(self._prepare_ahead)

        with self._pace.busy(), OnceAhead(end_is_near) as ahead:
            try:
                yield UnderWay(self._pace, self._clock, job.life, ahead)
            finally:
                self._ending -= is_ending

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _prepare_ahead(self) -> None:
        self._prepare()

    def _prepare(self) -> None:
        """Have as many files ready as there are workers that wait, or will in a moment."""
        now, speed = self._clock.epoch(), self._pace.bytes_per_second()
        for source, life in self._addresses.arrived().items():
            self._queue.renewed(source, life, now=now)
        while len(self._ready) + self._preparing < self._idle + self._ending:
            job = self._queue.take(now, bytes_per_second=speed)
            if job is None:
                return
            if job.recording.address is not None and not needs_fresh_address(job.life, now=now):
                self._ready.append(job)
            else:
                self._preparing += 1
                self._tasks.start_soon(self._get_address, job)

    async def _get_address(self, job: Job) -> None:
        try:
            await self.address(job)
        except UpstreamError as error:
            self._refused[job] = error  # for the worker that takes it on
        self._preparing -= 1
        self._ready.append(job)
        self._wake()
