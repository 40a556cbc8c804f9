"""Fairness.

Somebody else uses the same key, in virtual time, for four hours; the server keeps both limits for all of them
together. hsmirror always has more to ask, through its own gate, budget and retries; a script sends bursts and
waits as long as a 429 says. What is admitted of each is told of its leanest hour after the first, which belongs
to whoever came first.
"""

from __future__ import annotations

import asyncio
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from virtual_time import FakeAnswer, NoOtherRuns, VirtualClock, run_in_virtual_time

from frugality.rationing import HOUR, Rationing
from hsmirror.errors import ThrottledError
from hsmirror.mirror.budget_file import BudgetFile
from hsmirror.mirror.fetch import Fetcher, Gate, Request, SharedBudget
from hsmirror.model import Secret
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.budget import Budget, Limits

ENDPOINTS = ("data/events", "data/chat", "data/recordings")
SLOTS = 16
HOURS = 4
LATENCY_SECONDS = (0.05, 0.6)


@dataclass(slots=True)
class Person:
    """Whoever sends requests with the key, and what became of them. Times are seconds from the start."""

    name: str
    admitted_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)
    given_up: int = 0
    """Requests that failed for good."""

    def leanest_hour(self) -> int:
        """The fewest admitted in any hour from the second on."""
        starts = [HOUR + minute * 60 for minute in range((HOURS - 2) * 60 + 1)]
        return min(self._in_an_hour(self.admitted_at, start) for start in starts)

    def most_refused_in_an_hour(self) -> int:
        return max((self._in_an_hour(self.refused_at, start) for start in self.refused_at), default=0)

    def _in_an_hour(self, times: list[float], start: float) -> int:
        return bisect_left(times, start + HOUR) - bisect_left(times, start)


class SharedKey:
    """The server as all who use the key see it."""

    def __init__(self, clock: VirtualClock, *, tells_what_is_left: bool, seed: int = 1) -> None:
        self.rationing = Rationing()
        self._clock = clock
        self._tells_what_is_left = tells_what_is_left
        self._chance = Random(f"latency/{seed}")

    async def answer(self, person: Person, path: str) -> FakeAnswer:
        """A 200.

        Raises:
            ThrottledError: a limit is used up, by whomever.
        """
        latency = self._chance.uniform(*LATENCY_SECONDS)
        await asyncio.sleep(latency / 2)
        now = self._clock.monotonic()
        try:
            self.rationing.admit(path, now)
        except ThrottledError:
            person.refused_at.append(now)
            await asyncio.sleep(latency / 2)
            raise
        person.admitted_at.append(now)
        left = self.rationing.left(now) if self._tells_what_is_left else None
        await asyncio.sleep(latency / 2)
        return FakeAnswer(remaining=left, limit=None if left is None else self.rationing.requests_per_hour)


@dataclass(frozen=True, slots=True)
class PersonalWire:
    """One person's way to the server."""

    key: SharedKey
    person: Person

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        return await self.key.answer(self.person, path)


async def mirror_for_ever(
    key: SharedKey, person: Person, clock: VirtualClock, *, share: float, shared: SharedBudget
) -> None:
    """What hsmirror does that always has more to ask."""
    chance = Random(person.name)
    budget = Budget(Limits().shared(share))
    gate = Gate(budget, clock, slots=SLOTS, shared=shared)
    fetcher = Fetcher(PersonalWire(key, person), gate, budget, clock, chance.random)

    async def ask(endpoint: str) -> None:
        while True:
            try:
                await fetcher.get(Request(endpoint, endpoint, {}, Urgency.DOCUMENTED))
            except ThrottledError:
                person.given_up += 1

    async with asyncio.TaskGroup() as tasks:
        for endpoint in ENDPOINTS:
            for _ in range(SLOTS):
                tasks.create_task(ask(endpoint))


async def send_bursts(
    key: SharedKey, person: Person, clock: VirtualClock, *, requests: int, every_seconds: float
) -> None:
    """What another person's script does: so many requests at a time, one after another, of one endpoint."""
    for number in range(10**6):
        await asyncio.sleep(max(0.0, number * every_seconds - clock.monotonic()))
        for _ in range(requests):
            while True:
                try:
                    await key.answer(person, ENDPOINTS[0])
                    break
                except ThrottledError as error:
                    await asyncio.sleep(error.retry_after_seconds or 1.0)


@dataclass(frozen=True, slots=True)
class Case:
    """Who else uses the key, what hsmirror knows of that, and what each should have in an hour.

    `other` is "script", "elsewhere" (another hsmirror, which knows nothing of this one) or "here" (which does).
    """

    title: str
    share: float
    other: str
    least_for_mirror: int
    least_for_other: int
    most_refused: int = 75
    burst: int = 0
    every_seconds: float = 0.0
    tells_what_is_left: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """How it went."""

    mirror: Person
    other: Person


TWELVE_MINUTES, TWENTY_MINUTES = 720.0, 1_200.0
CASES = (
    Case("a script, 100 requests every 12 minutes", 0.5, "script", 475, 475, 20, 100, TWELVE_MINUTES),
    Case("a script, 500 requests every hour", 0.5, "script", 475, 475, 20, 500, HOUR),
    Case("a script that wants more than all", 0.5, "script", 475, 475, 20, 400, TWENTY_MINUTES),
    Case("hsmirror on another machine", 0.5, "elsewhere", 500, 500, 0),
    Case("a script, 100 requests every 12 minutes", 1.0, "script", 500, 60, 60, 100, TWELVE_MINUTES),
    Case("hsmirror on another machine", 1.0, "elsewhere", 400, 400),
    Case(
        "hsmirror on another machine, the server tells what is left",
        1.0,
        "elsewhere",
        200,
        200,
        tells_what_is_left=True,
    ),
    Case("hsmirror on the same machine", 1.0, "here", 450, 450, 0),
)


def play(case: Case) -> Played:
    """Four hours of it."""

    async def main(clock: VirtualClock) -> Played:
        key = SharedKey(clock, tells_what_is_left=case.tells_what_is_left)
        mirror, other = Person("mirror"), Person("other")

        def budget() -> SharedBudget:
            if case.other != "here":
                return NoOtherRuns()
            return BudgetFile(Path(folder), "https://api.example.org", Secret("hst_test"), clock)

        async with asyncio.TaskGroup() as tasks:
            users = [mirror_for_ever(key, mirror, clock, share=case.share, shared=budget())]
            if case.other == "script":
                users.append(
                    send_bursts(key, other, clock, requests=case.burst, every_seconds=case.every_seconds)
                )
            else:
                users.append(mirror_for_ever(key, other, clock, share=case.share, shared=budget()))
            working = [tasks.create_task(user) for user in users]
            await asyncio.sleep(HOURS * HOUR)
            for each in working:
                each.cancel()
        return Played(mirror, other)

    with tempfile.TemporaryDirectory() as folder:
        return run_in_virtual_time(main)


# --- the figures -------------------------------------------------------------------------------------------
columns = (
    "who else uses the key",
    "`share`",
    "hsmirror's leanest hour",
    "the other's leanest hour",
    "hsmirror's 429s in an hour, at most",
    "given up",
)


def measure(*, long: bool) -> Iterator[tuple[str, ...]]:
    """A row of text for each case; what misses its target stands in bold. There is no longer form."""
    for case in CASES:
        played = play(case)
        mirror, other = played.mirror, played.other
        yield (
            case.title,
            f"{case.share}",
            _figure(mirror.leanest_hour(), at_least=case.least_for_mirror),
            _figure(other.leanest_hour(), at_least=case.least_for_other),
            _figure(mirror.most_refused_in_an_hour(), at_most=case.most_refused),
            _figure(mirror.given_up, at_most=0),
        )


def _figure(value: int, *, at_least: int = 0, at_most: int = 10**9) -> str:
    return f"{value}" if at_least <= value <= at_most else f"**{value}**"
