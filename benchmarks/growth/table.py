"""The curves as text and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.growth.costs import Cost
from benchmarks.growth.curves import Curve

_MIB = 1 << 20


def document(curves: Sequence[Curve], starts: Mapping[str, Cost], receipts: int, heading: str) -> str:
    """Markdown."""
    lines = [
        f"# Growth\n\n{heading}\n",
        "| what | over | CPU grows with the power | memory with | bytes of memory each |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {curve.what} | {curve.axis} | {_power(curve.cpu_exponent)} | {_power(curve.memory_exponent)} "
        f"| {max(0.0, curve.bytes_each):,.0f} |"
        for curve in curves
    ]
    lines += ["", "| what | over | | s | CPU s | peak MiB |", "|---|---|---|---|---|---|"]
    for curve in curves:
        lines += [
            f"| {curve.what} | {curve.axis} | {size:,} | {_cost(cost)} |" for size, cost in curve.costs.items()
        ]
    if starts:
        lines += [
            "",
            f"Until the first request, over {receipts:,} receipts:",
            "",
            "| | s | CPU s | peak MiB |",
            "|---|---|---|---|",
        ]
        lines += [f"| {title} | {_cost(cost)} |" for title, cost in starts.items()]
    return "\n".join(lines) + "\n"


def plain(curves: Sequence[Curve], starts: Mapping[str, Cost], receipts: int) -> dict[str, Any]:
    """For JSON."""
    return {
        "curves": [
            {
                "subject": curve.subject,
                "what": curve.what,
                "cpu_exponent": curve.cpu_exponent,
                "memory_exponent": curve.memory_exponent,
                "at_nothing": msgspec.to_builtins(curve.at_nothing),
                "costs": {str(size): msgspec.to_builtins(cost) for size, cost in curve.costs.items()},
            }
            for curve in curves
        ],
        "starts": {
            "receipts": receipts,
            "costs": {title: msgspec.to_builtins(cost) for title, cost in starts.items()},
        },
    }


def _power(exponent: float | None) -> str:
    return "does not grow" if exponent is None else f"{exponent:.2f}"


def _cost(cost: Cost) -> str:
    return f"{cost.wall_seconds:.2f} | {cost.cpu_seconds:.2f} | {cost.peak_bytes / _MIB:.0f}"
