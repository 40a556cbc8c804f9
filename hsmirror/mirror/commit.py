"""The commit: the only code that publishes.

Bytes synced → moved into place, folders synced → receipts appended and synced. Where a file takes the place of
another, an intent with the new receipt is synced first, so that whichever of the two a crash leaves in place,
the next run can tell, and finish. Work gathers while a commit is under way, and the next one takes all of it:
the cost of syncing is shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FileLike, IntentReceipt, Receipt, Receipts, ShardReceipt
from hsmirror.errors import HsmirrorError

_SYNCS_AT_ONCE = 8
"""Syncs of small files wait for the same journal commit when they are asked for together."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A staged file and the receipt it is to have."""

    staged: Path
    receipt: FileLike


@dataclass(frozen=True, slots=True)
class Commit:
    """What belongs together: files to put in place, files to retire (by the receipts that say so), and
    receipts for what has no file.
    """

    placements: Sequence[Placement] = ()
    retired: Sequence[ShardReceipt] = ()
    receipts: Sequence[Receipt] = ()


class Committer:
    """Takes commits from all stages and carries them out in groups, one group at a time."""

    def __init__(self, layout: Layout, receipts: Receipts, modes: durable.Modes, run_id: str) -> None:
        self._layout = layout
        self._receipts = receipts
        self._modes = modes
        self._run_id = run_id
        self._gathered: list[tuple[Commit, anyio.Event]] = []
        self._is_committing = False
        self._failure: HsmirrorError | None = None
        self.published_files = 0
        self.published_bytes = 0

    def __repr__(self) -> str:
        return f"<Committer published={self.published_files} gathered={len(self._gathered)}>"

    async def commit(self, commit: Commit) -> None:
        """Carry out a commit; returns when its receipts are on disk.

        Raises:
            StorageError: the disk refused; nothing of this commit has a receipt.
        """
        done = anyio.Event()
        self._gathered.append((commit, done))
        if not self._is_committing:
            self._is_committing = True
            try:
                # What is being put in place is finished even if the run is told to stop.
                with anyio.CancelScope(shield=True):
                    await self._commit_all()
            finally:
                self._is_committing = False
        await done.wait()
        if self._failure is not None:
            raise self._failure

    async def _commit_all(self) -> None:
        while self._gathered:
            group, self._gathered = self._gathered, []
            try:
                if self._failure is None:
                    await anyio.to_thread.run_sync(self._carry_out, [commit for commit, _ in group])
            except HsmirrorError as error:
                self._failure = error
            finally:
                for _, done in group:
                    done.set()

    def _carry_out(self, group: Sequence[Commit]) -> None:
        placements = [placement for commit in group for placement in commit.placements]
        self._sync([placement.staged for placement in placements])
        moves = [self._move(placement) for placement in placements]
        replaced = [
            placement.receipt
            for placement, move in zip(placements, moves, strict=True)
            if self._receipts.get(placement.receipt.key) is not None and move.final.exists()
        ]
        retired = [receipt for commit in group for receipt in commit.retired]
        self._receipts.append([IntentReceipt(receipt=receipt) for receipt in (*replaced, *retired)])
        durable.publish(self._layout.root, moves, self._modes)
        for receipt in retired:
            final = self._layout.absolute(receipt.path)
            superseded = self._layout.superseded_path(self._run_id, receipt.path)
            durable.retire(self._layout.root, final, superseded, self._modes)
        self._receipts.append(
            [
                *(placement.receipt for placement in placements),
                *retired,
                *(receipt for commit in group for receipt in commit.receipts),
            ]
        )
        self.published_files += len(placements)
        self.published_bytes += sum(placement.receipt.size_bytes for placement in placements)

    def _sync(self, paths: Sequence[Path]) -> None:
        if len(paths) < 2:
            for path in paths:
                durable.sync_file(path)
            return
        with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
            list(pool.map(durable.sync_file, paths))

    def _move(self, placement: Placement) -> durable.Move:
        path = placement.receipt.path
        return durable.Move(
            placement.staged,
            self._layout.absolute(path),
            self._layout.superseded_path(self._run_id, path),
        )


def recover(layout: Layout, receipts: Receipts) -> list[str]:
    """Finish what a run that died has left: intents confirmed or dropped, its staging cleared.

    Returns the paths whose replacement it had made and that are now confirmed.
    """
    confirmed: list[FileLike] = []
    for receipt in list(receipts):
        if not isinstance(receipt, IntentReceipt):
            continue
        path = layout.absolute(receipt.receipt.path)
        found = file_sha256(path) if path.is_file() else None
        if found == receipt.receipt.sha256:
            confirmed.append(receipt.receipt)
    receipts.append(confirmed)
    if layout.staging.is_dir():
        for leftover in layout.staging.iterdir():
            if leftover != layout.partial_files:
                durable.clear_folder(leftover)
    return [receipt.path for receipt in confirmed]


def file_sha256(path: Path) -> str:
    """Of a whole file, in constant memory."""
    with durable.disk_errors(f"read {path}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
