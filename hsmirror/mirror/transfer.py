"""Bytes of recording files, from storage hosts into parts on disk, proven once they are whole.

A file is whole once its bytes have the hash that its host names for all of them; or once they are as many as
the host says, and all of one version: they came in one answer, or in several that name the same version. Where
neither can be told, a second reading has to give the same bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import NoReturn, Protocol

import anyio
import anyio.to_thread

from hsmirror.api.addresses import SignedAddress
from hsmirror.api.headers import OfferedHashes, Sameness, Version, http_date
from hsmirror.archive.receipts import FileReceipt, instant
from hsmirror.clock import Clock
from hsmirror.errors import CorruptError, PermanentError, TransientError
from hsmirror.mirror.content import Content, content_of
from hsmirror.mirror.files import SIZE, PartialFile, PartialNote
from hsmirror.mirror.lineup import UnderWay
from hsmirror.mirror.recordings import Recording
from hsmirror.pace.downloads import RateLimit

READINGS = "readings"
"""A proof: the host named its size in two answers, or gave the same bytes twice."""

_MOST_READINGS = 4
"""Of one file in a run, the last one not to be gone through with."""
_OVERLAP_BYTES = 16 << 10
"""Asked for once more where a host names no version, and compared: other versions are not let in."""

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
    def version(self) -> Version: ...
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


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that came whole: what is to be kept, and what it was proven by."""

    content: Content
    proven_by: str


@dataclass(slots=True)
class _Doubt:
    """What a run remembers of a file whose host leaves it open whether it came whole."""

    sha256: str = ""
    """Of the last reading that came to its end."""
    received_bytes: int = 0
    """Since then."""
    readings: int = 0
    """How often it was begun anew for another, or came to another end."""
    asked_behind: int = -1
    """Of how many bytes the host was asked what comes behind them."""
    is_match_refused: bool = False
    is_untold: bool = False
    """The host does not say of which version a part is."""


_NO_DOUBT = _Doubt()

_SAME = {Sameness.PROVEN, Sameness.LIKELY}


class _UntoldError(TransientError):
    """It cannot be told whether an answer is of the same version as the part that is there."""


class Transfers:
    """All downloads of a run: they share bandwidth, memory for their pieces, and what is counted of them."""

    def __init__(self, storage: Storage, rate: RateLimit, clock: Clock, *, downloads_at_once: int) -> None:
        self._storage = storage
        self._rate = rate
        self._clock = clock
        self._piece_bytes = piece_bytes(downloads_at_once, rate.bytes_per_second)
        self._doubts: dict[str, _Doubt] = {}
        self.received_bytes = 0
        self.under_way_bytes = 0
        """What is there of the files that are being fetched."""

    def __repr__(self) -> str:
        return f"<Transfers of {self._piece_bytes} bytes at a time, received={self.received_bytes}>"

    async def fetch(
        self, recording: Recording, address: SignedAddress, partial: PartialFile, under_way: UnderWay
    ) -> Fetched:
        """One try at the rest of a file, in as many answers as its host gives it in.

        However it ends, what came is kept for the next. `partial` was opened, if there was anything to open.

        Raises:
            UpstreamError: as the host answers; a CorruptError says that nothing of it is good.
            StorageError: the disk refused.
        """
        try:
            while True:
                if not await self._take(recording, address, partial, under_way):
                    continue
                if (fetched := await self._judge(partial, recording)) is not None:
                    self._doubts.pop(partial.name, None)
                    return fetched
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(partial.keep)
            raise

    def progress(self, partial: PartialFile) -> tuple[int, int]:
        """How far a file has come: the more, the further."""
        doubt = self._doubts.get(partial.name)
        return doubt.readings if doubt else 0, partial.size_bytes

    def _doubt_of(self, partial: PartialFile) -> _Doubt:
        return self._doubts.get(partial.name, _NO_DOUBT)

    async def _take(
        self, recording: Recording, address: SignedAddress, partial: PartialFile, under_way: UnderWay
    ) -> bool:
        """Ask for what is not there yet, and take what comes; False: something else is to be asked for."""
        is_question = partial.size_bytes > 0 and partial.size_bytes == self._doubt_of(partial).asked_behind
        try:
            await self._receive_from(address, recording, partial, under_way)
        except (TransientError, CorruptError, PermanentError) as error:
            if not is_question or isinstance(error, _UntoldError):
                raise
            # A host that cannot say what comes behind the end has to give all of it again.
            await anyio.to_thread.run_sync(partial.restart)
            if isinstance(error, TransientError):
                raise
            return False
        return True

    async def _receive_from(
        self, address: SignedAddress, recording: Recording, partial: PartialFile, under_way: UnderWay
    ) -> None:
        if recording.size_bytes is not None:
            under_way.expect(max(recording.size_bytes - partial.size_bytes, 0))
        doubt, there_bytes = self._doubt_of(partial), partial.size_bytes
        etag = partial.note.version.strong_etag if partial.note is not None else None
        start = max(there_bytes - _OVERLAP_BYTES, 0) if doubt.is_untold else there_bytes
        async with self._storage.open_file(
            address, start=start, if_match=None if doubt.is_match_refused else etag
        ) as answer:
            await self._begin(partial, recording, answer, is_compared=start < there_bytes)
            total = answer.total_bytes
            under_way.expect(None if total is None else max(total - partial.size_bytes, 0))
            compared_bytes = there_bytes - start if partial.size_bytes else 0
            self.under_way_bytes += partial.size_bytes
            try:
                if answer.status in {200, 206}:
                    await self._receive(partial, recording, answer, under_way, compared_bytes)
            finally:
                self.under_way_bytes -= partial.size_bytes
        if compared_bytes and partial.size_bytes == there_bytes and not partial.is_end_known:
            raise TransientError(f"{recording}: its storage host gives no more than is there")

    async def look(
        self, address: SignedAddress, perhaps: Sequence[FileReceipt], *, is_believed: bool
    ) -> FileReceipt | None:
        """Which of these held files is behind an address, by its size and its entity tag.

        None: none of them is; or its host does not tell, unless it `is_believed` then.
        """
        async with self._storage.open_file(address) as answer:  # and its body is left alone
            total, version = answer.total_bytes, answer.version
        of_size = [held for held in perhaps if total in {None, held.host_bytes}]
        for held in of_size:
            if _is_same_tag(held.etag, version.etag):
                return held
        untold = [held for held in of_size if held.etag is None or version.etag is None]
        is_newer = any(_was_modified_since(version, held) for held in untold)
        return untold[0] if is_believed and untold and not is_newer else None

    async def _begin(
        self, partial: PartialFile, recording: Recording, answer: FileAnswer, *, is_compared: bool
    ) -> None:
        """Make what is there fit the answer. `is_compared`: it begins with the last bytes of what is there.

        Raises:
            TransientError: the answer is of another object than the part that is there, and it starts anew; or
                it may be, and the next one is to be compared.
        """
        if answer.status == 200 and partial.size_bytes:
            await anyio.to_thread.run_sync(partial.restart)
        old = partial.note if partial.size_bytes else None
        new = PartialNote.of(recording.source, answer.version, answer.total_bytes, answer.hashes)
        if answer.status == 412:  # by some, whatever the version: from now on it is compared here alone
            self._doubts.setdefault(partial.name, _Doubt()).is_match_refused = True
            await self._changed(partial, recording)
        elif old is None:
            partial.describe(new)
        elif answer.status == 416:  # nothing is added, and not every host says of what
            note = None if is_compared else old.ended(new.total_bytes, partial.size_bytes)
            partial.describe(note or await self._changed(partial, recording))
        elif old.is_untold_by(new) and not is_compared:
            self._doubts.setdefault(partial.name, _Doubt()).is_untold = True
            raise _UntoldError(f"the storage host of {recording} does not say whether it is still the same")
        else:
            partial.describe(old.joined(new) or await self._changed(partial, recording))
        assert partial.note is not None
        if partial.size_bytes:
            await anyio.to_thread.run_sync(partial.expect, partial.note.hashes)
        else:
            partial.expect(partial.note.hashes)  # nothing is there to be read

    async def _changed(self, partial: PartialFile, recording: Recording) -> NoReturn:
        await anyio.to_thread.run_sync(partial.restart)
        raise TransientError(f"{recording} changed at its storage host while it was fetched")

    async def _receive(
        self,
        partial: PartialFile,
        recording: Recording,
        answer: FileAnswer,
        under_way: UnderWay,
        compared_bytes: int,
    ) -> None:
        doubt = self._doubts.get(partial.name)
        tail = await anyio.to_thread.run_sync(partial.tail, compared_bytes) if compared_bytes else b""
        async with aclosing(answer.pieces(self._piece_bytes)) as pieces:
            async for piece in pieces:
                known, added = piece[: len(tail)], piece[len(tail) :]
                if known != tail[: len(known)]:
                    await self._changed(partial, recording)
                tail = tail[len(known) :]
                await anyio.to_thread.run_sync(partial.append, added)
                self.under_way_bytes += len(added)
                self.received_bytes += len(piece)
                if doubt is not None:
                    doubt.received_bytes += len(added)
                pause = self._rate.delay_seconds(len(piece), self._clock.monotonic())
                if pause > 0:
                    await anyio.sleep(pause)
                under_way.received(len(piece))

    async def _judge(self, partial: PartialFile, recording: Recording) -> Fetched | None:
        """Is the file whole? None: more is to be asked for.

        Raises:
            CorruptError: it is not what it should be, and was thrown away.
        """
        total = partial.note.total_bytes if partial.note is not None else None
        if total is not None and partial.size_bytes < total:
            return None  # the range was shorter than asked for, and at least a byte of it came
        if not partial.size_bytes:
            await anyio.to_thread.run_sync(partial.append, b"")  # nothing came, which can be all there is
        try:
            return await self._proven(partial, recording.size_bytes, total)
        except CorruptError:
            await anyio.to_thread.run_sync(partial.restart)
            raise

    async def _proven(
        self, partial: PartialFile, listed_bytes: int | None, total_bytes: int | None
    ) -> Fetched | None:
        if not partial.size_bytes and listed_bytes != 0:
            raise CorruptError("it is empty")  # which is a file only where its row says so
        proven_by = partial.prove(total_bytes)
        if not proven_by:
            if listed_bytes == partial.size_bytes and not partial.is_doubtful:
                proven_by = SIZE
            elif not await self._is_confirmed(partial):
                return None
            else:
                proven_by = READINGS
        content = await anyio.to_thread.run_sync(content_of, partial, listed_bytes)
        is_by_hash = proven_by not in {SIZE, READINGS}
        if listed_bytes is None or listed_bytes in {partial.size_bytes, content.size_bytes} or is_by_hash:
            return Fetched(content, proven_by)
        if listed_bytes > content.size_bytes:  # it may have been cut
            raise CorruptError(f"it has {content.size_bytes} bytes instead of {listed_bytes}")
        if proven_by == SIZE and not await self._is_confirmed(partial):
            return None
        return Fetched(content, READINGS)

    async def _is_confirmed(self, partial: PartialFile) -> bool:
        """Has the host said twice what the whole is? If not, see to it that it will be asked again: what comes
        behind the end, or, where that tells nothing, for all of it.

        Raises:
            CorruptError: no reading is like another.
        """
        doubt = self._doubts.setdefault(partial.name, _Doubt())
        is_read_again = bool(doubt.sha256) and doubt.received_bytes >= partial.size_bytes
        is_answered = doubt.asked_behind == partial.size_bytes
        if doubt.sha256 == partial.sha256 and (is_read_again or (is_answered and partial.is_end_known)):
            return True
        doubt.sha256, doubt.received_bytes = partial.sha256, 0
        is_to_be_read = partial.is_doubtful or is_answered
        doubt.readings += is_read_again + is_to_be_read
        if doubt.readings >= _MOST_READINGS:
            raise CorruptError("no reading of it is like another")
        if is_to_be_read:
            await anyio.to_thread.run_sync(partial.restart)
        else:
            doubt.asked_behind = partial.size_bytes
        return False


def _is_same_tag(one: str | None, other: str | None) -> bool:
    """Whether it is called weak depends on how it was sent."""
    return None not in {one, other} and Version(etag=one).compare(Version(etag=other)) in _SAME


def _was_modified_since(version: Version, held: FileReceipt) -> bool:
    modified, fetched = http_date(version.modified), held.looked_at or held.fetched_at
    return modified is not None and bool(fetched) and modified > instant(fetched).timestamp()


def piece_bytes(downloads_at_once: int, bytes_per_second: float | None) -> int:
    """How much of a file is hashed and written in one go: the more, the fewer hand-overs to threads.

    Each download has two such pieces in memory.
    """
    size = min(_BUFFERS_BYTES // (2 * downloads_at_once), _LARGEST_PIECE_BYTES)
    if bytes_per_second is not None:
        size = min(size, int(bytes_per_second / (_PIECES_A_SECOND * downloads_at_once)))
    return max(size, _SMALLEST_PIECE_BYTES)
