"""`SHA256SUMS`: for `sha256sum -c`, which needs no hsmirror."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hsmirror.archive import durable
from hsmirror.archive.head import read_head, write_head
from hsmirror.archive.layout import Layout
from hsmirror.archive.lines import in_pieces
from hsmirror.archive.receipts import FileLike
from hsmirror.archive.segments import Receipts, segments


def bring_up_to_date(
    layout: Layout, receipts: Receipts, modes: durable.Modes, *, is_beginning: bool = False
) -> None:
    """Have `SHA256SUMS` name every file that has a receipt, and `receipts/HEAD` all that vouches for it.

    Both are left alone where the head names what is there, as after a night without changes. `is_beginning`:
    the run's own segment is still to grow, and not named. Nor is one that came after the receipts were read:
    where locks do nothing, another run may be writing it.
    """
    own = receipts.segment
    held = [each for each in segments(layout) if each in receipts.known_segments and each != own]
    has_own = not is_beginning and own.exists()
    head = read_head(layout)
    if head is not None and not has_own and head.is_current(layout, held):
        return
    if not holds(layout.sums, sums(receipts)):
        durable.write_whole(layout.root, layout.sums, sums(receipts), modes)
    write_head(layout, held, modes, own=own if has_own else None)


def sums(receipts: Receipts) -> Iterator[bytes]:
    """What `SHA256SUMS` is to hold, in pieces."""
    return in_pieces(line for _, line in lines(receipts))


def lines(receipts: Receipts) -> Iterator[tuple[str, bytes]]:
    """Paths and their lines in order of paths, those of one experiment in memory at a time."""
    for folder in receipts.folders:
        held = (
            each for each in receipts.below(folder) if isinstance(each, FileLike) and each.sha256 is not None
        )
        # A path has no blank of its own: names are percent-encoded.
        for path_and_sha256 in sorted(f"{receipt.path} {receipt.sha256}" for receipt in held):
            path, _, sha256 = path_and_sha256.partition(" ")
            yield path, f"{sha256}  {path}\n".encode()


def holds(path: Path, pieces: Iterable[bytes]) -> bool:
    """Is this what the file holds, and no more?"""
    with durable.disk_errors(f"read {path}"):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
