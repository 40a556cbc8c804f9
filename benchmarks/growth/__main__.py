"""`python -m benchmarks.growth`: how time, CPU and memory grow with what an archive holds.

Archives with ever more receipts, rooms, rows or years are made, and the commands of a night run over them, each
as a process of its own. Of some rounds the least counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.growth.curves import curves, starts
from benchmarks.growth.drawing import drawn
from benchmarks.growth.subjects import SUBJECTS
from benchmarks.growth.table import document, plain
from benchmarks.report import machine

_TREE = Path(__file__).parents[2]
_RECEIPTS, _SHORT_RECEIPTS = 1_000_000, 20_000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where something grows faster than linearly."""
    arguments = _parser().parse_args(argv)
    chosen = [each for each in SUBJECTS if not arguments.subject or each.key in arguments.subject]
    receipts = _SHORT_RECEIPTS if arguments.short else _RECEIPTS
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="growth-") as work:
        found = [
            curve
            for subject in chosen
            for curve in curves(
                subject,
                subject.short_sizes if arguments.short else subject.sizes,
                Path(work),
                rounds=arguments.rounds,
            )
        ]
        started = starts(receipts, Path(work), rounds=arguments.rounds) if not arguments.subject else {}
    command = " ".join(["python -m benchmarks.growth", *(sys.argv[1:] if argv is None else argv)])
    heading = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, loopback, `{command}`"
    text = document(found, started, receipts, heading)
    print(text)
    is_whole = not (arguments.short or arguments.subject)
    folder = arguments.results or (_TREE / "benchmarks" / "results" if is_whole else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        values = {"heading": heading, **plain(found, started, receipts)}
        (folder / "growth.json").write_bytes(msgspec.json.format(msgspec.json.encode(values), indent=1) + b"\n")
        (folder / "growth.md").write_text(text, encoding="utf-8")
        drawing = folder / "growth.svg" if arguments.results else _TREE / "docs" / "growth.svg"
        drawing.write_text(drawn(found, heading.replace("`", "")), encoding="utf-8")
    return 1 if any(_is_steep(curve.cpu_exponent) or _is_steep(curve.memory_exponent) for curve in found) else 0


def _is_steep(exponent: float | None) -> bool:
    return exponent is not None and exponent > 1.1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--subject", action="append", choices=[each.key for each in SUBJECTS], help="only this")
    parser.add_argument("--rounds", type=int, default=3, help="of which the least counts (3)")
    parser.add_argument("--short", action="store_true", help="small sizes, in a minute or two")
    parser.add_argument("--work", type=Path, metavar="DIR", help="archives are made there (2 GB), else in /tmp")
    parser.add_argument("--results", type=Path, metavar="DIR", help="write the results there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
