"""How much of the API's answers is in memory at once: one bound for all that a run reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

LIMIT_BYTES = 4 << 20

_LONGEST_WAIT_SECONDS = 1.0
"""Where no room is made for so long, a server or a disk is slow, and the bound gives way."""


class AnswerMemory:
    """Counts the bytes of answers from the wire until their rows are written, and holds reading back.

    An answer is read on while all of them together are below `limit_bytes`. Where none is being written, so
    that nothing would ever make room, the one that was begun first is read on all the same: each comes to its
    end, and one that is larger than the limit does so alone. Where even that takes long, the others are read on
    slowly: an answer that a server holds back does not hold them up.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._readings: dict[AnswerReading, None] = {}  # in the order in which they were begun
        self._has_changed: anyio.Event | None = None
        self._written_now = 0
        self.held_bytes = 0

    def __repr__(self) -> str:
        return f"<AnswerMemory {self.held_bytes} of {self._limit_bytes} bytes, reading={len(self._readings)}>"

    def hold(self, size_bytes: int) -> None:
        """Count an answer that has been read, until `release`."""
        self.held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """An answer, or a part of one, is no longer in memory."""
        self.held_bytes -= size_bytes
        self._wake()

    @contextmanager
    def writing(self, size_bytes: int) -> Iterator[None]:
        """While an answer that is held is written; afterwards it is no longer in memory."""
        self._written_now += 1
        try:
            yield
        finally:
            self._written_now -= 1
            self.release(size_bytes)

    @contextmanager
    def reading(self) -> Iterator[AnswerReading]:
        """While an answer is read; what has come of it counts until then."""
        reading = AnswerReading(self)
        self._readings[reading] = None
        try:
            yield reading
        finally:
            del self._readings[reading]
            self.release(reading.received_bytes)

    def has_room(self, reading: AnswerReading) -> bool:
        """Is there room for more of this answer, or is it the oldest and nothing else makes room?"""
        is_next = not self._written_now and next(iter(self._readings)) is reading
        return self.held_bytes < self._limit_bytes or is_next

    async def wait_for_room(self, reading: AnswerReading) -> None:
        """Until there is, or none has been made for long."""
        while not self.has_room(reading):
            if self._has_changed is None:
                self._has_changed = anyio.Event()
            with anyio.move_on_after(_LONGEST_WAIT_SECONDS) as wait:
                await self._has_changed.wait()
            if wait.cancelled_caught:
                return

    def _wake(self) -> None:
        if self._has_changed is not None:
            self._has_changed.set()
            self._has_changed = None


class AnswerReading:
    """One answer that is being read."""

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self.received_bytes = 0

    @property
    def has_room(self) -> bool:
        """May more of it be read at once?"""
        return self._memory.has_room(self)

    async def wait_for_room(self) -> None:
        """Returns when more of it may be read."""
        await self._memory.wait_for_room(self)

    def received(self, size_bytes: int) -> None:
        """Count what has come of it."""
        self.received_bytes += size_bytes
        self._memory.hold(size_bytes)
