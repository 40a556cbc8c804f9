"""What is upstream in a made-up world, with the history of each row; and an archive held against it.

Nothing here knows how the mirror works: rows come from a seeded chance, and the archive is read as
`docs/archive.md` tells strangers to read it, with a glob, gzip and json.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

HOUR, DAY = 3600.0, 86_400.0
NO_ROOM = "__HIVE_DEFAULT_PARTITION__"
ID_FIELDS = {
    "events": "id",
    "chat": "messageId",
    "ratings/sparse": "ratingId",
    "sync": "metricId",
    "components": "",
    "variables": "",
    "rooms": "id",
    "participants": "participantId",
    "agent-runs": "id",
}
"""What names a row of a type; nothing names those of components and variables."""

TIMED = ("events", "chat", "ratings/sparse", "sync")
"""Their lists take `startTime` and `endTime`."""

PEOPLE = ("ann", "bob", "cyd")


def iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(settings: Any) -> str:
    """The fields of a dataclass that are not at their default, for a reader."""
    found = [f for f in fields(settings) if getattr(settings, f.name) != f.default]
    return ", ".join(f"{f.name}={getattr(settings, f.name)!r}" for f in found)


@dataclass(frozen=True, slots=True)
class State:
    """A row from one moment on: the room it is in, when it happened, and what it says."""

    since: int
    room: str | None
    at: float
    content: str
    rank: int

    @property
    def place(self) -> tuple[str, str]:
        return self.room or NO_ROOM, self.content


@dataclass(slots=True, eq=False)
class Row:
    """A row and all that became of it. `gone` is the moment of its deletion; moments count changes."""

    kind: str
    number: int
    id: str | None
    person: str
    room_field: str
    born: int
    gone: int | None = None
    twin: int = 0
    """Rows with the same one are alike to the byte."""
    states: list[State] = field(default_factory=list)

    @property
    def now(self) -> State:
        return self.states[-1]

    def during(self, start: int, end: int) -> list[State]:
        """The states in which it was at some time from `start` to `end`."""
        ends = [state.since for state in self.states[1:]] + [end + 1]
        return [
            state
            for state, until in zip(self.states, ends, strict=True)
            if until > start and state.since <= end
        ]

    def is_there(self, start: int, end: int) -> bool:
        """Throughout?"""
        return self.born <= start and (self.gone is None or self.gone > end)


@dataclass(frozen=True, slots=True)
class Change:
    """What was done: `add`, `edit` or `gone`."""

    moment: int
    at: float
    kind: str
    room: str | None
    what: str


class Experiment:
    """Rooms and rows of one experiment; `change` does one thing at random, and says what."""

    def __init__(self, name: str, clock: Callable[[], float], chance: Random, manners: Manners) -> None:
        self.name = name
        self.now = 0
        """The moment: how many changes there have been."""
        self.rows: dict[str, list[Row]] = {kind: [] for kind in manners.kinds}
        self.changes: list[Change] = []
        self._clock = clock
        self._chance = chance
        self.manners = manners
        self._made = 0
        self._rooms_made = 0
        for _ in range(manners.rooms):
            self.open_room(chance.choice((-1.0, 1.0, 24.0, 60.0, 60.0, 24.0 * 45)))
        for kind in manners.kinds:
            for _ in range(chance.choice(manners.rows_a_kind) if kind not in {"rooms", "participants"} else 0):
                self.add(kind)

    def there(self, kind: str) -> list[Row]:
        return [row for row in self.rows.get(kind, ()) if row.gone is None]

    @property
    def rooms(self) -> list[str]:
        return [row.id or "" for row in self.there("rooms")]

    # --- changes -------------------------------------------------------------------------------------
    def change(self, chance: Random, kinds: list[str], what: str) -> None:
        """`what`: add, late, delete, edit, reorder, move, rename, merge, open, end."""
        self.now += 1
        kind = chance.choice(kinds)
        rows = self.there(kind)
        if what in {"add", "late"}:
            self.add(kind, late=what == "late")
        elif what == "open":
            self.open_room(-1.0)
        elif what in {"delete", "edit", "reorder", "move"} and rows and kind not in {"rooms", "participants"}:
            getattr(self, what)(chance.choice(rows))
        elif what in {"rename", "merge", "end"} and self.rooms:
            getattr(self, what)(chance.choice(self.there("rooms")))

    def _changed(self, kind: str, room: str | None, what: str) -> None:
        self.changes.append(Change(self.now, self._clock(), kind, room, what))

    def add(self, kind: str, *, late: bool = True, room: str | None = None, person: str = "") -> None:
        manners, chance = self.manners, self._chance
        if (
            kind == "rooms"
            or (kind == "participants" and not person)
            or (kind == "variables" and not self.rooms)
        ):
            return
        homeless = manners.homeless if kind not in {"variables", "participants"} else 0.0
        if room is None and self.rooms and chance.random() >= homeless:
            room = chance.choice(self.rooms)
        person = person or chance.choice(PEOPLE)
        self._made += 1
        row = Row(kind, self._made, self._id(kind, person), person, manners.room_field(kind), self.now)
        twins = [each for each in self.there(kind) if each.now.room == room and each.id is None]
        at = self._time(late=late)
        if twins and chance.random() < manners.twins:
            row.twin, row.person = twins[-1].twin or twins[-1].number, twins[-1].person
            at = twins[-1].now.at
        self.rows[kind].append(row)
        self._put(row, room, at, self._made)
        self._changed(kind, room, "add")

    def _id(self, kind: str, person: str) -> str | None:
        if not ID_FIELDS[kind] or (self._made % 3 == 0 and kind in self.manners.partly_without_ids):
            return None
        if kind == "participants":
            return person
        shared = self.manners.shared_ids and kind in self.manners.kinds_of_shared_ids
        return f"q{self._made % 4}" if shared else f"{kind[:2]}{self.name[3:]}_{self._made}"

    def _time(self, *, late: bool) -> float:
        """Ties come from a coarse clock."""
        now = self._clock()
        at = now - self._chance.random() * 50 * DAY if late else now
        tick = self.manners.tick_seconds
        return at // tick * tick

    def _put(self, row: Row, room: str | None, at: float, value: int) -> None:
        fields: dict[str, object] = {
            "experimentId": self.name,
            "timestamp": iso(at),
            "value": row.twin or value,
        }
        if row.id is not None:
            fields[ID_FIELDS[row.kind]] = row.id
        if row.room_field and room is not None:
            fields[row.room_field] = room
        fields["senderId" if row.kind == "chat" else "participantId"] = row.person
        row.states.append(State(self.now, room, at, json.dumps(fields, sort_keys=True), value))

    def delete(self, row: Row) -> None:
        row.gone = self.now
        self._changed(row.kind, row.now.room, "gone")

    def edit(self, row: Row) -> None:
        self._again(row, row.now.room, row.now.at)

    def reorder(self, row: Row) -> None:
        """An edit that moves it to another place in its list.

        Not one of a row without an id: where one goes down and another up, no single reading can show it.
        """
        at = self._time(late=self._chance.random() < 0.5)
        self._again(row, row.now.room, at if row.id is not None else row.now.at)

    def move(self, row: Row) -> None:
        others = [room for room in self.rooms if room != row.now.room]
        if others and row.id is not None:
            self._again(row, self._chance.choice(others), row.now.at)

    def _again(self, row: Row, room: str | None, at: float) -> None:
        self._made += 1
        for place in dict.fromkeys((row.now.room, room)):
            self._changed(row.kind, place, "edit")
        row.twin = 0
        self._put(row, room, at, self._made)

    def open_room(self, ended_hours_ago: float, people: Sequence[str] = PEOPLE) -> None:
        self._rooms_made += 1
        row = Row("rooms", self._made, f"{self.name[3:]}r{self._rooms_made}", "", "", self.now)
        self.rows.setdefault("rooms", []).append(row)
        self._put_room(row, row.id or "", ended_hours_ago)
        self._changed("rooms", row.id, "add")
        if "participants" in self.manners.kinds:
            for person in people:
                self.add("participants", room=row.id, person=person)

    def _put_room(self, row: Row, room: str, ended_hours_ago: float) -> None:
        fields: dict[str, object] = {"id": room, "experimentId": self.name, "status": "active"}
        at = self._clock() - max(0.0, ended_hours_ago) * HOUR
        if ended_hours_ago >= 0:
            fields |= {"status": "completed", "endedAt": iso(at)}
        row.id = room
        self._made += 1
        row.states.append(State(self.now, room, at, json.dumps(fields, sort_keys=True), self._made))

    def end(self, room: Row) -> None:
        if json.loads(room.now.content)["status"] == "active":
            self._put_room(room, room.id or "", 0.0)
            self._changed("rooms", room.id, "edit")

    def merge(self, room: Row) -> None:
        """Into another one."""
        others = [each for each in self.rooms if each != room.id]
        if others:
            self.delete(room)
            self._move_all(room.id, self._chance.choice(others))

    def rename(self, room: Row) -> None:
        self.delete(room)
        ended = json.loads(room.now.content).get("endedAt")
        hours = (self._clock() - datetime.fromisoformat(ended).timestamp()) / HOUR if ended else -1.0
        self.open_room(hours, people=())
        self._move_all(room.id, self.rooms[-1])

    def _move_all(self, old: str | None, new: str) -> None:
        for rows in self.rows.values():
            for row in rows:
                if row.kind != "rooms" and row.gone is None and row.now.room == old:
                    self._again(row, new, row.now.at)

    def is_open(self, room: str | None, kind: str, now: float, last_run: int) -> bool:
        """Surely not settled: it has not ended two days ago, nor, if it never ends, been idle for a month."""
        for row in self.there("rooms"):
            if row.id == room:
                if ended := json.loads(row.now.content).get("endedAt"):
                    return now - datetime.fromisoformat(ended).timestamp() < 47 * HOUR
                of_it = [each for each in self.changes if each.room == room and each.kind in {"rooms", kind}]
                seen = sorted(each.at for each in of_it if each.moment <= last_run)
                last = seen[0] if seen else 0.0
                for at in seen:  # what changes in a room that is settled already need not be seen
                    last = at if at - last < 29 * DAY else last
                return now - last < 29 * DAY
        return False


@dataclass(slots=True)
class Manners:
    """How the rows of a world are made."""

    kinds: tuple[str, ...]
    rooms: int = 3
    rows_a_kind: tuple[int, ...] = (0, 4, 12, 25)
    tick_seconds: float = 0.001
    """Of the clock that stamps rows."""
    twins: float = 0.0
    homeless: float = 0.0
    shared_ids: bool = False
    kinds_of_shared_ids: tuple[str, ...] = ("events", "ratings/sparse", "chat")
    partly_without_ids: tuple[str, ...] = ()
    silent_kinds: tuple[str, ...] = ("variables",)
    """Their rows do not name their rooms."""
    names_sessions: bool = False

    def room_field(self, kind: str) -> str:
        if kind in self.silent_kinds:
            return ""
        return "sessionId" if self.names_sessions and kind == "events" else "roomId"


# --- the archive ---------------------------------------------------------------------------------------
Lists = dict[tuple[str, str], Counter[tuple[str, str]]]
"""By experiment and kind: how often each content is in each partition."""


def held(archive: Path) -> Lists:
    """What is in the tree."""
    lists: Lists = defaultdict(Counter)
    kinds = {kind.replace("/", "_"): kind for kind in ID_FIELDS}
    for shard in archive.glob("experiment_id=*/data_type=*/*/*.ndjson.gz"):
        experiment, folder, room = (unquote(part.partition("=")[2]) for part in shard.parts[-4:-1])
        lists[experiment, kinds.get(folder, folder)].update((room, content) for content in _rows(shard))
    return lists


def contents(lists: Lists) -> set[tuple[str, str]]:
    """Kinds and contents, wherever they are."""
    return {(kind, content) for (_, kind), rows in lists.items() for _, content in rows}


def superseded(archive: Path) -> set[str]:
    """Contents of rows in older versions of shards."""
    folder = archive / ".hsmirror" / "superseded"
    return {content for shard in folder.rglob("*.gz*") for content in _rows(shard)}


def _rows(shard: Path) -> Iterator[str]:
    for line in gzip.decompress(shard.read_bytes()).splitlines():
        yield json.dumps(json.loads(line), sort_keys=True)


# --- held against the truth ------------------------------------------------------------------------------
def faults(
    experiment: Experiment,
    kind: str,
    rows_held: Counter[tuple[str, str]],
    *,
    start: int,
    is_claimed: Callable[[State, Row], bool],
    lenient_since: int | None = None,
    is_settled: Callable[[str | None], bool] = lambda room: False,
    are_late_rows_found: bool = True,
    is_narrow: bool = False,
) -> Iterator[str]:
    """What is wrong with rows that are said to be complete, for the moments from `start` to now.

    `lenient_since`: what was edited or deleted since then in rooms for which `is_settled` holds need not have
    been found, nor, unless `are_late_rows_found`, what came to them. A narrow run may leave the older copy of a
    row that has moved: it has not asked for that. One that moved in time, too, may be another one.
    """
    end = experiment.now
    must: Counter[tuple[str, str]] = Counter()
    may: Counter[tuple[str, str]] = Counter()
    ids = Counter(row.id for row in experiment.rows.get(kind, ()))
    for row in experiment.rows.get(kind, ()):
        may.update({state.place for state in row.states})
        since = start
        is_late = row.born > (lenient_since or 0)
        if lenient_since is not None and not (is_late and are_late_rows_found):
            may_be_hidden = any(is_settled(state.room) for state in row.during(lenient_since, end))
            since = lenient_since if may_be_hidden else start
        states = row.during(since, end)
        if row.is_there(since, end) and all(is_claimed(state, row) for state in states):
            if len({state.place for state in states}) == 1:
                must[states[0].place] += 1
            elif not any(rows_held[state.place] for state in states):
                yield f"{kind} {states[-1].place} is missing (it was edited meanwhile)"
        if row.id is not None and ids[row.id] == 1 and kind != "participants" and not is_narrow:
            copies = [state for state in row.states for _ in range(rows_held[state.place])]
            twice = [
                (one.place, other.place)
                for one, other in combinations(copies, 2)
                if one.place != other.place
                and (
                    one.room == other.room
                    or (one.at == other.at and row.gone is None and row.now in (one, other))
                )
            ]
            if twice:
                yield f"{kind} {row.id} is held {len(copies)} times: {twice[0]}"
    for place, count in must.items():
        if rows_held[place] < count:
            elsewhere = [room for room, content in rows_held if content == place[1] and room != place[0]]
            yield f"{kind} {place} is held {rows_held[place]} of {count} times; elsewhere: {elsewhere}"
    for place, count in rows_held.items():
        if count > may[place]:
            yield f"{kind} {place} is held {count} times, and was there {may[place]} times"
