from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from rich.console import Console

from cli.conftest import Screens
from hsmirror.cli.progress import Speedometer, bars, line, showing
from hsmirror.mirror.report import RunStatistics

MakeScreens = Callable[..., Screens]

START = RunStatistics(
    elapsed_seconds=0.0,
    experiments=3,
    experiments_done=1,
    lists=400,
    lists_done=100,
    rows=200_000,
    received_bytes=1_000_000,
    requests=21,
    throttled=0,
    requests_left_this_hour=979,
    requests_per_hour=1000,
    waiting_seconds=None,
    files=48,
    files_done=12,
    file_bytes=4_800_000_000,
    file_bytes_done=1_200_000_000,
)


class View:
    """A run that stands still, and says when it was looked at."""

    def __init__(self, now: RunStatistics) -> None:
        self.now = now
        self.looked_at = threading.Event()

    def statistics(self) -> RunStatistics:
        self.looked_at.set()
        return self.now


def at(seconds: float, **given: object) -> RunStatistics:
    return dataclasses.replace(START, elapsed_seconds=seconds, **given)  # type: ignore[arg-type]


def shown(now: RunStatistics) -> list[str]:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(bars(now, Speedometer().rates(now)))
    return capture.get().splitlines()


def test_rates_are_those_of_the_last_seconds() -> None:
    speedometer = Speedometer(span_seconds=5)
    for second in range(60):
        speedometer.rates(at(second, rows=0, file_bytes_done=0))

    rates = speedometer.rates(at(60, rows=5_000, file_bytes_done=50_000_000))

    assert rates.rows_per_second == 1000
    assert rates.file_bytes_per_second == 10_000_000


def test_two_glances_at_one_moment_give_the_average_of_the_run() -> None:
    speedometer = Speedometer()
    speedometer.rates(at(10))

    assert speedometer.rates(at(10)).rows_per_second == 20_000


def test_a_line_says_how_far_it_is_how_fast_and_how_long_it_takes() -> None:
    assert line(at(100)) == (
        "1 min 40 s · lists 100/400 · 200,000 rows (2,000/s) · files 12/48 (1.2 GB, 12.0 MB/s) · "
        "979 of 1,000 requests left this hour · about 5 min 00 s to go"
    )


def test_a_line_says_when_it_stands_still_for_the_limit() -> None:
    assert " · waiting 43 s for the limit" in line(at(100, waiting_seconds=43.2))


def test_the_bars_fit_80_columns_even_with_large_numbers() -> None:
    lines = shown(
        at(
            86_400,
            experiments=1_000,
            lists=123_456,
            lists_done=99_999,
            rows=1_234_567_890,
            waiting_seconds=3599,
            files=12_345,
            files_done=9_999,
            file_bytes=999_000_000_000,
            file_bytes_done=99_900_000_000,
        )
    )

    assert len(lines) == 4
    assert "waiting 59 min 59 s for the limit" in lines[3]
    assert max(map(len, lines)) <= 80


def test_a_terminal_sees_bars_that_are_gone_when_the_run_is(screens: MakeScreens) -> None:
    screen = screens(terminal=True)
    view = View(at(100))

    with showing(screen.output) as on_start:
        on_start(view)
        assert view.looked_at.wait(10)

    text = screen.stderr.getvalue()
    assert "lists" in text
    assert text.rstrip("\n").endswith("\x1b[2K")
    assert screen.stdout.getvalue() == ""


def test_elsewhere_there_is_a_line_now_and_then(screens: MakeScreens) -> None:
    screen = screens()
    view = View(at(100))

    with showing(screen.output, interval_seconds=0.001) as on_start:
        on_start(view)
        assert view.looked_at.wait(10)

    assert screen.stderr.getvalue().splitlines()[0].startswith("1 min 40 s · lists 100/400")
    assert "\x1b" not in screen.stderr.getvalue()


def test_quiet_runs_are_not_looked_at(screens: MakeScreens) -> None:
    screen = screens(verbosity=-1, terminal=True)
    view = View(at(100))

    with showing(screen.output) as on_start:
        on_start(view)

    assert not view.looked_at.is_set()
    assert screen.stderr.getvalue() == ""
