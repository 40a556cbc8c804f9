"""A simulated night: the documented limits, 5,000 rooms of seven data types, and a count of our own."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from virtual_time import FakeAnswer, VirtualClock, gate_and_budget, run_in_virtual_time

from hsmirror.errors import ThrottledError
from hsmirror.mirror.fetch import Fetcher, Request
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.budget import Limits

ROOMS = 5_000
DATA_TYPES = ("events", "recordings", "chat", "ratings/continuous", "ratings/sparse", "sync", "components")
HOUR, MINUTE = 3600.0, 60.0
AN_HOUR_ALLOWS, A_MINUTE_ALLOWS = 1000, 100
SLOTS = 16


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as the server and the client saw it. `counted_at` is when the server counted it."""

    endpoint: str
    sent_at: float
    counted_at: float
    answered_at: float


class LimitingServer:
    """Answers after a latency and keeps both limits by sliding windows, with a count of its own.

    It counts a request at any moment between its sending and its answer.
    """

    def __init__(self, clock: VirtualClock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._hour: deque[float] = deque()
        self._minutes: defaultdict[str, deque[float]] = defaultdict(deque)
        self.log: list[Sent] = []
        self.refusals = 0

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        sent_at = self._clock.monotonic()
        endpoint = path.partition("/room/")[0]
        latency = self._chance.uniform(0.05, 0.6)
        before = latency * self._chance.random()
        await asyncio.sleep(before)
        counted_at = self._clock.monotonic()
        allowed = self._count(endpoint, counted_at)
        await asyncio.sleep(latency - before)
        self.log.append(Sent(endpoint, sent_at, counted_at, self._clock.monotonic()))
        if not allowed:
            self.refusals += 1
            raise ThrottledError("429", retry_after_seconds=HOUR)
        return FakeAnswer()

    def _count(self, endpoint: str, now: float) -> bool:
        allowed = True
        for window, seconds, limit in (
            (self._hour, HOUR, AN_HOUR_ALLOWS),
            (self._minutes[endpoint], MINUTE, A_MINUTE_ALLOWS),
        ):
            while window and window[0] <= now - seconds:
                window.popleft()
            allowed = allowed and len(window) < limit
            window.append(now)
        return allowed


def simulate(rooms: int, seed: int) -> LimitingServer:
    async def night(clock: VirtualClock) -> LimitingServer:
        chance = random.Random(seed)
        server = LimitingServer(clock, chance)
        limits = Limits(AN_HOUR_ALLOWS, A_MINUTE_ALLOWS)
        gate, budget = gate_and_budget(clock, limits=limits, slots=SLOTS)
        fetcher = Fetcher(server, gate, budget, clock, chance.random)
        async with asyncio.TaskGroup() as tasks:
            for room in range(rooms):
                for data_type in DATA_TYPES:
                    request = Request(
                        f"data/{data_type}", f"data/{data_type}/room/{room}", {}, Urgency.DOCUMENTED
                    )
                    tasks.create_task(fetcher.get(request))
        return server

    return run_in_virtual_time(night)


@pytest.fixture(scope="module")
def night() -> LimitingServer:
    return simulate(ROOMS, seed=1)


def test_every_request_of_the_night_is_answered_and_none_is_throttled(night: LimitingServer) -> None:
    assert len(night.log) == ROOMS * len(DATA_TYPES)
    assert night.refusals == 0


def most_in_a_span(times: list[float], seconds: float) -> int:
    """The most that any half-open span of that length holds."""
    return max(bisect_left(times, start + seconds) - index for index, start in enumerate(times))


def most_in_a_fixed_window(times: list[float], seconds: float, alignment: float) -> int:
    return max(Counter((time - alignment) // seconds for time in times).values())


def times_by_endpoint(log: list[Sent], seen: str) -> dict[str, list[float]]:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for entry in log:
        times[entry.endpoint].append(getattr(entry, seen))
    return {endpoint: sorted(found) for endpoint, found in times.items()}


@pytest.mark.parametrize("seen", ["sent_at", "counted_at", "answered_at"])
def test_no_sliding_window_ever_holds_more_than_its_limit(night: LimitingServer, seen: str) -> None:
    """Whichever moment of a request the server goes by."""
    every = sorted(getattr(entry, seen) for entry in night.log)
    assert most_in_a_span(every, HOUR) <= AN_HOUR_ALLOWS
    for times in times_by_endpoint(night.log, seen).values():
        assert most_in_a_span(times, MINUTE) <= A_MINUTE_ALLOWS


@pytest.mark.parametrize("seen", ["sent_at", "counted_at", "answered_at"])
def test_no_fixed_window_of_any_alignment_holds_more_than_its_limit(night: LimitingServer, seen: str) -> None:
    every = sorted(getattr(entry, seen) for entry in night.log)
    for alignment in range(0, int(HOUR), 97):
        assert most_in_a_fixed_window(every, HOUR, alignment) <= AN_HOUR_ALLOWS
    for times in times_by_endpoint(night.log, seen).values():
        for alignment in range(int(MINUTE)):
            assert most_in_a_fixed_window(times, MINUTE, alignment) <= A_MINUTE_ALLOWS


def test_a_request_waits_only_for_a_slot_or_for_a_limit(night: LimitingServer) -> None:
    """Just before each sending all slots were taken, or the hour or all waiting endpoints' minutes used up.

    Between two sendings room only ever grows, so that this shows that the night was never idle.
    """
    sent = sorted(entry.sent_at for entry in night.log)
    answered = sorted(entry.answered_at for entry in night.log)
    sent_to, answered_by = (times_by_endpoint(night.log, seen) for seen in ("sent_at", "answered_at"))

    def used(starts: list[float], ends: list[float], window: float, at: float) -> int:
        """Sent before `at`, and not answered longer ago than the window."""
        return bisect_left(starts, at) - bisect_right(ends, at - window)

    blink = 1e-5
    for at in sorted(set(sent))[1:]:
        before = at - blink
        if used(sent, answered, 0.0, before) >= SLOTS or used(sent, answered, HOUR, before) >= AN_HOUR_ALLOWS:
            continue
        waiting = [endpoint for endpoint, times in sent_to.items() if times[-1] >= at]
        idle = [
            endpoint
            for endpoint in waiting
            if used(sent_to[endpoint], answered_by[endpoint], MINUTE, before) < A_MINUTE_ALLOWS
        ]
        assert not idle, f"at {at} nothing held {idle} back"


def least_possible_seconds(requests: int) -> float:
    """With answers that take no time: full hours' requests at once each, the last hour's minute by minute."""
    full_hours, rest = divmod(requests - 1, AN_HOUR_ALLOWS)
    a_minute = A_MINUTE_ALLOWS * len(DATA_TYPES)
    return full_hours * HOUR + rest // a_minute * MINUTE


def test_the_night_takes_at_most_a_hundredth_longer_than_the_limits_demand(night: LimitingServer) -> None:
    least = least_possible_seconds(len(night.log))
    took = max(entry.answered_at for entry in night.log)
    assert least <= took <= 1.01 * least


def test_what_fits_into_one_hour_is_not_spread_over_it() -> None:
    """Tokens left unused are lost: 980 requests go in two bursts, a minute apart."""
    night = simulate(rooms=140, seed=2)
    assert len(night.log) == 980
    assert night.refusals == 0
    assert max(entry.answered_at for entry in night.log) < 2 * MINUTE
