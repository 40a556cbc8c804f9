"""A lab's upstream in memory, behind the seam of the wire: lists of rooms, limits that it enforces, a memory.

It serves the documented lists through the envelope that the built-in server uses, counts every request, and
refuses with 429 what exceeds a limit. What it ever served stays known, for an archive to be held against it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import TypeAlias
from urllib.parse import unquote

import orjson
from virtual_time import FakeAnswer, VirtualClock

from hsmirror.errors import NotFoundError, ThrottledError, TransientError
from hsmirror.serve.envelope import PageFacts, document_paging, iso_milliseconds, object_envelope, rows_envelope

EXPERIMENT = "exp_nights"

Shelf: TypeAlias = tuple[str, str]
"""A data type and a room."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One data type as this server has it: what names a row, rows a room, and by which lists they are read."""

    id_field: str
    rows_a_room: int
    at_experiment: bool = True
    at_room: bool = True
    tells_rooms: bool = True
    paged: bool = True


KINDS: dict[str, Kind] = {
    "events": Kind("id", 6),
    "chat": Kind("messageId", 2),
    "ratings/continuous": Kind("ratingId", 3),
    "ratings/sparse": Kind("ratingId", 2, tells_rooms=False),
    "rooms": Kind("id", 1, at_room=False),
    "participants": Kind("participantId", 2),
    "variables": Kind("id", 2, at_experiment=False, paged=False),
}
LATENCY_SECONDS = (0.02, 0.6)
HOUR, MINUTE = 3600.0, 60.0


@dataclass(slots=True)
class Ledger:
    """When requests were counted, by endpoint, and how many were refused."""

    counted_at: dict[str, list[float]] = field(default_factory=dict)
    all_counted_at: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    refused: int = 0

    def count(self, endpoint: str, path: str, now: float) -> None:
        self.counted_at.setdefault(endpoint, []).append(now)
        self.all_counted_at.append(now)
        self.paths.append(path)

    def most_in_a_window(self, times: Sequence[float], seconds: float) -> int:
        """The most requests in any stretch of `seconds`."""
        return max(
            (at + 1 - bisect_left(times, now - seconds + 1e-6) for at, now in enumerate(times)), default=0
        )

    def most_in_fixed_windows(self, times: Sequence[float], seconds: float, alignments: int) -> int:
        """The most in any window of fixed ones, however these are aligned (so many alignments tried)."""
        shifts = [seconds * number / alignments for number in range(alignments)]
        return max(
            max(Counter((at + shift) // seconds for at in times).values(), default=0) for shift in shifts
        )


class GrowingLab:
    """The upstream: what is there now, and what ever was. Rows are bytes, served and remembered as they are."""

    def __init__(
        self,
        clock: VirtualClock,
        *,
        page_rows: int,
        kinds: Sequence[str] = tuple(KINDS),
        requests_per_hour: int = 1000,
        seed: int = 1,
        people: Sequence[str] = (),
    ) -> None:
        self.requests_per_hour = requests_per_hour
        self.requests_per_minute = requests_per_hour // 10
        """Of one endpoint."""
        self.kinds = {name: KINDS[name] for name in kinds}
        self._clock = clock
        self._page_rows = page_rows
        self._people = tuple(people)
        """Whose rows they are, in turn, and then a row of nobody."""
        self._chance = Random(f"latency/{seed}")
        self._lists: dict[str, list[bytes]] = {}
        self._made = 0
        self.ledger = Ledger()
        self.broken: set[str] = set()
        """Data types whose lists are answered with 500."""
        self.failed_requests = 0
        """Requests that were answered with 500, because what they asked for is broken."""
        self.now: dict[str, dict[str, dict[str, bytes]]] = {name: {} for name in kinds}
        """Rows that are there, by data type, room and id."""
        self.ever: dict[str, dict[str, dict[str, bytes]]] = {name: {} for name in kinds}
        """The same of all that ever were, each in its latest version."""
        self.older_versions: dict[Shelf, list[bytes]] = {}
        """What was edited since, as it was before."""

    @property
    def rooms(self) -> list[str]:
        """Those that are there, in the order of their starts."""
        return list(self.now["rooms"])

    def gone(self, shelf: Shelf) -> int:
        """Rows of a room that were there, and are no more."""
        name, room = shelf
        return len(self.ever[name].get(room, {})) - len(self.now[name].get(room, {}))

    def shelves_ever(self) -> Iterator[Shelf]:
        """Every data type and room that ever had a row."""
        for name, rooms in self.ever.items():
            for room, rows in rooms.items():
                if rows:
                    yield name, room

    # --- changes -------------------------------------------------------------------------------------
    def open_room(self, room: str) -> None:
        """A room starts; half of its rows are there."""
        self._put("rooms", room, room, self._room_row(room, "active"))
        for name, kind in self.kinds.items():
            if name != "rooms":
                self.add_rows(name, room, (kind.rows_a_room + 1) // 2)

    def finish_room(self, room: str, *, ended_at: float | None = None) -> None:
        """A room ends; the rest of its rows has come."""
        for name, kind in self.kinds.items():
            if name != "rooms":
                self.add_rows(name, room, kind.rows_a_room // 2)
        self.older_versions.setdefault(("rooms", room), []).append(self.now["rooms"][room][room])
        ended = iso_milliseconds(self._clock.epoch() if ended_at is None else ended_at)
        self._put("rooms", room, room, self._room_row(room, "completed", endedAt=ended))

    def add_rows(self, name: str, room: str, count: int) -> None:
        for _ in range(count):
            self._made += 1
            self._put(name, room, f"{name}-{self._made}", self._row(name, room, f"{name}-{self._made}"))

    def delete_rows(self, name: str, room: str, count: int) -> None:
        """The first ones go."""
        for row_id in list(self.now[name][room])[:count]:
            del self.now[name][room][row_id]
        self._lists.pop(name, None)

    def edit_row(self, name: str, room: str) -> None:
        """The last row says something else under the same id."""
        row_id, row = list(self.now[name][room].items())[-1]
        self.older_versions.setdefault((name, room), []).append(row)
        self._made += 1
        self._put(name, room, row_id, self._row(name, room, row_id, edited=self._made))

    def remove_room(self, room: str) -> None:
        """A room vanishes with all its rows."""
        for rooms in self.now.values():
            rooms.pop(room, None)
        self._lists.clear()

    def _put(self, name: str, room: str, row_id: str, row: bytes) -> None:
        for rows in (self.now, self.ever):
            rows[name].setdefault(room, {})[row_id] = row
        self._lists.pop(name, None)

    def _row(self, name: str, room: str, row_id: str, **more: object) -> bytes:
        kind = KINDS[name]
        where = {"roomId": room} if kind.tells_rooms else {}
        return orjson.dumps(
            {kind.id_field: row_id, **where, **self._whose(row_id), "value": row_id[::-1], **more}
        )

    def _whose(self, row_id: str) -> dict[str, str]:
        """An edited row stays the same person's."""
        turn = int(row_id.rpartition("-")[2]) % (len(self._people) + 1)
        return {"participantId": self._people[turn]} if turn < len(self._people) else {}

    def _room_row(self, room: str, status: str, **more: object) -> bytes:
        return orjson.dumps({"id": room, "status": status, **more})

    # --- the wire ------------------------------------------------------------------------------------
    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        """As the transport does: a 200, or the error that stands for another status."""
        latency = min(self._chance.uniform(*LATENCY_SECONDS), timeout_seconds)
        on_its_way = latency * self._chance.random()
        await asyncio.sleep(on_its_way)
        self._admit(path)
        body = self._answer(path.split("/"), params)
        await asyncio.sleep(latency - on_its_way)
        return FakeAnswer(body)

    def _admit(self, path: str) -> None:
        now = self._clock.monotonic()
        parts = path.split("/")
        endpoint = "/".join(parts[:-2]) if parts[0] == "data" else parts[0]
        limits = (
            (self.ledger.all_counted_at, self.requests_per_hour, HOUR),
            (self.ledger.counted_at.get(endpoint, []), self.requests_per_minute, MINUTE),
        )
        for times, allowed, seconds in limits:
            oldest = bisect_left(times, now - seconds + 1e-6)
            if len(times) - oldest >= allowed:
                self.ledger.refused += 1
                wait = ceil(times[oldest] + seconds - now)
                raise ThrottledError("429 RATE_LIMIT_EXCEEDED", retry_after_seconds=wait)
        self.ledger.count(endpoint, path, now)

    def _answer(self, parts: Sequence[str], params: Mapping[str, str]) -> bytes:
        if parts[0] == "experiments" and unquote(parts[1]) == EXPERIMENT:
            return object_envelope(orjson.dumps({"id": EXPERIMENT, "part": "/".join(parts[2:])}))
        if parts[0] != "data" or "/".join(parts[1:-2]) not in self.kinds:
            raise NotFoundError("404 no such endpoint", is_of_route=True)
        name, scope, asked = "/".join(parts[1:-2]), parts[-2], unquote(parts[-1])
        if name in self.broken:
            self.failed_requests += 1
            raise TransientError("500 Internal Server Error")
        kind = KINDS[name]
        if scope == "room" and kind.at_room and asked in self.now["rooms"]:
            rows = list(self.now[name].get(asked, {}).values())
        elif scope == "experiment" and kind.at_experiment and asked == EXPERIMENT:
            rows = self._whole_list(name)
        else:
            raise NotFoundError(f"404 no such {scope}")
        if not kind.paged:
            return rows_envelope(rows, {})
        offset = int(params.get("offset", "0"))
        limit = min(int(params.get("limit", "1000")), self._page_rows)
        page = rows[offset : offset + limit]
        return rows_envelope(page, document_paging(PageFacts(len(rows), len(page), offset, limit)))

    def _whole_list(self, name: str) -> list[bytes]:
        if name not in self._lists:
            self._lists[name] = [row for rows in self.now[name].values() for row in rows.values()]
        return self._lists[name]
