"""Lines of JSON in files: read in pieces, decoded many at a time, and found again by where they begin."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Generic, TypeVar

import msgspec

from hsmirror.archive import durable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 1 << 16
_WRITTEN_BYTES = 1 << 20
_APART = 2
"""Between the addresses of two files: what ends one file and what begins the next are not one extent."""

_T = TypeVar("_T")


class LineDecoder(Generic[_T]):
    """The values in lines; of many lines at once where nothing is amiss, which is several times faster.

    `require` raises ValueError for a line whose value is not to be taken for one.
    """

    def __init__(
        self, decoder: msgspec.json.Decoder[_T], require: Callable[[bytes, _T], None] | None = None
    ) -> None:
        self._decoder = decoder
        self._require = require

    def one(self, line: bytes) -> _T | None:
        """The value in a line; None where there is none."""
        try:
            value = self._decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if self._require is None:
            return value
        ((_, required),) = self._required([(line, value)], self._require)
        return required

    def all(self, chunk: bytes) -> list[_T] | None:
        """The values in a chunk, however they are spread over its lines; None where something is amiss."""
        try:
            return self._decoder.decode_lines(chunk)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def each(self, chunk: bytes) -> list[tuple[bytes, _T | None]]:
        """Each line of a chunk, without its line break, and the value in it."""
        lines = chunk.split(b"\n")
        if not lines[-1]:
            lines.pop()
        values = self.all(chunk)
        # A value may hold line breaks, but none between a brace that closes and one that opens: where all are
        # such, and there are as many values as lines, each line has one.
        if values is None or not len(values) == len(lines) == chunk.count(b"}\n{") + 1:
            return [(line, self.one(line)) for line in lines]
        if self._require is None:
            return list(zip(lines, values, strict=True))
        return list(self._required(zip(lines, values, strict=True), self._require))

    @staticmethod
    def _required(
        pairs: Iterable[tuple[bytes, _T]], require: Callable[[bytes, _T], None]
    ) -> Iterator[tuple[bytes, _T | None]]:
        for line, value in pairs:
            try:
                require(line, value)
            except ValueError:
                yield line, None
            else:
                yield line, value


class HeldFile:
    """A file that is open for as long as this lives: what it held can be read even when it has been removed.

    One that does not stay open is opened whenever it is read: where there are more than may be open at once.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, stays_open: bool = True) -> None:
        self.path = path
        self._descriptor: int | None = None
        if stays_open:
            self._descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def reading(self, offset_bytes: int) -> BinaryIO:
        """From there on. Several threads may read side by side: each has a place of its own.

        Raises:
            OSError: it does not stay open, and cannot be opened.
        """
        if self._descriptor is None:
            file = self.path.open("rb", _CHUNK_BYTES)
            file.seek(offset_bytes)
            return file
        return io.BufferedReader(_Reading(self, self._descriptor, offset_bytes), _CHUNK_BYTES)


class _Reading(io.RawIOBase):
    def __init__(self, file: HeldFile, descriptor: int, offset_bytes: int) -> None:
        self._file = file  # so that it is not closed while it is read
        self._descriptor = descriptor
        self._offset_bytes = offset_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = os.preadv(self._descriptor, [memoryview(buffer)], self._offset_bytes)
        self._offset_bytes += count
        return count


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The bytes of a file from `offset_bytes` on, and the address of the first of them."""

    address: int
    file: HeldFile
    offset_bytes: int


class LineFiles:
    """Files end to end: a line's address is where it begins, counted over all of them.

    An address and an extent (where some lines begin and end) take 16 bytes, whatever the lines take.
    """

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []
        self._end = 0

    def __repr__(self) -> str:
        return f"<LineFiles stretches={len(self._stretches)}>"

    def take_in(self, file: HeldFile) -> Iterator[tuple[int, bytes]]:
        """Add a file as it is now; gives its lines in chunks, each with the address of its first."""
        self._begin(file, 0)
        with durable.disk_errors(f"read {file.path}"), file.reading(0) as reading:
            for chunk in _chunks(reading, None):
                yield self._end, chunk
                self._end += len(chunk)

    def add(self, path: Path, offset_bytes: int, size_bytes: int) -> int:
        """Add what was just appended to a file, and give its address."""
        last = self._stretches[-1] if self._stretches else None
        if last is None or (last.file.path, last.offset_bytes + self._end - last.address) != (
            path,
            offset_bytes,
        ):
            with durable.disk_errors(f"read {path}"):
                self._begin(HeldFile(path), offset_bytes)
        address, self._end = self._end, self._end + size_bytes
        return address

    def read(self, extents: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
        """The lines of some extents, in chunks, each with the address of its first."""
        for begin, end in extents:
            address = begin
            with self._reading(begin) as file:
                for chunk in _chunks(file, end - begin):
                    yield address, chunk
                    address += len(chunk)

    def line(self, address: int) -> bytes:
        """The line that begins there, with its line break."""
        with self._reading(address) as file:
            return file.readline()

    def names(self, addresses: Iterable[int]) -> Iterator[str]:
        """Which lines of which files begin there, for people: `name, line 1`. In order, each file read once."""
        for stretch, of_stretch in groupby(sorted(addresses), self._stretch_of):
            with durable.disk_errors(f"read {stretch.file.path}"), stretch.file.reading(0) as file:
                number, at = 1, 0
                for address in of_stretch:
                    before = address - stretch.address + stretch.offset_bytes
                    number += sum(chunk.count(b"\n") for chunk in _chunks(file, before - at))
                    at = before
                    yield f"{stretch.file.path.name}, line {number}"

    @contextmanager
    def _reading(self, address: int) -> Iterator[BinaryIO]:
        stretch = self._stretch_of(address)
        with (
            durable.disk_errors(f"read {stretch.file.path}"),
            stretch.file.reading(address - stretch.address + stretch.offset_bytes) as file,
        ):
            yield file

    def _begin(self, file: HeldFile, offset_bytes: int) -> None:
        self._end += _APART
        self._stretches.append(_Stretch(self._end, file, offset_bytes))

    def _stretch_of(self, address: int) -> _Stretch:
        return self._stretches[bisect_right(self._stretches, address, key=lambda each: each.address) - 1]


def _chunks(file: BinaryIO, size_bytes: int | None) -> Iterator[bytes]:
    """Whole lines, in chunks; all that is there, or lines of `size_bytes` together.

    What has no line break is the last: of a line that is being written, what comes later is no line of its own.
    """
    left = size_bytes
    while left is None or left > 0:
        chunk = file.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left))
        if not chunk:
            return
        if not chunk.endswith(b"\n"):
            chunk += file.readline(-1 if left is None else left - len(chunk))
        yield chunk
        if not chunk.endswith(b"\n"):
            return
        left = None if left is None else left - len(chunk)


def in_pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines joined to pieces that are worth a write."""
    piece: list[bytes] = []
    size_bytes = 0
    for line in lines:
        piece.append(line)
        size_bytes += len(line)
        if size_bytes >= _WRITTEN_BYTES:
            yield b"".join(piece)
            piece, size_bytes = [], 0
    yield b"".join(piece)
