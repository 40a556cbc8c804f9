"""`SHA256SUMS`: for `sha256sum -c`, which needs no hsmirror."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.lines import in_pieces
from hsmirror.archive.receipts import FileLike
from hsmirror.archive.segments import Receipts, segments


def write_sums(layout: Layout, receipts: Receipts, modes: durable.Modes) -> None:
    """Write a line for every file that has a receipt; the file is left alone where nothing changed."""
    if _is_newer(layout) or _holds(layout.sums, in_pieces(_lines(receipts))):
        return
    durable.write_whole(layout.root, layout.sums, in_pieces(_lines(receipts)), modes)


def _lines(receipts: Receipts) -> Iterator[bytes]:
    """In order of paths, those of one experiment in memory at a time."""
    for folder in receipts.folders:
        held = (
            each for each in receipts.below(folder) if isinstance(each, FileLike) and each.sha256 is not None
        )
        # A path has no blank of its own: names are percent-encoded.
        for path_and_sha256 in sorted(f"{receipt.path} {receipt.sha256}" for receipt in held):
            path, _, sha256 = path_and_sha256.partition(" ")
            yield f"{sha256}  {path}\n".encode()


def _is_newer(layout: Layout) -> bool:
    """Was it written after every receipt? Then there is no need to read them."""
    with durable.disk_errors(f"look at {layout.sums}"):
        if not layout.sums.is_file():
            return False
        written_at = layout.sums.stat().st_mtime_ns
        return all(segment.stat().st_mtime_ns < written_at for segment in segments(layout))


def _holds(path: Path, pieces: Iterable[bytes]) -> bool:
    """Is this what the file holds, and no more?"""
    with durable.disk_errors(f"read {path}"):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
