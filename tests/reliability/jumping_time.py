"""An event loop whose clock jumps over all waiting, and stands still while a worker thread is at work.

For real runs over a stand-in for the network: nothing comes from outside of the process, so that there is
nothing to wait for but threads, and what they do takes no time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio.to_thread
from virtual_time import VirtualClock

Result = TypeVar("Result")

_LONGEST_STANDSTILL_SECONDS = 30.0


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.threads_are_busy: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads_are_busy():
            ready = super().select(_LONGEST_STANDSTILL_SECONDS)
            if not ready:
                raise RuntimeError("everything stands still, and no timer runs")
            return ready
        self._clock.advance(timeout)
        return ready


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        self._jumping = _JumpingSelector(clock)
        self._virtual_clock = clock
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._virtual_clock.monotonic()

    @contextmanager
    def watching_threads(self) -> Iterator[None]:
        """Counts the calls that are in threads, whichever limiter they are under."""
        run_sync = anyio.to_thread.run_sync
        busy = 0

        async def counted(*args: Any, **options: Any) -> Any:
            nonlocal busy
            busy += 1
            try:
                return await run_sync(*args, **options)
            finally:
                busy -= 1

        self._jumping.threads_are_busy = lambda: bool(busy)
        anyio.to_thread.run_sync = counted
        try:
            yield
        finally:
            anyio.to_thread.run_sync = run_sync


def run_jumping(
    main: Callable[[VirtualClock], Awaitable[Result]], *, clock: VirtualClock | None = None
) -> Result:
    """Run `main` to its end on a loop of its own; its clock is the loop's, a new one unless given."""
    clock = clock or VirtualClock()

    async def run() -> Result:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _JumpingLoop)
        with loop.watching_threads():
            return await main(clock)

    with asyncio.Runner(loop_factory=lambda: _JumpingLoop(clock)) as runner:
        return runner.run(run())
