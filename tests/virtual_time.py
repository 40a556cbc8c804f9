"""An event loop whose clock jumps: where it would sleep, time moves on at once, so that a night takes moments.

Timers, sleeps and timeouts behave as always and fire in their order; only nobody waits for them.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from hsmirror.api.words import ServerWords, printable
from hsmirror.mirror.fetch import AnswerLike, Fetcher, Gate
from hsmirror.pace.budget import Budget, Limits

Result = TypeVar("Result")

_REAL_SECONDS_FOR_THREADS = 5.0


@dataclass(slots=True)
class VirtualClock:
    """Moved by the loop alone. Starts near zero, where the steps between floats are far below a microsecond."""

    seconds: float = 0.0
    epoch_at_zero: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.seconds

    def epoch(self) -> float:
        return self.epoch_at_zero + self.seconds

    def advance(self, seconds: float) -> None:
        """At least to the next float, so that a tiny wait cannot stand still for ever."""
        self.seconds = max(self.seconds + seconds, math.nextafter(self.seconds, math.inf))


class _JumpingSelector(selectors.DefaultSelector):
    """Advances the clock instead of blocking."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # no timer: only a worker thread can bring news
            ready = super().select(_REAL_SECONDS_FOR_THREADS)
            if not ready:
                raise RuntimeError("everything waits, and nothing is under way that could end it")
            return ready
        self._clock.advance(timeout)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.monotonic()


def run_in_virtual_time(main: Callable[[VirtualClock], Awaitable[Result]]) -> Result:
    """Run `main` to its end on a loop of its own; its clock is the loop's."""
    clock = VirtualClock()

    async def run() -> Result:
        return await main(clock)

    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(clock)) as runner:
        return runner.run(run())


class NoOtherRuns:
    """No other run uses the key."""

    def exclusive(self) -> AbstractContextManager[None]:
        """There is nobody to keep out."""
        return nullcontext()

    def catch_up(self, budget: Budget) -> None:
        """There is nothing to count."""

    def sent(self, endpoint: str) -> None:
        """There is nobody to tell."""


@dataclass(frozen=True, slots=True)
class FakeAnswer:
    """A 200 as the fetcher reads it."""

    body: bytes = b"{}"
    skew_seconds: float = 0.0
    remaining: int | None = None
    limit: int | None = None
    age_seconds: int = 0
    has_next_link: bool = False
    words: ServerWords = printable


@dataclass(slots=True)
class ScriptedWire:
    """Gives the answers of a script one after another, each after a latency; the last one again and again."""

    clock: VirtualClock
    script: Sequence[FakeAnswer | Exception] = (FakeAnswer(),)
    latency_seconds: float = 0.1
    sent_at: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> AnswerLike:
        number = len(self.sent_at)
        self.sent_at.append(self.clock.monotonic())
        self.paths.append(path)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency_seconds)
        finally:
            self.in_flight -= 1
        outcome = self.script[min(number, len(self.script) - 1)]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def gate_and_budget(
    clock: VirtualClock,
    *,
    limits: Limits | None = None,
    slots: int = 16,
    longest_wait_seconds: float | None = None,
) -> tuple[Gate, Budget]:
    """A gate of the real kind, alone with its key."""
    budget = Budget(limits or Limits())
    gate = Gate(budget, clock, slots=slots, shared=NoOtherRuns(), longest_wait_seconds=longest_wait_seconds)
    return gate, budget


def fetcher_over(wire: ScriptedWire, *, limits: Limits | None = None, slots: int = 16) -> Fetcher:
    """A fetcher over a fake wire, its jitter always in the middle."""
    gate, budget = gate_and_budget(wire.clock, limits=limits, slots=slots)
    return Fetcher(wire, gate, budget, wire.clock, lambda: 0.5)
