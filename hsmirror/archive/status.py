"""What an archive holds, how fresh it is, and what is missing and why; from its receipts and last report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hsmirror.archive.checks import Coverage, coverage, read_checks
from hsmirror.archive.forgotten import unfinished
from hsmirror.archive.layout import document_path
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import WHOLE, FileReceipt, ListReceipt, PendingReceipt, ShardReceipt, instant
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
    shards = _grouped(archive.shards())
    lists = _grouped(archive.lists())
    files = _grouped(receipt for receipt in archive.receipts if isinstance(receipt, FileReceipt))
    pending = _grouped(archive.pending())
    experiments = tuple(
        _experiment(
            archive,
            each,
            shards.get(each, []),
            lists.get(each, []),
            files.get(each, []),
            pending.get(each, []),
        )
        for each in sorted(shards.keys() | lists.keys() | files.keys() | pending.keys())
    )
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
        size_bytes=sum(receipt.size_bytes for receipt in archive.files()),
        is_complete=ended_well and all(each.is_complete for each in experiments),
        last_run=latest,
        last_success_at=last_success_at(archive.layout),
        checked=coverage(read_checks(archive.layout)),
        unfinished_removals=len(unfinished(archive.receipts)),
    )


_Kind = TypeVar("_Kind", ShardReceipt, ListReceipt, FileReceipt, PendingReceipt)


def _grouped(receipts: Iterable[_Kind]) -> dict[str, list[_Kind]]:
    grouped: dict[str, list[_Kind]] = {}
    for receipt in receipts:
        grouped.setdefault(receipt.experiment, []).append(receipt)
    return grouped


def _experiment(
    archive: Archive,
    experiment: str,
    shards: list[ShardReceipt],
    lists: list[ListReceipt],
    files: list[FileReceipt],
    pending: list[PendingReceipt],
) -> HeldExperiment:
    read = {receipt.data_type: receipt for receipt in lists}
    by_type: dict[str, list[ShardReceipt]] = {name: [] for name in read}
    for receipt in shards:
        by_type.setdefault(receipt.data_type, []).append(receipt)
    return HeldExperiment(
        experiment,
        name=_name(archive, experiment),
        types=tuple(_type(name, of_type, read.get(name)) for name, of_type in sorted(by_type.items())),
        files=len(files),
        file_bytes=sum(receipt.size_bytes for receipt in files),
        pending=tuple(f"{each.recording_id}: {each.why}" for each in pending if not each.is_failure),
        failed=tuple(f"{each.recording_id}: {each.why}" for each in pending if each.is_failure),
    )


def _type(name: str, shards: list[ShardReceipt], read: ListReceipt | None) -> HeldType:
    held = [receipt for receipt in shards if receipt.sha256]
    partial = [receipt for receipt in shards if WHOLE not in receipt.complete_for and receipt.part == 0]
    why = read.why if read is not None else "only a part of it has been read"
    return HeldType(
        name,
        rows=sum(receipt.rows for receipt in held),
        rooms=len({receipt.room for receipt in held}),
        size_bytes=sum(receipt.size_bytes for receipt in held),
        gone_rows=sum(receipt.gone_rows for receipt in held if receipt.part == 0),
        is_complete=read is not None and read.is_complete and not partial,
        why=why,
        read_at=read.read_at if read is not None else max((each.fetched_at for each in shards), default=""),
    )


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
