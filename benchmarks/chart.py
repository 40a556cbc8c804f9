"""The figures as one drawing."""

from __future__ import annotations

from benchmarks.report import Report


def drawn(report: Report) -> str:
    return ""
