"""How a file's body comes: in pieces, each good until the next one is asked for.

The HTTP client copies a body three times between the connection and who wants it. So the connection of a large
one is taken over from it, behind the answer's head, and handed back after the last byte: bytes are received
into one of two buffers while the other is hashed and written. What is small comes through the client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol, TypeAlias

import aiohttp
import anyio
from aiohttp.client_proto import ResponseHandler

from hsmirror.api.wire import IDLE_SECONDS, Speed
from hsmirror.errors import TimedOutError

Piece: TypeAlias = bytes | memoryview

LARGE_BYTES: Final = 1 << 20
"""Of what is smaller, most has come by the time that its head was looked at."""


class Body(Protocol):
    """What comes behind an answer's head."""

    async def piece(self, size_bytes: int) -> Piece:
        """`size_bytes` more, or somewhat more than that; less where it ends, and nothing once it has ended.

        Raises:
            aiohttp.ClientError, OSError, TimedOutError: it broke off; what came before that was given.
        """

    def close(self) -> None:
        """No more of it is wanted, whether it has ended or not."""


def body_of(response: aiohttp.ClientResponse, speed: Speed) -> Body:
    """The body of an answer of which only the head was looked at."""
    connection, content = response.connection, response.content
    size_bytes = response.content_length or 0
    most_bytes, _ = content.get_read_buffer_limits()
    if (
        connection is None
        or connection.transport is None
        or connection.protocol is None
        or size_bytes < LARGE_BYTES
        or "Transfer-Encoding" in response.headers
        or content.exception() is not None
        or content.total_bytes > most_bytes  # with so many the client may hold some back
    ):
        return _Gathered(content, speed)
    head = content.read_nowait() if content.total_bytes else b""
    return _Intake(connection.transport, connection.protocol, content, head, size_bytes - len(head), speed)


class _Gathered:
    """A body as the client gives it, its chunks joined."""

    def __init__(self, content: aiohttp.StreamReader, speed: Speed) -> None:
        self._content = content
        self._speed = speed
        self._failure: Exception | None = None

    async def piece(self, size_bytes: int) -> Piece:
        gathered: list[bytes] = []
        size = 0
        while size < size_bytes and self._failure is None:
            try:
                self._speed.wait()
                chunk = await self._content.readany()
                self._speed.received(len(chunk))
            except (aiohttp.ClientError, OSError, TimedOutError) as error:
                self._failure = error
                break
            if not chunk:
                break
            gathered.append(chunk)
            size += len(chunk)
        if self._failure is not None and not gathered:
            raise self._failure
        return gathered[0] if len(gathered) == 1 else b"".join(gathered)

    def close(self) -> None:
        """It holds nothing."""


class _Intake(asyncio.BufferedProtocol):
    """A body of known length, received into two buffers in turn, as long as one of them is free.

    With the last byte the client has its connection back. Where that does not come it closes it, since it has
    not seen the body's end.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        client: ResponseHandler,
        content: aiohttp.StreamReader,
        head: bytes,
        left_bytes: int,
        speed: Speed,
    ) -> None:
        self._transport = transport
        self._client = client
        self._content = content
        self._head = head
        self._left_bytes = left_bytes
        self._speed = speed
        self._free: list[bytearray] | None = None
        self._filling: bytearray | None = None
        self._filled_bytes = 0
        self._full: deque[tuple[bytearray, int]] = deque()
        self._lent: bytearray | None = None
        self._news = asyncio.Event()
        self._failure: Exception | None = None
        self._piece_bytes = 0
        self._has_more = False
        """Something came behind the end."""
        self._is_handed_back = False
        client.pause_reading()  # it no longer counts the seconds until the next byte, either
        transport.set_protocol(self)

    # --- for who takes the pieces ----------------------------------------------------------------------
    async def piece(self, size_bytes: int) -> Piece:
        if self._is_handed_back:
            return b""
        if self._free is None:
            whole_bytes = len(self._head) + self._left_bytes
            self._piece_bytes = min(max(size_bytes, len(self._head) + 1), whole_bytes)
            buffers = 2 if self._piece_bytes < whole_bytes else 1
            self._free = [bytearray(self._piece_bytes + 1) for _ in range(buffers)]  # and a byte behind the end
        if self._lent is not None:
            self._free.append(self._lent)
            self._lent = None
        if self._filling is None:
            self._fill_next()
        while not self._full and self._left_bytes and self._failure is None:
            await self._wait()
        if self._full:
            self._lent, filled_bytes = self._full.popleft()
            return memoryview(self._lent)[:filled_bytes]
        self._let_go()
        if self._failure is not None:
            raise self._failure
        self._hand_back()
        return b""

    def close(self) -> None:
        if self._left_bytes and self._failure is None:
            self._failure = aiohttp.ClientConnectionError("nobody wants the rest")
            self._transport.pause_reading()
        self._let_go()

    def _let_go(self) -> None:
        """Of the buffers: a connection under TLS is a ring of objects, which holds this long after its end."""
        self._free, self._filling, self._lent, self._head = [], None, None, b""
        self._full.clear()

    def _hand_back(self) -> None:
        """Have the client keep the connection for the next file, unless something came that nobody asked for,
        which would be taken for the next answer.
        """
        if self._has_more or not self._client.is_connected():
            return
        self._is_handed_back = True
        self._transport.set_protocol(self._client)
        # Its parser stands amid the body, and would take whatever comes behind it for more of that.
        self._client.set_response_params()
        self._content.feed_eof()

    async def _wait(self) -> None:
        """Until a buffer is full, or nothing more comes."""
        left_bytes = self._left_bytes
        self._news.clear()
        with anyio.move_on_after(IDLE_SECONDS):
            await self._news.wait()
        if self._left_bytes == left_bytes:
            self._end(TimeoutError())

    def _fill_next(self) -> None:
        """Read on into a free buffer; without one, or at the end, pause."""
        if not self._free or not self._left_bytes or self._failure is not None:
            self._filling = None
            self._transport.pause_reading()
            return
        self._filling, self._filled_bytes = self._free.pop(), len(self._head)
        self._filling[: len(self._head)] = self._head
        self._head = b""
        self._speed.wait()
        self._transport.resume_reading()

    def _end(self, failure: Exception) -> None:
        """Nothing more comes; what came is still good."""
        if self._failure is not None or not self._left_bytes:
            return
        self._failure = failure
        if self._filling is not None and self._filled_bytes:
            self._full.append((self._filling, self._filled_bytes))
        elif self._head:  # no piece has been asked for yet
            self._full.append((bytearray(self._head), len(self._head)))
            self._head = b""
        self._fill_next()
        self._news.set()

    # --- for the transport -----------------------------------------------------------------------------
    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # named so by asyncio
        assert self._filling is not None  # without one it does not read
        room_bytes = self._piece_bytes - self._filled_bytes
        if self._left_bytes <= room_bytes:
            room_bytes = self._left_bytes + 1
        return memoryview(self._filling)[self._filled_bytes :][:room_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        assert self._filling is not None
        if nbytes > self._left_bytes:
            nbytes, self._has_more = self._left_bytes, True
        self._filled_bytes += nbytes
        self._left_bytes -= nbytes
        try:
            self._speed.received(nbytes)
        except TimedOutError as error:
            if self._left_bytes:
                self._end(error)
                return
        if self._filled_bytes < self._piece_bytes and self._left_bytes:
            self._speed.wait()
            return
        self._full.append((self._filling, self._filled_bytes))
        self._fill_next()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.connection_lost(exc)
        self._end(exc or aiohttp.ClientPayloadError("the body ended before its announced length"))
