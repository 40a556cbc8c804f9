"""Receipts: what is held, with its hash, and what each list was read for.

A receipt is one line of JSON in a segment, and a run writes one segment. The last line for a key counts.
Readers start from here: a file without a receipt is nobody's, a receipt without its file is a bug. A line cut
short by a crash can only be a segment's last, and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout, is_own_path
from hsmirror.errors import NotAnArchiveError, StorageError

MOST_SEGMENTS = 50
"""More than this are merged into one at the end of a run."""


def instant(text: str) -> datetime:
    """An ISO time as a point in time; without a zone it is UTC. Texts of times do not sort as times do."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# --- what a line has to be like to be a receipt: lines are read from disk, and may be damaged or planted -----
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


def _require_own_path(path: str) -> None:
    if not is_own_path(path):
        raise ValueError("not a path of an archive")


def _require_times(*texts: str | None) -> None:
    for text in texts:
        if text:
            instant(text)


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a shard is complete for: all rows at or after `start`, before `end`, of `participant`. None: all."""

    start: str | None = None
    end: str | None = None
    participant: str | None = None

    def __post_init__(self) -> None:
        _require_times(self.start, self.end)

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

    def __post_init__(self) -> None:
        _require_own_path(self.path)
        _require_times(self.fetched_at)


class FileReceipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="file"):
    """One recording file. `verified_by` names the provider's hash that it matched, if one was offered."""

    path: str
    experiment: str
    room: str | None
    recording_id: str
    size_bytes: _Count
    sha256: str
    verified_by: str = ""
    etag: str | None = None
    fetched_at: str = ""

    @property
    def key(self) -> str:
        return self.path

    def __post_init__(self) -> None:
        _require_own_path(self.path)
        _require_times(self.fetched_at)


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

    def __post_init__(self) -> None:
        _require_own_path(self.path)
        _require_times(self.fetched_at)


class ListReceipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="list"):
    """How one data type of one experiment was last read as a whole, and whether that was proven complete.

    `way` is `experiment` (one list, split by room) or `room` (a list a room); `total` what the server says at
    experiment scope, and `unaccounted` by how much that exceeds the rows that it gives. A page had `page_rows`.
    `why` tells, where `is_complete` is false, what is missing and why. `whole_at` is when all of it was last
    read and proven, `rooms_read_at` when settled rooms were read by themselves since then. A search for what
    has moved that was cut short began at `searching_since`.
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

    @property
    def key(self) -> str:
        return f"list {self.data_type} of {self.experiment}"

    def __post_init__(self) -> None:
        _require_times(self.read_at, self.whole_at, *self.rooms_read_at.values(), self.searching_since)


class PendingReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="pending"
):
    """A recording whose file is not held, and why: not final upstream, or it could not be fetched.

    `why` is empty once it no longer pends.
    """

    path: str
    experiment: str
    room: str | None
    recording_id: str
    why: str
    is_failure: bool = False
    since: str = ""

    @property
    def key(self) -> str:
        return f"pending {self.path}"

    def __post_init__(self) -> None:
        _require_own_path(self.path)


class AbsenceReceipt(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="absent"
):
    """A newer endpoint that this server lacks, or this key may not read; it is not asked again for a while."""

    what: str
    why: str
    since: str = ""
    until_epoch: float = 0.0
    key_mark: str = ""
    """Where it is the key that lacks a scope: a few bits of the key's hash, so that another key is tried."""

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

    def __post_init__(self) -> None:
        if not self.receipts:
            raise ValueError("an intent of nothing")
        for name in self.staged:
            _require_own_path(name)


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
_decode = msgspec.json.Decoder(Receipt).decode


class Receipts:
    """All that is held, by key, read from the segments; and this run's segment, appended to.

    A segment is made by its first receipt, so that a run which changes nothing leaves none.
    """

    def __init__(self, layout: Layout, modes: durable.Modes, run_id: str) -> None:
        self._layout = layout
        self._modes = modes
        self._segment = layout.segment(run_id)
        self._by_key: dict[str, Receipt] = {}
        self.unreadable_lines: list[str] = []
        for segment in segments(layout):
            self._load(segment)

    def __repr__(self) -> str:
        return f"<Receipts held={len(self._by_key)}>"

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Receipt]:
        return iter(self._by_key.values())

    def get(self, key: str) -> Receipt | None:
        return self._by_key.get(key)

    def shard(self, path: str) -> ShardReceipt | None:
        """The receipt of the shard at `path`."""
        receipt = self._by_key.get(path)
        return receipt if isinstance(receipt, ShardReceipt) else None

    def file(self, path: str) -> FileReceipt | None:
        """The receipt of the recording file at `path`."""
        receipt = self._by_key.get(path)
        return receipt if isinstance(receipt, FileReceipt) else None

    def document(self, path: str) -> DocumentReceipt | None:
        receipt = self._by_key.get(path)
        return receipt if isinstance(receipt, DocumentReceipt) else None

    def append(self, receipts: Sequence[Receipt]) -> None:
        """Write receipts to this run's segment and sync it; the files they speak of are in place already."""
        if not receipts:
            return
        lines = b"".join(_encode(receipt) + b"\n" for receipt in receipts)
        is_new = not self._segment.exists()
        durable.make_folder(self._layout.root, self._segment.parent, self._modes)
        durable.append(self._segment, lines, self._modes, synced=True)
        if is_new:
            durable.sync_folder(self._segment.parent)
        for receipt in receipts:
            self._keep(receipt)

    def drop(self, key: str) -> None:
        """Forget an intent that came to nothing: for this run, as for each later one that reads it."""
        self._by_key.pop(key, None)

    def merge(self) -> None:
        """Write all receipts that count into one segment, where there are many, or a line cannot be read."""
        if len(segments(self._layout)) > MOST_SEGMENTS or self.unreadable_lines:
            self.rewrite(lambda receipt: receipt)

    def rewrite(self, change: Callable[[Receipt], Receipt | None]) -> None:
        """Write what `change` makes of each receipt that counts into one segment, and remove all others.

        None: that receipt is to count no more. Left half-way, all older receipts may still count.
        """
        changed = [new for receipt in self if (new := change(receipt)) is not None]
        self._by_key = {receipt.key: receipt for receipt in changed}
        old = segments(self._layout)
        if not old:
            return
        # Named after the newest, so that the segments of later runs still come after it.
        merged = old[-1].with_name(f"{old[-1].stem}-merged.jsonl")
        lines = b"".join(_encode(receipt) + b"\n" for receipt in self._by_key.values())
        durable.write_whole(self._layout.root, merged, lines, self._modes)
        with durable.disk_errors("remove merged receipts"):
            for segment in old:
                if segment != merged:
                    segment.unlink()
        durable.sync_folder(merged.parent)

    def _load(self, segment: Path) -> None:
        with durable.disk_errors(f"read {segment}"):
            lines = segment.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                receipt = _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                # The last is a run's that died while writing it; zeros are what a power loss leaves of a write.
                if number < len(lines) and b"\0" not in line:
                    self.unreadable_lines.append(f"{segment.name}, line {number}")
                continue
            self._keep(receipt)

    def _keep(self, receipt: Receipt) -> None:
        self._by_key[receipt.key] = receipt
        intent = self._by_key.get(f"intent {receipt.key}")
        # The blocks of one write reach the disk in any order: the last receipt may be there without the others.
        if isinstance(intent, IntentReceipt) and all(
            self._by_key.get(each.key) == each for each in intent.receipts
        ):
            del self._by_key[intent.key]


def segments(layout: Layout) -> list[Path]:
    """The segments of receipts, oldest first: their names begin with the time of their run."""
    try:
        found = sorted(path for path in layout.receipts.iterdir() if path.name.endswith(".jsonl"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {layout.receipts}: {error.strerror}") from error
    return found


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
