"""Labs of every size, and the upstream that serves one in the same process: limits, latency, bandwidth.

Nothing of a lab is kept but how many rows each room has; a row is made when it is served, so that five thousand
rooms with a million rows cost neither time nor memory before they are asked for.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from random import Random
from urllib.parse import unquote

import orjson
from virtual_time import FakeAnswer, VirtualClock

from frugality.least import ListedType, Offer
from hsmirror.errors import NotFoundError, ThrottledError
from hsmirror.serve.envelope import PageFacts, document_paging, iso_milliseconds, object_envelope, rows_envelope

EXPERIMENT = "exp_frugal"
DOCUMENTS = ("", "config", "export")
ABSENT = ("videochat", "eyetracking")
"""Newer types that the runs ask for, and that the server does not have."""

HOUR, MINUTE, DAY = 3600.0, 60.0, 86_400.0
FEW, MANY = 3, 200
"""Events in a room, on average."""


@dataclass(frozen=True, slots=True)
class LabShape:
    """How large a lab is, and what its server grants in a page."""

    rooms: int
    rows_a_room: int
    tells_rooms: bool
    page_rows: int

    def __str__(self) -> str:
        fields = "rows name rooms" if self.tells_rooms else "rows name no rooms"
        return f"{self.rooms:,} rooms of {self.rows_a_room}, {fields}, pages of {self.page_rows:,}"


@dataclass(frozen=True, slots=True)
class Link:
    """The way to the server: each answer takes the latency, and shares the bandwidth with the others."""

    latency_seconds: float = 0.2
    bytes_per_second: float = 20e6


@dataclass(frozen=True, slots=True)
class _Kind:
    """One data type of every lab: what names a row, and how many rows there are for each event."""

    id_field: str
    rows_an_event: float


_KINDS: Mapping[str, _Kind] = {
    "events": _Kind("id", 1.0),
    "chat": _Kind("messageId", 0.25),
    "components": _Kind("", 0.5),
}
DATA_TYPES = (*_KINDS, "rooms", *ABSENT)


def grid(
    rooms: Sequence[int] = (1, 10, 100, 1_000, 5_000),
    rows_a_room: Sequence[int] = (FEW, MANY),
    page_rows: Sequence[int] = (100, 1_000, 10_000),
) -> Iterator[LabShape]:
    """Labs of these sizes, each with and without rooms in its rows."""
    for count in rooms:
        for rows in rows_a_room:
            for page in page_rows:
                for tells_rooms in (True, False):
                    yield LabShape(count, rows, tells_rooms, page)


@dataclass(slots=True)
class _Window:
    """One limit in both readings: no span of `seconds`, and no window cut by the clock, has more requests."""

    allowed: int
    seconds: float
    counted_at: deque[float] = field(default_factory=deque)
    in_fixed: Counter[int] = field(default_factory=Counter)

    def wait_seconds(self, now: float) -> float:
        """How long a request has to wait that comes now; 0 where it is admitted."""
        while self.counted_at and self.counted_at[0] <= now - self.seconds:
            self.counted_at.popleft()
        if len(self.counted_at) >= self.allowed:
            return self.counted_at[0] + self.seconds - now
        if self.in_fixed[int(now // self.seconds)] >= self.allowed:
            return self.seconds - now % self.seconds
        return 0.0

    def count(self, now: float) -> None:
        self.counted_at.append(now)
        self.in_fixed[int(now // self.seconds)] += 1


@dataclass(slots=True)
class Ledger:
    """What was asked for: requests by endpoint, the paths in their order, bytes of the answers, 429s."""

    requests: Counter[str] = field(default_factory=Counter)
    paths: list[str] = field(default_factory=list)
    answered_bytes: int = 0
    refused: int = 0


class FrugalLab:
    """The upstream, as the transport answers for it: a 200, or the error that stands for another status.

    Rows stand in the order in which their rooms were opened. All rooms have ended; those of the beginning a
    month before it.
    """

    def __init__(
        self,
        shape: LabShape,
        clock: VirtualClock,
        *,
        link: Link,
        requests_per_hour: int = 1_000,
        requests_per_minute: int = 100,
    ) -> None:
        self.shape = shape
        self.link = link
        self.ledger = Ledger()
        self._clock = clock
        self._chance = Random(str(shape))
        self._hour = _Window(requests_per_hour, HOUR)
        self._minutes: dict[str, _Window] = {}
        self._requests_per_minute = requests_per_minute
        self._line_is_free_at = 0.0
        self._rows: dict[str, list[int]] = {name: [] for name in _KINDS}
        self._starts: dict[str, list[int]] = {}
        self._ended_at: list[float] = []
        self.open_rooms(shape.rooms, ended_at=clock.epoch() - 30 * DAY)

    @property
    def rooms(self) -> list[str]:
        return [_room(number) for number in range(len(self._ended_at))]

    def open_rooms(self, count: int, *, ended_at: float) -> list[str]:
        """Rooms open and end, each with half to one and a half as many rows as the average."""
        first = len(self._ended_at)
        for _ in range(count):
            self._ended_at.append(ended_at)
            for name, kind in _KINDS.items():
                average = self.shape.rows_a_room * kind.rows_an_event
                self._rows[name].append(max(1, round(average * self._chance.uniform(0.5, 1.5))))
        for name, rows in self._rows.items():
            self._starts[name] = [0, *accumulate(rows)]
        return self.rooms[first:]

    def open_ledger(self) -> None:
        """Count anew."""
        self.ledger = Ledger()

    def offer(self) -> Offer:
        """What there is, for `least` to count with."""
        types = {
            name: ListedType(dict(zip(self.rooms, rows, strict=True)), tells_rooms=self.shape.tells_rooms)
            for name, rows in self._rows.items()
        }
        rooms = ListedType(dict.fromkeys(self.rooms, 1), at_room=False)
        return Offer(
            {**types, "rooms": rooms},
            page_rows=self.shape.page_rows,
            documents=len(DOCUMENTS),
            absent=frozenset(ABSENT),
        )

    # --- the wire ------------------------------------------------------------------------------------
    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        """Half of the latency there, where the request is counted, and half of it back, then the bytes."""
        await asyncio.sleep(self.link.latency_seconds / 2)
        self._admit(path)
        body = self._answer(path.split("/"), params)
        self.ledger.answered_bytes += len(body)
        await asyncio.sleep(self.link.latency_seconds / 2)
        now = self._clock.monotonic()
        self._line_is_free_at = max(self._line_is_free_at, now) + len(body) / self.link.bytes_per_second
        await asyncio.sleep(self._line_is_free_at - now)
        return FakeAnswer(body)

    def _admit(self, path: str) -> None:
        now = self._clock.monotonic()
        endpoint = endpoint_of(path)
        minute = self._minutes.setdefault(endpoint, _Window(self._requests_per_minute, MINUTE))
        wait = max(self._hour.wait_seconds(now), minute.wait_seconds(now))
        if wait:
            self.ledger.refused += 1
            raise ThrottledError("429 RATE_LIMIT_EXCEEDED", retry_after_seconds=ceil(wait))
        self._hour.count(now)
        minute.count(now)
        self.ledger.requests[endpoint] += 1
        self.ledger.paths.append(path)

    def _answer(self, parts: Sequence[str], params: Mapping[str, str]) -> bytes:
        if parts[0] == "experiments" and unquote(parts[1]) == EXPERIMENT:
            return object_envelope(orjson.dumps({"id": EXPERIMENT, "part": "/".join(parts[2:])}))
        name, scope, asked = parts[1], parts[-2], unquote(parts[-1])
        if name == "rooms" and scope == "experiment":
            first, last = 0, len(self._ended_at)
        elif name in _KINDS and scope == "experiment" and asked == EXPERIMENT:
            first, last = 0, self._starts[name][-1]
        elif name in _KINDS and scope == "room" and _number(asked) < len(self._ended_at):
            first, last = self._starts[name][_number(asked) : _number(asked) + 2]
        else:
            raise NotFoundError("404 no such list")
        offset = int(params.get("offset", "0"))
        limit = min(int(params.get("limit", "1000")), self.shape.page_rows)
        page = range(first + offset, min(first + offset + limit, last))
        rows = list(self._room_rows(page) if name == "rooms" else self._rows_of(name, page))
        return rows_envelope(rows, document_paging(PageFacts(last - first, len(rows), offset, limit)))

    def _room_rows(self, page: range) -> Iterator[bytes]:
        for number in page:
            ended = iso_milliseconds(self._ended_at[number])
            yield b'{"id":"%s","status":"completed","endedAt":"%s"}' % (
                _room(number).encode(),
                ended.encode(),
            )

    def _rows_of(self, name: str, page: range) -> Iterator[bytes]:
        starts = self._starts[name]
        id_field = _KINDS[name].id_field
        number = bisect_right(starts, page.start) - 1
        for row in page:
            while row >= starts[number + 1]:
                number += 1
            id_text = f'"{id_field}":"{name}-{row:08d}",' if id_field else ""
            room = f'"roomId":"{_room(number)}",' if self.shape.tells_rooms else ""
            yield f'{{{id_text}{room}"onset":1{row:08d},"value":"{row * 7919 % 1_000_003:06d}"}}'.encode()


def endpoint_of(path: str) -> str:
    """What the limit a minute counts by: a data type, or the first part of any other path."""
    parts = path.split("/")
    return "/".join(parts[1:-2]) if parts[0] == "data" else parts[0]


def _room(number: int) -> str:
    return f"room_{number:05d}"


def _number(room: str) -> int:
    return int(room.rpartition("_")[2])
