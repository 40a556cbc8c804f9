"""What is held when an experiment's turn comes, by data type and room: what planning a night starts from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from hsmirror.archive.durable import has_size
from hsmirror.archive.layout import Layout, sidecar_path
from hsmirror.archive.receipts import WHOLE, FileLike, ListReceipt, ShardReceipt, instant
from hsmirror.archive.segments import Receipts
from hsmirror.mirror.differences import Difference
from hsmirror.mirror.night import HeldList, HeldRoom, Room
from hsmirror.mirror.plan import Way

_CLOCKS_DIFFER_SECONDS = 86_400.0


class HeldLists:
    """What the receipts say of each experiment's lists when it is first asked for, until it is released.

    None: there is no archive yet. `damaged` are paths that `verify` has found to be so: their rooms are not
    taken for intact. Times well after `now` are those of a clock that was ahead: they count for nothing.
    """

    def __init__(
        self, layout: Layout, receipts: Receipts | None, damaged: Collection[str] = (), *, now: float
    ) -> None:
        self._layout = layout
        self._receipts = receipts
        self._now = now
        self.damaged = frozenset(damaged)
        self._experiments: dict[str, _HeldExperiment] = {}

    def __repr__(self) -> str:
        return f"<HeldLists of {len(self._experiments)} experiments>"

    def is_intact(self, receipt: FileLike) -> bool:
        """Is the file there, with the right size, and not known to be damaged? A look that costs nothing."""
        return receipt.path not in self.damaged and has_size(
            self._layout.location(receipt.path), receipt.size_bytes
        )

    def has_any(self, experiment: str) -> bool:
        """Is anything held of an experiment?"""
        held = self._experiment(experiment)
        return bool(held.rooms or held.lists)

    def rooms_of(self, experiment: str) -> list[str]:
        """Every room that rows of any data type are held of."""
        rooms = self._experiment(experiment).rooms
        return sorted({room for of_type in rooms.values() for room in of_type if room is not None})

    def rooms_upstream(self, experiment: str) -> list[str]:
        """Those of which rows are held that were upstream when they were last read."""
        rooms = self._experiment(experiment).rooms
        there = {room for of_type in rooms.values() for room, each in of_type.items() if each.rows}
        return sorted(room for room in there if room is not None)

    def list_of(self, experiment: str, data_type: str) -> HeldList | None:
        """What is held of one list; None where there is nothing. Looks at each file's size: for a thread."""
        held = self._experiment(experiment)
        rooms = held.rooms.get(data_type, {})
        receipt = held.lists.get(data_type)
        if receipt is None:
            return HeldList(Way.EXPERIMENT, rooms) if rooms else None
        return HeldList(
            Way(receipt.way),
            rooms,
            total=receipt.total,
            unaccounted=receipt.unaccounted,
            page_rows=receipt.page_rows,
            whole_at=self._epoch(receipt.whole_at),
            recorded_at=self._epoch(receipt.read_at),
            searching_since=self._epoch(receipt.searching_since),
            rooms_read_at={room: self._epoch(read_at) for room, read_at in receipt.rooms_read_at.items()},
            is_unread=receipt.is_unread,
            differences={
                of_list: Difference(rows, self._epoch(since) or self._now)
                for of_list, (rows, since) in receipt.differences.items()
            },
        )

    def release(self, experiment: str) -> None:
        """The experiment is done with."""
        self._experiments.pop(experiment, None)
        if self._receipts is not None:
            self._receipts.release(experiment)

    def _experiment(self, experiment: str) -> _HeldExperiment:
        held = self._experiments.get(experiment)
        if held is None:
            held = self._experiments[experiment] = self._read(experiment)
        return held

    def _read(self, experiment: str) -> _HeldExperiment:
        held = _HeldExperiment()
        if self._receipts is None:
            return held
        self._receipts.load(experiment)
        for receipt in self._receipts.of(experiment):
            if isinstance(receipt, ShardReceipt) and receipt.experiment == experiment:
                held.add(receipt, self._room(receipt))
            elif isinstance(receipt, ListReceipt):
                held.lists[receipt.data_type] = receipt
        return held

    def _epoch(self, text: str) -> float:
        epoch = instant(text).timestamp() if text else 0.0
        return epoch if epoch <= self._now + _CLOCKS_DIFFER_SECONDS else 0.0

    def _room(self, shard: ShardReceipt) -> HeldRoom:
        """What one shard is of its room."""
        has_file = shard.sha256 is not None
        gone_rows = shard.gone_rows if has_file else 0
        sidecar = sidecar_path(shard.experiment, shard.data_type, shard.room) if self.damaged else ""
        return HeldRoom(
            rows=shard.rows - gone_rows if has_file else 0,
            gone_rows=gone_rows,
            changed_at=self._epoch(shard.fetched_at),
            # A shard that was retired has a receipt, too; it claims nothing.
            is_proven=shard.part == 0 and WHOLE in shard.complete_for,
            is_intact=(not has_file or self.is_intact(shard)) and sidecar not in self.damaged,
        )


@dataclass(frozen=True, slots=True)
class _HeldExperiment:
    """Its rooms, by data type, and how each type's list was last read."""

    rooms: dict[str, dict[Room, HeldRoom]] = field(default_factory=dict)
    lists: dict[str, ListReceipt] = field(default_factory=dict)
    _empty: set[tuple[str, Room]] = field(default_factory=set)
    """Of which no shard with rows is known."""
    _names: dict[Room, Room] = field(default_factory=dict)
    """Each room's name once: all data types have the same rooms."""

    def add(self, shard: ShardReceipt, room: HeldRoom) -> None:
        """One more shard of a room. Where some have rows, those without were retired, and count no more."""
        name = self._names.setdefault(shard.room, shard.room)
        rooms = self.rooms.setdefault(shard.data_type, {})
        key = (shard.data_type, name)
        is_first = name not in rooms
        if shard.sha256 is None:
            if is_first:
                self._empty.add(key)
            elif key not in self._empty:
                return
        elif key in self._empty:
            self._empty.remove(key)
            is_first = True
        rooms[name] = room if is_first else _together(rooms[name], room)


def _together(one: HeldRoom, other: HeldRoom) -> HeldRoom:
    """Shards of one room; each says how many rows of all of them are gone."""
    gone_rows = max(one.gone_rows, other.gone_rows)
    rows = one.rows + one.gone_rows + other.rows + other.gone_rows
    return HeldRoom(
        rows=rows - gone_rows,
        gone_rows=gone_rows,
        changed_at=max(one.changed_at, other.changed_at),
        is_proven=one.is_proven or other.is_proven,
        is_intact=one.is_intact and other.is_intact,
    )
