"""`SHA256SUMS`: for `sha256sum -c`, which needs no hsmirror."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.lines import in_pieces
from hsmirror.archive.receipts import FileLike
from hsmirror.archive.segments import Receipts, segments


def write_sums(layout: Layout, receipts: Receipts, modes: durable.Modes, *, now: float) -> None:
    """Write a line for every file that has a receipt; the file is left alone where it holds just that.

    That is looked up wherever this run changed something, and else only where the file may be older than a
    receipt: it takes microseconds a receipt. `now` is the time in seconds since the epoch.
    """
    if not receipts.have_changed and _is_newer(layout, now):
        return
    if _holds(layout.sums, in_pieces(_lines(receipts))):
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


def _is_newer(layout: Layout, now: float) -> bool:
    """Was it written after every receipt? A time that is yet to come tells nothing: a clock was ahead."""
    with durable.disk_errors(f"look at {layout.sums}"):
        if not layout.sums.is_file():
            return False
        written_at = layout.sums.stat().st_mtime_ns
        return written_at <= now * 1e9 and all(
            segment.stat().st_mtime_ns < written_at for segment in segments(layout)
        )


def _holds(path: Path, pieces: Iterable[bytes]) -> bool:
    """Is this what the file holds, and no more?"""
    with durable.disk_errors(f"read {path}"):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
