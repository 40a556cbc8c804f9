"""Every receipt against every byte.

What cannot be read is not called damaged, and what no receipt knows is not called wrong: a file without a
receipt is nobody's, and may be a run's that was killed.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from hsmirror.archive.forgotten import unfinished
from hsmirror.archive.layout import STATE, Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import FileLike
from hsmirror.errors import UsageError

_PIECE_BYTES = 4 << 20
_OWN_FILES = frozenset({"archive.json", "SHA256SUMS"})


class Finding(StrEnum):
    """What became of one receipt's file."""

    SOUND = "sound"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, and what was found; paths are relative to the archive."""

    archive: str
    checked_files: int = 0
    checked_bytes: int = 0
    checked_rows: int = 0
    """Rows in the shards that are sound, by their receipts: the hash covers their number, too."""
    sample: str = "1/1"
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    """With the reason; the bytes may be right."""
    damaged: tuple[str, ...] = ()
    unreadable_receipts: tuple[str, ...] = ()
    """Lines of segments: what they spoke of is nobody's now, and the next sync fetches it again."""
    unexpected: tuple[str, ...] = ()
    """Files that no receipt knows: nothing relies on them."""
    unproven: tuple[str, ...] = ()
    """Lists that could not be proven complete, and why; what is held of them is checked like all else."""
    unfinished_removals: int = 0
    """People whose removal (`forget`) was begun and not finished: it is to be run again."""

    @property
    def broken_paths(self) -> tuple[str, ...]:
        """Of all that is missing, unreadable or damaged, without the reasons."""
        # A path has no blank of its own: names are percent-encoded.
        return tuple(each.partition(": ")[0] for each in (*self.missing, *self.unreadable, *self.damaged))

    @property
    def is_sound(self) -> bool:
        return not (self.missing or self.unreadable or self.damaged or self.unreadable_receipts)


def verify(
    root: Path,
    *,
    sample: tuple[int, int] | None = None,
    only: Collection[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Hold the archive's files against their receipts.

    `sample` (k, n) checks the k-th of n parts of it, chosen by path, so that n runs check all;
    `only` checks these paths.
    `on_progress` hears the bytes done and the bytes in all.

    Raises:
        UsageError: a sample that is none. NotAnArchiveError, StorageError: it cannot be opened.
    """
    part, parts = sample or (1, 1)
    if not 1 <= part <= parts:
        raise UsageError(f"--sample {part}/{parts}: the first number goes from 1 to the second")
    archive = Archive.open(root)
    intended = archive.intended()
    chosen = [
        receipt
        for receipt in archive.files()
        # What a run is about to retire may be gone already.
        if _part_of(receipt.path, parts) == part - 1
        and (only is None or receipt.path in only)
        and intended.get(receipt.path, "") is not None
    ]
    total = sum(receipt.size_bytes for receipt in chosen)
    found: dict[Finding, list[str]] = {finding: [] for finding in Finding}
    done = rows = 0
    for receipt in chosen:
        finding, reason = _check(archive.layout, receipt, intended.get(receipt.path))
        found[finding].append(f"{receipt.path}: {reason}" if reason else receipt.path)
        rows += getattr(receipt, "rows", 0) if finding is Finding.SOUND else 0
        done += receipt.size_bytes
        if on_progress is not None:
            on_progress(done, total)
    return VerifyReport(
        archive=str(root),
        checked_files=len(chosen),
        checked_bytes=total,
        checked_rows=rows,
        sample=f"{part}/{parts}",
        missing=tuple(found[Finding.MISSING]),
        unreadable=tuple(found[Finding.UNREADABLE]),
        damaged=tuple(found[Finding.DAMAGED]),
        unreadable_receipts=tuple(archive.receipts.unreadable_lines),
        unexpected=tuple(_unexpected(archive)),
        unproven=tuple(
            f"{each.data_type} of {each.experiment}: {each.why}"
            for each in archive.lists()
            if not each.is_complete
        ),
        unfinished_removals=len(unfinished(archive.receipts)),
    )


def _part_of(path: str, parts: int) -> int:
    return zlib.crc32(path.encode()) % parts


def _check(layout: Layout, receipt: FileLike, intended_sha256: str | None) -> tuple[Finding, str]:
    """One file; the reason where the finding's name is not enough."""
    digest = hashlib.sha256()
    size = 0
    path = layout.absolute(receipt.path)
    try:
        if layout.leads_through_link(receipt.path):
            return Finding.DAMAGED, "a link stands in its place, or in its way"
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return Finding.MISSING, ""
    except OSError as error:
        return Finding.UNREADABLE, error.strerror or type(error).__name__
    if digest.hexdigest() in {receipt.sha256, intended_sha256}:
        return Finding.SOUND, ""
    if size != receipt.size_bytes:
        return Finding.DAMAGED, f"{size} bytes instead of {receipt.size_bytes}"
    return Finding.DAMAGED, "its bytes have changed"


def _unexpected(archive: Archive) -> Iterator[str]:
    root = archive.layout.root
    known = {receipt.path for receipt in archive.files()} | set(archive.intended())
    for folder, names, files in os.walk(root):
        if Path(folder) == root:
            names[:] = [name for name in names if name not in {STATE, "receipts"}]
        # A linked folder is not walked into, and belongs to nobody.
        links = [name for name in names if Path(folder, name).is_symlink()]
        for name in (*files, *links):
            path = Path(folder, name).relative_to(root).as_posix()
            if path not in known and path not in _OWN_FILES:
                yield path
