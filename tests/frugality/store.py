"""A storage host in virtual time: its bandwidth shared by all connections, its addresses short-lived.

Bytes are real and few: a scenario scales sizes and rates down together, so that terabytes pass in moments.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from random import Random
from urllib.parse import parse_qs, quote, unquote, urlsplit

from virtual_time import VirtualClock

from hsmirror.api.addresses import SignedAddress
from hsmirror.api.headers import OfferedHashes, Version
from hsmirror.errors import AddressExpiredError, NotFoundError, TransientError

HOST = "storage.example.org"
_SIGNED_AT = "%Y%m%dT%H%M%SZ"
_PATTERN = bytes(byte | 0x80 for byte in Random("recordings").randbytes(1 << 20))
"""No part of it, however small, is text, which would be no recording."""
_PIECES_A_FILE = 8


@dataclass(frozen=True, slots=True)
class Begun:
    """One download as the store saw it begin: `expires_at` is its address's.

    Times are epoch seconds of the store's clock.
    """

    at: float
    name: str
    first_byte: int
    expires_at: float

    @property
    def is_expired(self) -> bool:
        return self.at >= self.expires_at


class Link:
    """A line of `bytes_per_second` that all who use it share evenly; none gets more than
    `connection_bytes_per_second`.

    Each byte that one connection has been given since the start of time, all others that were busy have been
    given too: so what a transfer needs is a mark on one common counter, whoever comes and goes meanwhile.
    """

    def __init__(
        self, clock: VirtualClock, bytes_per_second: float, connection_bytes_per_second: float = math.inf
    ) -> None:
        self.bytes_per_second = bytes_per_second
        self.connection_bytes_per_second = connection_bytes_per_second
        self._clock = clock
        self._served = 0.0
        self._at = 0.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    async def carry(self, size_bytes: float) -> None:
        """Wait until that many bytes have come."""
        self._move_on()
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._served + size_bytes, next(self._numbers), arrived)
        heapq.heappush(self._waiting, entry)
        self._arm()
        try:
            await arrived
        finally:
            if not arrived.done() or arrived.cancelled():
                self._move_on()
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
                self._arm()

    @property
    def _each_bytes_per_second(self) -> float:
        shared = self.bytes_per_second / max(1, len(self._waiting))
        return min(shared, self.connection_bytes_per_second)

    def _move_on(self) -> None:
        now = self._clock.monotonic()
        self._served += (now - self._at) * self._each_bytes_per_second if self._waiting else 0.0
        self._at = now

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            wait = max(0.0, self._waiting[0][0] - self._served) / self._each_bytes_per_second
            self._timer = asyncio.get_running_loop().call_later(wait, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        self._move_on()
        self._served = max(self._served, self._waiting[0][0])
        while self._waiting and self._waiting[0][0] <= self._served:
            _, _, arrived = heapq.heappop(self._waiting)
            if not arrived.done():
                arrived.set_result(None)
        self._arm()


@dataclass(frozen=True, slots=True)
class Answer:
    """A storage host's answer, as the downloader reads it."""

    status: int
    total_bytes: int
    version: Version
    body: Callable[[int], AsyncGenerator[bytes, None]] = field(repr=False)
    hashes: OfferedHashes = field(default_factory=OfferedHashes)

    def pieces(self, size_bytes: int) -> AsyncGenerator[bytes, None]:
        """The body, in pieces of that size; of a small file in smaller ones, so that it comes bit by bit."""
        return self.body(size_bytes)


class SimulatedStore:
    """Serves `sizes_bytes`, by name, to whoever has an address that it signed and that lives.

    Its clock is `ahead_seconds` ahead. After every `bytes_between_breaks` or so a connection breaks.
    """

    def __init__(
        self,
        clock: VirtualClock,
        link: Link,
        sizes_bytes: Mapping[str, int],
        *,
        address_seconds: int,
        latency_seconds: float,
        ahead_seconds: float = 0.0,
        bytes_between_breaks: float = math.inf,
        seed: int = 1,
    ) -> None:
        self.sizes_bytes = sizes_bytes
        self.address_seconds = address_seconds
        self._clock = clock
        self._link = link
        self._latency_seconds = latency_seconds
        self._ahead_seconds = ahead_seconds
        self._bytes_between_breaks = bytes_between_breaks
        self._chance = Random(f"breaks/{seed}")
        self._numbers = {name: number for number, name in enumerate(sizes_bytes)}
        self.begun: list[Begun] = []
        self.served: list[tuple[float, int]] = []
        """When, by the monotonic clock, how many bytes came."""
        self.breaks = 0

    @property
    def bytes_served(self) -> int:
        return sum(size for _, size in self.served)

    @property
    def last_byte_at(self) -> float:
        """Seconds of the monotonic clock."""
        return self.served[-1][0]

    def epoch(self) -> float:
        """What the store's own clock says."""
        return self._clock.epoch() + self._ahead_seconds

    def sign(self, name: str) -> str:
        """An address of a file, as Google's are."""
        signed_at = datetime.fromtimestamp(int(self.epoch()), UTC).strftime(_SIGNED_AT)
        query = f"X-Goog-Date={signed_at}&X-Goog-Expires={self.address_seconds}&X-Goog-Signature=0"
        return f"https://{HOST}/{quote(name)}?{query}"

    def content(self, name: str) -> bytes:
        """The whole file: no two are alike at the same place."""
        return self._bytes(name, 0, self.sizes_bytes[name])

    @asynccontextmanager
    async def open_file(
        self, address: SignedAddress, *, start: int = 0, if_match: str | None = None
    ) -> AsyncIterator[Answer]:
        """As the transport does: an answer, or the error that stands for another status."""
        await asyncio.sleep(self._latency_seconds / 2)
        name = self._admit(address.url.reveal(), start)
        await asyncio.sleep(self._latency_seconds / 2)
        size = self.sizes_bytes[name]
        assert start < size, "asks for what lies behind the end"
        assert not start or if_match == f'"{name}"', "goes on without saying with what"
        yield Answer(206 if start else 200, size, Version(f'"{name}"'), partial(self._send, name, start, size))

    def _admit(self, url: str, start: int) -> str:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        signed_at = datetime.strptime(query["X-Goog-Date"][0], _SIGNED_AT).replace(tzinfo=UTC).timestamp()
        name = unquote(parts.path.removeprefix("/"))
        if name not in self.sizes_bytes:
            raise NotFoundError("404 NoSuchKey")
        begun = Begun(self.epoch(), name, start, signed_at + int(query["X-Goog-Expires"][0]))
        self.begun.append(begun)
        if begun.is_expired:
            raise AddressExpiredError("400 ExpiredToken")
        return name

    async def _send(self, name: str, start: int, size: int, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        until = size
        if self._bytes_between_breaks < math.inf:
            until = min(size, start + int(self._chance.expovariate(1 / self._bytes_between_breaks)))
        piece = min(piece_bytes, math.ceil(size / _PIECES_A_FILE))
        at = start
        while at < until:
            next_at = min(until, at + piece)
            await self._link.carry(next_at - at)
            self.served.append((self._clock.monotonic(), next_at - at))
            yield self._bytes(name, at, next_at)
            at = next_at
        if until < size:
            self.breaks += 1
            raise TransientError("the storage host broke off")

    def _bytes(self, name: str, start: int, end: int) -> bytes:
        shift = self._numbers[name] * 7919 % len(_PATTERN)
        content = bytearray()
        while start < end:
            at = (start + shift) % len(_PATTERN)
            part = _PATTERN[at : at + end - start]
            content += part
            start += len(part)
        return bytes(content)
