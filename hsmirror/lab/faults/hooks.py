"""Where faults take hold of a lab: on its two sites, in its options, in its rows, on its clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Middleware

from hsmirror.clock import Clock
from hsmirror.lab.alteration import Alteration

if TYPE_CHECKING:
    from hsmirror.lab.data import MadeUpSource
    from hsmirror.lab.server import LabOptions

Adjustment: TypeAlias = "Callable[[LabOptions], LabOptions]"


@dataclass(slots=True)
class Switch:
    """Whether faults strike. Shapes of the data and of the options stay as they are either way."""

    is_on: bool = True


@dataclass(frozen=True, slots=True)
class LabFaults:
    """What makes things go wrong. Middlewares stand outermost first, all of them innermost before the answer.

    `adjustments` change the lab's options before it starts, `alterations` the rows as they are made;
    `clock_ahead_seconds` is how far the lab's clock is ahead. `struck` counts by the fault's name.
    """

    api: tuple[Middleware, ...] = ()
    storage: tuple[Middleware, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    alterations: tuple[Alteration, ...] = ()
    clock_ahead_seconds: float = 0.0
    switch: Switch = field(default_factory=Switch)
    struck: Counter[str] = field(default_factory=Counter)

    def adjusted(self, options: LabOptions) -> LabOptions:
        """The options as these faults would have them."""
        for adjust in self.adjustments:
            options = adjust(options)
        return options

    def joined(self, other: LabFaults) -> LabFaults:
        """Both together, those of `other` further inside; switch and counts stay these."""
        return LabFaults(
            api=self.api + other.api,
            storage=self.storage + other.storage,
            adjustments=self.adjustments + other.adjustments,
            alterations=self.alterations + other.alterations,
            clock_ahead_seconds=self.clock_ahead_seconds + other.clock_ahead_seconds,
            switch=self.switch,
            struck=self.struck,
        )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a fault's middleware can reach; `source` is None where the data are not made up.

    `storage_url` is known on the API's site alone.
    """

    source: MadeUpSource | None
    storage_url: str
    page_cap: int
    clock: Clock


AT_ONCE: web.RequestKey[bool] = web.RequestKey("at_once", bool)
"""Set on a request to the storage site: the file comes as one body, which a middleware can change."""

SURROUNDINGS: web.AppKey[Surroundings] = web.AppKey("surroundings", Surroundings)
