"""Which object each listed recording is: one that is held, a new one, or another one in place of a held one.

A name, once given, belongs to its object for ever. What can be told from a row alone is decided as it comes:
most files are held under the very source that is listed, or are the first of their id. The rest waits until all
rows are known: only then does it show which held files are listed no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from hsmirror.archive.receipts import FileReceipt, PendingReceipt
from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.commit import Commit
from hsmirror.mirror.context import Context
from hsmirror.mirror.night import RoomState
from hsmirror.mirror.pending import pending_since
from hsmirror.mirror.recordings import Recording
from hsmirror.mirror.room_states import epoch_of
from hsmirror.mirror.sources import without_tokens
from hsmirror.mirror.waiting import Packed, Packer

_NAMES_AHEAD = 3
"""Looked at beyond the first that is free: a file whose person was forgotten leaves a gap."""

_RECEIPTS_AT_ONCE = 1_000

_PACKED = Struct("qqqq")

States: TypeAlias = Mapping[str, RoomState]


@dataclass(frozen=True, slots=True)
class Task:
    """A file to fetch to `path`, unless it turns out to be one of `perhaps`, which are held.

    `is_believed`: where the host tells neither, it is. `is_held`: nothing speaks against it; it is only
    looked at.
    """

    recording: Recording
    path: str
    perhaps: tuple[FileReceipt, ...] = ()
    is_believed: bool = False
    is_held: bool = False


class Downloads(Protocol):
    """What becomes of listed recordings; `download.Downloader`."""

    def fetch(self, task: Task) -> None: ...
    def is_there(self, path: str, recording: Recording) -> None: ...
    def pends(self, path: str, recording: Recording, why: str) -> None: ...
    def fails(self, path: str, recording: Recording, why: str) -> None: ...
    def has_none(self, path: str, recording: Recording) -> None: ...


class _Mark(NamedTuple):
    """An object that was listed in this run, by hashes: a tenth as large, and packed where there are many."""

    object: int
    place: int
    kind: int
    page: int

    def is_same(self, other: _Mark) -> bool:
        """A list may be read twice, with other tokens; in one answer, other tokens are other objects."""
        return self.object == other.object or (self.place == other.place and self.page != other.page)


@dataclass(frozen=True, slots=True)
class _Name:
    """One name that a file of an id can have, and what is known of it."""

    path: str
    seen: _Mark | None
    held: FileReceipt | None
    pending: PendingReceipt | None

    def may_be_given(self, recording: Recording) -> bool:
        if self.seen is not None or self.held is not None:
            return False
        return self.pending is None or not self.pending.source or self.pending.source == recording.source


class ListedFiles:
    """Takes recordings in as their rows come, page by page; `settle` decides what waits for all of them."""

    def __init__(self, context: Context, downloads: Downloads, addresses: FreshAddresses) -> None:
        self._context = context
        self._downloads = downloads
        self._addresses = addresses
        self._packer = Packer()
        self._page = 0
        self._seen: dict[int, bytes] = {}
        """By a hash of the path."""
        self._waiting: defaultdict[str, defaultdict[int, list[tuple[_Mark, Packed]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        """By experiment, and by a hash of the plain name."""
        self._changed: list[FileReceipt] = []

    def __repr__(self) -> str:
        return f"<ListedFiles seen={len(self._seen)}>"

    def begin_page(self) -> None:
        """The rows to come are of one answer."""
        self._page += 1

    def add(self, recording: Recording) -> None:
        """A row has come."""
        self._addresses.listed(recording)
        names, mark = self._names(recording), self._mark(recording)
        if any(name.seen is not None and name.seen.is_same(mark) for name in names):
            return
        for name in names:
            if name.held is not None and _is_held_as(name.held, recording):
                self._see(recording, name.path, names, mark)
                self._compare(name.held, recording)
                return
        is_new = all(name.held is None for name in names)
        if is_new and _is_final(recording):
            self._begin(recording, names, mark)
            return
        waiting = self._waiting[recording.experiment][hash(names[0].path)]
        if not any(other.is_same(mark) for other, _ in waiting):
            waiting.append((mark, self._packer.pack(recording)))

    async def settle(
        self, experiment: str, room_states: Callable[[], Awaitable[States]], *, is_whole: bool
    ) -> None:
        """All rows of an experiment have come. `is_whole`: what was not among them is listed no more."""
        states: States | None = None
        for waiting in self._waiting.pop(experiment, {}).values():
            rows = [self._packer.unpack(packed) for _, packed in waiting]
            if states is None and any(_needs_room(row) for row in rows):
                states = await room_states()
            self._settle(rows, states or {}, is_whole=is_whole)
            if len(self._changed) >= _RECEIPTS_AT_ONCE:
                await self._commit_changed()
        await self._commit_changed()

    async def _commit_changed(self) -> None:
        receipts, self._changed = self._changed, []
        if receipts:
            await self._context.committer.commit(Commit(receipts=receipts))

    # --- once all rows are known ---------------------------------------------------------------------
    def _settle(self, rows: Sequence[Recording], states: States, *, is_whole: bool) -> None:
        """Rows of one id, none of which is held under the source that it has now."""
        for row in rows:
            names, mark = self._names(row), self._mark(row)
            left = [name.held for name in names if name.held is not None and name.seen is None]
            alike = [held for held in left if _is_alike(held, row)]
            is_only = sum(_is_alike(alike[0], other) for other in rows) == 1 if alike else len(rows) == 1
            if len(alike) == 1 and is_only:
                self._see(row, alike[0].path, names, mark)
                self._compare(alike[0], row)
                continue
            perhaps = alike or [held for held in left if held.object_kind == row.object_kind]
            if not perhaps and len(left) == len(rows) == 1:
                perhaps = left
            perhaps = [held for held in perhaps if self._context.held.is_intact(held)]
            is_anew = len(left) == len(rows) == 1 and len(perhaps) == 1 and _is_anew(perhaps[0], row)
            has_others = any(name.seen is not None for name in names)
            path = perhaps[0].path if is_whole and is_anew and not has_others else ""
            self._begin(row, names, mark, path, tuple(perhaps), states)

    def _begin(
        self,
        recording: Recording,
        names: Sequence[_Name],
        mark: _Mark,
        path: str = "",
        perhaps: tuple[FileReceipt, ...] = (),
        states: States | None = None,
    ) -> None:
        """An object that is not held, or not for certain; no path: it gets a name of its own."""
        path = path or _new_name(recording, names)
        self._see(recording, path, names, mark)
        self._have(Task(recording, path, perhaps), states or {})

    def _have(self, task: Task, states: States) -> None:
        """Have the file, if it can be had tonight."""
        recording, path = task.recording, task.path
        if why := self._why_not_yet(path, recording, states):
            self._downloads.pends(path, recording, f"not final upstream: {why}")
        elif recording.refusal:
            self._downloads.fails(path, recording, recording.refusal)
        elif not _can_be_fetched(recording):
            self._lacks_address(path, recording)
        else:
            self._downloads.fetch(task)

    def _lacks_address(self, path: str, recording: Recording) -> None:
        if recording.progress == "failed":
            self._downloads.has_none(path, recording)
        else:
            self._downloads.fails(path, recording, "it has ended, and its row has no address")

    def _compare(self, held: FileReceipt, recording: Recording) -> None:
        """A held object that is listed: is it still the same?"""
        path = held.path
        if not self._context.held.is_intact(held):
            self._have(Task(recording, path), {})
        elif recording.progress == "under way" or not _can_be_fetched(recording):
            self._downloads.is_there(path, recording)
        elif _has_other_size(held, recording):
            self._downloads.fetch(Task(recording, path))
        elif _says_another(held, recording):
            self._downloads.fetch(Task(recording, path, (held,)))
        elif recording.address is not None and self._is_due(held, recording):
            self._downloads.fetch(Task(recording, path, (held,), is_believed=True, is_held=True))
        else:
            self._downloads.is_there(path, recording)
            if not held.source or dict(recording.said).keys() - dict(held.said).keys():
                self._changed.append(as_listed(held, recording))

    def _is_due(self, held: FileReceipt, recording: Recording) -> bool:
        """Is its host to be asked whether it is still the same? In a full run, and where its size does not tell
        that a file of an older archive is this one."""
        policy = self._context.policy
        if policy.is_full or (not held.source and held.etag is not None and recording.size_bytes is None):
            return True
        looked_at = epoch_of(held.looked_at or held.fetched_at) or 0.0
        return self._context.clock.epoch() >= looked_at + policy.recheck_seconds

    # --- names ---------------------------------------------------------------------------------------
    def _names(self, recording: Recording) -> list[_Name]:
        """The names that files of its id have, and some that none has."""
        names: list[_Name] = []
        unknown = 0
        for path in recording.paths():
            held, pending = _known_of(self._context, path)
            seen = self._seen.get(hash(path))
            mark = None if seen is None else _Mark._make(_PACKED.unpack(seen))
            names.append(_Name(path, mark, held, pending))
            unknown = unknown + 1 if names[-1].may_be_given(recording) else 0
            if unknown == _NAMES_AHEAD:
                break
        return names

    def _see(self, recording: Recording, path: str, names: Sequence[_Name], mark: _Mark) -> None:
        self._seen[hash(path)] = _PACKED.pack(*mark)
        others = [name.seen for name in names if name.path != path and name.seen is not None]
        if others:
            of_kind = any(other.kind == mark.kind for other in others)
            at_place = any(other.place == mark.place for other in others)
            self._addresses.has_twins(recording, of_kind=of_kind, at_place=at_place)

    def _mark(self, recording: Recording) -> _Mark:
        kind = recording.object_kind
        place = hash((recording.place or recording.source, kind))
        return _Mark(hash(recording.source or kind), place, hash(kind), self._page)

    # --- what is not final ---------------------------------------------------------------------------
    def _why_not_yet(self, path: str, recording: Recording, states: States) -> str:
        """Why it is not fetched tonight; empty where it is, since it is final, or should be by now."""
        if _is_final(recording):
            return ""
        if self._is_over(path, recording, states):
            return ""
        return "it has no address yet" if recording.progress == "final" else _status_of(recording)

    def _is_over(self, path: str, recording: Recording, states: States) -> bool:
        """Has it ended long enough ago, or pended too long?

        Where neither it nor its room says when it ended, and its room is not known to go on, it counts when it
        began.
        """
        policy, now = self._context.policy, self._context.clock.epoch()
        room = states.get(recording.room) if recording.room is not None else None
        end = recording.ended_epoch
        if end is None:
            end = recording.started_epoch if room is None else room.finished_at
        if end is not None:
            return now >= end + policy.settle_seconds
        since = pending_since(self._context, path)
        if since is not None and now >= since + policy.recheck_seconds:
            return True
        return room is None and recording.progress == "unknown"


def _known_of(context: Context, path: str) -> tuple[FileReceipt | None, PendingReceipt | None]:
    held = context.receipts.file(path)
    pending = context.receipts.get(f"pending {path}") if held is None else None
    return held, pending if isinstance(pending, PendingReceipt) and pending.why else None


def files_of(context: Context, recording: Recording) -> list[FileReceipt]:
    """The files that are held under its id, whichever of the recording's they are."""
    files: list[FileReceipt] = []
    unknown = 0
    for path in recording.paths():
        held, pending = _known_of(context, path)
        unknown = unknown + 1 if held is None and pending is None else 0
        if held is not None:
            files.append(held)
        if unknown == _NAMES_AHEAD:
            break
    return files


def file_of_stored(recording: Recording, files: Sequence[FileReceipt]) -> FileReceipt | None:
    """Its file among these, which are held under its id; its row is as it was stored."""
    of_row = (held for held in files if _is_held_as(held, recording) or _is_alike(held, recording))
    cut = (held for held in files if held.source.partition("?")[0] == recording.source)  # by older versions
    same = (held for held in (*of_row, *cut) if not _has_other_size(held, recording))
    return next((held for held in same if not _says_another(held, recording)), None)


def has_no_file(recording: Recording) -> bool:
    """Does its row say that there is none, and never will be?"""
    return recording.progress == "failed" and not _can_be_fetched(recording)


def _says_another(held: FileReceipt, recording: Recording) -> bool:
    said = dict(held.said)
    return any(said.get(name) not in {None, text} for name, text in recording.said)


def _new_name(recording: Recording, names: Sequence[_Name]) -> str:
    """The name under which it pends, or else the first that is nobody's."""
    free = [name for name in names if name.may_be_given(recording)]
    own = [name for name in free if name.pending is not None and name.pending.source == recording.source]
    return (own or free)[0].path


def as_listed(held: FileReceipt, recording: Recording) -> FileReceipt:
    """A held file's receipt with what its row says of it now."""
    return msgspec.structs.replace(
        held,
        source=recording.source or held.source,
        object_kind=recording.object_kind,
        said=tuple({**dict(held.said), **dict(recording.said)}.items()),
    )


def _status_of(recording: Recording) -> str:
    return f"its status is {recording.status[:40]!r}"


def _can_be_fetched(recording: Recording) -> bool:
    return recording.address is not None or recording.mint_path is not None


def _is_final(recording: Recording) -> bool:
    has_address = _can_be_fetched(recording) or bool(recording.refusal)
    return recording.progress == "failed" or (recording.progress == "final" and has_address)


def _needs_room(recording: Recording) -> bool:
    """Does it depend on its room whether it is final?"""
    return not _is_final(recording) and recording.ended_epoch is None


def _is_held_as(held: FileReceipt, recording: Recording) -> bool:
    """Is it this very object? A row that has no address any more can only be told by its kind."""
    if recording.source:
        return held.source == recording.source
    return held.object_kind in {"", recording.object_kind}


def _is_of_kind(held: FileReceipt, recording: Recording) -> bool:
    return held.object_kind in {"", recording.object_kind}


def _is_anew(held: FileReceipt, recording: Recording) -> bool:
    """Was the held file processed anew to this, as its row tells? Else both stay."""
    return _is_of_kind(held, recording) and (_says_another(held, recording) or not held.source)


def _is_alike(held: FileReceipt, recording: Recording) -> bool:
    """Is it the same but for tokens and the host, or what an older version held of it?"""
    if not _is_of_kind(held, recording):
        return False
    if not held.source:
        return not _has_other_size(held, recording)
    is_minted = ("://" not in held.source, recording.mint_path is not None)
    if any(is_minted):
        return not all(is_minted)  # the server gives its addresses in another way by now
    return without_tokens(held.source) == recording.place


def _has_other_size(held: FileReceipt, recording: Recording) -> bool:
    return not held.is_of(recording.size_bytes)
