"""What vouches for the files, held against itself: segments of receipts, the head, `SHA256SUMS`, the marker.

The head has the hashes of all others, and each of them is made from the receipts, so that none can be lost or
changed alone without another one telling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hsmirror.archive import durable
from hsmirror.archive.head import (
    Head,
    broken_segments,
    is_lost,
    not_named,
    read_head,
    sha256_of,
)
from hsmirror.archive.layout import Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.sums import holds, lines, sums

_BEHIND = (
    "SHA256SUMS and receipts/HEAD are behind the receipts: a run is under way, or was cut off; "
    "the next sync brings them up to date"
)
_NOT_HELD = "lines in it are of no file that is held so"
_OLDER = (
    "an older version of hsmirror wrote the receipts, and nothing vouches for them; the next sync sees to that"
)


@dataclass(frozen=True, slots=True)
class Vouchers:
    """What is wrong with them, each with its path first; and what is as it may be, and yet to be told."""

    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def look_at_vouchers(archive: Archive) -> Vouchers:
    """Hold them against each other. A run that ends meanwhile is no damage: then they are looked at again.

    Raises:
        StorageError: one cannot be read.
    """
    while True:
        before = _state(archive.layout)
        found = _look(archive.layout, archive.receipts)
        if not found.broken or _state(archive.layout) == before:
            return found
        archive = Archive.open(archive.layout.root)


def _state(layout: Layout) -> object:
    return sha256_of(layout.head), segments(layout)


def _look(layout: Layout, receipts: Receipts) -> Vouchers:
    head = read_head(layout)
    if head is not None:
        return _look_at(layout, head, receipts)
    wrong = _wrong_sums(layout, receipts)
    if is_lost(layout):
        return Vouchers(broken=("receipts/HEAD: it is missing", *wrong))
    if any(_NOT_HELD in each for each in wrong) and _names_what_no_receipt_knows(layout, receipts):
        return Vouchers(broken=tuple(wrong), notes=(_OLDER,))
    return Vouchers(notes=(_OLDER, *wrong))


def _look_at(layout: Layout, head: Head, receipts: Receipts) -> Vouchers:
    broken = [f"{path}: {why}" for path, why in broken_segments(layout, head)]
    if not head.is_whole:
        broken.append("receipts/HEAD: it is cut short, or has changed")
    if head.is_whole and not head.vouches_for(layout, layout.marker):
        broken.append("archive.json: its bytes have changed; is the server in it the right one?")
    is_behind = bool(not_named(layout, head))
    if not head.is_whole or head.vouches_for(layout, layout.sums):
        return Vouchers(tuple(broken), (_BEHIND,) if is_behind else ())
    # Between the writing of the two, and beside older versions, it is the sums that are right.
    if is_behind and holds(layout.sums, sums(receipts)):
        return Vouchers(tuple(broken), (_BEHIND,))
    return Vouchers(
        (*broken, *(_wrong_sums(layout, receipts) or ["SHA256SUMS: receipts/HEAD has another hash"]))
    )


def _wrong_sums(layout: Layout, receipts: Receipts) -> list[str]:
    """How `SHA256SUMS` differs from what the receipts say, in a line; nothing where it does not."""
    with durable.disk_errors(f"read {layout.sums}"):
        if not layout.sums.exists():
            return ["SHA256SUMS: it is missing"]
        found = set(layout.sums.read_bytes().splitlines(keepends=True))
    return list(_differences(found, receipts)) if not holds(layout.sums, sums(receipts)) else []


def _names_what_no_receipt_knows(layout: Layout, receipts: Receipts) -> bool:
    """Not even that it is retired: its receipts are lost."""
    with durable.disk_errors(f"read {layout.sums}"), layout.sums.open("rb") as file:
        paths = (line[66:].rstrip(b"\n").decode("utf-8", "replace") for line in file)
        return any(path not in receipts for path in paths)


def _differences(found: set[bytes], receipts: Receipts) -> Iterator[str]:
    lacking = ""
    count = 0
    for path, line in lines(receipts):
        if line in found:
            found.discard(line)
        else:
            count += 1
            lacking = lacking or path
    told = [f"it lacks {count} held files, such as {lacking}"] if count else []
    told += [f"{len(found)} {_NOT_HELD}"] if found else []
    yield f"SHA256SUMS: {'; '.join(told) or 'its lines are not in order'}"
