"""`python -m benchmarks.memory`: the peak of a whole `hsmirror sync`, over rows, rooms and lists.

The server makes rows as they are asked for, so that lists may be as long as one likes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.big_lists import ROW_BYTES, TYPES, serving_big_lists
from benchmarks.growth.costs import Client
from benchmarks.report import machine

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Lists:
    """`types` lists of `rows` each, of `rooms` in turn, read once and `again` so many times more."""

    rows: int
    rooms: int = 50
    types: int = 1
    page_cap: int = 1000
    again: int = 0


CASES = (
    Lists(400_000),
    Lists(400_000, page_cap=10_000),
    Lists(400_000, rooms=1),
    Lists(400_000, rooms=5_000),
    Lists(400_000, again=1),
    Lists(400_000, rooms=500, again=1),
    Lists(2_000_000),
    Lists(10_000_000),
    Lists(10_000_000, rooms=5_000),
    Lists(60_000, types=7),
    Lists(60_000, types=7, page_cap=10_000),
    Lists(60_000, rooms=500, types=7),
    Lists(60_000, rooms=5_000, types=7),
)


async def peak_mib(folder: Path, lists: Lists) -> float:
    """Of the last of the runs, in an empty `folder`.

    Raises:
        RuntimeError: a run did not end with 0.
    """
    command = ["-q", "sync", f"e{lists.rows}x{lists.rooms}", "--archive", "archive"]
    for name in TYPES[: lists.types]:
        command += ["--type", name]
    async with serving_big_lists(page_cap=lists.page_cap) as base_url:
        client = Client(folder, base_url)
        cost = await asyncio.to_thread(client.cost, *command)
        for _ in range(lists.again):
            cost = await asyncio.to_thread(client.cost, *command, "--full")
    return cost.peak_bytes / _MIB


def main(argv: Sequence[str] | None = None, cases: Sequence[Lists] = CASES) -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--work", type=Path, metavar="DIR", help="archives are made there (5 GB), else in /tmp")
    arguments = parser.parse_args(argv)
    command = " ".join(["python -m benchmarks.memory", *(sys.argv[1:] if argv is None else argv)])
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, rows of {ROW_BYTES} bytes, `{command}`\n")
    print("| lists | rows in each | rooms | rows in a page | run | peak MiB |\n|---|---|---|---|---|---|")
    for lists in cases:
        with tempfile.TemporaryDirectory(dir=arguments.work, prefix="memory-") as work:
            peak = asyncio.run(peak_mib(Path(work), lists))
        run = "reads all again" if lists.again else "first"
        print(f"| {lists.types} | {lists.rows:,} | {lists.rooms:,} | {lists.page_cap:,} | {run} | {peak:.0f} |")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
