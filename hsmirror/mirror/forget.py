"""A withdrawn consent: a person's rows and recording files go, from all generations, and do not come back.

The order is what makes it safe to be killed anywhere, and run again. First the receipt: from then on no sync
brings the person back. Then whatever only their rows lead to: texts that name their recordings, and the files.
Then their rows, in the tree and in older generations. Last, that it is finished.
"""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
import msgspec

from hsmirror.archive import durable
from hsmirror.archive.forgotten import forgotten_receipt
from hsmirror.archive.layout import Layout
from hsmirror.archive.lock import exclusive
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import ForgottenReceipt, read_marker
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.shards import Form
from hsmirror.archive.sums import bring_up_to_date
from hsmirror.clock import Clock, SystemClock, iso_utc
from hsmirror.errors import DamagedError, Exit, UsageError
from hsmirror.mirror.commit import Committer
from hsmirror.mirror.erase import OWN_OLDER, Eraser
from hsmirror.mirror.opening import open_archive
from hsmirror.mirror.people import Sought
from hsmirror.mirror.settle import Shelf
from hsmirror.mirror.traces import RowCount, Traces, search
from hsmirror.mirror.write import Staging


class ForgetReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a person, and removed unless `is_dry_run`; what names them and stays."""

    archive: str
    participant: str
    is_dry_run: bool = False
    was_forgotten: bool = False
    """An earlier `forget` of this person came to its end."""
    is_finished: bool = False
    """All that was found is gone, and the archive remembers to leave the person out."""
    rows: int = 0
    by_room: tuple[RowCount, ...] = ()
    files: int = 0
    file_bytes: int = 0
    older_rows: int = 0
    """In `.hsmirror/superseded/`, and in shards that no receipt names."""
    older_files: int = 0
    older_file_bytes: int = 0
    unreadable_older_shards: int = 0
    """They cannot be searched, so that they go as a whole."""
    partial_files: int = 0
    """Of downloads that have not come to their end, whosever they are: they begin anew with the next sync."""
    partial_file_bytes: int = 0
    still_naming: tuple[RowCount, ...] = ()
    """Rows of other people that name this one; they stay as they came."""
    older_rows_still_naming: int = 0
    documents_naming: tuple[str, ...] = ()
    """Documents and receipts that name the person."""
    rows_of_nobody: tuple[RowCount, ...] = ()
    """Rows that do not tell whose they are, in rooms in which the person was; they stay."""
    shared_files: tuple[str, ...] = ()
    """Recording files that cannot be told from somebody else's; they stay."""
    unreadable: tuple[str, ...] = ()
    """Current shards that are damaged, and why: they may still hold rows of the person."""

    @property
    def found_nothing(self) -> bool:
        counts = (self.rows, self.files, self.older_rows, self.older_files, self.unreadable_older_shards)
        return not any(counts) and not self.unreadable

    @property
    def exit_status(self) -> Exit:
        """3 where something may be left."""
        return Exit.INCOMPLETE if self.unreadable else Exit.COMPLETE


async def forget(
    root: Path, participant: str, *, dry_run: bool = False, clock: Clock | None = None
) -> ForgetReport:
    """Remove a person from the archive at `root`, for good; needs neither key nor network.

    Killed anywhere, it is finished by being called again. `dry_run` looks, takes no lock and changes nothing.

    Raises:
        UsageError: no id. NotAnArchiveError: no archive. ArchiveBusyError: a run holds it.
        StorageError: the disk refuses; call it again.
    """
    if not participant:
        raise UsageError("--participant is empty: give the id of the person to forget")
    person, clock = Sought.of(participant), clock or SystemClock()
    if dry_run:
        archive = await anyio.to_thread.run_sync(Archive.open, root)
        traces = await anyio.to_thread.run_sync(search, archive.layout, archive.receipts, person)
        receipt = forgotten_receipt(archive.receipts.of_no_experiment, participant, "")
        return _report(root, person, traces, is_dry_run=True, was_forgotten=bool(receipt.finished_at))
    layout = Layout(root)
    upstream = read_marker(layout).upstream
    modes = _modes_of(layout)
    with exclusive(layout, modes):
        run_id, receipts = open_archive(layout, upstream, modes, clock)
        traces = await anyio.to_thread.run_sync(search, layout, receipts, person)
        return await _Removal(layout, receipts, modes, run_id, person, traces, clock).carry_out()


def _modes_of(layout: Layout) -> durable.Modes:
    """As the archive was made; no configuration is read for this."""
    with durable.disk_errors(f"look at {layout.root}"):
        return durable.Modes(layout.state.stat().st_mode & 0o777, layout.marker.stat().st_mode & 0o777)


class _Removal:
    def __init__(
        self,
        layout: Layout,
        receipts: Receipts,
        modes: durable.Modes,
        run_id: str,
        person: Sought,
        traces: Traces,
        clock: Clock,
    ) -> None:
        self._layout = layout
        self._receipts = receipts
        self._modes = modes
        self._run_id = run_id
        self._person = person
        self._traces = traces
        self._clock = clock
        staging = Staging(layout.root, layout.staging_of(run_id), Form(), modes)
        self._eraser = Eraser(layout, receipts, staging, person, traces)
        self._committer = Committer(layout, receipts, modes, f"{run_id}{OWN_OLDER}")

    async def carry_out(self) -> ForgetReport:
        forgotten = self._receipts.of_no_experiment
        held = forgotten_receipt(forgotten, self._person.id, iso_utc(self._clock.epoch()))
        was_forgotten = bool(held.finished_at)
        if was_forgotten and self._traces.is_empty and not self._is_in_receipts():
            return self._report(was_forgotten=True)
        begun = self._begun(held)
        self._receipts.append([begun])
        await anyio.to_thread.run_sync(self._clear_what_rows_lead_to)
        unreadable = await self._clear_shelves()
        await anyio.to_thread.run_sync(self._eraser.clear_older)
        await anyio.to_thread.run_sync(self._close_archive, begun, bool(unreadable))
        return self._report(was_forgotten=was_forgotten, unreadable=unreadable)

    def _is_in_receipts(self) -> bool:
        return any(self._eraser.cleared(receipt) is not receipt for receipt in self._receipts)

    def _begun(self, held: ForgottenReceipt) -> ForgottenReceipt:
        """Of a removal that was killed, the first count is the one of all that there was."""
        if held.rows and not held.finished_at:
            return held
        found = self._report(was_forgotten=False)
        return msgspec.structs.replace(
            held,
            finished_at="",
            rows=held.rows + found.rows + found.older_rows,
            files=held.files + found.files + found.older_files,
            size_bytes=held.size_bytes + found.file_bytes + found.older_file_bytes,
        )

    def _clear_what_rows_lead_to(self) -> None:
        self._eraser.clear_texts()
        self._eraser.clear_receipts()
        self._eraser.remove_files()

    async def _clear_shelves(self) -> tuple[str, ...]:
        """One commit a shelf; gives those that are damaged, which stay as they are, and why."""
        unreadable: list[str] = []
        for shelf in self._traces.shelves:
            try:
                commit = await anyio.to_thread.run_sync(self._eraser.without_person, shelf)
            except DamagedError as error:
                unreadable.append(f"{_described(shelf)}: {error}")
                continue
            await self._committer.commit(commit)
            self._eraser.remove_empty_folder(shelf)
        return tuple(unreadable)

    def _close_archive(self, begun: ForgottenReceipt, is_unfinished: bool) -> None:
        """Older receipts go, too: they tell sizes and hashes of what is no more."""
        self._eraser.clear_receipts()
        bring_up_to_date(self._layout, self._receipts, self._modes)
        durable.clear_folder(self._layout.root, self._layout.staging_of(self._run_id))
        if not is_unfinished and not self._traces.unreadable:
            finished = msgspec.structs.replace(begun, finished_at=iso_utc(self._clock.epoch()))
            self._receipts.append([finished])
            bring_up_to_date(self._layout, self._receipts, self._modes)

    def _report(self, *, was_forgotten: bool, unreadable: tuple[str, ...] = ()) -> ForgetReport:
        report = _report(self._layout.root, self._person, self._traces, was_forgotten=was_forgotten)
        named = [*report.documents_naming, *self._segments_naming()]
        damaged = tuple(dict.fromkeys((*self._traces.unreadable, *unreadable)))
        return msgspec.structs.replace(
            report, is_finished=not damaged, documents_naming=tuple(named), unreadable=damaged
        )

    def _segments_naming(self) -> list[str]:
        """Receipts that cannot do without the id: a room's that is named after the person."""
        found: list[str] = []
        for path in (*segments(self._layout), self._layout.sums):
            with durable.disk_errors(f"read {path}"):
                if path.exists() and self._person.stands_in(path.read_bytes()):
                    found.append(path.relative_to(self._layout.root).as_posix())
        return found


def _report(
    root: Path, person: Sought, traces: Traces, *, was_forgotten: bool, is_dry_run: bool = False
) -> ForgetReport:
    files = [each for each in traces.recording_files if not each.is_older]
    older = [each for each in traces.recording_files if each.is_older]
    return ForgetReport(
        archive=str(root),
        participant=person.id,
        is_dry_run=is_dry_run,
        was_forgotten=was_forgotten,
        rows=sum(traces.shelves.values()),
        by_room=tuple(
            RowCount(shelf.experiment, shelf.data_type, shelf.room, rows)
            for shelf, rows in traces.shelves.items()
        ),
        files=len(files),
        file_bytes=sum(each.size_bytes for each in files),
        older_rows=sum(each.rows for each in traces.loose_shards),
        older_files=len(older),
        older_file_bytes=sum(each.size_bytes for each in older),
        unreadable_older_shards=sum(each.is_damaged for each in traces.loose_shards),
        partial_files=len(traces.partial_files),
        partial_file_bytes=sum(each.size_bytes for each in traces.partial_files),
        still_naming=traces.naming,
        older_rows_still_naming=traces.older_rows_naming,
        documents_naming=traces.documents,
        rows_of_nobody=traces.nameless,
        shared_files=traces.shared_files,
        unreadable=traces.unreadable,
    )


def _described(shelf: Shelf) -> str:
    where = f"room {shelf.room}" if shelf.room is not None else "no room"
    return f"{shelf.data_type} of {where} of experiment {shelf.experiment}"
