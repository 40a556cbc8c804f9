"""Measures how frugal and how quick runs are in virtual time, and prints tables in Markdown.

The short form takes some minutes and is what CI tests; the long one takes an hour or so.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hsmirror import __version__

PARTS = ("requests", "makespan", "recordings", "fairness", "download_rate")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="frugality", description=__doc__)
    parser.add_argument("--long", action="store_true", help="more of everything")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave out the rest")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there, too")
    chosen = parser.parse_args(arguments)
    page = [_when(chosen)]
    for name in chosen.only:
        page.append("\n".join(_section(name, long=chosen.long)))
        sys.stdout.write(page[-1] + "\n")
        sys.stdout.flush()
    if chosen.write is not None:
        chosen.write.write_text("\n".join(page), encoding="utf-8")
    return int(any("**" in section for section in page))


def _section(name: str, *, long: bool) -> Iterator[str]:
    """One part: what its module says of itself, and its table."""
    module = importlib.import_module(f"frugality.{name}")
    title, _, says = (module.__doc__ or name).partition("\n")
    yield from (f"### {title.rstrip('.')}", "", says.strip(), "")
    yield f"| {' | '.join(module.columns)} |"
    yield "|" + "---|" * len(module.columns)
    for row in module.measure(long=long):
        yield f"| {' | '.join(row)} |"
    yield ""


def _when(chosen: argparse.Namespace) -> str:
    parts = () if tuple(chosen.only) == PARTS else ("--only", *chosen.only)
    command = " ".join(("PYTHONPATH=tests python -m frugality", *(["--long"] * chosen.long), *parts))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with `{command}`: hsmirror {__version__}, "
        f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, virtual time.\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
