"""What an archive holds, how fresh it is, and what is missing and why; from its receipts and last report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from hsmirror.archive.checks import Coverage, coverage, read_checks
from hsmirror.archive.forgotten import unfinished
from hsmirror.archive.layout import document_path
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import (
    WHOLE,
    FileLike,
    FileReceipt,
    ListReceipt,
    PendingReceipt,
    ShardReceipt,
    instant,
)
from hsmirror.archive.runs import last_run, last_success_at


class HeldType(msgspec.Struct, frozen=True, omit_defaults=True):
    """One data type of one experiment. `read_at` is when it last changed or its completeness did."""

    data_type: str
    rows: int = 0
    rooms: int = 0
    size_bytes: int = 0
    gone_rows: int = 0
    is_complete: bool = True
    why: str = ""
    read_at: str = ""
    was_read: bool = True
    """False: the last run wanted it, and nothing of it was ever read."""


class HeldExperiment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One experiment."""

    id: str
    name: str = ""
    types: tuple[HeldType, ...] = ()
    files: int = 0
    file_bytes: int = 0
    pending: tuple[str, ...] = ()
    """Recording files that were not final, and why."""
    failed: tuple[str, ...] = ()
    """Recording files that could not be fetched, and why."""
    problem: str = ""
    """Why the last run could not read the experiment at all, if so."""

    @property
    def is_complete(self) -> bool:
        return not self.problem and not self.failed and all(kind.is_complete for kind in self.types)


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole archive."""

    archive: str
    upstream: str
    created: str
    experiments: tuple[HeldExperiment, ...] = ()
    rows: int = 0
    files: int = 0
    size_bytes: int = 0
    is_complete: bool = True
    last_run: dict[str, Any] | None = None
    """The report of the last run that ended; None where there was none."""
    last_success_at: str | None = None
    """When the last run that was complete ended; None where none ever was."""
    checked: Coverage | None = None
    """What `verify` has seen of it; None where it was never run."""
    unfinished_removals: int = 0
    """People whose removal (`forget`) was begun and not finished: it is to be run again."""

    def age_seconds(self, now: float) -> float | None:
        """Since the last complete run ended, at `now` (epoch seconds); None where there was none.

        Below 0 where this machine's clock is behind the one that the run was timed by.
        """
        try:
            return now - instant(self.last_success_at).timestamp() if self.last_success_at else None
        except ValueError:
            return None


def status(root: Path) -> StatusReport:
    """Read what the archive at `root` holds.

    Raises:
        NotAnArchiveError, StorageError: it cannot be opened.
    """
    archive = Archive.open(root)
    found: dict[str, _Found] = {}
    size_bytes = 0
    for folder in archive.receipts.folders:
        of_folder: dict[str, _Found] = {}
        for receipt in archive.receipts.below(folder):
            if isinstance(receipt, FileLike) and receipt.sha256:
                size_bytes += receipt.size_bytes
            if isinstance(receipt, ShardReceipt | ListReceipt | FileReceipt) or (
                isinstance(receipt, PendingReceipt) and receipt.why
            ):
                each = found.setdefault(receipt.experiment, _Found())
                each.add(receipt)
                of_folder[receipt.experiment] = each
        for each in of_folder.values():
            each.count_rooms()
    experiments = tuple(found[each].experiment(each, _name(archive, each)) for each in sorted(found))
    latest = last_run(archive.layout)
    experiments = _with_unread(experiments, latest or {})
    ended_well = latest is None or latest.get("exit_status", 0) == 0
    return StatusReport(
        archive=str(root),
        upstream=archive.marker.upstream,
        created=archive.marker.created,
        experiments=experiments,
        rows=sum(kind.rows for each in experiments for kind in each.types),
        files=sum(each.files for each in experiments),
        size_bytes=size_bytes,
        is_complete=ended_well and all(each.is_complete for each in experiments),
        last_run=latest,
        last_success_at=last_success_at(archive.layout),
        checked=coverage(read_checks(archive.layout)),
        unfinished_removals=len(unfinished(archive.receipts.of_no_experiment)),
    )


@dataclass(slots=True)
class _FoundType:
    """What the receipts of one data type come to."""

    rows: int = 0
    size_bytes: int = 0
    gone_rows: int = 0
    rooms: int = 0
    room_names: set[str | None] = field(default_factory=set)
    """Of those that are not counted yet: names take more memory than all the rest."""
    is_partial: bool = False
    changed_at: str = ""
    read: ListReceipt | None = None

    def add(self, shard: ShardReceipt) -> None:
        self.changed_at = max(self.changed_at, shard.fetched_at)
        self.is_partial |= shard.part == 0 and WHOLE not in shard.complete_for
        if shard.sha256 is not None:
            self.rows += shard.rows
            self.size_bytes += shard.size_bytes
            self.gone_rows += shard.gone_rows if shard.part == 0 else 0
            self.room_names.add(shard.room)

    def held(self, name: str) -> HeldType:
        read = self.read
        return HeldType(
            name,
            rows=self.rows,
            rooms=self.rooms,
            size_bytes=self.size_bytes,
            gone_rows=self.gone_rows,
            is_complete=read is not None and read.is_complete and not self.is_partial,
            why=read.why if read is not None else "only a part of it has been read",
            read_at=read.read_at if read is not None else self.changed_at,
        )


@dataclass(slots=True)
class _Found:
    """What the receipts of one experiment come to."""

    types: dict[str, _FoundType] = field(default_factory=dict)
    files: int = 0
    file_bytes: int = 0
    pending: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, receipt: ShardReceipt | ListReceipt | FileReceipt | PendingReceipt) -> None:
        match receipt:
            case ShardReceipt():
                self._type(receipt.data_type).add(receipt)
            case ListReceipt():
                self._type(receipt.data_type).read = receipt
            case FileReceipt():
                self.files += 1
                self.file_bytes += receipt.size_bytes
            case PendingReceipt():
                pending = self.failed if receipt.is_failure else self.pending
                pending.append(f"{receipt.recording_id}: {receipt.why}")

    def count_rooms(self) -> None:
        """All that there is of the experiment has been added."""
        for of_type in self.types.values():
            of_type.rooms += len(of_type.room_names)
            of_type.room_names = set()

    def experiment(self, experiment: str, name: str) -> HeldExperiment:
        return HeldExperiment(
            experiment,
            name=name,
            types=tuple(of_type.held(each) for each, of_type in sorted(self.types.items())),
            files=self.files,
            file_bytes=self.file_bytes,
            pending=tuple(self.pending),
            failed=tuple(self.failed),
        )

    def _type(self, name: str) -> _FoundType:
        return self.types.setdefault(name, _FoundType())


def _name(archive: Archive, experiment: str) -> str:
    path = archive.layout.absolute(document_path(experiment, "experiment.json"))
    try:
        document = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    name = document.get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else ""


class _WantedType(msgspec.Struct):
    """What is read of a run's report about one type."""

    data_type: str
    is_complete: bool = True
    why: str = ""


class _WantedExperiment(msgspec.Struct):
    id: str
    name: str = ""
    types: tuple[_WantedType, ...] = ()
    problem: str = ""


class _Wanted(msgspec.Struct):
    experiments: tuple[_WantedExperiment, ...] = ()


def _with_unread(held: tuple[HeldExperiment, ...], report: dict[str, Any]) -> tuple[HeldExperiment, ...]:
    """With what the last run wanted and no run ever read: receipts know only of what was."""
    try:
        wanted = msgspec.convert(report, _Wanted).experiments
    except msgspec.ValidationError:
        return held
    by_id = {each.id: each for each in held}
    for experiment in wanted:
        known = by_id.get(experiment.id) or HeldExperiment(experiment.id, name=experiment.name)
        names = {kind.data_type for kind in known.types}
        unread = [
            HeldType(
                kind.data_type,
                is_complete=False,
                why=f"never read: {kind.why or experiment.problem or 'the run ended before'}",
                was_read=False,
            )
            for kind in experiment.types
            if kind.data_type not in names and not kind.is_complete
        ]
        if unread or experiment.problem:
            types = tuple(sorted((*known.types, *unread), key=lambda kind: kind.data_type))
            by_id[experiment.id] = msgspec.structs.replace(
                known, types=types, problem=experiment.problem or known.problem
            )
    return tuple(by_id[id_] for id_ in sorted(by_id))
