"""An event loop over real sockets and threads that skips the time in which nothing happens.

Where every task waits for a timer and nothing is under way that could bring news, the clock moves on to that
timer at once: back-offs, timeouts and slow senders cost their order of events, and no time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio.to_thread

Result = TypeVar("Result")

_GRACE_SECONDS = 0.001
"""What was sent over loopback is there by then, without anything having announced it."""

_SKIPS_WITH_GRACE = 50
"""After so many skips in a row nothing is on its way any more: only timers tick."""

_LONGEST_STANDSTILL_SECONDS = 20.0


@dataclass(slots=True)
class SkippingClock:
    """Real time, and what was skipped of it. Moved by the loop alone."""

    epoch_at_zero: float = 1_732_000_000.0
    skipped_seconds: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def monotonic(self) -> float:
        return time.monotonic() - self._started + self.skipped_seconds

    def epoch(self) -> float:
        return self.epoch_at_zero + self.monotonic()


class _SkippingSelector(selectors.DefaultSelector):
    def __init__(self, clock: SkippingClock) -> None:
        super().__init__()
        self._clock = clock
        self._skips_in_a_row = 0
        self.threads_are_busy: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            self._skips_in_a_row = 0
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads_are_busy():
            ready = super().select(_LONGEST_STANDSTILL_SECONDS)
            if not ready:
                raise RuntimeError("everything stands still, and no timer runs")
            return ready
        if self._skips_in_a_row < _SKIPS_WITH_GRACE:
            ready = super().select(min(timeout, _GRACE_SECONDS))
        if not ready:
            self._skips_in_a_row += 1
            self._clock.skipped_seconds += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: SkippingClock) -> None:
        self._selector_that_skips = _SkippingSelector(clock)
        self._skipping_clock = clock
        self._in_executor = 0
        super().__init__(self._selector_that_skips)

    def time(self) -> float:
        return self._skipping_clock.monotonic()

    def run_in_executor(self, executor, func, *args):  # type: ignore[no-untyped-def, override]
        future = super().run_in_executor(executor, func, *args)
        self._in_executor += 1
        future.add_done_callback(self._back_from_executor)
        return future

    def _back_from_executor(self, _future: object) -> None:
        self._in_executor -= 1

    def watch_threads(self) -> None:
        """To be called once inside: while a worker thread works, time runs as it does."""
        limiter = anyio.to_thread.current_default_thread_limiter()
        self._selector_that_skips.threads_are_busy = lambda: bool(self._in_executor or limiter.borrowed_tokens)


def run_skipping(main: Callable[[SkippingClock], Awaitable[Result]]) -> Result:
    """Run `main` to its end on a loop of its own; its clock is the loop's."""
    clock = SkippingClock()

    async def run() -> Result:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        loop.watch_threads()
        return await main(clock)

    with asyncio.Runner(loop_factory=lambda: SkippingLoop(clock)) as runner:
        return runner.run(run())
