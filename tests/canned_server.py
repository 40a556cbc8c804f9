"""Servers that answer with canned bytes over real loopback connections, and a transport that talks to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.storage import FileStream
from hsmirror.api.transport import Transport
from hsmirror.clock import ManualClock
from hsmirror.model import Secret

KEY = "hst_test_" + "k" * 64
SIGNATURE = "deadbeefc0ffee"
NOW = 1_700_000_000.0

Send = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it came over the wire."""

    target: str
    headers: dict[str, str]


@dataclass(slots=True)
class CannedServer:
    """Answers its requests with canned bytes, the last answer again and again, and closes after each."""

    answers: Iterable[bytes | Send]
    port: int = 0
    heard: list[Heard] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, path: str = "rec.mp4", **query: str) -> SignedAddress:
        """A signed address on this server."""
        signed = {"X-Goog-Signature": SIGNATURE} | query
        text = "&".join(f"{name}={value}" for name, value in signed.items())
        return parse_address(f"{self.url}/{path}?{text}", loopback_allowed=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            self.heard.append(
                Heard(head[0].split(" ")[1], {name.lower(): text for name, text in headers.items()})
            )
            answers = list(self.answers)
            answer = answers[min(len(self.heard), len(answers)) - 1]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wants
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | Send) -> AsyncIterator[CannedServer]:
    canned = CannedServer(answers)
    server = await asyncio.start_server(canned.serve, "127.0.0.1", 0)
    canned.port = server.sockets[0].getsockname()[1]
    try:
        yield canned
    finally:
        server.close()


def answer(status: str = "200 OK", body: bytes = b"{}", **headers: str | int) -> bytes:
    """A whole answer; a header `Content_Type=` is sent as `Content-Type`; its length is right unless given."""
    lines = {"Content-Length": len(body)} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@asynccontextmanager
async def talking_to(
    base_url: str, clock: ManualClock | None = None, **options: Any
) -> AsyncIterator[Transport]:
    clock = clock or ManualClock(NOW)
    async with Transport(base_url, Secret(KEY), clock=clock, **options) as transport:
        yield transport


async def get(server: CannedServer, path: str = "data", timeout_seconds: float = 5.0) -> bytes:
    async with talking_to(f"{server.url}/api/v3") as transport:
        return (await transport.get(path, {}, timeout_seconds=timeout_seconds)).body


async def download(
    server: CannedServer,
    address: SignedAddress | None = None,
    *,
    start: int = 0,
    clock: ManualClock | None = None,
) -> tuple[FileStream, bytes]:
    async with (
        talking_to(server.url, clock) as transport,
        transport.open_file(address or server.address(), start=start) as stream,
    ):
        return stream, b"".join([piece async for piece in stream.pieces(1 << 20)])


GOOGLE_EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Invalid.</Message></Error>"
