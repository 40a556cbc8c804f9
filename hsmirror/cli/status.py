"""`status`: what is held, how fresh, what is missing and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hsmirror.cli.invocation import Injected
from hsmirror.cli.output import Output
from hsmirror.cli.text import age, counted, number, printable, size

if TYPE_CHECKING:
    from hsmirror.archive.status import HeldExperiment, StatusReport

_MOST_FILES = 10


def status(
    archive: Annotated[Path | None, Parameter(help="The archive's folder; else the configuration's.")] = None,
    /,
    *,
    invocation: Injected,
) -> int:
    """Show what is held, how fresh, what is missing and why."""
    report = invocation.program.status(invocation.archive(archive))
    if invocation.output.is_json:
        invocation.output.document(report)
    else:
        _show(report, invocation.output, now=invocation.clock.epoch())
    return 0


def _show(report: StatusReport, output: Output, *, now: float) -> None:
    from rich.text import Text

    output.result(
        Text.assemble(
            (printable(report.archive), "bold"), f" of {printable(report.upstream)}", overflow="fold"
        ),
        _last_run(report, now),
    )
    for experiment in report.experiments:
        _show_experiment(experiment, output, now)
    output.result(
        Text(
            f"{counted(len(report.experiments), 'experiment')} · {counted(report.rows, 'row')} · "
            f"{counted(report.files, 'file')} · {size(report.size_bytes)}",
            style="bold",
        )
    )


def _last_run(report: StatusReport, now: float) -> str:
    if not report.last_run:
        return "no run has ended here yet"
    when = age(str(report.last_run.get("ended_at", "")), now)
    ended = int(report.last_run.get("exit_status", 0))
    return f"last run {when}, {'complete' if ended == 0 else f'not complete (exit status {ended})'}"


def _show_experiment(experiment: HeldExperiment, output: Output, now: float) -> None:
    from rich.text import Text

    from hsmirror.cli.tables import compact_table

    name = f"  {printable(experiment.name)}" if experiment.name else ""
    output.result(Text.assemble((printable(experiment.id), "bold"), name, overflow="fold"))
    rows: list[tuple[str | Text, ...]] = [
        (
            output.mark(kind.is_complete),
            kind.data_type,
            number(kind.rows),
            number(kind.rooms),
            size(kind.size_bytes),
            age(kind.read_at, now) if kind.read_at else "",
            printable(kind.why),
        )
        for kind in experiment.types
    ]
    if experiment.files or experiment.pending or experiment.failed:
        good = output.mark(not experiment.failed)
        held = (number(experiment.files), "", size(experiment.file_bytes), "")
        rows.append((good, "files", *held, _missing_files(experiment)))
    output.result(compact_table(("", "data type", "rows>", "rooms>", "size>", "read", ""), rows))
    shown = experiment.failed[:_MOST_FILES] + (experiment.pending if output.verbosity > 0 else ())
    for each in shown:
        output.result(Text(f"    {printable(each)}", overflow="fold"))
    if len(experiment.failed) > _MOST_FILES:
        output.result(f"    {number(len(experiment.failed) - _MOST_FILES)} more: --json has them all")


def _missing_files(experiment: HeldExperiment) -> str:
    failed = [f"{number(len(experiment.failed))} failed"] if experiment.failed else []
    pending = [f"{number(len(experiment.pending))} not final yet"] if experiment.pending else []
    return ", ".join(failed + pending)
