"""What a fault is, and when it strikes: seeded, at a rate, with mercy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hsmirror.lab.faults.hooks import LabFaults, Switch

MOST_IN_A_ROW = 2
"""A request that has failed this often is answered, whatever faults are at work: trying again helps."""

_SPARED: web.RequestKey[bool] = web.RequestKey("spared", bool)
_TROUBLED: web.RequestKey[bool] = web.RequestKey("troubled", bool)


class Outcome(StrEnum):
    """What a client that archives has to make of a fault."""

    HEALS = "heals"
    """It ends complete, and everything is there."""
    MAY_STOP = "may stop"
    """It may say that it is incomplete, and never that it is complete when it is not."""
    MUST_STOP = "must stop"
    """Once it has struck, what it concerns must not be called complete."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a server misbehaves, by its name.

    `rate` is the share of the answers that it could strike and does; None: it holds all the time.
    `needs_held` marks what shows only against data that were archived before.
    """

    name: str
    does: str
    outcome: Outcome
    make: Callable[[Strikes], LabFaults]
    rate: float | None = None
    needs_held: bool = False


@dataclass(slots=True)
class Strikes:
    """Decides when one fault strikes, and counts how often it did.

    The same seed gives the same decisions, request by request, in whatever order the requests come.
    """

    name: str
    seed: int
    rate: float
    switch: Switch
    struck: Counter[str]
    _asked: Counter[str] = field(default_factory=Counter)
    _hit: set[str] = field(default_factory=set)

    def on(self, request: web.Request) -> bool:
        """Does it strike this request? Ask once a request, and only where it can do its harm."""
        if not self.switch.is_on:
            return False
        if self.rate < 1:
            if request.get(_SPARED, False) or self.random_for(request).random() >= self.rate:
                return False
            request[_TROUBLED] = True
        self.struck[self.name] += 1
        return True

    def once(self, request: web.Request) -> bool:
        """The same, and at most once a path: what stays wrong after another try is reported, not healed."""
        if request.path in self._hit or not self.on(request):
            return False
        self._hit.add(request.path)
        return True

    def always(self, _request: web.Request | None = None) -> bool:
        """It holds as long as faults are on; counts."""
        if self.switch.is_on:
            self.struck[self.name] += 1
        return self.switch.is_on

    def random_for(self, request: web.Request) -> Random:
        """Seeded by the request and by how often it was made."""
        target = target_of(request)
        self._asked[target] += 1
        return Random(f"{self.seed}/{self.name}/{target}/{self._asked[target]}")

    def random(self, *what: object) -> Random:
        """Seeded by anything else."""
        return Random(f"{self.seed}/{self.name}/{'/'.join(map(str, what))}")


def target_of(request: web.Request) -> str:
    """What a request asks for: its path and, for the API, the query without the page's size.

    A client may ask for a smaller page after a failure, and for a file under a fresh address: it is the same
    thing that it asks for.
    """
    offset, room = request.query.get("offset", ""), request.query.get("roomId", "")
    return f"{request.path}?{offset}&{room}"


def merciful() -> Middleware:
    """The outermost of a site's faults: what has failed twice in a row is spared the third time."""
    in_a_row: Counter[str] = Counter()

    @web.middleware
    async def keep_count(request: web.Request, handler: Handler) -> web.StreamResponse:
        target = target_of(request)
        request[_SPARED] = in_a_row[target] >= MOST_IN_A_ROW
        try:
            return await handler(request)
        finally:
            in_a_row[target] = in_a_row[target] + 1 if request.get(_TROUBLED) else 0

    return keep_count
