"""A recording file on its way to disk: bytes appended, hashed on the way, resumed after any end.

The partial file lies in staging under a name made from its place in the archive, with a note of which object it
is a part of, so that a later run goes on from its last byte.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import google_crc32c
import msgspec

from hsmirror.api.headers import OfferedHashes, Sameness, Version
from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FileReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.errors import CorruptError, StorageError

_READ_BYTES = 4 << 20
_SYNC_BYTES = 64 << 20
SIZE = "size"
"""A proof that is none of the bytes, only of their number."""

_KEPT_SECONDS = 7 * 86_400
_PART, _NOTE, _INFLATED = ".part", ".json", ".inflated"


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class PartialNote(msgspec.Struct, frozen=True):
    """Which object a partial file is a part of, and all that its host said of which version it began with."""

    source: str
    etag: str | None
    total_bytes: int | None
    synced_bytes: int = 0
    """Up to here the part has reached the disk; what lies beyond a power loss may have taken."""
    md5: bytes | None = None
    crc32c: bytes | None = None
    sha256: bytes | None = None
    path: str = ""
    """The place of the whole in the archive."""
    generation: str | None = None
    version_id: str | None = None
    modified: str | None = None
    is_modified_strong: bool = False
    coding: str = ""
    is_doubtful: bool = False
    """It was gone on with under an answer that did not prove to be of the same version."""

    @classmethod
    def of(
        cls,
        source: str,
        version: Version,
        total_bytes: int | None,
        hashes: OfferedHashes,
        *,
        is_doubtful: bool = False,
    ) -> PartialNote:
        """The note of a part, from what the host said."""
        return cls(
            source,
            version.etag,
            total_bytes,
            md5=hashes.md5,
            crc32c=hashes.crc32c,
            sha256=hashes.sha256,
            generation=version.generation,
            version_id=version.version_id,
            modified=version.modified,
            is_modified_strong=version.is_modified_strong,
            coding=version.coding,
            is_doubtful=is_doubtful,
        )

    @property
    def version(self) -> Version:
        """What the host said of which version it is."""
        return Version(
            self.etag,
            self.generation,
            self.version_id,
            self.modified,
            self.is_modified_strong,
            self.coding,
        )

    def is_untold_by(self, later: PartialNote) -> bool:
        """Does nothing in a later answer say whether it is of the same version?"""
        sameness = self.version.compare(later.version)
        is_hashed = bool(self.hashes or later.hashes)
        return sameness is Sameness.UNKNOWN and not is_hashed and not self._has_other_size(later)

    def _has_other_size(self, later: PartialNote) -> bool:
        return None not in {self.total_bytes, later.total_bytes} and self.total_bytes != later.total_bytes

    def joined(self, later: PartialNote) -> PartialNote | None:
        """The note of this part with what a later answer adds to it.

        None where they are of different versions, and no hash of the whole will tell. Where it is not proven
        that they are of the same, the part is doubtful.
        """
        if self._has_other_size(later) or self.hashes.contradicts(later.hashes):
            return None
        sameness = self.version.compare(later.version)
        if sameness is Sameness.REFUTED:
            return later.doubted() if later.hashes else None
        return PartialNote.of(
            self.source,
            self.version,
            self.total_bytes if later.total_bytes is None else later.total_bytes,
            later.hashes or self.hashes,
            is_doubtful=self.is_doubtful or sameness is not Sameness.PROVEN,
        )

    def doubted(self) -> PartialNote:
        return msgspec.structs.replace(self, is_doubtful=True)

    def ended(self, total_bytes: int | None, size_bytes: int) -> PartialNote | None:
        """The note of this part once the host says that nothing comes behind its `size_bytes`, which may be all
        that it says; None where more must have come by all that is known.
        """
        total_bytes = self.total_bytes if total_bytes is None else total_bytes
        if total_bytes not in {None, size_bytes}:
            return None
        return msgspec.structs.replace(self, total_bytes=total_bytes)

    @property
    def hashes(self) -> OfferedHashes:
        """What the provider offered for the whole; some ranged answers no longer do."""
        return OfferedHashes(self.md5, self.crc32c, self.sha256)


class PartialFile:
    """The part of a file that is there. All methods do blocking I/O and belong into a worker thread."""

    def __init__(self, layout: Layout, path: str, modes: durable.Modes) -> None:
        self._layout = layout
        self.modes = modes
        self.place = path
        """Where the whole is to lie in the archive."""
        self.name = _name(path)
        self.path = layout.partial_files / f"{self.name}{_PART}"
        self.inflated_path = layout.partial_files / f"{self.name}{_INFLATED}"
        """Where it is unpacked to, once it is whole."""
        self._note_path = layout.partial_files / f"{self.name}{_NOTE}"
        self.size_bytes = 0
        self._synced_bytes = 0
        self.note: PartialNote | None = None
        self._written_note: PartialNote | None = None
        self._offered = OfferedHashes()
        self._restart_hashes()

    def __repr__(self) -> str:
        return f"<PartialFile {self.path.name}, {self.size_bytes} bytes>"

    def open(self, source: str) -> None:
        """Take up what an earlier try has left of the same object; anything else is thrown away."""
        self.note = self._written_note = _read_note(self._note_path)
        if self.note is None or self.note.source != source or not self._cut_to(self.note.synced_bytes):
            self.restart()

    def _cut_to(self, synced_bytes: int) -> bool:
        """Go on from what is known to have reached the disk; False where the part is not what was noted."""
        try:
            found = self.path.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_size < synced_bytes:
                return False
            os.truncate(self.path, synced_bytes)
        except OSError:
            return False
        self.size_bytes = self._synced_bytes = synced_bytes
        return True

    def expect(self, hashes: OfferedHashes) -> None:
        """Hash from here on for these, too; what is there already is read for it once."""
        if self._hashed_bytes == self.size_bytes and hashes == self._offered:
            return
        self._offered = hashes
        self._restart_hashes()
        if self.size_bytes:
            with durable.disk_errors(f"read {self.path}"), self.path.open("rb") as file:
                while piece := file.read(_READ_BYTES):
                    self._hash(piece)

    def describe(self, note: PartialNote) -> None:
        """Say which object the bytes to come are of. It is written down as soon as some of them are kept."""
        self.note = note

    def tail(self, size_bytes: int) -> bytes:
        """The last so many bytes of what is there."""
        with durable.disk_errors(f"read {self.path}"), self.path.open("rb") as file:
            file.seek(self.size_bytes - size_bytes)
            return file.read(size_bytes)

    def append(self, piece: bytes | memoryview) -> None:
        if not self.size_bytes:
            durable.make_folder(self._layout.root, self._layout.partial_files, self.modes)
        durable.append(self.path, piece, self.modes)
        self._hash(piece)
        self.size_bytes += len(piece)
        if self.size_bytes - self._synced_bytes >= _SYNC_BYTES:
            self.keep()

    def keep(self) -> None:
        """Have what came so far on the disk, with a note, for a later try to go on from."""
        if self.note is None or not self.size_bytes:
            return
        if self.size_bytes > self._synced_bytes:
            self._sync()
            self._synced_bytes = self.size_bytes
        note = msgspec.structs.replace(self.note, synced_bytes=self._synced_bytes, path=self.place)
        if note != self._written_note:
            durable.write_whole(self._layout.root, self._note_path, msgspec.json.encode(note), self.modes)
            self._written_note = note

    def _sync(self) -> None:
        """What cannot be synced is gone, and nothing is known of it any more: a second `keep` keeps nothing."""
        try:
            durable.sync_staged(self.path)
        except StorageError:
            self._forget()
            raise

    def restart(self) -> None:
        """From byte 0."""
        with durable.disk_errors(f"remove {self.path}"):
            self.path.unlink(missing_ok=True)
            self._note_path.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        self.note = self._written_note = None
        self.size_bytes = self._synced_bytes = 0
        self._restart_hashes()

    def prove(self, total_bytes: int | None) -> str:
        """Hold what is there against the size and the hashes that its host names; gives what it is proven by,
        nothing where that is no proof.

        Raises:
            CorruptError: one of them differs.
        """
        if total_bytes is not None and total_bytes != self.size_bytes:
            raise CorruptError(f"it has {self.size_bytes} bytes instead of {total_bytes}")
        for name, computed in self._hashes.items():
            offered: bytes | None = getattr(self._offered, name)
            if offered is not None and offered != computed.digest():
                raise CorruptError(f"its {name} is not the one that its storage host names")
        if self._offered:
            return ",".join(name for name in self._hashes if getattr(self._offered, name) is not None)
        return "" if total_bytes is None or self.is_doubtful else SIZE

    @property
    def is_doubtful(self) -> bool:
        """Are there parts of it of which it is not proven that they are of one version?"""
        return self.note is not None and self.note.is_doubtful

    @property
    def is_end_known(self) -> bool:
        """Has the host said that it has as many bytes as are there?"""
        return self.note is not None and self.note.total_bytes == self.size_bytes

    @property
    def sha256(self) -> str:
        return self._hashes["sha256"].digest().hex()

    @property
    def is_noted(self) -> bool:
        """Does its note lie beside it?"""
        return self._written_note is not None

    def clear(self) -> None:
        """The file is in its place: nothing of it is left here."""
        with durable.disk_errors(f"remove {self._note_path}"):
            for path in (self._note_path, self.path, self.inflated_path):
                path.unlink(missing_ok=True)

    def _restart_hashes(self) -> None:
        """Our own sha256 always; the provider's hashes where it offers them."""
        self._hashes: dict[str, _Hash] = {"sha256": hashlib.sha256()}
        if self._offered.md5 is not None:
            self._hashes["md5"] = hashlib.md5(usedforsecurity=False)
        if self._offered.crc32c is not None:
            self._hashes["crc32c"] = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # it has no types
        self._hashed_bytes = 0

    def _hash(self, piece: bytes | memoryview) -> None:
        for name, computed in self._hashes.items():
            computed.update(bytes(piece) if name == "crc32c" else piece)  # google_crc32c takes bytes alone
        self._hashed_bytes += len(piece)


def settle_partial_files(layout: Layout, receipts: Receipts, *, now: float) -> None:
    """Remove parts that nobody will go on with: of files that are held by now, and those that no run has
    touched for a week. `now` is in seconds since the epoch. What cannot be removed is the next run's to try.
    """
    names = part_names(layout)
    if not names:
        return
    for name in names:
        part, note, inflated = (
            layout.partial_files / f"{name}{suffix}" for suffix in (_PART, _NOTE, _INFLATED)
        )
        held = _held(receipts, name, _read_note(note))
        with suppress(OSError):
            durable.staged_beside(note).unlink(missing_ok=True)
            inflated.unlink(missing_ok=True)
            if not _is_wanted(part, note, held, now):
                part.unlink(missing_ok=True)
                note.unlink(missing_ok=True)


def _held(receipts: Receipts, name: str, note: PartialNote | None) -> FileReceipt | None:
    """The receipt of the file that this is a part of; None where it is not held, or not known."""
    return receipts.file(note.path) if note is not None and _name(note.path) == name else None


def part_names(layout: Layout) -> set[str]:
    """Of which files a part, or a note of one, was left."""
    try:
        return {path.name.partition(".")[0] for path in layout.partial_files.iterdir()}
    except OSError:
        return set()


def _is_wanted(part: Path, note_path: Path, held: FileReceipt | None, now: float) -> bool:
    """Can a download go on from here? A part is of no use without its note, nor a note without its part."""
    note = _read_note(note_path)
    if note is None or not part.is_file():
        return False
    touched_at = max(part.stat().st_mtime, note_path.stat().st_mtime)
    is_held = held is not None and (note.etag, note.total_bytes) == (held.etag, held.host_bytes)
    return not is_held and now - touched_at < _KEPT_SECONDS


def _read_note(path: Path) -> PartialNote | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=PartialNote)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _name(path: str) -> str:
    """What the part of a file is called, from its place in the archive."""
    return hashlib.sha256(path.encode()).hexdigest()[:40]
