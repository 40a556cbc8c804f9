"""What a receipt is: that something is held, with its hash, or what a list was read for.

A receipt is one line of JSON in a segment; the last line for a key counts. Readers start from here: a file
without a receipt is nobody's, a receipt without its file is a bug.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal, TypeAlias
from zlib import crc32

import msgspec

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout, is_own_path
from hsmirror.errors import NotAnArchiveError, StorageError


@lru_cache(maxsize=1024)  # most receipts of a run have the same time
def instant(text: str) -> datetime:
    """An ISO time as a point in time; without a zone it is UTC. Texts of times do not sort as times do."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Claim(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a shard is complete for: all rows at or after `start`, before `end`, of `participant`. None: all."""

    start: str | None = None
    end: str | None = None
    participant: str | None = None

    def covers(self, other: Claim) -> bool:
        """Is everything that `other` names in this one, too?"""
        starts_early = self.start is None or (
            other.start is not None and instant(self.start) <= instant(other.start)
        )
        ends_late = self.end is None or (other.end is not None and instant(self.end) >= instant(other.end))
        return starts_early and ends_late and self.participant in {None, other.participant}


WHOLE = Claim()


class ShardReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="shard"
):
    """One shard of rows, or — `sha256` None — a (type, room) that has none, and no file.

    `content_sha256` and `content_bytes` are of the rows themselves, whatever the compression; `gone_rows` of
    them are no longer upstream. `complete_for` is empty where the list could not be proven complete.
    """

    path: str
    experiment: str
    data_type: str
    room: str | None
    part: _Count = 0
    rows: _Count = 0
    size_bytes: _Count = 0
    sha256: str | None = None
    content_bytes: _Count = 0
    content_sha256: str | None = None
    complete_for: tuple[Claim, ...] = ()
    gone_rows: _Count = 0
    fetched_at: str = ""

    @property
    def key(self) -> str:
        return self.path


class FileReceipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="file"):
    """One recording file, whose name belongs to its object for ever.

    `verified_by` names the provider's hash that it matched, if one was offered. `source` is where the object
    was, without signatures, and `object_kind` its media kind, format and a hash of what else tells it from
    other files of the recording; `said` is what its row said of its version, `looked_at` when the host was last
    asked whether it is still the same. Archives of older versions have none of these.

    `listed_bytes` is the size that its row tells where that is another one. Where its host stores it encoded,
    `stored_coding` says how, `stored_bytes` and `stored_sha256` are of what is stored, and what is held is
    decoded. A `is_playlist` names where the segments of a film are, and is not the film.
    """

    path: str
    experiment: str
    room: str | None
    recording_id: str
    size_bytes: _Count
    sha256: str
    verified_by: str = ""
    etag: str | None = None
    fetched_at: str = ""
    listed_bytes: _Count | None = None
    stored_coding: str = ""
    stored_bytes: _Count = 0
    stored_sha256: str = ""
    is_playlist: bool = False
    source: str = ""
    object_kind: str = ""
    said: tuple[tuple[str, str], ...] = ()
    looked_at: str = ""

    @property
    def key(self) -> str:
        return self.path

    @property
    def host_bytes(self) -> int:
        """How many bytes its host stores."""
        return self.stored_bytes or self.size_bytes

    def is_of(self, listed_bytes: int | None) -> bool:
        """Is it the film that a row of such a size tells of?"""
        return not self.is_playlist and listed_bytes in {None, self.size_bytes, self.listed_bytes}


class DocumentReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="document"
):
    """A JSON document that is not rows: an experiment's definition, a variables timeline."""

    path: str
    experiment: str
    size_bytes: _Count
    sha256: str
    fetched_at: str = ""

    @property
    def key(self) -> str:
        return self.path


class ListReceipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="list"):
    """How one data type of one experiment was last read as a whole, and whether that was proven complete.

    `way` is `experiment` (one list, split by room) or `room` (a list a room); `total` what the server says at
    experiment scope, and `unaccounted` by how much that exceeds the rows that it gives. A page had `page_rows`.
    `why` tells, where `is_complete` is false, what is missing and why. `whole_at` is when all of it was last
    read and proven, `rooms_read_at` when settled rooms were read by themselves since then. A search for what
    has moved that was cut short began at `searching_since`. `differences` has by room ("" for the experiment's
    list) by how many rows a total exceeds what two readings agree on, and since when.
    """

    experiment: str
    data_type: str
    way: Literal["experiment", "room", "participant"] = "experiment"
    rows: _Count = 0
    total: int | None = None
    unaccounted: int = 0
    page_rows: _Count = 0
    is_complete: bool = True
    why: str = ""
    read_at: str = ""
    whole_at: str = ""
    rooms_read_at: dict[str, str] = {}
    searching_since: str = ""
    differences: dict[str, tuple[int, str]] = {}
    is_unread: bool = False
    """The list as a whole could not be proven: it is read again, whatever its total says."""

    @property
    def key(self) -> str:
        return f"list {self.data_type} of {self.experiment}"


class PendingReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="pending"
):
    """A recording whose file is not held, and why: not final upstream, or it could not be fetched.

    `why` is empty once it no longer pends. `source` and `object_kind` are as those of a file.
    """

    path: str
    experiment: str
    room: str | None
    recording_id: str
    why: str
    is_failure: bool = False
    since: str = ""
    source: str = ""
    object_kind: str = ""

    @property
    def key(self) -> str:
        return f"pending {self.path}"


class AbsenceReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="absent"
):
    """That no room had a type that is listed by room alone; an empty `why`: one has it now.

    `until_epoch` and `key_mark` are read from receipts of older versions, which count for nothing.
    """

    what: str
    why: str
    since: str = ""
    until_epoch: float = 0.0
    key_mark: str = ""

    @property
    def key(self) -> str:
        return f"absent {self.what}"


class IntentReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="intent"
):
    """What a commit is about to do, written before it does so: should the run die, the next one finishes it.

    `staged` are where the files of the first of `receipts` lie, below the staging folder; those that follow
    say that a file is retired. It is done with as soon as all of them have been appended for themselves.
    """

    receipts: tuple[ShardReceipt | FileReceipt | DocumentReceipt, ...]
    staged: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"intent {self.receipts[-1].key}"


class ForgottenReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="forgotten"
):
    """That a person's data were removed, and are not to come back: who, told by a salted hash alone.

    `rows`, `files` and `size_bytes` (of the files) count what was found, older generations included. Until
    `finished_at` is set, some of it may still be there.
    """

    person: str
    salt: str
    began_at: str
    finished_at: str = ""
    rows: _Count = 0
    files: _Count = 0
    size_bytes: _Count = 0

    @property
    def key(self) -> str:
        return f"forgotten {self.person}"


Receipt: TypeAlias = (
    ShardReceipt
    | FileReceipt
    | DocumentReceipt
    | ListReceipt
    | PendingReceipt
    | AbsenceReceipt
    | IntentReceipt
    | ForgottenReceipt
)
FileLike: TypeAlias = ShardReceipt | FileReceipt | DocumentReceipt

_encode = msgspec.json.Encoder().encode
_CHECK = b',"check":"'


def encode(receipt: Receipt) -> bytes:
    """A receipt's line, with its check and its line break."""
    return with_check(_encode(receipt)) + b"\n"


def has_check(line: bytes) -> bool:
    """Does a line, without its line break, end in a check? Those of older versions do not."""
    return line[-20:-10] == _CHECK


def with_check(line: bytes) -> bytes:
    """An object's line with the CRC-32 of itself as its last member, `check`, if it has none yet."""
    if has_check(line) or not line.endswith(b"}"):
        return line
    return b'%b%b%08x"}' % (line[:-1], _CHECK, crc32(line[:-1]))


def require_unchanged(line: bytes) -> None:
    """A line is what was written, as far as it has a check.

    Raises:
        ValueError: it has changed since.
    """
    # As `has_check`, which would cost a tenth of what there is to do for a line.
    if line[-20:-10] == _CHECK and line[-10:-2] != b"%08x" % crc32(line[:-20]):
        raise ValueError("not what was written")


def require_sane(receipt: Receipt) -> None:
    """Lines are read from disk, and may be damaged or planted: paths lead nowhere else, times are times.

    Raises:
        ValueError: this is not one that the archive wrote.
    """
    match receipt:
        case ShardReceipt():
            _require_own_path(receipt.path)
            _require_times(receipt.fetched_at)
            for claim in receipt.complete_for:
                if claim.start or claim.end:  # nearly none has either, and there may be a million
                    _require_times(claim.start, claim.end)
        case FileReceipt():
            _require_own_path(receipt.path)
            _require_times(receipt.fetched_at, receipt.looked_at)
        case DocumentReceipt():
            _require_own_path(receipt.path)
            _require_times(receipt.fetched_at)
        case PendingReceipt():
            _require_own_path(receipt.path)
        case ListReceipt():
            _require_times(receipt.read_at, receipt.whole_at, receipt.searching_since)
            _require_times(*receipt.rooms_read_at.values())
        case IntentReceipt():
            if not receipt.receipts:
                raise ValueError("an intent of nothing")
            for name in receipt.staged:
                _require_own_path(name)
            for each in receipt.receipts:
                require_sane(each)


def _require_own_path(path: str) -> None:
    if not is_own_path(path):
        raise ValueError("not a path of an archive")


def _require_times(*texts: str | None) -> None:
    for text in texts:
        if text:
            instant(text)


class Marker(msgspec.Struct, frozen=True):
    """`archive.json`: that this folder is an archive, of which format, and of what."""

    format: int
    upstream: str
    created: str


FORMAT = 1


def read_marker(layout: Layout) -> Marker:
    """What the archive says of itself.

    Raises:
        NotAnArchiveError: there is none, or of a format that this version does not know.
    """
    try:
        marker = msgspec.json.decode(layout.marker.read_bytes(), type=Marker)
    except FileNotFoundError:
        raise NotAnArchiveError(f"{layout.root} is not an archive (it has no archive.json)") from None
    except OSError as error:
        raise StorageError(f"cannot read {layout.marker}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotAnArchiveError(f"{layout.marker} is not what hsmirror writes there") from None
    if marker.format != FORMAT:
        raise NotAnArchiveError(
            f"{layout.root} has archive format {marker.format}; this hsmirror knows format {FORMAT}: "
            "update hsmirror"
        )
    return marker


def write_marker(layout: Layout, marker: Marker, modes: durable.Modes) -> None:
    durable.write_whole(layout.root, layout.marker, msgspec.json.format(_encode(marker)) + b"\n", modes)
