"""A run while it goes: bars on a terminal, a plain line now and then elsewhere; both on stderr.

Both read `RunView.statistics()` from a thread of their own: they move even while the event loop is busy.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hsmirror.cli.output import Output
from hsmirror.cli.run_log import log_progress
from hsmirror.cli.text import counted, duration, number, size
from hsmirror.mirror.report import RunStatistics

_REFRESHES_PER_SECOND = 5
_SPAN_SECONDS = 5.0
_PLAIN_INTERVAL_SECONDS = 30.0
_DETAILED_INTERVAL_SECONDS = 10.0
_BAR_WIDTH = 24


class View(Protocol):
    """A run under way."""

    def statistics(self) -> RunStatistics: ...


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast it goes just now."""

    rows_per_second: float
    file_bytes_per_second: float


class Speedometer:
    """Rates over the last seconds, from one glance after another."""

    def __init__(self, span_seconds: float = _SPAN_SECONDS) -> None:
        self._span_seconds = span_seconds
        self._glances: deque[RunStatistics] = deque()

    def rates(self, now: RunStatistics) -> Rates:
        """The rates up to this glance; those of the whole run while it is younger than the span."""
        self._glances.append(now)
        while (
            len(self._glances) > 2
            and self._glances[1].elapsed_seconds <= now.elapsed_seconds - self._span_seconds
        ):
            self._glances.popleft()
        first = self._glances[0]
        seconds = now.elapsed_seconds - first.elapsed_seconds
        if seconds <= 0:
            return average(now)
        return Rates(
            max(0.0, (now.rows - first.rows) / seconds),
            max(0.0, (now.file_bytes_done - first.file_bytes_done) / seconds),
        )


def average(now: RunStatistics) -> Rates:
    """The rates of the whole run."""
    seconds = max(now.elapsed_seconds, 0.001)
    return Rates(now.rows / seconds, now.file_bytes_done / seconds)


@contextmanager
def showing(output: Output, *, interval_seconds: float | None = None) -> Iterator[Callable[[View], None]]:
    """Hands out what `sync` calls when it starts; what it shows ends with the block."""
    if output.verbosity < 0:
        yield lambda _view: None
    elif output.is_terminal:
        with _bars(output) as on_start:
            yield on_start
    else:
        seconds = _DETAILED_INTERVAL_SECONDS if output.verbosity else _PLAIN_INTERVAL_SECONDS
        with _lines(output, interval_seconds or seconds) as on_start:
            yield on_start


@contextmanager
def _bars(output: Output) -> Iterator[Callable[[View], None]]:
    views: list[View] = []
    speedometer = Speedometer()

    def glance() -> RenderableType:
        if not views:
            return Text("starting …", style="dim")
        now = views[0].statistics()
        return bars(now, speedometer.rates(now))

    with Live(
        get_renderable=glance,
        console=output.console,
        refresh_per_second=_REFRESHES_PER_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield views.append


@contextmanager
def _lines(output: Output, interval_seconds: float) -> Iterator[Callable[[View], None]]:
    ended = threading.Event()

    def tell(view: View) -> None:
        while not ended.wait(interval_seconds):
            now = view.statistics()
            if output.log is not None:
                log_progress(output, now, line(now))
            else:
                output.say(line(now))

    threads: list[threading.Thread] = []

    def on_start(view: View) -> None:
        threads.append(threading.Thread(target=tell, args=(view,), name="progress", daemon=True))
        threads[0].start()

    try:
        yield on_start
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def line(now: RunStatistics) -> str:
    """The run so far in one line, with average rates; for logs."""
    rates = average(now)
    parts = [
        duration(now.elapsed_seconds),
        f"lists {number(now.lists_done)}/{number(now.lists)}",
        f"{counted(now.rows, 'row')} ({rates.rows_per_second:,.0f}/s)",
    ]
    if now.files:
        files = f"files {number(now.files_done)}/{number(now.files)}"
        parts.append(f"{files} ({size(now.file_bytes_done)}, {size(rates.file_bytes_per_second)}/s)")
    parts.append(
        f"{number(now.requests_left_this_hour)} of {number(now.requests_per_hour)} requests left this hour"
    )
    return " · ".join([*parts, *_waiting(now), *_to_go(now)])


def bars(now: RunStatistics, rates: Rates) -> RenderableType:
    """The run at a glance, four lines of 80 columns."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="bold")
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True, style="cyan")
    grid.add_row(
        "lists",
        _bar(now.lists_done, now.lists),
        f"{number(now.lists_done)}/{number(now.lists)}",
        counted(now.rows, "row"),
        f"{rates.rows_per_second:,.0f} rows/s",
    )
    grid.add_row(
        "files",
        _bar(now.file_bytes_done, now.file_bytes),
        f"{number(now.files_done)}/{number(now.files)}",
        f"{size(now.file_bytes_done)} of {size(now.file_bytes)}" if now.files else "",
        f"{rates.file_bytes_per_second / 1e6:,.1f} MB/s" if now.files else "",
    )
    left = f"{number(now.requests_left_this_hour)} of {number(now.requests_per_hour)} requests left this hour"
    done = f"{number(now.experiments_done)} of {counted(now.experiments, 'experiment')}"
    times = [duration(now.elapsed_seconds), *_to_go(now)]
    waiting = f" · {_waiting(now)[0]}" if _waiting(now) else ""
    return Group(
        grid,
        Text(f"{left} · {done}", style="dim"),
        Text.assemble((", ".join(times), "dim"), (waiting, "yellow")),
    )


def _bar(done: int, whole: int) -> ProgressBar:
    return ProgressBar(total=max(whole, 1), completed=min(done, max(whole, 1)), width=_BAR_WIDTH)


def _waiting(now: RunStatistics) -> list[str]:
    return [f"waiting {duration(now.waiting_seconds)} for the limit"] if now.waiting_seconds else []


def _to_go(now: RunStatistics) -> list[str]:
    left = now.seconds_left()
    return [] if left is None else [f"about {duration(left)} to go"]
