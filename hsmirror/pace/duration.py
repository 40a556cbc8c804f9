"""How long so many requests will take under the limits: the budget itself, gone through beforehand."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf, nextafter
from typing import TypeAlias

from hsmirror.pace.budget import Budget, Limits


@dataclass(frozen=True, slots=True)
class Requests:
    """So many of an endpoint; each answer takes `line_seconds` over the line that all of them share."""

    endpoint: str
    count: int
    line_seconds: float = 0.0


Steps: TypeAlias = "Sequence[Requests]"
"""One after another: requests go when all those of the step before have been answered."""


def foretold_seconds(
    stages: Iterable[Iterable[Steps]], limits: Limits, *, at_once: int, latency_seconds: float
) -> float:
    """When the last answer comes, from a full budget.

    What is in a stage goes side by side, `at_once` requests at the most, each answered after
    `latency_seconds` and its time on the line; the next stage begins when all of it has been answered.
    """
    budget = Budget(limits)
    numbers = count()
    now = line_is_free_at = 0.0
    for stage in stages:
        waiting = _Waiting(_List(iter(steps)) for steps in stage)
        under_way: list[tuple[float, int, _List]] = []
        while under_way or waiting.endpoints:
            waits = {endpoint: budget.wait_seconds(endpoint, now) for endpoint in waiting.endpoints}
            free = [endpoint for endpoint, wait in waits.items() if wait <= 0]
            if free and len(under_way) < at_once:
                chosen = waiting.take(free)
                budget.sent(chosen.endpoint)
                chosen.sent()
                waiting.add(chosen)
                line_is_free_at = max(line_is_free_at, now + latency_seconds) + chosen.line_seconds
                heapq.heappush(under_way, (line_is_free_at, next(numbers), chosen))
                continue
            allowed_at = now + min(waits.values(), default=inf)
            if under_way and (free or under_way[0][0] <= allowed_at):
                now, _, answered = heapq.heappop(under_way)
                budget.answered(answered.endpoint, now)
                if answered.answered():
                    waiting.add(answered)
            else:
                now = max(allowed_at, nextafter(now, inf))
    return now


class _List:
    """Where one of them stands: requests of the current step that are not sent, and that are not answered."""

    def __init__(self, steps: Iterator[Requests]) -> None:
        self._steps = steps
        self._unanswered = 0
        self.endpoint = ""
        self.unsent = 0
        self.line_seconds = 0.0
        self._go_on()

    def sent(self) -> None:
        self.unsent -= 1

    def answered(self) -> bool:
        """Does the next step begin?"""
        self._unanswered -= 1
        if self._unanswered:
            return False
        self._go_on()
        return True

    def _go_on(self) -> None:
        for step in self._steps:
            if step.count:
                self.endpoint, self.line_seconds = step.endpoint, step.line_seconds
                self.unsent = self._unanswered = step.count
                return


class _Waiting:
    """Lists that have requests to send, by endpoint: thousands of them take as few looks as endpoints."""

    def __init__(self, lists: Iterable[_List]) -> None:
        self._numbers = count()
        self.endpoints: dict[str, list[tuple[int, int, _List]]] = {}
        """Heaps, the one with the most to send on top."""
        for each in lists:
            self.add(each)

    def add(self, each: _List) -> None:
        if each.unsent:
            heap = self.endpoints.setdefault(each.endpoint, [])
            heapq.heappush(heap, (-each.unsent, next(self._numbers), each))

    def take(self, endpoints: Iterable[str]) -> _List:
        """The one of these endpoints that has the most to send."""
        *_, endpoint = min((*self.endpoints[endpoint][0][:2], endpoint) for endpoint in endpoints)
        *_, taken = heapq.heappop(self.endpoints[endpoint])
        if not self.endpoints[endpoint]:
            del self.endpoints[endpoint]
        return taken
