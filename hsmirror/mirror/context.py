"""What all stages of one run share, handed on explicitly, and the tallies that the displays read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import anyio

from hsmirror.archive.layout import Layout
from hsmirror.archive.segments import Receipts
from hsmirror.clock import Clock, iso_utc
from hsmirror.mirror.commit import Committer
from hsmirror.mirror.fetch import Fetcher
from hsmirror.mirror.held import HeldLists
from hsmirror.mirror.lists import ListReader
from hsmirror.mirror.night import Policy
from hsmirror.mirror.report import Problem
from hsmirror.mirror.settle import Settlement
from hsmirror.mirror.write import Staging

_SETTLING_THREADS = 2
"""A merge may take seconds and memory, and more of them at once would only get into each other's way."""


@dataclass(slots=True)
class Tally:
    """Counts of a run under way. Only the event loop's thread writes them."""

    experiments: int = 0
    experiments_done: int = 0
    lists: int = 0
    lists_done: int = 0
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    unplaced: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What was asked for, ("room" or "participant", id), by how many experiments do not have it."""
    notes: dict[str, None] = field(default_factory=dict)

    def add_rows(self, count: int) -> None:
        self.rows += count

    def note(self, text: str) -> None:
        """Something odd that is no failure; said once."""
        self.notes[text] = None


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one run."""

    layout: Layout
    receipts: Receipts
    held: HeldLists
    """The receipts of lists and shards as they were when each experiment's turn came."""
    policy: Policy
    committer: Committer
    staging: Staging
    settlement: Settlement
    fetcher: Fetcher
    reader: ListReader
    clock: Clock
    tally: Tally
    absent: dict[str, str] = field(default_factory=dict)
    """Why a list ("rooms of exp_1") is not there, so that it is not asked for twice in a run. The next run asks
    again: nothing of this is remembered.
    """
    settling: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _SETTLING_THREADS))

    @property
    def now_text(self) -> str:
        return iso_utc(self.clock.epoch())
