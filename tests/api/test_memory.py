"""One bound for all answers in memory: reading is held back, and still every answer comes to its end."""

from __future__ import annotations

import asyncio

import pytest
from canned_server import answer, serving, talking_to
from virtual_time import VirtualClock, run_in_virtual_time

from hsmirror.api.memory import AnswerMemory
from hsmirror.errors import ThrottledError


async def read(memory: AnswerMemory, size_bytes: int, *, piece_bytes: int = 10) -> None:
    """An answer that is there as soon as it may be read."""
    with memory.reading() as reading:
        for _ in range(0, size_bytes, piece_bytes):
            await reading.wait_for_room()
            reading.received(piece_bytes)
            await asyncio.sleep(0)


async def test_below_the_limit_answers_are_read_side_by_side() -> None:
    memory = AnswerMemory(1000)
    reads = [asyncio.create_task(read(memory, 100)) for _ in range(5)]
    for _ in range(4):
        await asyncio.sleep(0)
    assert memory.held_bytes >= 5 * 20
    await asyncio.gather(*reads)
    assert memory.held_bytes == 0


async def test_beyond_the_limit_the_oldest_answer_alone_is_read_on() -> None:
    memory = AnswerMemory(100)
    memory.hold(100)
    done: list[str] = []

    async def read_as(name: str) -> None:
        await read(memory, 30)
        done.append(name)

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for name in ("first", "second", "third"):
            tasks.create_task(read_as(name))
    assert done == ["first", "second", "third"]


async def test_reading_goes_on_as_soon_as_others_leave_room() -> None:
    memory = AnswerMemory(100)
    memory.hold(100)
    with memory.reading():  # the oldest, of which nothing comes
        later = asyncio.create_task(read(memory, 50))
        await asyncio.sleep(0.01)
        assert not later.done()
        memory.release(50)
        async with asyncio.timeout(5):
            await later


async def test_beyond_the_limit_nothing_is_read_while_what_is_written_makes_room() -> None:
    memory = AnswerMemory(100)
    memory.hold(150)
    with memory.writing(150):
        waiting = asyncio.create_task(read(memory, 50))
        await asyncio.sleep(0.01)
        assert memory.held_bytes == 150
    async with asyncio.timeout(5):
        await waiting
    assert memory.held_bytes == 0


async def test_an_answer_that_is_broken_off_leaves_its_room_to_others() -> None:
    memory = AnswerMemory(100)
    broken = asyncio.create_task(read(memory, 10**9))
    waiting = asyncio.create_task(read(memory, 500))
    while memory.held_bytes < 1000:
        await asyncio.sleep(0)
    assert not waiting.done()
    broken.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([broken, waiting])
    assert memory.held_bytes == 0


async def test_many_large_answers_come_whole_through_little_memory() -> None:
    memory = AnswerMemory(64 << 10)
    most_held: list[int] = []
    body = b"x" * (1 << 20)
    async with (
        serving(answer(body=body)) as server,
        talking_to(f"{server.url}/api/v3", memory=memory) as transport,
    ):

        async def get() -> None:
            answered = await transport.get("data", {}, timeout_seconds=30)
            most_held.append(memory.held_bytes)
            assert answered.body == body

        await asyncio.gather(*(get() for _ in range(8)))
    # The one that is the oldest comes whole; the others stop where the limit is, a piece of the wire later.
    assert max(most_held) <= len(body) + 8 * (256 << 10)
    assert memory.held_bytes == 0


def test_an_answer_that_is_held_back_does_not_hold_up_the_others() -> None:
    async def main(clock: VirtualClock) -> float:
        memory = AnswerMemory(100)
        memory.hold(100)
        with memory.reading():  # the oldest, of which nothing comes
            await asyncio.gather(*(read(memory, 50) for _ in range(3)))
        return clock.monotonic()

    assert run_in_virtual_time(main) < 10


async def test_waiting_for_room_is_not_counted_against_the_server() -> None:
    memory = AnswerMemory(100)
    memory.hold(1000)
    async with (
        serving(answer(body=b"x" * 1000)) as server,
        talking_to(f"{server.url}/api/v3", memory=memory) as transport,
    ):
        with memory.writing(1000):
            waiting = asyncio.create_task(transport.get("data", {}, timeout_seconds=0.2))
            await asyncio.sleep(0.4)
            assert not waiting.done()
        assert (await waiting).body == b"x" * 1000


async def test_an_error_is_heard_even_where_there_is_no_room() -> None:
    memory = AnswerMemory(100)
    memory.hold(1000)
    async with (
        serving(answer("429 Too Many Requests", Retry_After=7)) as server,
        talking_to(f"{server.url}/api/v3", memory=memory) as transport,
    ):
        with memory.writing(1000), pytest.raises(ThrottledError):
            await transport.get("data", {}, timeout_seconds=0.5)
