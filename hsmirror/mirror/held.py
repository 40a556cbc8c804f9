"""What is held when a run begins, by data type and room: what planning a night starts from."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hsmirror.archive.durable import has_size
from hsmirror.archive.layout import Layout, sidecar_path
from hsmirror.archive.receipts import WHOLE, FileLike, ListReceipt, Receipt, ShardReceipt, instant
from hsmirror.mirror.night import HeldList, HeldRoom, Room
from hsmirror.mirror.plan import Way

_CLOCKS_DIFFER_SECONDS = 86_400.0


class HeldLists:
    """The receipts of a run's start, grouped once.

    `damaged` are paths that `verify` has found to be so: their rooms are not taken for intact. Times well after
    `now` are those of a clock that was ahead: they count for nothing.
    """

    def __init__(
        self, layout: Layout, receipts: Iterable[Receipt], damaged: Collection[str] = (), *, now: float
    ) -> None:
        self._layout = layout
        self._now = now
        self.damaged = frozenset(damaged)
        self._shards: dict[tuple[str, str], list[ShardReceipt]] = {}
        self._lists: dict[tuple[str, str], ListReceipt] = {}
        for receipt in receipts:
            if isinstance(receipt, ShardReceipt):
                self._shards.setdefault((receipt.experiment, receipt.data_type), []).append(receipt)
            elif isinstance(receipt, ListReceipt):
                self._lists[receipt.experiment, receipt.data_type] = receipt

    def __repr__(self) -> str:
        return f"<HeldLists of {len(self._shards)} data types>"

    def is_intact(self, receipt: FileLike) -> bool:
        """Is the file there, with the right size, and not known to be damaged? A look that costs nothing."""
        return receipt.path not in self.damaged and has_size(
            self._layout.absolute(receipt.path), receipt.size_bytes
        )

    def rooms_of(self, experiment: str) -> list[str]:
        """Every room that rows of any data type are held of."""
        named = {
            shard.room
            for (of, _), shards in self._shards.items()
            if of == experiment
            for shard in shards
            if shard.room is not None
        }
        return sorted(named)

    def list_of(self, experiment: str, data_type: str) -> HeldList | None:
        """What is held of one list; None where there is nothing. Looks at each file's size: for a thread."""
        shards = self._shards.get((experiment, data_type), [])
        receipt = self._lists.get((experiment, data_type))
        if not shards and receipt is None:
            return None
        by_room: dict[Room, list[ShardReceipt]] = {}
        for shard in shards:
            by_room.setdefault(shard.room, []).append(shard)
        rooms = {room: self._room(of_room) for room, of_room in by_room.items()}
        if receipt is None:
            return HeldList(Way.EXPERIMENT, rooms)
        return HeldList(
            Way(receipt.way),
            rooms,
            total=receipt.total,
            unaccounted=receipt.unaccounted,
            page_rows=receipt.page_rows,
            whole_at=self._epoch(receipt.whole_at),
            searching_since=self._epoch(receipt.searching_since),
            rooms_read_at={room: self._epoch(read_at) for room, read_at in receipt.rooms_read_at.items()},
        )

    def _epoch(self, text: str) -> float:
        epoch = instant(text).timestamp() if text else 0.0
        return epoch if epoch <= self._now + _CLOCKS_DIFFER_SECONDS else 0.0

    def _room(self, shards: list[ShardReceipt]) -> HeldRoom:
        parts = [shard for shard in shards if shard.sha256 is not None]
        # A shard that was retired has a receipt, too; it claims nothing.
        first = next((shard for shard in parts or shards if shard.part == 0 and shard.complete_for), None)
        rows = sum(shard.rows for shard in parts)
        gone_rows = max((shard.gone_rows for shard in parts), default=0)
        return HeldRoom(
            rows=rows - gone_rows,
            gone_rows=gone_rows,
            changed_at=max((self._epoch(shard.fetched_at) for shard in parts or shards), default=0.0),
            is_proven=first is not None and WHOLE in first.complete_for,
            is_intact=all(self.is_intact(shard) for shard in parts)
            and sidecar_path(shards[0].experiment, shards[0].data_type, shards[0].room) not in self.damaged,
        )
