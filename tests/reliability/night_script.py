"""What happens in a lab from night to night, seeded: rooms come and end; rows come late, go, change.

Every change says by when the mirror has promised to find it. A list's total shows that rows have come or gone,
not that one has come where another went, nor that one was edited: such changes are found when all is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from reliability.growing_lab import GrowingLab, Shelf

RECHECK_NIGHTS = 30
EDITED = "a row that was edited"

_FIXED = frozenset({"rooms", "participants"})
"""Their rows come and go with their rooms alone."""

_HOLIDAYS = ((10, 20), (41, 51), (72, 82))
"""From the first to before the last night, a month apart: no recheck is due in their later nights."""

_SETTLING_NIGHTS = 4
"""Without any change, until the last room that ended has been read after it settled."""

_NEVER_ENDING = 7
"""The room of that number starts and never ends."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one shelf, made before `night` and to be found within `within_nights` further ones."""

    what: str
    shelf: Shelf
    night: int
    within_nights: int = 0


@dataclass(frozen=True, slots=True)
class _Move:
    """By how much the rows of as many settled rooms change; 0: one is edited."""

    what: str
    name: str
    signs: tuple[int, ...]


@dataclass(slots=True)
class Script:
    """Changes a lab night by night. `start_rooms` have ended long before the first night."""

    lab: GrowingLab
    start_rooms: int
    last_rooms: int
    nights: int
    seed: int = 1
    _running: list[str] = field(default_factory=list)
    _settled: list[str] = field(default_factory=list)
    _finished_on: dict[str, int] = field(default_factory=dict)
    _untouchable: set[Shelf] = field(default_factory=set)
    _opened: int = 0

    def begin(self, *, ended_at: float) -> None:
        """What is there before the first night."""
        for _ in range(self.start_rooms):
            room = self._open()
            self.lab.finish_room(room, ended_at=ended_at)
            self._settled.append(room)

    def is_holiday(self, night: int) -> bool:
        return any(first <= night < last for first, last in _HOLIDAYS)

    def is_quiet(self, night: int) -> bool:
        """Nothing has changed for so long that every room is settled, and no recheck is due."""
        return any(first + _SETTLING_NIGHTS <= night < last for first, last in _HOLIDAYS)

    def change(self, night: int, *, pending: Mapping[Shelf, Change]) -> list[Change]:
        """What happens before this night. `pending` are changes that are yet to be found, by their shelves."""
        chance = Random(f"{self.seed}/night/{night}")
        self._untouchable = set(pending)
        self._settled += [room for room, on in self._finished_on.items() if night - on > _SETTLING_NIGHTS]
        for room in self._settled:
            self._finished_on.pop(room, None)
        changes = [*self._finish_rooms(night)]
        if self.is_holiday(night):
            return changes
        changes += self._open_rooms(night, chance)
        moves = self._moves(chance)
        vanished = self._vanish(chance) if chance.random() < 0.1 else ""
        # Where the total cannot speak for each change alone, only the recheck promises.
        masked = {name for name, kind in self.lab.kinds.items() if not kind.at_experiment}
        masked |= {change.shelf[0] for change in pending.values() if change.what != EDITED}
        masked |= {move.name for move in moves if len(move.signs) > 1 or (vanished and 1 in move.signs)}
        for move in moves:
            changes += self._move(move, night, chance, is_masked=move.name in masked)
        if vanished:
            for name in self.lab.kinds:
                within = RECHECK_NIGHTS + 1 if name in masked else 0
                changes.append(Change("a room that vanished", (name, vanished), night, within))
        return changes

    # --- rooms ---------------------------------------------------------------------------------------
    def _open(self) -> str:
        self._opened += 1
        room = f"room_{self._opened:05d}"
        self.lab.open_room(room)
        return room

    def _open_rooms(self, night: int, chance: Random) -> Iterator[Change]:
        busy_nights_left = sum(not self.is_holiday(each) for each in range(night, self.nights))
        mean = (self.last_rooms - len(self.lab.rooms)) / busy_nights_left
        for _ in range(max(1, round(mean * chance.uniform(0.6, 1.4)))):
            room = self._open()
            self._running.append(room)
            yield from self._whole_room("a new room", room, night)

    def _finish_rooms(self, night: int) -> Iterator[Change]:
        still_running = self._running[:1] if self._opened == self.start_rooms + _NEVER_ENDING else []
        for room in self._running[len(still_running) :]:
            self.lab.finish_room(room)
            self._finished_on[room] = night
            yield from self._whole_room("the rest of a room that ended", room, night)
        self._running = list(still_running)

    def _whole_room(self, what: str, room: str, night: int) -> Iterator[Change]:
        return (Change(what, (name, room), night) for name in self.lab.kinds)

    # --- what moves in settled rooms ------------------------------------------------------------------
    def _moves(self, chance: Random) -> list[_Move]:
        """At most one a data type."""
        drawn: list[_Move] = []
        for name in self.lab.kinds:
            if name in _FIXED:
                continue
            odds = chance.random()
            if odds < 0.15:
                drawn.append(_Move("late rows", name, (1,)))
            elif odds < 0.22:
                drawn.append(_Move("rows that are gone", name, (-1,)))
            elif odds < 0.30 and self.lab.kinds[name].at_experiment:
                drawn.append(_Move(EDITED, name, (0,)))
            elif odds < 0.33:
                drawn.append(_Move("a row late here, one gone there", name, (1, -1)))
        return drawn

    def _move(self, move: _Move, night: int, chance: Random, *, is_masked: bool) -> Iterator[Change]:
        for sign in move.signs:
            room = self._pick(move.name, chance)
            if sign > 0:
                self.lab.add_rows(move.name, room, 1)
            elif sign < 0:
                self.lab.delete_rows(move.name, room, 1)
            else:
                self.lab.edit_row(move.name, room)
            within = RECHECK_NIGHTS + 1 if is_masked or not sign else 0
            yield Change(move.what, (move.name, room), night, within)

    def _pick(self, name: str, chance: Random) -> str:
        while True:
            room = chance.choice(self._settled)
            if (name, room) not in self._untouchable and len(self.lab.now[name].get(room, {})) > 1:
                self._untouchable.add((name, room))
                return room

    def _vanish(self, chance: Random) -> str:
        rooms = [
            room
            for room in self._settled
            if not any((name, room) in self._untouchable for name in self.lab.kinds)
        ]
        room = chance.choice(rooms)
        self._settled.remove(room)
        self._untouchable |= {(name, room) for name in self.lab.kinds}
        self.lab.remove_room(room)
        return room
