"""Figures as text, the same in the tables and in the drawing."""

from __future__ import annotations

from benchmarks.figures import Spread
from benchmarks.jobs import Measure

MIB = 1 << 20


def number(value: float) -> str:
    """Two decimals, fewer where they say nothing."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def quantity(value: float, measure: Measure) -> str:
    """With its unit."""
    return f"{value / MIB:.0f} MiB" if measure is Measure.PEAK else f"{number(value)} s"


def spread_of(value: Spread) -> str:
    """Median, least and most."""
    return f"{number(value.median)} [{number(value.least)}–{number(value.most)}]"


def measure_suffix(measure: Measure) -> str:
    """What follows the title of a job."""
    return {Measure.WALL: "", Measure.CPU: ", CPU", Measure.PEAK: ", peak memory"}[measure]
