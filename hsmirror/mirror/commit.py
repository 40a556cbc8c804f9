"""The commit: the only code that publishes.

Bytes synced → moved into place, folders synced → receipts appended and synced. Where a file takes the place of
another, an intent with the new receipt is synced first, so that whichever of the two a crash leaves in place,
the next run can tell, and finish. Work gathers while a commit is under way, and the next one takes all of it:
the cost of syncing is shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import anyio
import anyio.to_thread

from hsmirror.archive import durable
from hsmirror.archive.layout import LEVELS_OF_FOLDERS, Layout, is_own_folder
from hsmirror.archive.receipts import FileLike, FileReceipt, IntentReceipt, Receipt, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.errors import StorageError
from hsmirror.mirror.files import settle_partial_files

_T = TypeVar("_T")

_SYNCS_AT_ONCE = 8
"""Syncs of small files wait for the same journal commit when they are asked for together."""

_IN_TURN_SECONDS, _QUICK_SECONDS = 0.02, 0.0005
"""Where a disk syncs in less than the second, threads would only get into each other's way, and into the event
loop's; and so they would for all that takes less than the first."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A staged file and the receipt it is to have. One that is not written yet is to hold `content`."""

    staged: Path
    receipt: FileLike
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """What belongs together, all of it or nothing: files to put in place, files to retire (by the receipts
    that say so), and receipts for what has no file.
    """

    placements: Sequence[Placement] = ()
    retired: Sequence[ShardReceipt] = ()
    receipts: Sequence[Receipt] = ()

    @property
    def all_receipts(self) -> list[Receipt]:
        return [*(placement.receipt for placement in self.placements), *self.retired, *self.receipts]


@dataclass(slots=True)
class _Waiting:
    commits: Sequence[Commit]
    is_done: bool = False


class Committer:
    """Takes commits from all stages and carries them out in groups, one group at a time."""

    def __init__(self, layout: Layout, receipts: Receipts, modes: durable.Modes, run_id: str) -> None:
        self._layout = layout
        self._receipts = receipts
        self._modes = modes
        self._run_id = run_id
        self._gathered: list[_Waiting] = []
        self._group_done: anyio.Event | None = None
        self._failure: BaseException | None = None
        self.published_files = 0

    def __repr__(self) -> str:
        return f"<Committer published={self.published_files} gathered={len(self._gathered)}>"

    @property
    def has_failed(self) -> bool:
        """Something was not carried out to its end: what is staged is the next run's, to finish."""
        return self._failure is not None

    async def commit(self, *commits: Commit) -> None:
        """Carry out commits; returns when their receipts are on disk.

        Raises:
            StorageError: the disk refused; what has no receipt is nobody's, and is done again next time.
        """
        if not commits:
            return
        waiting = _Waiting(commits)
        self._gathered.append(waiting)
        while not waiting.is_done:
            if self._group_done is not None:
                await self._group_done.wait()
                continue
            # What is being put in place is finished even if the run is told to stop.
            with anyio.CancelScope(shield=True):
                await self._commit_group()
        if self._failure is not None:
            raise self._failure

    async def _commit_group(self) -> None:
        group, self._gathered = self._gathered, []
        done = self._group_done = anyio.Event()
        try:
            if self._failure is None:
                commits = [commit for waiting in group for commit in waiting.commits]
                await anyio.to_thread.run_sync(self._carry_out, commits)
        except BaseException as error:  # noqa: BLE001  # each who waits raises it; nothing is published any more
            self._failure = error
        finally:
            for waiting in group:
                waiting.is_done = True
            self._group_done = None
            done.set()

    def _carry_out(self, group: Sequence[Commit]) -> None:
        placements = [placement for commit in group for placement in commit.placements]
        retired = [receipt for commit in group for receipt in commit.retired]
        with durable.disk_errors(f"commit to {self._layout.root}"):
            self._at_once(self._stage, placements)
            _require_sizes(placements)
            if intents := [intent for commit in group if (intent := self._intent(commit))]:
                # An intent promises that what it names is still there after a power loss.
                for folder in dict.fromkeys(placement.staged.parent for placement in placements):
                    durable.sync_folder(folder)
                self._receipts.append(intents)
            moves = [self._move(placement) for placement in placements]
            durable.publish(self._layout.root, moves, self._modes, sync_folders=self._sync_folders)
            for receipt in retired:
                final = self._layout.absolute(receipt.path)
                superseded = self._layout.superseded_path(self._run_id, receipt.path)
                durable.retire(self._layout.root, final, superseded, self._modes)
            self._receipts.append([receipt for commit in group for receipt in commit.all_receipts])
        self.published_files += len(placements)

    def _intent(self, commit: Commit) -> IntentReceipt | None:
        """What a commit is about to do, where half of it would be worse than nothing."""
        replaces = any(placement.receipt.key in self._receipts for placement in commit.placements)
        # A recording is not fetched again only because its receipt came too late.
        is_recording = any(isinstance(placement.receipt, FileReceipt) for placement in commit.placements)
        if not (replaces or commit.retired or len(commit.placements) > 1 or is_recording):
            return None
        staging = self._layout.staging
        return IntentReceipt(
            receipts=tuple(receipt for receipt in commit.all_receipts if isinstance(receipt, FileLike)),
            staged=tuple(placement.staged.relative_to(staging).as_posix() for placement in commit.placements),
        )

    def _stage(self, placement: Placement) -> None:
        if placement.content is None:
            durable.sync_staged(placement.staged)
        else:
            durable.append(placement.staged, placement.content, self._modes, synced=True)

    def _sync_folders(self, folders: Sequence[Path]) -> None:
        self._at_once(durable.sync_folder, folders)

    def _at_once(self, sync: Callable[[_T], None], what: Sequence[_T]) -> None:
        """Sync in turn for as long as that is quick, and the rest in several threads."""
        began_at = perf_counter()
        done = 0
        while done < len(what) and perf_counter() - began_at < max(_IN_TURN_SECONDS, done * _QUICK_SECONDS):
            sync(what[done])
            done += 1
        if done < len(what):
            with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
                list(pool.map(sync, what[done:]))

    def _move(self, placement: Placement) -> durable.Move:
        path = placement.receipt.path
        return durable.Move(
            placement.staged,
            self._layout.absolute(path),
            self._layout.superseded_path(self._run_id, path),
        )


def _require_sizes(placements: Sequence[Placement]) -> None:
    """Where locks do nothing, another run may write to the same part of a recording.

    Raises:
        StorageError: a file is no longer as it was when its receipt was made.
    """
    for placement in placements:
        if placement.content is not None:
            continue  # written a moment ago, and looked at then
        size_bytes = placement.receipt.size_bytes
        if not durable.has_size(placement.staged, size_bytes):
            raise StorageError(
                f"{placement.staged} no longer has {size_bytes} bytes: is another run at work in this archive?"
            )


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of what a run that died has left: paths that are now receipted, and what to tell."""

    finished: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def recover(layout: Layout, receipts: Receipts, modes: durable.Modes, run_id: str, *, now: float) -> Recovery:
    """Finish what a run that died has left: its intents carried out, its staging cleared.

    All files of an intent were synced before it was written, so that each is either in its place already or
    still in staging. `now` is the time in seconds since the epoch: parts of files that are old are cleared.

    Raises:
        StorageError: the disk takes nothing, so that this run could do nothing either.
    """
    leftovers = _leftovers(layout)
    if leftovers or receipts.is_empty:
        durable.sync_tree(layout.root, LEVELS_OF_FOLDERS, is_own_folder)
    finished: list[str] = []
    notes: list[str] = []
    for intent in [each for each in receipts.of_no_experiment if isinstance(each, IntentReceipt)]:
        try:
            moves = _moves(layout, intent, run_id)
        except StorageError as error:  # one bad spot on a disk must not stop every night from now on
            notes.append(f"a commit that was cut off cannot be finished: {error}")
            moves = None
        if moves is None:
            receipts.drop(intent.key)
            continue
        _finish(layout, intent, moves, modes, run_id)
        receipts.append(list(intent.receipts))
        finished += [receipt.path for receipt in intent.receipts]
    for leftover in leftovers:
        durable.clear_folder(layout.root, leftover)
    for folder in (layout.root, layout.receipts, layout.runs):
        durable.clear_staged(folder)
    settle_partial_files(layout, receipts, now=now)
    return Recovery(tuple(finished), tuple(notes))


def _leftovers(layout: Layout) -> list[Path]:
    """The staging folders of runs that did not end as they should."""
    if not layout.staging.is_dir():
        return []
    with durable.disk_errors(f"look into {layout.staging}"):
        return [path for path in layout.staging.iterdir() if path != layout.partial_files]


def _moves(layout: Layout, intent: IntentReceipt, run_id: str) -> list[durable.Move] | None:
    """What is left to be put in place; None where the files are no longer to be had.

    Raises:
        StorageError: what is there cannot be read.
    """
    moves: list[durable.Move] = []
    for receipt, staged_name in zip(intent.receipts, intent.staged, strict=False):
        final, staged = layout.absolute(receipt.path), layout.staging / staged_name
        unreadable: StorageError | None = None
        try:
            if _has_hash(final, receipt.sha256):
                durable.sync_folder(final.parent)  # it may have got there without its name being synced
                continue
        except StorageError as error:  # a staged copy can still take its place
            unreadable = error
        if _has_hash(staged, receipt.sha256):
            moves.append(durable.Move(staged, final, layout.superseded_path(run_id, receipt.path)))
        elif unreadable is not None:
            raise unreadable
        else:
            return None  # `verify` tells what stands there then, and the next sync fetches it again
    return moves


def _finish(
    layout: Layout, intent: IntentReceipt, moves: Sequence[durable.Move], modes: durable.Modes, run_id: str
) -> None:
    """Carry out an intent, from wherever it was left."""
    durable.publish(layout.root, moves, modes)
    for receipt in intent.receipts[len(intent.staged) :]:
        if receipt.sha256 is None:
            superseded = layout.superseded_path(run_id, receipt.path)
            durable.retire(layout.root, layout.absolute(receipt.path), superseded, modes)


def _has_hash(path: Path, sha256: str | None) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def file_sha256(path: Path) -> str:
    """Of a whole file, in constant memory."""
    with durable.disk_errors(f"read {path}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
