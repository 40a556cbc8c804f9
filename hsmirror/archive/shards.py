"""Shards: rows in, sealed parts out; and rows out of parts again.

A part is compressed in independent pieces of one MiB of rows, one gzip member or zstd frame each: the bytes
depend on the rows alone, not on the pages they came in, nothing holds a compressor's state between pages, and
every gzip reader reads members one after another as one stream.
"""

from __future__ import annotations

import errno
import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

from isal import igzip, igzip_lib, isal_zlib

from hsmirror.archive import durable
from hsmirror.archive.layout import SUFFIXES
from hsmirror.archive.spool import NO_LINK, Spool
from hsmirror.errors import ConfigurationError, DamagedError, StorageError

PIECE_BYTES = 1 << 20

SMALL_BYTES = 1 << 16
"""Of rows: compressing and hashing as many takes less than to have a thread do it."""

Compress = Callable[[memoryview], "bytes | memoryview"]

_DAMAGE = cast("tuple[type[Exception], ...]", (OSError, EOFError, zlib.error, igzip_lib.error))

_GZIP = 31  # zlib's code for a gzip header, whose time stamp isal leaves at 0


@dataclass(frozen=True, slots=True)
class Form:
    """How shards are written."""

    compression: str = "gzip"
    shard_bytes: int = 128 << 20


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part in staging, ready to be synced and published. `content_*` are of the uncompressed rows.

    One that is `in_memory` has no file yet: this is what it is to hold. A run may have tens of thousands at
    once, so that its path is put together when it is asked for.
    """

    folder: Path
    name: str
    rows: int
    size_bytes: int
    sha256: str
    content_bytes: int
    content_sha256: str
    in_memory: bytes | None = None

    @property
    def path(self) -> Path:
        return self.folder / self.name


@cache
def compressor(compression: str) -> Compress:
    """A function that makes one independent piece; any number of threads may call it.

    Raises:
        ConfigurationError: zstd without its library.
    """
    if compression == "none":
        return _as_it_is
    if compression == "gzip":
        return lambda piece: isal_zlib.compress(piece, 1, _GZIP)
    zstandard = _zstandard()
    # A compressor of its own for each piece: one must not be used by two threads at once.
    return lambda piece: zstandard.ZstdCompressor(level=3, write_checksum=True).compress(piece)


def _as_it_is(piece: memoryview) -> memoryview:
    return piece


class ShardBuilder:
    """Takes the rows of one (type, room) and seals them into parts of at most `form.shard_bytes` of rows.

    `add` only remembers; `flush`, `spill` and `seal` write, and belong into a worker thread. Less than a piece
    waits after a `flush`, in memory or, after a `spill`, on disk. The same rows give the same bytes, however
    they were added.

    Its parts are in `folder`, their names begin with `name`. Thousands of rooms have one each, so that it is
    small until there is something to write.
    """

    __slots__ = (
        "_closed",
        "_compress",
        "_folder",
        "_form",
        "_link",
        "_modes",
        "_name",
        "_part",
        "_spilled_bytes",
        "_spool",
        "_waiting",
        "waiting_bytes",
    )

    def __init__(self, folder: Path, name: str, form: Form, modes: durable.Modes) -> None:
        self._folder = folder
        self._name = name
        self._form = form
        self._modes = modes
        self._compress = compressor(form.compression)
        self._waiting: list[bytes] = []
        self.waiting_bytes = 0
        """In memory."""
        self._spool: Spool | None = None
        self._link = NO_LINK
        self._spilled_bytes = 0
        self._closed: list[StagedPart] = []
        self._part: _OpenPart | None = None

    def __repr__(self) -> str:
        return f"<ShardBuilder {self._name}, {self.pending_bytes} bytes pending>"

    @property
    def pending_bytes(self) -> int:
        """Of rows that are in no piece yet, in memory or spilled."""
        return self.waiting_bytes + self._spilled_bytes

    def add(self, lines: bytes) -> None:
        """Add whole lines, each with its line break."""
        if lines:
            self._waiting.append(lines)
            self.waiting_bytes += len(lines)

    def flush(self) -> None:
        """Write what has gathered to whole pieces."""
        if self.pending_bytes >= PIECE_BYTES:
            self._write(self._take(), is_last=False)

    def spill(self, spool: Spool) -> None:
        """Move what waits in memory to disk as it is: for when many rooms wait at once.

        What was spilled before is in the same spool, or goes there.
        """
        if self._spool is not None and self._spool is not spool and self._spilled_bytes:
            self.waiting_bytes += self._spilled_bytes
            self._waiting.insert(0, self._take_spilled())
        if self._waiting:
            self._spool, self._link = spool, spool.push(b"".join(self._waiting), self._link)
            self._spilled_bytes += self.waiting_bytes
            self._waiting, self.waiting_bytes = [], 0

    def seal(self) -> list[StagedPart]:
        """Write the rest; gives the parts, none where there were no rows. Not synced yet."""
        self._write(self._take(), is_last=True)
        self._close_part()
        return self._closed

    @property
    def is_small(self) -> bool:
        """Is it worth no file before it is published?"""
        is_unwritten = not (self._closed or self._part)
        return is_unwritten and self.pending_bytes <= min(SMALL_BYTES, self._form.shard_bytes)

    def seal_in_memory(self) -> list[StagedPart]:
        """The same parts as `seal` gives, none of them written: for what is small."""
        content = self._take()
        if not content:
            return []
        compressed = bytes(self._compress(memoryview(content)))
        content_sha256 = hashlib.sha256(content).hexdigest()
        is_compressed = self._compress is not _as_it_is
        return [
            StagedPart(
                self._folder,
                self._part_name,
                content.count(b"\n"),
                len(compressed),
                hashlib.sha256(compressed).hexdigest() if is_compressed else content_sha256,
                len(content),
                content_sha256,
                compressed,
            )
        ]

    @property
    def _part_name(self) -> str:
        """Of the part that is open, or the next one to be."""
        return f"{self._name}.{len(self._closed)}{SUFFIXES[self._form.compression]}.staged"

    def _open_part(self) -> _OpenPart:
        if self._part is None:
            self._part = _OpenPart(self._folder, self._part_name, self._compress, self._modes)
        return self._part

    @property
    def _part_bytes(self) -> int:
        """Of rows, in the part that is open."""
        return self._part.content_bytes if self._part is not None else 0

    def _take(self) -> bytes:
        """All that is pending; afterwards nothing is."""
        waiting, self._waiting, self.waiting_bytes = self._waiting, [], 0
        if self._spilled_bytes:
            waiting.insert(0, self._take_spilled())
        return waiting[0] if len(waiting) == 1 else b"".join(waiting)

    def _take_spilled(self) -> bytes:
        assert self._spool is not None
        content = self._spool.take(self._link, self._spilled_bytes)
        self._link, self._spilled_bytes = NO_LINK, 0
        return content

    def _write(self, content: bytes, *, is_last: bool) -> None:
        """Write pieces of `content`, which ends with a whole row, and begin parts where they are due."""
        view = memoryview(content)  # its pieces are no copies
        at = 0
        while at < len(content):
            end = self._end_of_part(content, at)
            if end == at:
                self._close_part()
                continue
            fills = self._part_bytes + end - at >= self._form.shard_bytes
            is_closing = fills or end < len(content)
            # A piece may end within a row: the whole row is here, and known to fit into this part.
            while end - at >= PIECE_BYTES or (at < end and (is_closing or is_last)):
                piece_end = min(at + PIECE_BYTES, end)
                self._open_part().write(view[at:piece_end], rows=content.count(b"\n", at, piece_end))
                at = piece_end
            if not is_closing:
                break
            self._close_part()
        if at < len(content):
            self.add(content[at:])

    def _end_of_part(self, content: bytes, at: int) -> int:
        """Up to where `content` belongs to the part that is open: the end of a row, or `at` itself."""
        limit = at + self._form.shard_bytes - self._part_bytes
        if len(content) <= limit:
            return len(content)
        end = content.rfind(b"\n", at, max(at, limit)) + 1
        if not end and not self._part_bytes:
            end = content.index(b"\n", at) + 1  # one row larger than a shard has a part of its own
        return end or at

    def _close_part(self) -> None:
        if self._part is not None:
            self._closed.append(self._part.close())
            self._part = None


class _OpenPart:
    """The part that pieces go to now."""

    def __init__(self, folder: Path, name: str, compress: Compress, modes: durable.Modes) -> None:
        self._folder = folder
        self._name = name
        self._path = folder / name
        self._compress = compress
        self._modes = modes
        self._rows = 0
        self._size_bytes = 0
        self._content_hash = hashlib.sha256()
        self._hash = self._content_hash if compress is _as_it_is else hashlib.sha256()
        self.content_bytes = 0

    def write(self, piece: memoryview, *, rows: int) -> None:
        written = self._compress(piece)
        durable.append(self._path, written, self._modes)
        self._rows += rows
        self._size_bytes += len(written)
        self._content_hash.update(piece)
        if self._hash is not self._content_hash:
            self._hash.update(written)
        self.content_bytes += len(piece)

    def close(self) -> StagedPart:
        if self._path.stat().st_size != self._size_bytes:
            raise StorageError(f"cannot write {self._path}: it came out with another length than was written")
        return StagedPart(
            self._folder,
            self._name,
            self._rows,
            self._size_bytes,
            self._hash.hexdigest(),
            self.content_bytes,
            self._content_hash.hexdigest(),
        )


def staged_rows(part: StagedPart) -> Iterator[bytes]:
    """As `read_rows`, wherever the part is."""
    if part.in_memory is None:
        yield from read_rows(part.path)
    else:
        yield from _decompressed(part.name, part.in_memory).split(b"\n")[:-1]


def _decompressed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz.staged"):
        return bytes(isal_zlib.decompress(content, _GZIP))
    return bytes(_zstandard().decompress(content)) if name.endswith(".zst.staged") else content


def read_rows(path: Path) -> Iterator[bytes]:
    """The rows of a shard, each without its line break; by its name, staged and superseded ones included.

    Raises:
        DamagedError: it is missing, or not what its name says. StorageError: the disk does not give it now.
    """
    rest = b""
    for content in _read(path):
        *lines, rest = (rest + content).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _read(path: Path) -> Iterator[bytes]:
    try:
        yield from _contents(path)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in {None, errno.ENOENT}:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        raise DamagedError(f"{path} is damaged ({type(error).__name__})") from error


def summed_up(path: Path) -> tuple[int, int, str]:
    """Of a shard's rows: how many there are, their bytes, and their SHA-256, whatever the compression.

    Raises:
        DamagedError: it is missing, or not what its name says. StorageError: the disk does not give it now.
    """
    digest = hashlib.sha256()
    rows = size_bytes = 0
    for content in _read(path):
        digest.update(content)
        rows += content.count(b"\n")
        size_bytes += len(content)
    return rows, size_bytes, digest.hexdigest()


def count_rows(path: Path) -> int:
    """How many rows a shard has.

    Raises:
        As `summed_up`.
    """
    return sum(content.count(b"\n") for content in _read(path))


def sound_rows(path: Path) -> Iterator[bytes]:
    """Of a damaged shard the rows whose pieces are proven sound by their checksums: those before the damage.

    Without compression there are no checksums, and so no such rows.
    """
    if not path.name.endswith((".gz", ".zst")):
        return
    with suppress(OSError):
        content = path.read_bytes()
        pieces = _sound_members(content) if path.name.endswith(".gz") else _sound_frames(content)
        # Rows go on from piece to piece only where one of them is larger.
        yield from b"".join(pieces).split(b"\n")[:-1]


def _sound_members(content: bytes) -> Iterator[bytes]:
    left = memoryview(content)
    while left:
        member = zlib.decompressobj(_GZIP)
        try:
            piece = member.decompress(left)
        except zlib.error:
            return
        if not member.eof:
            return
        yield piece
        left = left[len(left) - len(member.unused_data) :]


def _sound_frames(content: bytes) -> Iterator[bytes]:
    zstandard = _zstandard()
    left = content
    while left:
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            piece = frame.decompress(left)
        except zstandard.ZstdError:
            return
        if not frame.eof:
            return
        yield piece
        left = frame.unused_data


def _contents(path: Path) -> Iterator[bytes]:
    """What a shard holds, in pieces. Its name decides: damage must not make rows of compressed bytes."""
    name = path.name.removesuffix(".staged").removesuffix(".superseded")
    if name.endswith(".gz"):
        file: IO[bytes] = igzip.open(path, "rb")  # type: ignore[no-untyped-call]  # isal has no types for it
    elif name.endswith(".zst"):
        yield from _frames(path)
        return
    else:
        file = path.open("rb")
    with file:
        while content := file.read(PIECE_BYTES):
            yield content


def _frames(path: Path) -> Iterator[bytes]:
    """The contents of zstd frames; the library's own reader takes a file cut short for a whole one."""
    zstandard = _zstandard()
    decompressor = zstandard.ZstdDecompressor()
    with path.open("rb") as file:
        while compressed := file.read(PIECE_BYTES):
            frame = decompressor.decompressobj()
            while True:
                try:
                    yield frame.decompress(compressed)
                except zstandard.ZstdError as error:
                    raise EOFError("not a zstd frame") from error
                if frame.eof and not frame.unused_data:
                    break
                if frame.eof:
                    compressed, frame = frame.unused_data, decompressor.decompressobj()
                elif not (compressed := file.read(PIECE_BYTES)):
                    raise EOFError("the last frame is cut short")


def _zstandard() -> Any:  # zstandard is optional, so that its types may be missing
    try:
        import zstandard  # noqa: PLC0415  # optional
    except ImportError:
        raise ConfigurationError(
            'archive.compression = "zstd" needs the zstandard library: pip install "hsmirror[zstd]"'
        ) from None
    return zstandard
