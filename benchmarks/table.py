"""The figures as Markdown: the table of the targets, then each job by itself, then who was missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.figures import Verdict, compared, measured_spread, paired_ratio, verdict
from benchmarks.jobs import REFERENCE, Measure, Target
from benchmarks.peers import PEERS
from benchmarks.report import Report
from benchmarks.rounds import JobResult
from benchmarks.text import MIB, measure_suffix, number, quantity, spread_of

_COLUMNS = (
    ("curl", ("curl",)),
    ("official SDK", ("sdk",)),
    ("dlt, tuned", ("dlt-tuned",)),
    ("dlt, default", ("dlt-default",)),
    ("minimal client", ("minimal", "threads-sha256")),
    ("the same work, bare", ("bare",)),
    ("**hsmirror**", ("hsmirror",)),
    ("uncompressed", ("hsmirror-none",)),
)
"""Of the first table; the first of these peers that takes part in a job stands for the column."""


def document(report: Report) -> str:
    """All of it."""
    parts = [_heading(report), _summary(report.results)]
    parts += [_details(result) for result in report.results]
    parts += [_notes(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(report: Report) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))
    warning = "**A smoke test: its figures mean nothing.** " if report.is_short else ""
    return (
        f"# Speed\n\n{warning}{report.began_at}, `{report.command}`: {report.machine}, loopback, served by "
        f"{report.server}, rounds that count: {report.rounds}; load before it {report.load:.1f}. "
        f"{versions}.\n\n"
        "Times are from start to end of the process, imports included; medians, and ratios within a round, "
        "with the least and the most in brackets. × is times as long as curl. Every output was checked against "
        "the data, byte by byte (dlt's, which rewrites rows, by their ids), before its figure counted."
    )


# --- the first table -------------------------------------------------------------------------------------
def _summary(results: Sequence[JobResult]) -> str:
    names = [name for name, _ in _COLUMNS]
    rows = [row for result in results for row in _summary_rows(result)]
    return _table(["job", *names, "to reach", "reached"], rows)


def _summary_rows(result: JobResult) -> Iterator[list[str]]:
    targets = result.job.targets
    for measure in compared(result):
        verdicts = [verdict(result, target) for target in targets if target.measure is measure]
        cells = [_cell(result, peers, measure) for _, peers in _COLUMNS]
        to_reach = "; ".join(_wanted(each.target) for each in verdicts)
        reached = "; ".join(_reached(each) for each in verdicts)
        yield [f"{result.job.title}{measure_suffix(measure)}", *cells, to_reach, reached]


def _cell(result: JobResult, peers: Sequence[str], measure: Measure) -> str:
    peer = next((each for each in peers if each in result.job.peers), None)
    if peer is None:
        return ""
    value = measured_spread(result, peer, measure)
    if value is None:
        return "failed" if peer in result.failures else "missing" if peer in result.absent else "–"
    ratio = None if measure is Measure.PEAK else paired_ratio(result, peer, REFERENCE, measure)
    if ratio is None:
        return quantity(value.median, measure)
    if peer == REFERENCE:
        return f"1 ({quantity(value.median, measure)})"
    return f"{number(ratio.median)} ×"


def _wanted(target: Target) -> str:
    if target.peer is None:
        return f"≤ {quantity(target.at_most, target.measure)}"
    title = PEERS[target.peer].title
    if target.at_most < 1:
        return f"≥ {1 / target.at_most:.0f} × better than {title}"
    return f"≤ {target.at_most:.2f} × {title}"


def _reached(each: Verdict) -> str:
    if each.reached is None:
        return "not measured"
    value = each.reached.median
    if each.target.peer is None:
        text = quantity(value, each.target.measure)
    elif each.target.at_most < 1:
        text = f"{number(1 / value)} ×"
    else:
        text = f"{number(value)} ×"
    return text if each.is_met else f"**{text}**, missed"


# --- job by job ------------------------------------------------------------------------------------------
def _details(result: JobResult) -> str:
    records = result.expected.rows.count
    per = "CPU µs a record" if records else "CPU s a GB"
    rows = [_detail(result, peer) for peer in result.peers if result.of(peer)]
    header = ["", "wall s", "× curl", "CPU s", "× curl", per, "peak MiB", "requests"]
    amount = f"{result.expected.row_bytes / 1e6:.0f} MB of rows" if records else f"{_gigabytes(result):.2f} GB"
    return f"## {result.job.title}\n\n`--job {result.job.key}`: {amount}.\n\n{_table(header, rows)}"


def _detail(result: JobResult, peer: str) -> list[str]:
    samples = result.of(peer)
    wall, cpu, peak = (measured_spread(result, peer, measure) for measure in Measure)
    assert wall is not None
    assert cpu is not None
    assert peak is not None
    amount = result.expected.rows.count / 1e6 or _gigabytes(result)
    ratios = [paired_ratio(result, peer, REFERENCE, measure) for measure in (Measure.WALL, Measure.CPU)]
    wall_ratio, cpu_ratio = (spread_of(ratio) if ratio is not None else "–" for ratio in ratios)
    return [
        PEERS[peer].title,
        spread_of(wall),
        wall_ratio,
        number(cpu.median),
        cpu_ratio,
        number(cpu.median / amount),
        f"{peak.median / MIB:.0f}",
        f"{max(sample.requests for sample in samples):,}",
    ]


def _gigabytes(result: JobResult) -> float:
    return result.expected.file_bytes / 1e9


# --- who is who ------------------------------------------------------------------------------------------
def _notes(report: Report) -> str:
    peers = dict.fromkeys(peer for result in report.results for peer in result.peers)
    lines = [f"- {PEERS[peer].title}: {PEERS[peer].note}" for peer in peers]
    for result in report.results:
        for peer, why in (result.absent | result.failures).items():
            state = "missing" if peer in result.absent else "no figure"
            lines.append(f"- **{PEERS[peer].title}** in “{result.job.title}”: {state}, {' '.join(why.split())}")
    return "## Who is who\n\n" + "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
