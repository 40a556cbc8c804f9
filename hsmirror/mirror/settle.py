"""What came, held against what is held: unchanged, new, or both together. Decides; publishes nothing.

Nothing that is held is ever dropped: rows that a complete reading no longer shows stay, counted as gone.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import msgspec

from hsmirror.archive.durable import has_size
from hsmirror.archive.layout import SUFFIXES, Layout, shard_path
from hsmirror.archive.receipts import Claim, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.archive.shards import ShardBuilder, StagedPart, sound_rows
from hsmirror.errors import DamagedError, StorageError
from hsmirror.mirror.asked import Asked
from hsmirror.mirror.commit import Commit, Placement, file_sha256
from hsmirror.mirror.merge import same_rows
from hsmirror.mirror.merging import Merge
from hsmirror.mirror.salvage import SalvagedPart, rows_not_shown
from hsmirror.mirror.write import rows_of, rows_of_staged, write_rows


@dataclass(frozen=True, slots=True)
class Shelf:
    """One (experiment, data type, room): where its shards lie."""

    experiment: str
    data_type: str
    room: str | None

    def path(self, part: int, compression: str) -> str:
        return shard_path(self.experiment, self.data_type, self.room, part, compression)

    def held(self, receipts: Receipts) -> list[ShardReceipt]:
        """The parts that are held, in order; one without a file where the list is known to be empty."""
        empty: list[ShardReceipt] = []
        for compression in SUFFIXES:  # the configuration may have changed since
            parts: list[ShardReceipt] = []
            while (part := receipts.shard(self.path(len(parts), compression))) and part.sha256:
                parts.append(part)
            if parts:
                return parts
            if part is not None:
                empty = [part]
        return empty


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be committed for one shelf, and what is held after it."""

    commit: Commit | None
    rows: int
    changed_shards: int = 0
    gone_rows: int = 0
    note: str = ""
    problem: str = ""
    """What was held is lost, and could not be had again."""
    new_rows: array[int] | None = None
    """Marks of rows that were not held before; None where none of the room's were."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """How shelves are settled in one run; `settle` is for a worker thread."""

    layout: Layout
    receipts: Receipts
    compression: str
    new_builder: Callable[[], ShardBuilder]
    fetched_at: str
    damaged: Collection[str] = ()
    """Paths that `verify` found damaged: of those the size alone says nothing."""

    def holds(self, shelf: Shelf) -> bool:
        """Is anything known of the shelf? If not, to settle it does not look at the disk."""
        paths = (shelf.path(0, compression) for compression in SUFFIXES)
        return any(path in self.receipts for path in paths)

    def settle(self, shelf: Shelf, staged: Sequence[StagedPart], asked: Asked) -> Settled:
        """Hold what came, as it was `asked` for, against what is held."""
        came = self._within(staged, asked) if asked.has_range else staged
        try:
            settled = self._settle(shelf, came, asked)
        except DamagedError as error:
            settled = self._salvaged(shelf, came, asked, why=str(error))
        placed = {placement.staged for placement in settled.commit.placements} if settled.commit else set()
        for part in {id(part): part for part in (*staged, *came)}.values():
            if part.in_memory is None and part.path not in placed:
                part.path.unlink(missing_ok=True)
        return settled

    def _within(self, staged: Sequence[StagedPart], asked: Asked) -> Sequence[StagedPart]:
        """What is of the time range: a little more was asked for, since it is not known how bounds are read."""
        if all(map(asked.admits, rows_of_staged(staged))):
            return staged
        return write_rows(filter(asked.admits, rows_of_staged(staged)), self.new_builder())

    def reduced(self, shelf: Shelf, left: Sequence[StagedPart], *, gone_rows: int = 0) -> Settled:
        """What is held of a shelf reduced to `left`; the rest is held elsewhere, the older generation kept."""
        held = shelf.held(self.receipts)
        return self._replaced(shelf, held, left, held[0].complete_for if held else (), gone_rows)

    def _salvaged(self, shelf: Shelf, staged: Sequence[StagedPart], asked: Asked, *, why: str) -> Settled:
        """Some of what is held is damaged: what came, and what of the rest is proven sound, take its place."""
        held = [receipt for receipt in shelf.held(self.receipts) if receipt.sha256 is not None]
        salvaged = [SalvagedPart(receipt, sum(1 for _ in self._sound_rows(receipt))) for receipt in held]
        rows_before, rows_read = (
            sum(part.receipt.rows for part in salvaged),
            sum(part.read_rows for part in salvaged),
        )
        merge = Merge(
            lambda: chain.from_iterable(map(self._sound_rows, held)),
            lambda: rows_of_staged(staged),
            asked,
            held_rows=rows_read,
        )
        parts = write_rows(merge.rows(), self.new_builder())
        # Which rows of a whole list are not in it any more is known; how many others were gone is not.
        gone_rows = merge.gone_rows if asked.is_whole else 0
        settled = self._replaced(shelf, held, parts, merge_claims((), asked.proves), gone_rows)
        settled = replace(settled, new_rows=merge.new_rows())
        if lost := rows_not_shown(salvaged, rows_of_staged(staged)):
            at_least = max(rows_before - settled.rows, held[0].gone_rows - merge.left_rows, 0)
            sure = f", at least {at_least} of them for sure" if at_least else ""
            where = f"room {shelf.room}" if shelf.room is not None else "no room"
            return replace(
                settled,
                problem=f"{why}; {lost} of its {rows_before} rows (of {where}) may be lost{sure}: they can "
                f"neither be read any more nor be shown to be among the {settled.rows} that are held now. "
                "What is left of it is in .hsmirror/superseded/",
            )
        return replace(settled, note=f"{why}; its rows were fetched again")

    def _sound_rows(self, receipt: ShardReceipt) -> Iterator[bytes]:
        path = self.layout.absolute(receipt.path)
        if receipt.sha256 is None:
            return iter(())
        try:
            _require_sound([receipt], [path])
        except DamagedError:
            return sound_rows(path)
        return rows_of([path])

    def _settle(self, shelf: Shelf, staged: Sequence[StagedPart], asked: Asked) -> Settled:
        held = shelf.held(self.receipts)
        files = [receipt for receipt in held if receipt.sha256 is not None]
        # What replaces a complete list without being proven complete is not: only what stays keeps its claims.
        old_claims = held[0].complete_for if held else ()
        claims = merge_claims(old_claims, asked.proves)
        new_claims = claims if asked.is_proven or asked.is_narrow else ()
        if not files:
            return self._first(shelf, held, staged, new_claims)
        paths = [self.layout.absolute(receipt.path) for receipt in files]
        self._require_files(files, paths)
        gone_before = files[0].gone_rows
        if _contents(files) == [part.content_sha256 for part in staged]:
            return self._unchanged(files, claims, gone_rows=0 if asked.is_proven else gone_before)
        _require_sound(files, paths)
        if not asked.is_narrow and _is_same(files, paths, staged):  # only their order differs
            return self._unchanged(files, claims, gone_rows=0 if asked.is_whole else gone_before)
        merge = Merge(
            lambda: rows_of(paths),
            lambda: rows_of_staged(staged),
            asked,
            held_rows=sum(receipt.rows for receipt in files),
            gone_before=gone_before,
        )
        if not merge.is_news:
            return self._unchanged(files, claims, gone_rows=gone_before)
        parts = write_rows(merge.rows(), self.new_builder()) if merge.left_rows else staged
        if _is_same(files, paths, parts) and merge.are_gone_last():
            return self._unchanged(files, claims, gone_rows=merge.gone_rows)
        settled = self._replaced(shelf, files, parts, new_claims, merge.gone_rows)
        return replace(settled, new_rows=merge.new_rows())

    def _require_files(self, files: Sequence[ShardReceipt], paths: Sequence[Path]) -> None:
        """A look at names and sizes, which costs nothing; hashes are for `verify`.

        Raises:
            DamagedError: a held file is missing, has another size than its receipt says, or is damaged.
        """
        for receipt, path in zip(files, paths, strict=True):
            if not has_size(path, receipt.size_bytes):
                raise DamagedError(f"{receipt.path} is missing, or not of {receipt.size_bytes} bytes")
            if receipt.path in self.damaged:
                raise DamagedError(f"{receipt.path} is damaged")

    def _first(
        self,
        shelf: Shelf,
        held: Sequence[ShardReceipt],
        staged: Sequence[StagedPart],
        claims: tuple[Claim, ...],
    ) -> Settled:
        if staged:
            return self._replaced(shelf, held, staged, claims, 0)
        if not claims or (held and held[0].complete_for == claims):
            return Settled(None, 0)
        empty = ShardReceipt(
            path=shelf.path(0, self.compression),
            experiment=shelf.experiment,
            data_type=shelf.data_type,
            room=shelf.room,
            complete_for=claims,
            fetched_at=self.fetched_at,
        )
        return Settled(Commit(receipts=[empty]), 0)

    def _unchanged(
        self, files: Sequence[ShardReceipt], claims: tuple[Claim, ...], *, gone_rows: int
    ) -> Settled:
        rows = sum(receipt.rows for receipt in files)
        nothing = array("q")
        if files[0].complete_for == claims and files[0].gone_rows == gone_rows:
            return Settled(None, rows, gone_rows=gone_rows, new_rows=nothing)
        updated = [
            msgspec.structs.replace(receipt, complete_for=claims, gone_rows=gone_rows) for receipt in files
        ]
        return Settled(Commit(receipts=updated), rows, gone_rows=gone_rows, new_rows=nothing)

    def _replaced(
        self,
        shelf: Shelf,
        held: Sequence[ShardReceipt],
        parts: Sequence[StagedPart],
        claims: tuple[Claim, ...],
        gone_rows: int,
    ) -> Settled:
        placements = [
            Placement(
                part.path,
                ShardReceipt(
                    path=shelf.path(number, self.compression),
                    experiment=shelf.experiment,
                    data_type=shelf.data_type,
                    room=shelf.room,
                    part=number,
                    rows=part.rows,
                    size_bytes=part.size_bytes,
                    sha256=part.sha256,
                    content_bytes=part.content_bytes,
                    content_sha256=part.content_sha256,
                    complete_for=claims,
                    gone_rows=gone_rows,
                    fetched_at=self.fetched_at,
                ),
                part.in_memory,
            )
            for number, part in enumerate(parts)
        ]
        stays = {placement.receipt.path for placement in placements}
        retired = [
            msgspec.structs.replace(
                receipt,
                rows=0,
                size_bytes=0,
                sha256=None,
                content_bytes=0,
                content_sha256=None,
                # A room of which nothing is left is known to be empty.
                complete_for=claims if receipt.part == 0 and not parts else (),
                gone_rows=0,
            )
            for receipt in held
            if receipt.path not in stays and receipt.sha256 is not None
        ]
        rows = sum(part.rows for part in parts)
        return Settled(Commit(placements, retired), rows, len(placements), gone_rows)


def merge_claims(held: tuple[Claim, ...], claim: Claim | None) -> tuple[Claim, ...]:
    """The claims that count once `claim` is proven: none that another one covers."""
    if claim is None or any(older.covers(claim) for older in held):
        return held
    return (*(older for older in held if not claim.covers(older)), claim)


def _is_same(files: Sequence[ShardReceipt], paths: Sequence[Path], parts: Sequence[StagedPart]) -> bool:
    """Do the parts hold the rows of the files, in whatever order?"""
    if _contents(files) == [part.content_sha256 for part in parts]:
        return True
    are_as_many = sum(receipt.rows for receipt in files) == sum(part.rows for part in parts)
    return are_as_many and same_rows(rows_of(paths), rows_of_staged(parts))


def _require_sound(files: Sequence[ShardReceipt], paths: Sequence[Path]) -> None:
    """What is merged is held against its receipt first, lest a rotten byte become a row of its own.

    Raises:
        DamagedError: a file has other bytes than its receipt says, or does not give them.
    """
    for receipt, path in zip(files, paths, strict=True):
        try:
            is_sound = file_sha256(path) == receipt.sha256
        except StorageError as error:
            raise DamagedError(f"{receipt.path} cannot be read") from error
        if not is_sound:
            raise DamagedError(f"{receipt.path} is damaged")


def _contents(files: Sequence[ShardReceipt]) -> list[str | None]:
    return [receipt.content_sha256 for receipt in files]
