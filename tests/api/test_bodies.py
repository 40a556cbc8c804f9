"""Files' bodies over real connections, plain and under TLS: in pieces, whole, and as far as they came."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
import ssl
import struct
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from random import Random

import aiohttp
import pytest
from canned_server import Send, answer, serving, talking_to
from reliability.skipping_time import SkippingClock, run_skipping

from hsmirror.api.bodies import LARGE_BYTES, Body, body_of
from hsmirror.api.headers import OfferedHashes, Version
from hsmirror.api.storage import FileStream
from hsmirror.api.wire import Speed
from hsmirror.clock import SystemClock
from hsmirror.errors import TimedOutError, TransientError

CERTIFICATE = Path(__file__).parents[1] / "faults" / "localhost.pem"
FILM = Random(4).randbytes(3 * LARGE_BYTES + 12_345)
PIECE_BYTES = 300_000


@asynccontextmanager
async def body_from(sent: bytes, *, over_tls: bool = False) -> AsyncIterator[Body]:
    """The body of what a server sends before it closes."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()
        writer.close()

    client_context = ssl.create_default_context(cafile=str(CERTIFICATE))
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(CERTIFICATE)
    server = await asyncio.start_server(send, "127.0.0.1", 0, ssl=server_context if over_tls else None)
    port = server.sockets[0].getsockname()[1]
    scheme = "https" if over_tls else "http"
    connector = aiohttp.TCPConnector(ssl=client_context)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, auto_decompress=False, read_bufsize=1 << 19) as session,
            session.get(f"{scheme}://localhost:{port}/film") as response,
        ):
            yield body_of(response, Speed(SystemClock()))
    finally:
        server.close()


async def whole(body: Body, size_bytes: int = PIECE_BYTES) -> bytes:
    return b"".join([bytes(piece) async for piece in pieces_of(body, size_bytes)])


async def pieces_of(body: Body, size_bytes: int = PIECE_BYTES) -> AsyncIterator[bytes | memoryview]:
    while piece := await body.piece(size_bytes):
        yield piece


def is_film(received: bytes) -> bool:
    """On its own: millions of bytes are not to be shown."""
    return received == FILM


OVER = pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "over TLS"])


@OVER
@pytest.mark.parametrize("size_bytes", [1000, PIECE_BYTES, 2 * LARGE_BYTES, 2 * len(FILM)])
async def test_a_large_body_comes_to_its_last_byte_in_pieces_of_any_size(
    size_bytes: int, over_tls: bool
) -> None:
    async with body_from(answer(body=FILM), over_tls=over_tls) as body:
        assert is_film(await whole(body, size_bytes))
        assert await body.piece(size_bytes) == b""


@OVER
async def test_all_pieces_but_the_last_have_the_size_asked_for(over_tls: bool) -> None:
    async with body_from(answer(body=FILM), over_tls=over_tls) as body:
        sizes = [len(piece) async for piece in pieces_of(body)]
    assert set(sizes[:-1]) == {PIECE_BYTES}


@OVER
async def test_a_piece_stays_as_it_is_until_the_next_is_asked_for(over_tls: bool) -> None:
    """While it is written, others are received beside it."""
    seen = hashlib.sha256()
    async with body_from(answer(body=FILM), over_tls=over_tls) as body:
        async for piece in pieces_of(body):
            before = bytes(piece)
            await asyncio.sleep(0.005)
            assert before == piece
            seen.update(piece)
    assert seen.digest() == hashlib.sha256(FILM).digest()


@pytest.mark.parametrize("cut", [LARGE_BYTES + 1, 2 * PIECE_BYTES, 100, 0])
@OVER
async def test_what_came_before_a_large_body_broke_off_is_given_and_then_the_error(
    over_tls: bool, cut: int
) -> None:
    received = b""
    async with body_from(answer(body=FILM[:cut], Content_Length=len(FILM)), over_tls=over_tls) as body:
        with pytest.raises((aiohttp.ClientError, OSError)):
            async for piece in pieces_of(body):
                received += piece
        with pytest.raises((aiohttp.ClientError, OSError)):
            await body.piece(PIECE_BYTES)
    assert len(received) == cut
    assert FILM.startswith(received)


@OVER
async def test_bytes_after_the_announced_end_are_no_part_of_it(over_tls: bool) -> None:
    async with body_from(answer(body=FILM + b"more", Content_Length=len(FILM)), over_tls=over_tls) as body:
        assert is_film(await whole(body))


async def test_a_body_of_unknown_length_comes_whole_too() -> None:
    sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(FILM), FILM)
    async with body_from(sent) as body:
        assert is_film(await whole(body))


@OVER
async def test_small_and_large_bodies_that_were_read_to_their_end_share_a_connection(over_tls: bool) -> None:
    bodies = [b"small", FILM, FILM, b"small"]
    ports = await ports_of_requests(bodies, over_tls=over_tls)
    assert len(set(ports)) == 1


async def test_a_large_body_that_was_left_early_closes_its_connection() -> None:
    ports = await ports_of_requests([FILM, FILM], most_bytes=LARGE_BYTES)
    assert ports[0] != ports[1]


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_host_that_wants_no_second_request_gets_none_on_that_connection(connection: str) -> None:
    ports = await ports_of_requests([FILM, FILM], Connection=connection)
    assert (ports[0] == ports[1]) == (connection == "keep-alive")


@pytest.mark.parametrize("more", [b"more", answer(body=b"of another")], ids=["garbage", "an answer"])
@OVER
async def test_what_a_host_sends_behind_a_large_body_is_never_the_next_answer(
    over_tls: bool, more: bytes
) -> None:
    bodies = [FILM + more, b"small"]
    ports = await ports_of_requests(bodies, over_tls=over_tls, announced=[len(FILM), 5])
    assert ports[0] != ports[1]


async def ports_of_requests(
    bodies: Sequence[bytes],
    *,
    over_tls: bool = False,
    most_bytes: int = 2 * len(FILM),
    announced: Sequence[int] = (),
    **headers: str,
) -> list[int]:
    """From which port of the client each body was asked for, one after the other."""
    ports: list[int] = []
    sizes = announced or [len(body) for body in bodies]

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(10):
            while await reader.readuntil(b"\r\n\r\n"):
                number = len(ports)
                ports.append(writer.get_extra_info("peername")[1])
                writer.write(answer(body=bodies[number], Content_Length=sizes[number], **headers))
                await writer.drain()

    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(CERTIFICATE)))
    async with (
        serving_connections(keep, over_tls=over_tls) as url,
        aiohttp.ClientSession(connector=connector, auto_decompress=False, read_bufsize=1 << 19) as session,
    ):
        for expected, size_bytes in zip(bodies, sizes, strict=True):
            received = b""
            async with session.get(url) as response:
                body = body_of(response, Speed(SystemClock()))
                while len(received) < most_bytes and (piece := await body.piece(PIECE_BYTES)):
                    received += piece
                body.close()
            assert expected.startswith(received)
            assert len(received) >= min(most_bytes, size_bytes)
    return ports


@asynccontextmanager
async def serving_connections(serve: Send, *, over_tls: bool) -> AsyncIterator[str]:
    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wants
        finally:
            writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = await asyncio.start_server(until_closed, "127.0.0.1", 0, ssl=context if over_tls else None)
    scheme = "https" if over_tls else "http"
    try:
        yield f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@pytest.mark.parametrize("announced", [100, len(FILM)], ids=["small", "large"])
def test_fault_21_a_host_that_falls_silent_is_given_up_and_what_came_is_kept(announced: int) -> None:
    async def falls_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(body=b"fi", Content_Length=announced))
        await reader.read()

    async def run(clock: SkippingClock) -> tuple[bytes, float]:
        received, began = b"", clock.monotonic()
        async with serving(falls_silent) as server, talking_to(server.url) as wire:
            with pytest.raises(TimedOutError, match="did not answer in time"):
                async with wire.open_file(server.address()) as stream:
                    async for piece in stream.pieces(PIECE_BYTES):
                        received += piece
        return received, clock.monotonic() - began

    received, seconds = run_skipping(run)
    assert received == b"fi"
    assert 60 <= seconds < 90


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_large_body_that_nobody_reads_to_its_end_holds_nothing_up(taken: int) -> None:
    """Closing the client waits for its connections, those that were taken over too."""
    async with asyncio.timeout(10):
        async with (
            serving(answer(body=FILM)) as server,
            talking_to(server.url) as wire,
            wire.open_file(server.address()) as stream,
        ):
            pieces = stream.pieces(PIECE_BYTES)
            for _ in range(taken):
                assert FILM.startswith(await anext(pieces))
            await pieces.aclose()


async def test_a_large_body_that_is_reset_midway_is_worth_another_try() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(body=FILM[:LARGE_BYTES], Content_Length=len(FILM)))
        await writer.drain()
        writer.transport.abort()

    async with serving(reset) as server, talking_to(server.url) as wire:
        with pytest.raises(TransientError):
            async with wire.open_file(server.address()) as stream:
                async for _ in stream.pieces(PIECE_BYTES):
                    pass


@OVER
async def test_what_came_with_the_head_is_given_though_the_connection_is_lost_before_the_first_piece(
    over_tls: bool,
) -> None:
    is_taken_over = asyncio.Event()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(body=FILM[:10_000], Content_Length=len(FILM)))
        await is_taken_over.wait()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no end
        writer.transport.abort()

    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(CERTIFICATE)))
    received = b""
    async with (
        asyncio.timeout(10),
        serving_connections(reset, over_tls=over_tls) as url,
        aiohttp.ClientSession(connector=connector, auto_decompress=False, read_bufsize=1 << 19) as session,
        session.get(url) as response,
    ):
        head_bytes = response.content.total_bytes
        connection = response.connection
        body = body_of(response, Speed(SystemClock()))
        is_taken_over.set()
        while over_tls and connection is not None and connection.transport is not None:
            await asyncio.sleep(0.001)  # under TLS it is noticed though nobody reads
        with pytest.raises((aiohttp.ClientError, OSError)):
            async for piece in pieces_of(body):
                received += piece
    assert 0 < head_bytes == len(received)
    assert FILM.startswith(received)


async def read_to_its_end(stream: FileStream, size_bytes: int) -> None:
    async with aclosing(stream.pieces(size_bytes)) as pieces:
        async for _ in pieces:
            pass


async def read_a_piece_of(stream: FileStream, size_bytes: int) -> None:
    async with aclosing(stream.pieces(size_bytes)) as pieces:
        await anext(pieces)


async def read_until_it_breaks_off(stream: FileStream, size_bytes: int) -> None:
    with suppress(TransientError):
        await read_to_its_end(stream, size_bytes)


@pytest.mark.parametrize(
    ("read", "sent_bytes"),
    [
        pytest.param(read_to_its_end, len(FILM), id="whole"),
        pytest.param(read_a_piece_of, len(FILM), id="left early"),
        pytest.param(read_until_it_breaks_off, 2 * LARGE_BYTES, id="broken off"),
    ],
)
@OVER
async def test_a_large_body_leaves_no_buffer_behind(
    over_tls: bool, read: Callable[[FileStream, int], Awaitable[None]], sent_bytes: int
) -> None:
    """A connection under TLS is a ring of objects, which lives on until a full garbage collection."""
    bodies, size_bytes = 8, LARGE_BYTES
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(bodies):
            sent = answer(body=FILM[:sent_bytes], Content_Length=len(FILM))
            async with body_from(sent, over_tls=over_tls) as body:
                stream = FileStream(200, 0, len(FILM), Version(), OfferedHashes(), 0.0, body)
                await read(stream, size_bytes)
            del body, stream, sent
        left_bytes = bytes_allocated_in("bodies.py")
    finally:
        tracemalloc.stop()
        gc.enable()
        gc.collect()
    assert left_bytes < size_bytes


def bytes_allocated_in(module: str) -> int:
    """What is still held of what a module has allocated since tracing began."""
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"*/hsmirror/api/{module}")])
    return sum(trace.size for trace in snapshot.traces)
