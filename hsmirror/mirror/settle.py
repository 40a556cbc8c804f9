"""What came, held against what is held: unchanged, new, or both together. Decides; publishes nothing.

Nothing that is held is ever dropped: rows that a complete reading no longer shows stay, counted as gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import msgspec

from hsmirror.archive.durable import has_size
from hsmirror.archive.layout import SUFFIXES, Layout, shard_path
from hsmirror.archive.receipts import WHOLE, Claim, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.archive.shards import ShardBuilder, StagedPart, sound_rows
from hsmirror.errors import DamagedError, StorageError
from hsmirror.mirror.commit import Commit, Placement, file_sha256
from hsmirror.mirror.merge import Identity, RowSet, by_content_where_ids_conflict, same_rows
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


@dataclass(frozen=True, slots=True)
class Settlement:
    """How shelves are settled in one run; `settle` is for a worker thread.

    `claim` is what the reading proved complete, None where it proved nothing. `is_narrow` says that the
    reading was of less than the whole list, so that rows it lacks are not gone.
    """

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

    def settle(
        self,
        shelf: Shelf,
        staged: Sequence[StagedPart],
        *,
        claim: Claim | None,
        is_narrow: bool,
        identity: Identity,
    ) -> Settled:
        try:
            settled = self._settle(shelf, staged, claim=claim, is_narrow=is_narrow, identity=identity)
        except DamagedError as error:
            settled = self._salvaged(shelf, staged, claim=claim, identity=identity, why=str(error))
        if settled.commit is None or not settled.commit.placements:
            for part in staged:
                if part.in_memory is None:
                    part.path.unlink(missing_ok=True)
        return settled

    def reduced(self, shelf: Shelf, left: Sequence[StagedPart]) -> Settled:
        """What is held of a shelf reduced to `left`; the rest is held elsewhere, the older generation kept."""
        held = shelf.held(self.receipts)
        return self._replaced(shelf, held, left, held[0].complete_for if held else (), 0)

    def _salvaged(
        self,
        shelf: Shelf,
        staged: Sequence[StagedPart],
        *,
        claim: Claim | None,
        identity: Identity,
        why: str,
    ) -> Settled:
        """Some of what is held is damaged: what came, and what of the rest is proven sound, take its place."""
        held = shelf.held(self.receipts)
        new = RowSet(identity)
        for row in rows_of_staged(staged):
            new.add(row)
        left = list(new.without(chain.from_iterable(map(self._sound_rows, held))))
        parts = write_rows(chain(rows_of_staged(staged), left), self.new_builder())
        gone_rows = len(left) if claim == WHOLE else 0
        settled = self._replaced(shelf, held, parts, merge_claims((), claim), gone_rows)
        rows_before = sum(receipt.rows for receipt in held)
        if settled.rows < rows_before:
            lost = f"{why}; of its {rows_before} rows the server has {settled.rows - len(left)} still"
            lost += f", and {len(left)} more could be read of it" if left else ""
            return replace(settled, problem=f"{lost}. What is left of it is in .hsmirror/superseded/")
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

    def _settle(
        self,
        shelf: Shelf,
        staged: Sequence[StagedPart],
        *,
        claim: Claim | None,
        is_narrow: bool,
        identity: Identity,
    ) -> Settled:
        held = shelf.held(self.receipts)
        files = [receipt for receipt in held if receipt.sha256 is not None]
        # What replaces a complete list without being proven complete is not: only what stays keeps its claims.
        old_claims = held[0].complete_for if held else ()
        claims = merge_claims(old_claims, claim)
        new_claims = () if claim is None and not is_narrow else claims
        if not files:
            return self._first(shelf, held, staged, new_claims)
        paths = [self.layout.absolute(receipt.path) for receipt in files]
        self._require_files(files, paths)
        if _contents(files) == [part.content_sha256 for part in staged]:
            return self._unchanged(files, claims, gone_rows=0 if claim else files[0].gone_rows)
        _require_sound(files, paths)
        merged, gone_rows = self._merge(files, paths, staged, is_narrow=is_narrow, identity=identity)
        if claim is None or is_narrow:
            gone_rows = files[0].gone_rows
        if merged is None or _is_same(files, paths, merged):
            return self._unchanged(files, claims, gone_rows=gone_rows)
        return self._replaced(shelf, files, merged, new_claims, gone_rows)

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

    def _merge(
        self,
        files: Sequence[ShardReceipt],
        paths: Sequence[Path],
        staged: Sequence[StagedPart],
        *,
        is_narrow: bool,
        identity: Identity,
    ) -> tuple[Sequence[StagedPart] | None, int]:
        """The parts that hold both, None where what is held has it all; and how many rows only that had."""
        are_as_many = sum(part.rows for part in staged) == sum(receipt.rows for receipt in files)
        if not is_narrow and are_as_many and same_rows(rows_of(paths), rows_of_staged(staged)):
            return None, 0  # only their order differs
        new = RowSet(by_content_where_ids_conflict(identity, rows_of(paths), rows_of_staged(staged)))
        for row in rows_of_staged(staged):
            new.add(row)
        left = sum(1 for _ in new.without(rows_of(paths)))
        if is_narrow and _has_all(paths, staged):
            return None, 0
        if not left:
            return staged, 0

        def both() -> Iterator[bytes]:
            if is_narrow:
                yield from new.without(rows_of(paths))
            yield from rows_of_staged(staged)
            if not is_narrow:
                yield from new.without(rows_of(paths))

        return write_rows(both(), self.new_builder()), left

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
        if files[0].complete_for == claims and files[0].gone_rows == gone_rows:
            return Settled(None, rows, gone_rows=gone_rows)
        updated = [
            msgspec.structs.replace(receipt, complete_for=claims, gone_rows=gone_rows) for receipt in files
        ]
        return Settled(Commit(receipts=updated), rows, gone_rows=gone_rows)

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
                complete_for=(),
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


def _has_all(held: Sequence[Path], came: Sequence[StagedPart]) -> bool:
    """Is every row that came held already, to the byte?"""
    rows = RowSet(lambda _: None)
    for row in rows_of(held):
        rows.add(row)
    return next(rows.without(rows_of_staged(came)), None) is None
