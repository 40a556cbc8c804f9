"""Something that is done once, shortly before an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from virtual_time import VirtualClock, run_in_virtual_time

from hsmirror.mirror.ahead import OnceAhead


def done_at(script: Callable[[OnceAhead], Awaitable[None]]) -> list[float]:
    """When it was done, in seconds since the block was entered; the block is followed by a long while."""
    times: list[float] = []

    async def main(clock: VirtualClock) -> None:
        with OnceAhead(lambda: times.append(clock.monotonic())) as ahead:
            await script(ahead)
        await asyncio.sleep(1000)

    run_in_virtual_time(main)
    return times


def test_it_is_done_when_its_time_has_come() -> None:
    async def script(ahead: OnceAhead) -> None:
        ahead.due_in(10)
        await asyncio.sleep(30)

    assert done_at(script) == pytest.approx([10])


def test_the_latest_guess_counts() -> None:
    async def script(ahead: OnceAhead) -> None:
        for left in (10, 10, 10, 3):
            ahead.due_in(left)
            await asyncio.sleep(5)

    assert done_at(script) == pytest.approx([18])


def test_it_is_done_once_however_often_its_time_comes() -> None:
    async def script(ahead: OnceAhead) -> None:
        for _ in range(3):
            ahead.due_in(0)
            await asyncio.sleep(1)

    assert done_at(script) == [0]


def test_it_is_not_done_after_the_end() -> None:
    async def script(ahead: OnceAhead) -> None:
        ahead.due_in(10)
        await asyncio.sleep(5)

    assert done_at(script) == []
