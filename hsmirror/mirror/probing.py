"""Single pages asked for before a run, for what they tell: totals, rooms, and how fast answers come."""

from __future__ import annotations

from hsmirror.api.envelope import Page
from hsmirror.clock import Clock
from hsmirror.errors import UpstreamError
from hsmirror.mirror.lists import ListReader
from hsmirror.model import ListKey

_LEAST_LINE_SHARE = 0.1
"""Of the time that a page takes: less than that is no measure of the line."""


class Probes:
    """Asks for first pages, and notes how long each took."""

    def __init__(self, reader: ListReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._answers: list[tuple[int, float]] = []

    async def first_page(self, key: ListKey, limit: int) -> Page:
        """Just one page from the start of a list.

        Raises:
            UpstreamError: as the fetcher's.
        """
        started = self._clock.monotonic()
        page = await self._reader.first_page(key, limit)
        self._answers.append((page.size_bytes, self._clock.monotonic() - started))
        return page

    async def total(self, key: ListKey) -> int | None:
        """How many rows a list has; None where that cannot be learnt."""
        try:
            return (await self.first_page(key, 1)).pagination.total
        except UpstreamError:
            return None

    @property
    def latency_seconds(self) -> float:
        """Of the quickest answer."""
        return min((seconds for _, seconds in self._answers), default=0.0)

    def line_seconds(self, size_bytes: float) -> float:
        """How long so many bytes take beyond the latency, by the largest answer; 0 where that shows nothing."""
        largest, seconds = max(self._answers, default=(0, 0.0))
        beyond = seconds - self.latency_seconds
        if not largest or beyond < seconds * _LEAST_LINE_SHARE:
            return 0.0
        return size_bytes * beyond / largest
