"""What a run would fetch, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from hsmirror.cli.output import Output
from hsmirror.cli.tables import compact_table
from hsmirror.cli.text import counted, duration, number, printable, size

if TYPE_CHECKING:
    from hsmirror.mirror.planning import PlannedExperiment, PlanReport


def show_plan(report: PlanReport, output: Output) -> None:
    """On stdout: it is what was asked for."""
    for experiment in report.experiments:
        _show_experiment(experiment, output)
    seconds = f", {duration(report.seconds)} under the limits" if report.seconds >= 1 else ""
    output.result(Text(f"{counted(report.requests, 'request')}{seconds}", style="bold"))
    if report.probe_requests:
        output.result(
            Text(f"({counted(report.probe_requests, 'request')} went into finding this out)", style="dim")
        )
    for note in report.notes:
        output.result(Text(f"note: {printable(note)}", overflow="fold"))


def _show_experiment(experiment: PlannedExperiment, output: Output) -> None:
    title = Text.assemble(
        (printable(experiment.id), "bold"), f"  {printable(experiment.name)}".rstrip(), overflow="fold"
    )
    title.append(f" · {counted(experiment.rooms, 'room')}", style="dim")
    rows = [
        (
            kind.data_type,
            "?" if kind.rows is None else number(kind.rows),
            number(kind.requests),
            kind.way,
            printable(kind.note),
        )
        for kind in experiment.types
    ]
    output.result(title)
    if experiment.note:
        output.result(Text(f"  {printable(experiment.note)}", style="yellow", overflow="fold"))
    output.result(compact_table(("data type", "rows>", "requests>", "way", ""), rows))
    if experiment.files:
        sizes = "" if experiment.file_bytes is None else f", {size(experiment.file_bytes)}"
        output.result(f"  {counted(experiment.files, 'recording file')}{sizes}")
