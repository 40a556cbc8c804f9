"""The curves as one drawing: panels for each subject, both axes logarithmic, so that linear is a slope of 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import ceil, floor, log10

from benchmarks.growth.costs import Cost
from benchmarks.growth.curves import Curve
from benchmarks.style import style

_WIDTH, _MARGIN, _GAP = 940, 24, 60
_PANEL_WIDTH, _PANEL_HEIGHT = (_WIDTH - 2 * _MARGIN - _GAP) // 2, 150
_LEFT, _TITLE, _BELOW = 46, 30, 44
_TOP = 80
_MIB = 1 << 20
_HUES = ("one", "two", "three")

_STYLE = style(
    """  .grid { stroke: #d1d9e0; stroke-width: 1; fill: none; }
  .linear { stroke: #818b98; stroke-width: 1; stroke-dasharray: 3 4; fill: none; }
  .line { fill: none; stroke-width: 2; }
  .one { stroke: #0969da; fill: #0969da; }
  .two { stroke: #bc4c00; fill: #bc4c00; }
  .three { stroke: #8250df; fill: #8250df; }
  .line.one, .line.two, .line.three { fill: none; }
  tspan.one, tspan.two, tspan.three { stroke: none; }
""",
    """    .grid { stroke: #3d444d; }
    .linear { stroke: #656c76; }
    .one { stroke: #4493f8; fill: #4493f8; }
    .two { stroke: #f0883e; fill: #f0883e; }
    .three { stroke: #ab7df8; fill: #ab7df8; }
""",
)


@dataclass(frozen=True, slots=True)
class _Scale:
    """From whole powers of ten to whole powers of ten, along some pixels."""

    lowest: int
    highest: int
    begin: float
    length: float

    @classmethod
    def over(cls, values: Iterable[float], begin: float, length: float) -> _Scale:
        values = list(values)
        lowest, highest = floor(log10(min(values))), ceil(log10(max(values)))
        return cls(lowest, max(highest, lowest + 1), begin, length)

    def at(self, value: float) -> float:
        return round(self.begin + self.length * (log10(value) - self.lowest) / (self.highest - self.lowest), 1)

    @property
    def powers(self) -> range:
        return range(self.lowest, self.highest + 1)


def drawn(curves: Sequence[Curve], heading: str) -> str:
    """SVG: CPU on the left, peak memory on the right."""
    parts = [
        f'<text class="head" x="{_MARGIN}" y="36">What an archive holds, and what that costs</text>\n',
        f'<text class="quiet" x="{_MARGIN}" y="58">{escape(heading)}; dashed: linear</text>\n',
    ]
    y = _TOP
    for axis, group in groupby(curves, lambda curve: curve.axis):
        of_axis = list(group)
        right = _MARGIN + _PANEL_WIDTH + _GAP
        parts.append(_panel(of_axis, f"CPU seconds over {axis}", lambda cost: cost.cpu_seconds, _MARGIN, y))
        parts.append(_panel(of_axis, f"peak MiB over {axis}", lambda cost: cost.peak_bytes / _MIB, right, y))
        y += _TITLE + _PANEL_HEIGHT + _BELOW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" '
        f'role="img" aria-label="Time and memory by what an archive holds">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" width="{_WIDTH}" height="{y}"/>\n{"".join(parts)}</svg>\n'
    )


def _panel(curves: Sequence[Curve], title: str, of: Callable[[Cost], float], x: int, y: int) -> str:
    top, left = y + _TITLE, x + _LEFT
    bottom, width = top + _PANEL_HEIGHT, _PANEL_WIDTH - _LEFT
    sizes = [size for curve in curves for size in curve.costs]
    across = _Scale.over(sizes, left, width)
    up = _Scale.over([of(cost) for curve in curves for cost in curve.costs.values()], bottom, -_PANEL_HEIGHT)
    parts = [f'<text class="title" x="{x}" y="{y + 16}">{escape(title)}</text>\n']
    for power in up.powers:
        parts.append(f'<path class="grid" d="M{left} {up.at(10.0**power)}h{width}"/>\n')
        label = f"{10.0**power:g}</text>\n"
        parts.append(
            f'<text class="quiet" x="{left - 6}" y="{up.at(10.0**power) + 4}" text-anchor="end">{label}'
        )
    for power in across.powers:
        label = f"{10**power:,}</text>\n"
        # At the right edge there is no room for the second half of a long one.
        anchor = "end" if power == across.highest else "middle"
        parts.append(
            f'<text class="quiet" x="{across.at(10.0**power)}" y="{bottom + 16}" text-anchor="{anchor}">{label}'
        )
    parts.append(_linear(across, up, left, bottom, width))
    coloured = list(zip(curves, _HUES, strict=False))
    parts += [_line(curve, hue, of, across, up) for curve, hue in coloured]
    names = "".join(f'<tspan class="{hue}" dx="12">{escape(curve.what)}</tspan>' for curve, hue in coloured)
    parts.append(f'<text x="{left + width}" y="{y + 16}" text-anchor="end">{names}</text>\n')
    return "".join(parts)


def _line(curve: Curve, hue: str, of: Callable[[Cost], float], across: _Scale, up: _Scale) -> str:
    points = [(across.at(size), up.at(of(cost))) for size, cost in curve.costs.items()]
    path = "M" + "L".join(f"{x} {height}" for x, height in points)
    dots = "".join(f'<circle class="{hue}" cx="{x}" cy="{height}" r="3"/>\n' for x, height in points)
    return f'<path class="line {hue}" d="{path}"/>\n{dots}'


def _linear(across: _Scale, up: _Scale, left: float, bottom: float, width: float) -> str:
    """From the lower left corner on: ten times as much for ten times the size."""
    rise = -up.length / (up.highest - up.lowest) * (across.highest - across.lowest)
    share = min(1.0, -up.length / rise)
    return f'<path class="linear" d="M{left} {bottom}l{round(width * share, 1)} {round(-rise * share, 1)}"/>\n'
