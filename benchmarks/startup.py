"""`python -m benchmarks.startup`: how long hsmirror takes to start, and for a night without change.

Whole processes, imports included. The night is that of a small experiment; the lab that answers it shares the
machine, and how long its answers take is in the figure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import spread
from benchmarks.growth.costs import Cost
from benchmarks.growth.subjects import mirrored, night
from benchmarks.report import machine
from hsmirror.lab.shape import LabShape

_SMALL = LabShape(rooms=6, events_per_room=120, recordings_per_room=2)
_MIB = 1 << 20


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of which the median counts (10)")
    rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory(prefix="startup-") as work, mirrored(Path(work), _SMALL) as client:
        costs = [(client.cost("--help"), night(client)) for _ in range(rounds)]
    command = " ".join(["python -m benchmarks.startup", *(sys.argv[1:] if argv is None else argv)])
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, loopback, `{command}`\n")
    print("| | s: median (least to most) | CPU s | peak MiB |\n|---|---|---|---|")
    for title, found in zip(
        ("`hsmirror --help`", "unchanged small `sync`"), zip(*costs, strict=True), strict=True
    ):
        print(f"| {title} | {_row(found)} |")
    return 0


def _row(costs: Sequence[Cost]) -> str:
    wall = spread(cost.wall_seconds for cost in costs)
    assert wall is not None
    cpu_seconds = min(cost.cpu_seconds for cost in costs)
    peak_mib = max(cost.peak_bytes for cost in costs) / _MIB
    return f"{wall.median:.2f} ({wall.least:.2f} to {wall.most:.2f}) | {cpu_seconds:.2f} | {peak_mib:.0f}"


if __name__ == "__main__":
    sys.exit(main())
