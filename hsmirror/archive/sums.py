"""`SHA256SUMS`: for `sha256sum -c`, which needs no hsmirror."""

from __future__ import annotations

from collections.abc import Iterator

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FileLike
from hsmirror.archive.segments import Receipts, segments


def write_sums(layout: Layout, receipts: Receipts, modes: durable.Modes) -> None:
    """Write a line for every file that has a receipt; left alone where it is newer than all of them."""
    if not _is_newer(layout):
        durable.write_whole(layout.root, layout.sums, _lines(receipts), modes)


def _lines(receipts: Receipts) -> Iterator[bytes]:
    """In order of paths, an experiment's together."""
    yield b""
    for folder in receipts.folders:
        lines = sorted(
            (receipt.path, f"{receipt.sha256}  {receipt.path}\n")
            for receipt in receipts.below(folder)
            if isinstance(receipt, FileLike) and receipt.sha256 is not None
        )
        yield "".join(line for _, line in lines).encode()


def _is_newer(layout: Layout) -> bool:
    with durable.disk_errors(f"look at {layout.sums}"):
        if not layout.sums.is_file():
            return False
        written_at = layout.sums.stat().st_mtime_ns
        return all(segment.stat().st_mtime_ns < written_at for segment in segments(layout))
