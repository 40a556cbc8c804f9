"""What is kept of a recording file that has been fetched whole: its bytes, or what they unpack to."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hsmirror.api.containers import GZIP, HEAD_BYTES, is_playlist, no_recording
from hsmirror.archive import durable
from hsmirror.errors import CorruptError, StorageError
from hsmirror.mirror.files import PartialFile

_READ_BYTES = 1 << 20
_MOST_INFLATED_BYTES = 1 << 30
_MOST_TIMES = 100
"""No recording shrinks to a hundredth; what unpacks to more than that and than a GiB is a bomb."""

_WITH_HEADER = 31  # zlib's word for gzip


@dataclass(frozen=True, slots=True)
class Content:
    """What is to lie in the archive. `coding` says how its host stores it, where that is otherwise."""

    path: Path
    size_bytes: int
    sha256: str
    is_playlist: bool = False
    coding: str = ""


def content_of(partial: PartialFile, listed_bytes: int | None) -> Content:
    """What the whole file is; stored gzip-encoded, it is unpacked beside it. Blocking I/O.

    `listed_bytes` is the size that its row tells, which may be the one it unpacks to.

    Raises:
        CorruptError: it is no recording, or cannot be unpacked.
        StorageError: the disk refused.
    """
    head = _head(partial.path)
    if head.startswith(GZIP) and not partial.place.endswith(("gz", "gzip")):
        return _inflated(partial, listed_bytes or 0)
    _require_recording(head)
    return Content(partial.path, partial.size_bytes, partial.sha256, is_playlist(head))


def _head(path: Path) -> bytes:
    with durable.disk_errors(f"read {path}"), path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _require_recording(head: bytes) -> None:
    if what := no_recording(head):
        raise CorruptError(f"its storage host sent {what} instead of a recording")


def _inflated(partial: PartialFile, listed_bytes: int) -> Content:
    path = partial.inflated_path
    most_bytes = max(listed_bytes, _MOST_INFLATED_BYTES, _MOST_TIMES * partial.size_bytes)
    try:
        size, sha256 = _inflate(partial, most_bytes)
        head = _head(path)
        _require_recording(head)
        _require_unpacked(head)
    except (CorruptError, StorageError):
        with suppress(OSError):
            path.unlink()
        raise
    return Content(path, size, sha256, is_playlist(head), "gzip")


def _inflate(partial: PartialFile, most_bytes: int) -> tuple[int, str]:
    """Unpack a file beside it; gives the size and the SHA-256 of what came out."""
    path, digest, size = partial.inflated_path, hashlib.sha256(), 0
    with durable.disk_errors(f"write {path}"):
        path.unlink(missing_ok=True)
    durable.append(path, b"", partial.modes)
    for piece in _pieces(partial.path):
        size += len(piece)
        if size > most_bytes:
            raise CorruptError(f"it is stored gzip-encoded and unpacks to more than {most_bytes} bytes")
        digest.update(piece)
        durable.append(path, piece, partial.modes)
    return size, digest.hexdigest()


def _require_unpacked(head: bytes) -> None:
    if head.startswith(GZIP):
        raise CorruptError("it is stored gzip-encoded more than once")


def _pieces(path: Path) -> Iterator[bytes]:
    """A gzip file unpacked, member by member, in pieces of at most a MiB."""
    member = zlib.decompressobj(_WITH_HEADER)
    with durable.disk_errors(f"read {path}"), path.open("rb") as file:
        try:
            while waiting := file.read(_READ_BYTES):
                while waiting:
                    if member.eof:
                        if not (waiting := waiting.lstrip(b"\0")):  # what it was padded with
                            break
                        member = zlib.decompressobj(_WITH_HEADER)
                    yield member.decompress(waiting, _READ_BYTES)
                    waiting = member.unused_data or member.unconsumed_tail
            while not member.eof:
                if not (piece := member.decompress(b"", _READ_BYTES)):
                    raise CorruptError("it is stored gzip-encoded and ends too early")
                yield piece
        except zlib.error:
            raise CorruptError("it is stored gzip-encoded and cannot be unpacked") from None
