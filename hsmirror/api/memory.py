"""How much of the API's answers is in memory at once: one bound for all that a run reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

LIMIT_BYTES = 4 << 20


class AnswerMemory:
    """Counts the bytes of answers from the wire until their rows are written, and holds reading back.

    An answer is read on while all of them together are below `limit_bytes`. Where none is being written, so
    that nothing would ever make room, the one that was begun first is read on all the same: each comes to its
    end, and one that is larger than the limit does so alone.
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

    async def wait_for_room(self, reading: AnswerReading) -> None:
        """Until there is room for more of this answer, or it is the oldest and nothing else makes room."""
        while self.held_bytes >= self._limit_bytes and (
            self._written_now or next(iter(self._readings)) is not reading
        ):
            if self._has_changed is None:
                self._has_changed = anyio.Event()
            await self._has_changed.wait()

    def _wake(self) -> None:
        if self._has_changed is not None:
            self._has_changed.set()
            self._has_changed = None


class AnswerReading:
    """One answer that is being read."""

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self.received_bytes = 0

    async def has_room(self) -> None:
        """Returns when more of it may be read."""
        await self._memory.wait_for_room(self)

    def received(self, size_bytes: int) -> None:
        """Count what has come of it."""
        self.received_bytes += size_bytes
        self._memory.hold(size_bytes)
