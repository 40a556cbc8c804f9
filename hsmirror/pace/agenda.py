"""What goes next: the requests that wait, and the choice among them.

A request goes as soon as the budget allows its endpoint another one; among those that may go, the most urgent
goes first, then one of the endpoint with the most to come, which the run will wait for in the end, then the one
that has waited longest. So no request waits behind one that the limits hold back.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count

from hsmirror.pace.budget import Budget


class Urgency(IntEnum):
    """Smaller goes first."""

    ADDRESS = 0  # a file waits for it, and it does not keep
    CATALOGUE = 1  # everything else waits for it
    DOCUMENTED = 2
    NEWER = 3


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that waits to be sent."""

    endpoint: str
    urgency: Urgency
    number: int
    is_withdrawn: bool = field(default=False)


class Agenda:
    """The waiting requests by endpoint. No I/O: `take` decides, the caller acts.

    `to_come` tells how many requests of an endpoint are known to follow, as far as lists have been begun.
    """

    def __init__(self, budget: Budget, to_come: Callable[[str], int] = lambda _: 0) -> None:
        self._budget = budget
        self._to_come = to_come
        self._waiting: dict[str, list[tuple[Urgency, int, Ticket]]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def __repr__(self) -> str:
        return f"<Agenda waiting={len(self)}>"

    def add(self, endpoint: str, urgency: Urgency) -> Ticket:
        """Line up one request."""
        ticket = Ticket(endpoint, urgency, next(self._numbers))
        heapq.heappush(self._waiting.setdefault(endpoint, []), (urgency, ticket.number, ticket))
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """The request is no longer wanted."""
        ticket.is_withdrawn = True

    def take(self, now: float) -> Ticket | None:
        """The request to send now, counted as sent; None where none may go yet."""
        ready = [
            (queue[0][0], -self._to_come(endpoint), queue[0][1], queue)
            for endpoint, queue in self._queues()
            if self._budget.wait_seconds(endpoint, now) <= 0
        ]
        if not ready:
            return None
        _, _, ticket = heapq.heappop(min(ready)[-1])
        self._budget.sent(ticket.endpoint)
        return ticket

    def wait_seconds(self, now: float) -> float | None:
        """How long until `take` may give something; None where nothing waits.

        Infinite where only the answer to a request under way can tell.
        """
        return min((self._budget.wait_seconds(endpoint, now) for endpoint, _ in self._queues()), default=None)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()

    def _queues(self) -> list[tuple[str, list[tuple[Urgency, int, Ticket]]]]:
        """The endpoints that something waits for, the withdrawn swept off their tops."""
        for endpoint, queue in list(self._waiting.items()):
            while queue and queue[0][2].is_withdrawn:
                heapq.heappop(queue)
            if not queue:
                del self._waiting[endpoint]
        return list(self._waiting.items())
