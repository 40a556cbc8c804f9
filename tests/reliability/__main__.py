"""`PYTHONPATH=tests python -m reliability [--long [NAME …]]`: measures, and writes docs/reliability.md.

The short form takes some minutes and is what CI tests; the long one takes an hour or so.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hsmirror import __version__
from reliability.figures import Figures

MEASUREMENTS = ("chaos", "kill_points", "power_loss", "nights", "model", "model_files", "mutants")
REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"

_HEAD = """# Reliability

What the promises in the README rest on, as measured. `PYTHONPATH=tests python -m reliability` measures it again
(with `--long` at greater length) and writes this page; the test run does the short form of each part. Archives
are compared with what the made-up lab knows to be true, by code that shares nothing with the mirror.
[Faults](faults.md) lists what can go wrong, one by one, and the test of each.
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="reliability", description=__doc__)
    parser.add_argument(
        "--long", nargs="*", choices=MEASUREMENTS, help="more of these; of everything where none is named"
    )
    parser.add_argument(
        "--only", nargs="+", choices=MEASUREMENTS, default=MEASUREMENTS, help="leave out the rest"
    )
    chosen = parser.parse_args(arguments)
    at_length = MEASUREMENTS if chosen.long == [] else chosen.long or ()
    sections: list[str] = []
    failed = False
    for name in chosen.only:
        with tempfile.TemporaryDirectory(prefix="hsmirror-") as folder:
            started = time.monotonic()
            measure = importlib.import_module(f"reliability.{name}").measure
            figures = measure(long=name in at_length, workdir=Path(folder))
            seconds = time.monotonic() - started
        failed = failed or not figures.all_held
        sections.append(section(figures, seconds, is_long=name in at_length))
        sys.stdout.write(sections[-1] + "\n")
        sys.stdout.flush()
    if tuple(chosen.only) == MEASUREMENTS:
        page = "\n".join((_HEAD, _when(), *sections))
        REPORT.write_text(page, encoding="utf-8")
    return int(failed)


def section(figures: Figures, seconds: float, *, is_long: bool) -> str:
    """One part, in Markdown."""
    lines = [f"## {figures.title}", "", figures.says, ""]
    lines += _table([("what", "how many"), *((what, _number(count)) for what, count in figures.counts)])
    lines += ["", "All held." if figures.all_held else f"**{len(figures.failures)} did not hold:**"]
    lines += ["", *(f"- {failure}" for failure in figures.failures)] if figures.failures else []
    if figures.table:
        lines += ["", *_table(figures.table)]
    form = "the long form" if is_long else "the short form"
    return "\n".join([*lines, "", f"Took {seconds:.0f} s ({form}).", ""])


def _table(rows: Iterable[Sequence[str]]) -> list[str]:
    head, *body = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {head} |", "|" + "---|" * (head.count(" | ") + 1), *(f"| {row} |" for row in body)]


def _number(count: float | str) -> str:
    return f"{count:,}" if isinstance(count, int | float) else count


def _when() -> str:
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, hsmirror {__version__}, "
        f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores.\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
