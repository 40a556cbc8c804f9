"""Rows that wait on disk until there are enough of them for a piece of their shard."""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from hsmirror.archive import durable
from hsmirror.errors import StorageError

NO_LINK: Final = -1

_HEADER = struct.Struct("<qQ")
"""Of a link: where the one before it begins, and how many bytes of rows follow."""

_WORTH_RENEWING_BYTES = 64 << 20


class Spool:
    """One file for all rooms of a list, however many they are: written in long strokes, read room by room.

    What a room has there is a chain of links, each of which knows the one before it; all that is to be
    remembered of a room is its last one. No crash need be survived: the file is this run's alone, private, made
    when it is first needed. It takes as much of the disk as was pushed, until it is renewed or closed. `push`
    and `take` belong into a worker thread, one call at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._end = 0
        self._waiting_bytes = 0

    def __repr__(self) -> str:
        return f"<Spool {self._path.name}, {self._waiting_bytes} of {self._end} bytes waiting>"

    @property
    def is_worth_renewing(self) -> bool:
        """Is it large, and most of it taken? To copy the rest costs less than has been written since."""
        return self._end > _WORTH_RENEWING_BYTES and self._waiting_bytes < self._end // 4

    def push(self, rows: bytes, after: int) -> int:
        """Write whole rows that come after those of the link `after`; gives their own.

        Raises:
            StorageError: as its text says. The spool is of no use then.
        """
        with durable.disk_errors(f"write {self._path}"):
            if self._descriptor is None:
                self._descriptor = durable.open_private(self._path)
            durable.write_all(self._descriptor, _HEADER.pack(after, len(rows)) + rows)
        link = self._end
        self._end += _HEADER.size + len(rows)
        self._waiting_bytes += len(rows)
        return link

    def take(self, link: int, size_bytes: int) -> bytes:
        """The rows of a chain, `size_bytes` in all, in the order in which they were pushed; once.

        Raises:
            StorageError: the disk does not give back what was written.
        """
        pieces: list[bytes] = []
        with durable.disk_errors(f"read {self._path}"):
            while link != NO_LINK:
                before, piece_bytes = _HEADER.unpack(self._read(_HEADER.size, link))
                pieces.append(self._read(piece_bytes, link + _HEADER.size))
                link = before
        content = b"".join(reversed(pieces))
        if len(content) != size_bytes:
            raise StorageError(f"cannot read {self._path}: it came back with another length than was written")
        self._waiting_bytes -= size_bytes
        return content

    def close(self) -> None:
        """What was not taken goes; what was taken has been checked, so that no error of the disk matters."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):
            os.close(descriptor)
        with suppress(OSError):  # the run clears its staging folder in the end
            self._path.unlink()

    def _read(self, size_bytes: int, offset: int) -> bytes:
        content = os.pread(cast("int", self._descriptor), size_bytes, offset)
        if len(content) != size_bytes:
            raise OSError(errno.EIO, "fewer bytes came back than were written")
        return content
