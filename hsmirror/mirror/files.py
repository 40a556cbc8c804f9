"""A recording file on its way to disk: bytes appended, hashed on the way, resumed after any end.

The partial file lies in staging under a name made from its place in the archive, with a note of which object it
is a part of, so that a later run goes on from its last byte.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Protocol

import google_crc32c
import msgspec

from hsmirror.api.headers import OfferedHashes
from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.errors import CorruptError

_READ_BYTES = 4 << 20
_SYNC_BYTES = 64 << 20


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class PartialNote(msgspec.Struct, frozen=True):
    """Which object a partial file is a part of."""

    source: str
    etag: str | None
    total_bytes: int | None
    synced_bytes: int = 0
    """Up to here the part has reached the disk; what lies beyond a power loss may have taken."""
    md5: bytes | None = None
    crc32c: bytes | None = None
    sha256: bytes | None = None

    @property
    def hashes(self) -> OfferedHashes:
        """What the provider offered for the whole; some ranged answers no longer do."""
        return OfferedHashes(self.md5, self.crc32c, self.sha256)


class PartialFile:
    """The part of a file that is there. All methods do blocking I/O and belong into a worker thread."""

    def __init__(self, layout: Layout, path: str, modes: durable.Modes) -> None:
        self._layout = layout
        self._modes = modes
        name = hashlib.sha256(path.encode()).hexdigest()[:40]
        self.path = layout.partial_files / f"{name}.part"
        self._note_path = layout.partial_files / f"{name}.json"
        self.size_bytes = 0
        self._synced_bytes = 0
        self.note: PartialNote | None = None
        self._offered = OfferedHashes()
        self._restart_hashes()

    def __repr__(self) -> str:
        return f"<PartialFile {self.path.name}, {self.size_bytes} bytes>"

    def open(self, source: str) -> None:
        """Take up what an earlier try has left of the same object; anything else is thrown away."""
        durable.make_folder(self._layout.root, self._layout.partial_files, self._modes)
        try:
            self.note = msgspec.json.decode(self._note_path.read_bytes(), type=PartialNote)
            self._cut_to(self.note.synced_bytes)
        except (OSError, msgspec.MsgspecError):
            self.note = None
        if self.note is None or self.note.source != source:
            self.restart()

    def _cut_to(self, synced_bytes: int) -> None:
        """Go on from what is known to have reached the disk; anything but a plain file of that size is not."""
        found = self.path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size < synced_bytes:
            raise FileNotFoundError(self.path)
        os.truncate(self.path, synced_bytes)
        self.size_bytes = self._synced_bytes = synced_bytes

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
        """Note which object the bytes to come are of."""
        note = msgspec.structs.replace(note, synced_bytes=self._synced_bytes)
        if note != self.note:
            durable.write_whole(self._layout.root, self._note_path, msgspec.json.encode(note), self._modes)
            self.note = note

    def append(self, piece: bytes) -> None:
        durable.append(self.path, piece, self._modes)
        self._hash(piece)
        self.size_bytes += len(piece)
        if self.size_bytes - self._synced_bytes >= _SYNC_BYTES:
            self.keep()

    def keep(self) -> None:
        """Have what came so far on the disk, for a later try to go on from."""
        if self.note is not None and self.size_bytes > self._synced_bytes:
            durable.sync_file(self.path)
            self._synced_bytes = self.size_bytes
            self.describe(self.note)

    def restart(self) -> None:
        """From byte 0."""
        with durable.disk_errors(f"remove {self.path}"):
            self.path.unlink(missing_ok=True)
            self._note_path.unlink(missing_ok=True)
        self.note = None
        self.size_bytes = self._synced_bytes = 0
        self._restart_hashes()

    def prove(self, *sizes: int | None, at_least: int = 0) -> str:
        """Hold what is there against every size and hash that is known; gives what it was proven by.

        Raises:
            CorruptError: one of them differs.
        """
        for size in sizes:
            if size is not None and size != self.size_bytes:
                raise CorruptError(f"it has {self.size_bytes} bytes instead of {size}")
        if self.size_bytes < at_least:
            raise CorruptError("it is empty")
        for name, computed in self._hashes.items():
            offered: bytes | None = getattr(self._offered, name)
            if offered is not None and offered != computed.digest():
                raise CorruptError(f"its {name} is not the one that its storage host names")
        if not self._offered:
            return "size" if any(size is not None for size in sizes) else ""
        return ",".join(name for name in self._hashes if getattr(self._offered, name) is not None)

    @property
    def sha256(self) -> str:
        return self._hashes["sha256"].digest().hex()

    def forget_note(self) -> None:
        """The file is in its place."""
        self._note_path.unlink(missing_ok=True)

    def _restart_hashes(self) -> None:
        """Our own sha256 always; the provider's hashes where it offers them."""
        self._hashes: dict[str, _Hash] = {"sha256": hashlib.sha256()}
        if self._offered.md5 is not None:
            self._hashes["md5"] = hashlib.md5(usedforsecurity=False)
        if self._offered.crc32c is not None:
            self._hashes["crc32c"] = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # it has no types
        self._hashed_bytes = 0

    def _hash(self, piece: bytes) -> None:
        for each in self._hashes.values():
            each.update(piece)
        self._hashed_bytes += len(piece)
