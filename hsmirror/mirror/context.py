"""What all stages of one run share, handed on explicitly, and the tallies that the displays read."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import anyio

from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import AbsenceReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.clock import Clock, iso_utc
from hsmirror.mirror.commit import Commit, Committer
from hsmirror.mirror.fetch import Fetcher
from hsmirror.mirror.held import HeldLists
from hsmirror.mirror.lists import ListReader
from hsmirror.mirror.night import Policy
from hsmirror.mirror.report import Problem
from hsmirror.mirror.settle import Settlement
from hsmirror.mirror.write import Staging
from hsmirror.model import Secret

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


def key_mark(key: Secret) -> str:
    """A few bits of the key's hash: enough to notice another key, too few to say anything of this one."""
    return hashlib.blake2b(key.reveal().encode(), digest_size=3).hexdigest()


class Absences:
    """Newer endpoints that a server lacks, or a key may not read, for an experiment: not asked for again
    until the time for a full re-read comes."""

    def __init__(
        self, receipts: Receipts, clock: Clock, *, key_mark: str, recheck_seconds: float, is_ignored: bool
    ) -> None:
        self._receipts = receipts
        self._key_mark = key_mark
        self._clock = clock
        self._recheck_seconds = recheck_seconds
        self._is_ignored = is_ignored
        self._found: dict[str, str] = {}  # in this run: that is not ignored

    def why(self, what: str) -> str | None:
        """Why `what` is not asked for; None where it is."""
        if what in self._found:
            return self._found[what]
        receipt = self._receipts.get(f"absent {what}")
        if self._is_ignored or not isinstance(receipt, AbsenceReceipt):
            return None
        is_of_this_key = receipt.key_mark in {"", self._key_mark}
        # One that reaches further than any can was written by a clock that was ahead.
        left_seconds = receipt.until_epoch - self._clock.epoch()
        is_current = 0 < left_seconds <= self._recheck_seconds + 86_400
        return receipt.why if is_of_this_key and is_current else None

    def commit(self, what: str, why: str, *, of_key: bool = False) -> Commit:
        """The commit that makes the next runs remember; `of_key`: only those with the same key."""
        self._found[what] = why
        now = self._clock.epoch()
        receipt = AbsenceReceipt(
            what=what,
            why=why,
            since=iso_utc(now),
            until_epoch=now + self._recheck_seconds,
            key_mark=self._key_mark if of_key else "",
        )
        return Commit(receipts=[receipt])


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
    absences: Absences
    clock: Clock
    tally: Tally
    settling: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _SETTLING_THREADS))

    @property
    def now_text(self) -> str:
        return iso_utc(self.clock.epoch())
