"""Bytes of recording files, from storage hosts into parts on disk, proven once they are whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

import anyio
import anyio.to_thread

from hsmirror.api.addresses import SignedAddress
from hsmirror.api.headers import OfferedHashes
from hsmirror.clock import Clock
from hsmirror.errors import CorruptError, TransientError
from hsmirror.mirror.files import PartialFile, PartialNote
from hsmirror.mirror.lineup import UnderWay
from hsmirror.mirror.recordings import Recording
from hsmirror.pace.downloads import RateLimit

_BUFFERS_BYTES = 24 << 20
_LARGEST_PIECE_BYTES, _SMALLEST_PIECE_BYTES = 2 << 20, 4 << 10
_PIECES_A_SECOND = 20
"""Where the rate is limited: one of each download is worth so little of a second, since the rate is kept by
pausing after a piece, and at the start each has one."""


class FileAnswer(Protocol):
    """What is read of an answer; `api.storage.FileStream` says what the fields are."""

    @property
    def status(self) -> int: ...
    @property
    def total_bytes(self) -> int | None: ...
    @property
    def etag(self) -> str | None: ...
    @property
    def hashes(self) -> OfferedHashes: ...

    def pieces(self, size_bytes: int) -> AsyncGenerator[bytes | memoryview, None]:
        """Each is good until the next one is asked for."""
        ...


class Storage(Protocol):
    """What gives recordings' bytes: `api.transport.Transport`, or a stand-in under a virtual clock."""

    def open_file(
        self, address: SignedAddress, *, start: int = 0, if_match: str | None = None
    ) -> AbstractAsyncContextManager[FileAnswer]: ...


class Transfers:
    """All downloads of a run: they share bandwidth, memory for their pieces, and what is counted of them."""

    def __init__(self, storage: Storage, rate: RateLimit, clock: Clock, *, downloads_at_once: int) -> None:
        self._storage = storage
        self._rate = rate
        self._clock = clock
        self._piece_bytes = piece_bytes(downloads_at_once, rate.bytes_per_second)
        self.received_bytes = 0
        self.under_way_bytes = 0
        """What is there of the files that are being fetched."""

    def __repr__(self) -> str:
        return f"<Transfers of {self._piece_bytes} bytes at a time, received={self.received_bytes}>"

    async def fetch(
        self, recording: Recording, address: SignedAddress, partial: PartialFile, under_way: UnderWay
    ) -> str:
        """One try at the rest of a file; gives what the whole was proven by.

        However it ends, what came is kept for the next. `partial` was opened, if there was anything to open.

        Raises:
            UpstreamError: as the host answers; a CorruptError says that nothing of it is good.
            StorageError: the disk refused.
        """
        if recording.size_bytes is not None:
            under_way.expect(recording.size_bytes - partial.size_bytes)
        etag = partial.note.etag if partial.note else None
        async with self._storage.open_file(address, start=partial.size_bytes, if_match=etag) as answer:
            await self._begin(partial, recording, answer)
            total = answer.total_bytes
            under_way.expect(None if total is None else total - partial.size_bytes)
            self.under_way_bytes += partial.size_bytes
            try:
                if answer.status in {200, 206}:
                    await self._receive(partial, answer, under_way)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(partial.keep)
                raise
            finally:
                self.under_way_bytes -= partial.size_bytes
        return await self._prove(partial, recording, total)

    async def _begin(self, partial: PartialFile, recording: Recording, answer: FileAnswer) -> None:
        """Make what is there fit the answer.

        Raises:
            TransientError: the answer is of another object than the part that is there; it starts anew.
        """
        note = partial.note
        total = answer.total_bytes
        changed = answer.status == 412 or (
            answer.status == 206 and note is not None and note.total_bytes not in {None, total}
        )
        if changed or (answer.status == 416 and total != partial.size_bytes):
            await anyio.to_thread.run_sync(partial.restart)
            raise TransientError(f"{recording} changed at its storage host while it was fetched")
        if answer.status == 200 and partial.size_bytes:
            await anyio.to_thread.run_sync(partial.restart)
        # Not every answer says everything: a 416 has neither hash nor version.
        is_same_version = note is not None and answer.etag in {None, note.etag}
        hashes = answer.hashes or (note.hashes if note and is_same_version else answer.hashes)
        if answer.status in {200, 206}:
            partial.describe(
                PartialNote(
                    recording.source,
                    answer.etag,
                    total,
                    md5=hashes.md5,
                    crc32c=hashes.crc32c,
                    sha256=hashes.sha256,
                )
            )
        if partial.size_bytes:
            await anyio.to_thread.run_sync(partial.expect, hashes)
        else:
            partial.expect(hashes)  # nothing is there to be read

    async def _receive(self, partial: PartialFile, answer: FileAnswer, under_way: UnderWay) -> None:
        async with aclosing(answer.pieces(self._piece_bytes)) as pieces:
            async for piece in pieces:
                await anyio.to_thread.run_sync(partial.append, piece)
                self.under_way_bytes += len(piece)
                self.received_bytes += len(piece)
                pause = self._rate.delay_seconds(len(piece), self._clock.monotonic())
                if pause > 0:
                    await anyio.sleep(pause)
                under_way.received(len(piece))

    async def _prove(self, partial: PartialFile, recording: Recording, total_bytes: int | None) -> str:
        if not partial.size_bytes:
            await anyio.to_thread.run_sync(partial.append, b"")  # nothing came, which can be all there is
        try:
            # No bytes at all are a file only where its row says so.
            least = 1 if recording.size_bytes is None else 0
            return partial.prove(total_bytes, recording.size_bytes, at_least=least)
        except CorruptError:
            await anyio.to_thread.run_sync(partial.restart)
            raise


def piece_bytes(downloads_at_once: int, bytes_per_second: float | None) -> int:
    """How much of a file is hashed and written in one go: the more, the fewer hand-overs to threads.

    Each download has two such pieces in memory.
    """
    size = min(_BUFFERS_BYTES // (2 * downloads_at_once), _LARGEST_PIECE_BYTES)
    if bytes_per_second is not None:
        size = min(size, int(bytes_per_second / (_PIECES_A_SECOND * downloads_at_once)))
    return max(size, _SMALLEST_PIECE_BYTES)
