"""Shards: rows in, sealed parts out; and rows out of parts again.

A part is compressed in independent pieces of one MiB of rows, one gzip member or zstd frame each: the bytes
depend on the rows alone, not on the pages they came in, nothing holds a compressor's state between pages, and
every gzip reader reads members one after another as one stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from isal import igzip, isal_zlib

from hsmirror.archive import durable
from hsmirror.errors import ConfigurationError, StorageError

PIECE_BYTES = 1 << 20

_GZIP = 31  # zlib's code for a gzip header, whose time stamp isal leaves at 0


@dataclass(frozen=True, slots=True)
class Form:
    """How shards are written."""

    compression: str = "gzip"
    shard_bytes: int = 128 << 20


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part in staging, ready to be synced and published. `content_*` are of the uncompressed rows."""

    path: Path
    rows: int
    size_bytes: int
    sha256: str
    content_bytes: int
    content_sha256: str


def compressor(compression: str) -> Callable[[bytes], bytes]:
    """A function that makes one independent piece.

    Raises:
        ConfigurationError: zstd without its library.
    """
    if compression == "none":
        return bytes
    if compression == "gzip":
        return lambda piece: isal_zlib.compress(piece, 1, _GZIP)
    zstandard = _zstandard()
    return cast("Callable[[bytes], bytes]", zstandard.ZstdCompressor(level=3).compress)


class ShardBuilder:
    """Takes the rows of one (type, room) and seals them into parts of at most `form.shard_bytes` of rows.

    `add` only remembers; `flush`, `spill` and `seal` write, and belong into a worker thread.
    """

    def __init__(self, stem: Path, form: Form, modes: durable.Modes) -> None:
        self._stem = stem
        self._form = form
        self._modes = modes
        self._waiting: list[bytes] = []
        self._spilled_bytes = 0
        self.waiting_bytes = 0
        self.rows = 0
        self._part = _OpenPart(self._part_path(0), compressor(form.compression), modes)
        self._closed: list[StagedPart] = []

    def add(self, lines: bytes, rows: int) -> None:
        """Add whole lines, each with its line break."""
        self._waiting.append(lines)
        self.waiting_bytes += len(lines)
        self.rows += rows

    def flush(self) -> None:
        """Write what has gathered to whole pieces."""
        self._take_in()
        self._part.write_pieces(PIECE_BYTES)

    def spill(self) -> None:
        """Move what waits in memory to disk as it is: for when many rooms wait at once."""
        if self._waiting:
            durable.append(self._spool, b"".join(self._waiting), self._modes)
            self._spilled_bytes += self.waiting_bytes
            self._waiting, self.waiting_bytes = [], 0

    def seal(self) -> list[StagedPart]:
        """Write the rest; gives the parts, none where there were no rows. Not synced yet."""
        self._take_in()
        self._close_part()
        return self._closed

    @property
    def _spool(self) -> Path:
        return self._stem.with_name(f"{self._stem.name}.spool")

    def _part_path(self, number: int) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{number}.staged")

    def _take_in(self) -> None:
        """Hand what waits to the part it belongs to; a full part is closed and the next one begun."""
        waiting, self._waiting, self.waiting_bytes = self._waiting, [], 0
        if self._spilled_bytes:
            with durable.disk_errors(f"read {self._spool}"):
                waiting.insert(0, self._spool.read_bytes())
                self._spool.unlink()
            self._spilled_bytes = 0
        for lines in waiting:
            self._distribute(lines)

    def _distribute(self, lines: bytes) -> None:
        while lines:
            room_left = self._form.shard_bytes - self._part.content_bytes
            if len(lines) <= room_left:
                self._part.add(lines)
                return
            cut = lines.rfind(b"\n", 0, room_left) + 1 if room_left > 0 else 0
            if not cut and not self._part.content_bytes:
                cut = lines.index(b"\n") + 1  # one row larger than a shard has a part of its own
            if cut:
                self._part.add(lines[:cut])
                lines = lines[cut:]
            if lines:
                self._close_part()

    def _close_part(self) -> None:
        part = self._part.close()
        if part is not None:
            self._closed.append(part)
        path = self._part_path(len(self._closed))
        self._part = _OpenPart(path, compressor(self._form.compression), self._modes)


class _OpenPart:
    """The part that rows go to now."""

    def __init__(self, path: Path, compress: Callable[[bytes], bytes], modes: durable.Modes) -> None:
        self._path = path
        self._compress = compress
        self._modes = modes
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._rows = 0
        self._size_bytes = 0
        self._hash = hashlib.sha256()
        self._content_hash = hashlib.sha256()
        self.content_bytes = 0

    def add(self, lines: bytes) -> None:
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)
        self._rows += lines.count(b"\n")
        self.content_bytes += len(lines)
        self._content_hash.update(lines)

    def write_pieces(self, smallest: int) -> None:
        """Write pieces of `PIECE_BYTES`, and the rest too if it has at least `smallest` bytes."""
        if self._waiting_bytes < smallest or not self._waiting_bytes:
            return
        content = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        at = 0
        pieces: list[bytes] = []
        while len(content) - at >= smallest and at < len(content):
            pieces.append(self._compress(content[at : at + PIECE_BYTES]))
            at += PIECE_BYTES
        rest = content[at:]
        self._waiting, self._waiting_bytes = [rest] if rest else [], len(rest)
        written = b"".join(pieces)
        self._hash.update(written)
        self._size_bytes += len(written)
        durable.append(self._path, written, self._modes)

    def close(self) -> StagedPart | None:
        self.write_pieces(1)
        if not self._rows:
            return None
        if self._path.stat().st_size != self._size_bytes:
            raise StorageError(f"cannot write {self._path}: it came out with another length than was written")
        return StagedPart(
            self._path,
            self._rows,
            self._size_bytes,
            self._hash.hexdigest(),
            self.content_bytes,
            self._content_hash.hexdigest(),
        )


def read_rows(path: Path) -> Iterator[bytes]:
    """The rows of a shard, each without its line break; by the name's ending, staged names included.

    Raises:
        StorageError: cannot be read, or is not what its name says.
    """
    with durable.disk_errors(f"read {path}"), _open(path) as stream:
        for line in stream:
            yield line.rstrip(b"\n")


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        magic = probe.read(4)
    if magic[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", igzip.open(path, "rb"))  # type: ignore[no-untyped-call]  # isal has no types for it
    if magic == b"\x28\xb5\x2f\xfd":
        return cast("IO[bytes]", _zstandard().open(path, "rb"))
    return path.open("rb")


def _zstandard() -> Any:  # zstandard is optional, so that its types may be missing
    try:
        import zstandard  # noqa: PLC0415  # optional
    except ImportError:
        raise ConfigurationError(
            'archive.compression = "zstd" needs the zstandard library: pip install "hsmirror[zstd]"'
        ) from None
    return zstandard
