"""Where everything lies: the only maker of paths.

Folders are Hive-style (`experiment_id=…/data_type=…/room_id=…`), so that DuckDB, polars, pyarrow, Spark and
Dask read a whole archive with one glob. Nothing but a current shard ends in `.ndjson`, `.ndjson.gz` or
`.ndjson.zst`: what is staged or superseded has one more suffix.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from urllib.parse import unquote_to_bytes

from hsmirror.errors import DamagedError

NO_ROOM = "__HIVE_DEFAULT_PARTITION__"
"""The room folder of rows that belong to no room; DuckDB and Spark read it as NULL."""

SUFFIXES = {"none": ".ndjson", "gzip": ".ndjson.gz", "zstd": ".ndjson.zst"}
"""What a shard's name ends in, by compression."""

_SHARD_SUFFIXES = tuple(SUFFIXES.values())

STATE = ".hsmirror"
_RECEIPTS = "receipts"
_EXPERIMENT = "experiment_id="

LEVELS_OF_FOLDERS = 2
"""Down to here, below the root, folders hold folders that runs share; those of rooms hold files alone."""

_LONGEST_NAME_BYTES = 200  # file systems allow 255; room for `room_id=` and suffixes
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-.")
_PLAIN_TEXT = re.compile(r"[a-z0-9_.-]*")
_WINDOWS_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)")
_OWN_PATH = re.compile(
    r"(?!(?i:receipts|archive\.json|SHA256SUMS)(?:/|\Z))"
    # Both cases spelt out: `re.IGNORECASE` makes it four times slower, and every receipt is held against it.
    r"[A-Za-z0-9_%~=-][A-Za-z0-9_.%~=-]{0,254}(?:/[A-Za-z0-9_%~=-][A-Za-z0-9_.%~=-]{0,254}){0,15}"
)
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_PLAYLIST = ".m3u8"


def encode_id(text: str) -> str:
    """An id as a safe file name: percent-encoded, reversible, and never equal to another id's.

    Lower-case letters, digits, `_`, `-` and `.` stand as they are; everything else becomes the percent
    codes of its UTF-8 bytes: capitals too, so that ids which differ in case alone do not meet on a file system
    that ignores it. A leading dot or dash, a trailing dot and the first letter of a Windows device name are
    encoded as well. An id whose name would be too long for a file system keeps its beginning and ends in `%~`
    and a hash; its receipt has it whole.
    """
    raw = text.encode("utf-8", "surrogatepass")
    is_plain = _PLAIN_TEXT.fullmatch(text) is not None  # nearly always, and many times faster to tell
    encoded = text if is_plain else "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    is_taken = encoded == NO_ROOM.lower()  # the same name on a file system that ignores case
    if encoded[:1] in {".", "-"} or is_taken or _WINDOWS_DEVICES.match(encoded):
        encoded = f"%{raw[0]:02X}{encoded[1:]}"
    if encoded.endswith("."):
        encoded = f"{encoded[:-1]}%2E"
    if len(encoded) > _LONGEST_NAME_BYTES:
        return f"{_whole_codes(encoded[:120])}%~{hashlib.sha256(raw).hexdigest()[:40]}"
    return encoded or "%"


def decode_id(name: str) -> str | None:
    """The id behind a name that `encode_id` made; None where only a receipt knows it whole."""
    if "%~" in name:
        return None
    if name == "%":
        return ""
    return unquote_to_bytes(name).decode("utf-8", "surrogatepass")


def _whole_codes(encoded: str) -> str:
    """Cut back to before a percent code that was cut in half."""
    at = encoded.rfind("%", -2)
    return encoded[:at] if at >= 0 else encoded


@lru_cache(maxsize=256)  # the paths of a list are asked for one after another
def room_folder(room: str | None) -> str:
    """`room_id=…` for a room, or for the rows that belong to none."""
    return f"room_id={NO_ROOM if room is None else encode_id(room)}"


def experiment_folder(experiment: str) -> str:
    return f"{_EXPERIMENT}{encode_id(experiment)}"


def is_own_folder(name: str) -> bool:
    """Is this how a folder in the root is named that the archive makes? Others may lie there: `lost+found`."""
    return name in {_RECEIPTS, STATE} or name.startswith(_EXPERIMENT)


def document_path(experiment: str, name: str) -> str:
    """`experiment_id=…/experiment.json` and its like."""
    return f"{experiment_folder(experiment)}/{name}"


@lru_cache(maxsize=256)
def type_folder(experiment: str, data_type: str) -> str:
    return f"{experiment_folder(experiment)}/data_type={data_type.replace('/', '_')}"


def shard_path(experiment: str, data_type: str, room: str | None, part: int, compression: str) -> str:
    """`experiment_id=…/data_type=…/room_id=…/part-00000.ndjson.gz`."""
    return f"{type_folder(experiment, data_type)}/{room_folder(room)}/part-{part:05d}{SUFFIXES[compression]}"


def sidecar_path(experiment: str, data_type: str, room: str | None) -> str:
    """What an answer says beside its rows, where that is data too (a variables timeline)."""
    return f"{type_folder(experiment, data_type)}/{room_folder(room)}/metadata.json"


def file_path(experiment: str, room: str | None, recording_id: str, extension: str, twin: int = 0) -> str:
    """`experiment_id=…/files/room_id=…/rec_abc123.mp4`.

    `twin` tells files apart whose rows have the same recording id and format. An extension that is none
    becomes `bin`.
    """
    return next(islice(file_paths(experiment, room, recording_id, extension), twin, None))


def file_paths(experiment: str, room: str | None, recording_id: str, extension: str) -> Iterator[str]:
    """All of them, the one without a number first."""
    extension = extension.lower().lstrip(".")
    if not _EXTENSION.fullmatch(extension):
        extension = "bin"
    stem = f"{experiment_folder(experiment)}/files/{room_folder(room)}/{encode_id(recording_id)}"
    for twin in count():
        path = f"{stem}~{twin}.{extension}" if twin else f"{stem}.{extension}"
        yield f"{path}.bin" if path.endswith(_SHARD_SUFFIXES) else path


def playlist_path(path: str) -> str:
    """Where an HLS playlist lies that a storage host has in the place of the file at `path`."""
    return path if path.endswith(_PLAYLIST) else f"{path}{_PLAYLIST}"


def is_own_path(path: str) -> bool:
    """Is this a path as this module makes them, below the root and outside the archive's own state?

    Receipts are read from disk: one that was planted or damaged must not lead anywhere else.
    """
    return _OWN_PATH.fullmatch(path) is not None


class Layout:
    """The archive's own places below its root. Paths in receipts are relative to the root, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root_text = str(root)
        self.marker = root / "archive.json"
        self.sums = root / "SHA256SUMS"
        self.receipts = root / _RECEIPTS
        self.head = self.receipts / "HEAD"
        self.state = root / STATE
        self.lock = self.state / "lock"
        self.staging = self.state / "staging"
        self.superseded = self.state / "superseded"
        self.runs = self.state / "runs"
        self.checks = self.state / "checks"

    def __repr__(self) -> str:
        return f"<Layout of {self.root}>"

    def absolute(self, path: str) -> Path:
        """Where a receipt's path lies on this machine.

        Raises:
            DamagedError: it is no path of an archive, so that it is not followed.
        """
        self._require_own(path)
        return self.root / path

    def location(self, path: str) -> str:
        """The same as text, many times faster: for a look at every file.

        Raises:
            DamagedError: it is no path of an archive, so that it is not followed.
        """
        self._require_own(path)
        return f"{self._root_text}/{path}"

    def leads_through_link(self, path: str) -> bool:
        """Does a symbolic link stand where a receipt's path has a folder, or in its own place?"""
        place = self.root
        self._require_own(path)
        for part in path.split("/"):
            place = place / part
            if place.is_symlink():
                return True
        return False

    def _require_own(self, path: str) -> None:
        if not is_own_path(path):
            raise DamagedError(
                f"a receipt in {self.receipts} names {path[:200]!r}, which is no path of an archive; "
                "it is not followed: remove that line"
            )

    def segment(self, run_id: str) -> Path:
        return self.receipts / f"{run_id}.jsonl"

    def staging_of(self, run_id: str) -> Path:
        return self.staging / run_id

    def has_staged(self) -> bool:
        """Is a run under way that has begun to write, or has one died there?"""
        try:
            return any(each != self.partial_files for each in self.staging.iterdir())
        except OSError:
            return False

    @property
    def partial_files(self) -> Path:
        """Where recording files grow; unlike the rest of staging it outlives its run, to be resumed."""
        return self.staging / "files"

    def superseded_path(self, run_id: str, path: str) -> Path:
        """Where the older generation of `path` goes; the added suffix keeps it out of every glob."""
        self._require_own(path)
        return self.superseded / f"{run_id}/{path}.superseded"

    def report(self, run_id: str) -> Path:
        return self.runs / f"{run_id}.json"

    def check(self, part: int, parts: int) -> Path:
        """When the part-th of `parts` parts was last verified."""
        return self.checks / f"{part}-of-{parts}.json"
