"""The figures as one drawing: a panel for each job, bars from nought, readable on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.figures import Spread, compared, measured_spread
from benchmarks.jobs import Measure, Target
from benchmarks.peers import PEERS
from benchmarks.report import Report
from benchmarks.rounds import JobResult
from benchmarks.style import style
from benchmarks.text import measure_suffix, quantity

_COLUMNS = 2
_WIDTH, _MARGIN, _GAP = 940, 24, 36
_PANEL_WIDTH = (_WIDTH - 2 * _MARGIN - _GAP) // _COLUMNS
_NAME_WIDTH, _VALUE_WIDTH = 160, 66
_BAR_WIDTH = _PANEL_WIDTH - _NAME_WIDTH - _VALUE_WIDTH
_ROW, _BAR, _TITLE, _AFTER = 21, 13, 28, 22
_TOP = 92

_STYLE = style(
    """  .bar { fill: #afb8c1; }
  .ours { fill: #54aeff; }
  .reach { stroke: #59636e; stroke-width: 1.2; fill: none; }
  .target { stroke: #bc4c00; stroke-width: 2; }
""",
    """    .bar { fill: #4d5763; }
    .ours { fill: #4493f8; }
    .reach { stroke: #b7bec7; }
    .target { stroke: #f0883e; }
""",
)


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    value: Spread
    is_ours: bool
    target: float | None


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    measure: Measure
    bars: tuple[_Bar, ...]

    @property
    def height(self) -> int:
        return _TITLE + _ROW * len(self.bars) + _AFTER


def drawn(report: Report) -> str:
    """The drawing as SVG."""
    panels = [_panel(result, measure) for result in report.results for measure in compared(result)]
    heights = [0] * _COLUMNS
    parts: list[str] = []
    for panel in (each for each in panels if each.bars):
        column = heights.index(min(heights))
        x = _MARGIN + column * (_PANEL_WIDTH + _GAP)
        parts.append(_drawn_panel(panel, x, _TOP + heights[column]))
        heights[column] += panel.height
    height = _TOP + max(heights)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-label="hsmirror and its peers: shorter is better">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>\n{_head(report)}{"".join(parts)}</svg>\n'
    )


def _head(report: Report) -> str:
    lines = (
        ("head", "hsmirror and its peers: shorter is better"),
        (
            "quiet",
            f"{report.began_at}, {report.machine}, loopback; medians of {report.rounds}, line: least to most",
        ),
    )
    texts = (
        f'<text class="{css}" x="{_MARGIN}" y="{36 + 22 * number}">{escape(text)}</text>\n'
        for number, (css, text) in enumerate(lines)
    )
    mark = f'<path class="target" d="M{_MARGIN + 4} 66v13"/>\n'
    meaning = f'<text class="quiet" x="{_MARGIN + 14}" y="77">what hsmirror has to reach</text>\n'
    return "".join(texts) + mark + meaning


def _panel(result: JobResult, measure: Measure) -> _Panel:
    target = _target(result, measure)
    bars = []
    for peer in result.peers:
        value = measured_spread(result, peer, measure)
        if value is not None:
            is_ours = peer.startswith("hsmirror")
            bars.append(_Bar(PEERS[peer].title, value, is_ours, target if is_ours else None))
    return _Panel(f"{result.job.title}{measure_suffix(measure)}", measure, tuple(bars))


def _target(result: JobResult, measure: Measure) -> float | None:
    """The strictest of the targets, in the measure's own unit."""
    reaches = (_reach(result, target) for target in result.job.targets if target.measure is measure)
    return min((reach for reach in reaches if reach is not None), default=None)


def _reach(result: JobResult, target: Target) -> float | None:
    if target.peer is None:
        return target.at_most
    theirs = measured_spread(result, target.peer, target.measure)
    return None if theirs is None else target.at_most * theirs.median


def _drawn_panel(panel: _Panel, x: int, y: int) -> str:
    longest = max(max(bar.value.most, bar.target or 0) for bar in panel.bars)
    rows = "".join(
        _drawn_bar(bar, panel.measure, longest, x, y + _TITLE + number * _ROW)
        for number, bar in enumerate(panel.bars)
    )
    return f'<text class="title" x="{x}" y="{y + 14}">{escape(panel.title)}</text>\n{rows}'


def _drawn_bar(bar: _Bar, measure: Measure, longest: float, x: int, y: int) -> str:
    left, middle = x + _NAME_WIDTH, y + _BAR / 2

    def along(value: float) -> float:
        return round(left + _BAR_WIDTH * value / longest, 1)

    least, most = along(bar.value.least), along(bar.value.most)
    parts: Sequence[str] = (
        f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{"ours" if bar.is_ours else "bar"}" x="{left}" y="{y}" '
        f'width="{max(1.0, round(along(bar.value.median) - left, 1))}" height="{_BAR}"/>',
        f'<path class="reach" d="M{least} {middle}H{most}M{least} {middle - 3}v6M{most} {middle - 3}v6"/>',
        f'<text class="quiet" x="{most + 8}" y="{y + 11}">{quantity(bar.value.median, measure)}</text>',
    )
    target = (
        "" if bar.target is None else f'<path class="target" d="M{along(bar.target)} {y - 2}v{_BAR + 4}"/>\n'
    )
    return "\n".join(parts) + "\n" + target
