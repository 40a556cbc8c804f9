"""A run under way, as the progress display sees it."""

from __future__ import annotations

import anyio

from hsmirror.mirror.context import Context
from hsmirror.mirror.download import Downloader
from hsmirror.mirror.report import RunStatistics

_GLANCE_SECONDS = 0.2


class RunView:
    """A run under way, seen from outside.

    The event loop takes a glance a few times a second; other threads read the last one, and nothing else.
    """

    def __init__(self, context: Context, downloader: Downloader) -> None:
        self._context = context
        self._downloader = downloader
        self._started = context.clock.monotonic()
        self._glance = self._look()

    def statistics(self) -> RunStatistics:
        """How the run stood a moment ago."""
        return self._glance

    async def keep_up(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._glance = self._look()
            await anyio.sleep(_GLANCE_SECONDS)

    def _look(self) -> RunStatistics:
        tally, fetched = self._context.tally, self._context.fetcher.statistics()
        files = self._downloader.statistics()
        return RunStatistics(
            elapsed_seconds=self._context.clock.monotonic() - self._started,
            experiments=tally.experiments,
            experiments_done=tally.experiments_done,
            lists=tally.lists,
            lists_done=tally.lists_done,
            rows=tally.rows,
            received_bytes=fetched.received_bytes,
            requests=fetched.requests,
            throttled=fetched.throttled,
            requests_left_this_hour=fetched.budget.left_this_hour,
            requests_per_hour=fetched.budget.requests_per_hour,
            waiting_seconds=fetched.next_in_seconds,
            files=files.files,
            files_done=files.files_done,
            file_bytes=files.bytes,
            file_bytes_done=files.bytes_done,
        )
