"""Every receipt against every byte, and the receipts against what vouches for them.

What cannot be read is not called damaged. What no receipt knows is nobody's, and may be a run's that was
killed; it is wrong only where readers would take it for ours: a stray shard, whose rows every glob reads, too.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from hsmirror.archive import durable
from hsmirror.archive.forgotten import unfinished
from hsmirror.archive.head import read_head
from hsmirror.archive.layout import STATE, SUFFIXES, Layout
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import FORMAT, FileLike, ListReceipt, ShardReceipt
from hsmirror.archive.segments import segments
from hsmirror.archive.shards import count_rows
from hsmirror.archive.strays import strays_among
from hsmirror.archive.vouchers import look_at_vouchers
from hsmirror.errors import ConfigurationError, DamagedError, NotAnArchiveError, StorageError, UsageError

_PIECE_BYTES = 4 << 20
_SHARD_ENDS = tuple(SUFFIXES.values())
_OWN_NAMES = frozenset({"archive.json", "SHA256SUMS", "receipts", STATE})


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
    unvouched: tuple[str, ...] = ()
    """Segments of receipts, `receipts/HEAD`, `SHA256SUMS` or `archive.json` that are lost or have changed, and
    how: what they vouch for may be more, or other, than what was checked."""
    strays: tuple[str, ...] = ()
    """Files that no receipt knows and that readers would take for ours: shards, copies of segments."""
    unexpected: tuple[str, ...] = ()
    """Other files that no receipt knows: nothing relies on them."""
    notes: tuple[str, ...] = ()
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
        return not (self.broken_paths or self.unreadable_receipts or self.unvouched or self.strays)

    @property
    def broken_count(self) -> int:
        """Of files that are not what they should be."""
        return len(self.broken_paths) + len(self.unvouched) + len(self.strays)


def verify(
    root: Path,
    *,
    sample: tuple[int, int] | None = None,
    only: Collection[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Hold the archive's files against their receipts.

    `sample` (k, n) checks the k-th of n parts of it, chosen by path, so that n runs check all; `only` checks
    these paths, and whether those of them that no receipt knows are strays. Files that no receipt knows are
    looked for in the folders of those that are checked, and by that part which an experiment falls into, in all
    of it. What vouches for the receipts is looked at each time.
    `on_progress` hears the bytes done and the bytes in all.

    Raises:
        UsageError: a sample that is none. NotAnArchiveError, StorageError: it cannot be opened.
        DamagedError: it is an archive whose `archive.json` is lost, or is none any more.
    """
    part, parts = sample or (1, 1)
    if not 1 <= part <= parts:
        raise UsageError(f"--sample {part}/{parts}: the first number goes from 1 to the second")
    archive = _opened(root)
    survey = _Survey(archive, _Choice(part, parts, only))
    for folder in archive.receipts.folders:
        survey.look_below(folder)
    survey.look_elsewhere()
    vouchers = look_at_vouchers(archive)
    strays = strays_among(archive.layout, survey.unexpected)
    found, rows = _check_all(archive.layout, survey.chosen, on_progress)
    return VerifyReport(
        archive=str(root),
        checked_files=len(survey.chosen),
        checked_bytes=sum(each.size_bytes for each in survey.chosen),
        checked_rows=rows,
        sample=f"{part}/{parts}",
        missing=tuple(found[Finding.MISSING]),
        unreadable=tuple(found[Finding.UNREADABLE]),
        damaged=tuple(found[Finding.DAMAGED]),
        unreadable_receipts=tuple(archive.receipts.unreadable_lines),
        unvouched=vouchers.broken,
        strays=strays.strays,
        unexpected=strays.harmless,
        notes=vouchers.notes,
        unproven=tuple(survey.unproven),
        unfinished_removals=len(unfinished(archive.receipts.of_no_experiment)),
    )


def _opened(root: Path) -> Archive:
    try:
        return Archive.open(root)
    except NotAnArchiveError as error:
        layout = Layout(root)
        head = read_head(layout)
        if head is None or head.vouches_for(layout, layout.marker):
            raise
        raise DamagedError(
            f"{error}; its receipts are there: restore archive.json from a backup, or write it anew, "
            f'{{"format": {FORMAT}, "upstream": "api.base_url", "created": "2026-01-01T00:00:00Z"}}, with the '
            "server's address and any time"
        ) from error


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which files are checked."""

    part: int
    parts: int
    only: Collection[str] | None

    def looks_below(self, folder: str) -> bool:
        """Is it this part that looks for files that no receipt knows, in the whole of that folder?"""
        return self.only is None and self.takes(folder)

    def takes(self, path: str) -> bool:
        is_in_part = self.parts == 1 or zlib.crc32(path.encode()) % self.parts == self.part - 1
        return is_in_part and (self.only is None or path in self.only)


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a receipt says of a file that is checked. There may be a million: no more than is needed is kept."""

    path: str
    size_bytes: int
    rows: int
    sha256: tuple[str, ...]
    """Two where a run that is under way, or has died, was about to leave other bytes there."""


class _Survey:
    """What there is to check, read from the receipts, one experiment after another."""

    def __init__(self, archive: Archive, choice: _Choice) -> None:
        self._archive = archive
        self._choice = choice
        self._intended = archive.intended()
        self.chosen: list[_Expected] = []
        self.unexpected: list[str] = []
        self.unproven: list[str] = []

    def look_below(self, folder: str) -> None:
        """An experiment's folder: what its receipts speak of, and what they do not."""
        known = set(self._intended)
        beside: set[str] = set()
        for receipt in self._archive.receipts.below(folder):
            if isinstance(receipt, ListReceipt) and not receipt.is_complete:
                self.unproven.append(f"{receipt.data_type} of {receipt.experiment}: {receipt.why}")
            if not isinstance(receipt, FileLike) or receipt.sha256 is None:
                continue
            known.add(receipt.path)
            # What a run is about to retire may be gone already.
            if self._choice.takes(receipt.path) and self._intended.get(receipt.path, "") is not None:
                self.chosen.append(self._expected(receipt, receipt.sha256))
                beside.add(receipt.path.rpartition("/")[0])
        layout = self._archive.layout
        is_deep = self._choice.looks_below(folder)
        folders = [folder] if is_deep else sorted(beside)
        own = [each for each in folders if not layout.leads_through_link(each)]
        self.unexpected += _unexpected(layout.root, own, known, is_deep=is_deep)

    def look_elsewhere(self) -> None:
        """Beside the folders of the experiments, and at what was asked for and has no receipt."""
        if only := self._choice.only:
            layout = self._archive.layout
            there = [path for path in only if os.path.lexists(layout.root / path)]
            self.unexpected += [path for path in there if not self._archive.holds(path)]
        if self._choice.looks_below("receipts"):
            layout, folders = self._archive.layout, self._archive.receipts.folders
            self.unexpected += _unexpected_beside(layout, folders, self._intended)
            own = {"receipts/HEAD", *(f"receipts/{segment.name}" for segment in segments(layout))}
            self.unexpected += _unexpected(layout.root, ["receipts"], own)

    def _expected(self, receipt: FileLike, sha256: str) -> _Expected:
        intended = self._intended.get(receipt.path)
        rows = receipt.rows if isinstance(receipt, ShardReceipt) else 0
        return _Expected(
            receipt.path, receipt.size_bytes, rows, (sha256,) if intended is None else (sha256, intended)
        )


def _check_all(
    layout: Layout, chosen: Collection[_Expected], on_progress: Callable[[int, int], None] | None
) -> tuple[dict[Finding, list[str]], int]:
    """Paths by what became of them, with the reason where there is one; and the rows that are sound."""
    found: dict[Finding, list[str]] = {finding: [] for finding in Finding}
    total = sum(each.size_bytes for each in chosen)
    done = rows = 0
    for each in chosen:
        finding, reason = _check(layout, each)
        found[finding].append(f"{each.path}: {reason}" if reason else each.path)
        rows += each.rows if finding is Finding.SOUND else 0
        done += each.size_bytes
        if on_progress is not None:
            on_progress(done, total)
    return found, rows


def _check(layout: Layout, expected: _Expected) -> tuple[Finding, str]:
    """One file; the reason where the finding's name is not enough."""
    digest = hashlib.sha256()
    size = 0
    path = layout.absolute(expected.path)
    try:
        if layout.leads_through_link(expected.path):
            return Finding.DAMAGED, "a link stands in its place, or in its way"
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return Finding.MISSING, ""
    except OSError as error:
        return Finding.UNREADABLE, error.strerror or type(error).__name__
    if digest.hexdigest() == expected.sha256[0]:
        return _check_rows(path, expected)
    if digest.hexdigest() in expected.sha256:
        return Finding.SOUND, ""
    if size != expected.size_bytes:
        return Finding.DAMAGED, f"{size} bytes instead of {expected.size_bytes}"
    return Finding.DAMAGED, "its bytes have changed"


def _check_rows(path: Path, expected: _Expected) -> tuple[Finding, str]:
    """Of a file whose hash is right: does a shard have as many rows as its receipt says?"""
    if not expected.path.endswith(_SHARD_ENDS):
        return Finding.SOUND, ""
    try:
        rows = count_rows(path)
    except StorageError as error:
        return Finding.UNREADABLE, str(error)
    except DamagedError as error:
        return Finding.DAMAGED, str(error)
    except ConfigurationError:  # a library is missing: the hash has to do
        return Finding.SOUND, ""
    if rows == expected.rows:
        return Finding.SOUND, ""
    return Finding.DAMAGED, f"{rows} rows, where its receipt says {expected.rows}"


def _unexpected(
    root: Path, folders: Iterable[str], known: Container[str], *, is_deep: bool = True
) -> Iterator[str]:
    """Files in these folders that no receipt knows; `is_deep`: and in all folders below."""
    pending = list(folders)
    while pending:
        folder = pending.pop()
        with suppress(OSError), os.scandir(root / folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                path = f"{folder}/{entry.name}"
                # A linked folder is not walked into, and belongs to nobody.
                if not entry.is_dir(follow_symlinks=False):
                    if path not in known:
                        yield path
                elif is_deep:
                    pending.append(path)


def _unexpected_beside(layout: Layout, folders: Collection[str], known: Container[str]) -> Iterator[str]:
    """The same beside these folders of experiments, and in other folders."""
    looked_at = {*folders, *_OWN_NAMES}
    with durable.disk_errors(f"look into {layout.root}"), os.scandir(layout.root) as entries:
        others = sorted((entry for entry in entries if entry.name not in looked_at), key=lambda each: each.name)
    for entry in others:
        if entry.is_dir(follow_symlinks=False):
            yield from _unexpected(layout.root, [entry.name], known)
        else:
            yield entry.name
