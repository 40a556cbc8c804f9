"""Where in an archive a person's data are: looked for everywhere, with nothing changed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import msgspec

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.archive import durable
from hsmirror.archive.layout import STATE, SUFFIXES, Layout, encode_id
from hsmirror.archive.receipts import FileReceipt, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.archive.shards import read_rows
from hsmirror.errors import DamagedError
from hsmirror.mirror.people import Sought, person_of, type_called
from hsmirror.mirror.recordings import parse_recording
from hsmirror.mirror.settle import Shelf
from hsmirror.model import DataType, Scope

OLDER = ".superseded"

_SHARD = re.compile(r".+\.ndjson(?:\.gz|\.zst)?")
"""However it is called: a copy that a file-sync program has left has rows, too."""
_TWIN = re.compile(r"(?<!%)~[0-9]+$")
_TYPE_BY_FOLDER = {f"data_type={name.replace('/', '_')}": name for name in DATA_TYPES}

RoomFolder: TypeAlias = tuple[str, str]
"""An experiment's folder and a room's in it, by name: what current and older generations have in common."""


class RowCount(msgspec.Struct, frozen=True):
    """Rows of one data type in one room; None: in no room."""

    experiment: str
    data_type: str
    room: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that is to go."""

    path: Path
    size_bytes: int
    is_older: bool = False


@dataclass(frozen=True, slots=True)
class LooseShard:
    """A shard that no receipt names: an older generation, or what a run that died has left."""

    path: Path
    rows: int
    is_damaged: bool = False


@dataclass(frozen=True, slots=True)
class Traces:
    """All that was found of one person."""

    shelves: dict[Shelf, int]
    """How many rows are theirs."""
    loose_shards: tuple[LooseShard, ...]
    recording_files: tuple[FoundFile, ...]
    lost_files: frozenset[str]
    """Paths of theirs that receipts name, where no file is: it is missing, and must not be asked for."""
    partial_files: tuple[FoundFile, ...]
    """Of anybody: what has not come to its end does not tell whose it is."""
    recording_ids: frozenset[str]
    shared_files: tuple[str, ...]
    """Files that may be somebody else's: rows of others have the same recording id, or as little of one."""
    naming: tuple[RowCount, ...]
    """Rows of others that name the person."""
    older_rows_naming: int
    """The same in older generations."""
    nameless: tuple[RowCount, ...]
    """Rows that name nobody, of the rooms in which the person was."""
    documents: tuple[str, ...]
    """Documents that name the person."""
    unreadable: tuple[str, ...]
    """Shards that could not be searched, and why."""

    @property
    def is_empty(self) -> bool:
        return not (self.shelves or self.loose_shards or self.recording_files or self.unreadable)


def search(layout: Layout, receipts: Receipts, person: Sought) -> Traces:
    """Look through all that is held. For a worker thread: every row is read.

    Raises:
        StorageError: the disk does not give something.
    """
    return _Search(layout, receipts, person).traces()


def type_of_folder(name: str) -> DataType:
    """The data type whose shards lie in a folder of this name (`data_type=ratings_continuous`)."""
    return type_called(_TYPE_BY_FOLDER.get(name, name.partition("=")[2]))


def _is_recording_of(name: str, stems: Collection[str]) -> bool:
    """Is this the name of a file of one of these recordings, given by their encoded ids?"""
    if _NO_ID in stems and name.startswith(_NO_ID):
        return True
    stem = name.rpartition(".")[0]
    candidates = [stem]
    if stem.endswith(tuple(SUFFIXES.values())):
        candidates.append(stem.rpartition(".")[0])  # it got `.bin` after its extension
    return any(_TWIN.sub("", each) in stems for each in candidates)


@dataclass(slots=True)
class _Scan:
    """What the rows of one shelf, or of one file, are."""

    own: int = 0
    naming: int = 0
    nameless: int = 0
    own_recordings: set[str] = field(default_factory=set)
    other_recordings: set[str] = field(default_factory=set)

    def rows(self, rows: Iterable[bytes], data_type: DataType, person: Sought) -> None:
        is_recordings = data_type.name == "recordings"
        tells_nobody = _teller_of_nobody(data_type)
        for row in rows:
            may_name = person.may_stand_in(row)
            is_own = may_name and person_of(row, data_type) == person.id
            if is_own:
                self.own += 1
            else:
                self.naming += may_name and person.stands_in(row)
                self.nameless += tells_nobody(row)
            if is_recordings and (recording_id := _recording_id(row)) is not None:
                (self.own_recordings if is_own else self.other_recordings).add(recording_id)


def _teller_of_nobody(data_type: DataType) -> Callable[[bytes], bool]:
    """Tells rows that should name a person, as those of this type do, and name none."""
    if Scope.PARTICIPANT not in data_type.scopes or not data_type.person_fields:
        return lambda _: False
    fields = [field.encode() for field in data_type.person_fields]
    as_usual = b'"%s":"' % fields[0]  # found many times faster than a pattern
    named = re.compile(rb'"(?:%s)"\s*:\s*(?!null|\s)' % b"|".join(map(re.escape, fields)))
    return lambda row: as_usual not in row and named.search(row) is None


_NO_ID = "row-"


def _recording_id(row: bytes) -> str | None:
    """What its file is named after; `row-` for all that have no id: older versions made the hash in their names
    of rows with their signatures."""
    recording = parse_recording(row, experiment="", room=None, skew_seconds=0.0, loopback_allowed=True)
    if recording is None:
        return None
    return recording.recording_id if recording.has_id else _NO_ID


class _Search:
    def __init__(self, layout: Layout, receipts: Receipts, person: Sought) -> None:
        self._layout = layout
        self._receipts = receipts
        self._person = person
        self._own_stems: dict[RoomFolder, set[str]] = {}
        self._other_stems: dict[RoomFolder, set[str]] = {}
        self._recording_ids: set[str] = set()
        self._older_rows_naming = 0
        self._unreadable: list[str] = []

    def traces(self) -> Traces:
        scans = self._shelves()
        files = list(_walk(self._layout.root))
        loose = list(self._loose_shards(files))
        own, shared = self._recording_files(files)
        rooms = {(shelf.experiment, shelf.room) for shelf, scan in scans.items() if scan.own}
        return Traces(
            shelves={shelf: scan.own for shelf, scan in scans.items() if scan.own},
            loose_shards=tuple(loose),
            recording_files=tuple(map(_found, own)),
            lost_files=self._lost_files(),
            partial_files=tuple(_found(each) for each in files if self._layout.partial_files in each.parents),
            recording_ids=frozenset(self._recording_ids),
            shared_files=tuple(shared),
            naming=tuple(_count(shelf, scan.naming) for shelf, scan in scans.items() if scan.naming),
            older_rows_naming=self._older_rows_naming,
            nameless=tuple(
                _count(shelf, scan.nameless)
                for shelf, scan in scans.items()
                if scan.nameless and (shelf.experiment, shelf.room) in rooms
            ),
            documents=tuple(self._documents(files)),
            unreadable=tuple(self._unreadable),
        )

    def _shelves(self) -> dict[Shelf, _Scan]:
        shelves = {
            Shelf(receipt.experiment, receipt.data_type, receipt.room): None
            for receipt in self._receipts
            if isinstance(receipt, ShardReceipt) and receipt.sha256 is not None
        }
        scans: dict[Shelf, _Scan] = {}
        for shelf in shelves:
            scan = scans[shelf] = _Scan()
            for part in shelf.held(self._receipts):
                path = self._layout.absolute(part.path)
                try:
                    scan.rows(read_rows(path), type_called(shelf.data_type), self._person)
                except DamagedError as error:
                    self._unreadable.append(f"{part.path}: {error}")
                self._remember_recordings(scan, _placed(path.relative_to(self._layout.root)))
        return scans

    def _loose_shards(self, files: Iterable[Path]) -> Iterator[LooseShard]:
        for path in files:
            place = _placed(path.relative_to(self._layout.root))
            if len(place) != 4 or not _SHARD.fullmatch(place[3].removesuffix(OLDER)):
                continue
            if self._is_current(path):
                continue
            scan = _Scan()
            data_type = type_of_folder(place[1])
            try:
                scan.rows(read_rows(path), data_type, self._person)
            except DamagedError:
                yield LooseShard(path, scan.own, is_damaged=True)
            else:
                if scan.own:
                    yield LooseShard(path, scan.own)
            self._older_rows_naming += scan.naming
            self._remember_recordings(scan, place, is_current=False)

    def _is_current(self, path: Path) -> bool:
        receipt = self._receipts.shard(path.relative_to(self._layout.root).as_posix())
        return receipt is not None and receipt.sha256 is not None

    def _remember_recordings(self, scan: _Scan, place: tuple[str, ...], *, is_current: bool = True) -> None:
        if scan.own_recordings or scan.other_recordings:
            folder = (place[0], place[2])
            own = {encode_id(each) for each in scan.own_recordings}
            self._own_stems.setdefault(folder, set()).update(own)
            if is_current:
                others = {encode_id(each) for each in scan.other_recordings}
                self._other_stems.setdefault(folder, set()).update(others)
            self._recording_ids |= scan.own_recordings - {_NO_ID}

    def _recording_files(self, files: Iterable[Path]) -> tuple[list[Path], list[str]]:
        """The person's, and those that cannot be told from other people's."""
        own: list[Path] = []
        shared: list[str] = []
        for path in files:
            relative = path.relative_to(self._layout.root)
            place = _placed(relative)
            if len(place) != 4 or place[1] != "files":
                continue
            folder, name = (place[0], place[2]), place[3].removesuffix(OLDER)
            if not _is_recording_of(name, self._own_stems.get(folder, set())):
                continue
            if _is_recording_of(name, self._other_stems.get(folder, set())):
                shared.append(relative.as_posix())
            else:
                own.append(path)
        return own, shared

    def _lost_files(self) -> frozenset[str]:
        named = (each.path for each in self._receipts if isinstance(each, FileReceipt))
        lost = [path for path in map(self._layout.absolute, named) if not path.exists()]
        own, _ = self._recording_files(lost)
        return frozenset(path.relative_to(self._layout.root).as_posix() for path in own)

    def _documents(self, files: Iterable[Path]) -> Iterator[str]:
        for path in files:
            relative = path.relative_to(self._layout.root)
            is_ours = relative.parts[0] == STATE and not _placed(relative)
            if path.name.removesuffix(OLDER).endswith(".json") and not is_ours:
                with durable.disk_errors(f"read {path}"):
                    content = path.read_bytes()
                if self._person.stands_in(content):
                    yield relative.as_posix()


def _walk(root: Path) -> Iterator[Path]:
    """Every plain file but the receipts, in order; links are not followed."""
    for folder, names, files in os.walk(root):
        names.sort()
        if Path(folder) == root and "receipts" in names:
            names.remove("receipts")
        for name in sorted(files):
            path = Path(folder, name)
            if not path.is_symlink():
                yield path


def _placed(relative: Path) -> tuple[str, ...]:
    """The names from the experiment's folder on, in the tree or in an older generation; else nothing."""
    parts = relative.parts
    if parts[:2] == (STATE, "superseded"):
        parts = parts[3:]
    return parts if parts and parts[0].startswith("experiment_id=") else ()


def _found(path: Path) -> FoundFile:
    with durable.disk_errors(f"look at {path}"):
        return FoundFile(path, path.lstat().st_size, path.name.endswith(OLDER))


def _count(shelf: Shelf, rows: int) -> RowCount:
    return RowCount(shelf.experiment, shelf.data_type, shelf.room, rows)
