"""`status`: what is held, how fresh, what is missing and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hsmirror.cli.invocation import Injected
from hsmirror.cli.output import Output, plain
from hsmirror.cli.text import (
    age,
    counted,
    duration,
    exit_words,
    number,
    printable,
    size,
    unfinished_removals,
)
from hsmirror.errors import Exit, UsageError

if TYPE_CHECKING:
    from hsmirror.archive.checks import Coverage
    from hsmirror.archive.status import HeldExperiment, HeldType, StatusReport

_MOST_FILES = 10
_MOST_PROBLEMS = 5
_CLOCK_ERROR_SECONDS = 3600.0


def status(
    archive: Annotated[Path | None, Parameter(help="The archive's folder; else the configuration's.")] = None,
    /,
    *,
    fail_if_older_than: Annotated[
        str | None, Parameter(help="End with 3 unless a complete run ended within this time: 36h, 2d.")
    ] = None,
    invocation: Injected,
) -> int:
    """Show what is held, how fresh, what is missing and why."""
    longest_seconds = None if fail_if_older_than is None else _seconds(fail_if_older_than)
    report = invocation.program.status(invocation.archive(archive))
    output, now = invocation.output, invocation.clock.epoch()
    age_seconds = report.age_seconds(now)
    complaint = None
    if longest_seconds is not None:
        complaint = _complaint(age_seconds, longest_seconds, str(fail_if_older_than))
    status = Exit.INCOMPLETE if complaint else Exit.COMPLETE
    if output.is_json:
        output.document(plain(report) | {"age_seconds": age_seconds, "exit_status": int(status)})
    elif output.verbosity >= 0:
        _show(report, output, now=now)
    if complaint:
        output.error(f"{report.archive}: {complaint}", "too_old", age_seconds=age_seconds)
    return status


def _seconds(text: str) -> float:
    from hsmirror.settings.quantities import parse_duration

    try:
        return parse_duration(text)
    except ValueError:
        raise UsageError(f"--fail-if-older-than {text}: give a duration such as 36h, 2d or 1h30m") from None


def _complaint(age_seconds: float | None, longest_seconds: float, longest: str) -> str | None:
    """Why the archive is not fresh enough; None where it is."""
    if age_seconds is None:
        return f"no run was ever complete here, and one was expected within {longest}: see the last run above"
    if age_seconds < -_CLOCK_ERROR_SECONDS:
        ahead = duration(-age_seconds)
        return f"the last complete run ended {ahead} from now, so its age is not known: check the clock"
    if age_seconds > longest_seconds:
        return f"the last complete run ended {duration(age_seconds)} ago, longer than {longest}"
    return None


def _show(report: StatusReport, output: Output, *, now: float) -> None:
    from rich.text import Text

    output.result(
        Text.assemble(
            (printable(report.archive), "bold"), f" of {printable(report.upstream)}", overflow="fold"
        ),
        Text(_last_run(report, now), overflow="fold"),
    )
    for line in _last_problems(report):
        output.result(Text(f"  {line}", overflow="fold"))
    output.result(Text(_checked(report.checked, now), overflow="fold"))
    if report.unfinished_removals:
        output.result(Text(unfinished_removals(report.unfinished_removals), style="yellow", overflow="fold"))
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
    ended = _last_status(report)
    if ended == Exit.COMPLETE:
        return f"last run {when}, complete"
    success = f"the last complete one {age(report.last_success_at, now)}" if report.last_success_at else ""
    return f"last run {when}, {exit_words(ended)} (exit status {ended}); {success or 'none was complete yet'}"


def _last_status(report: StatusReport) -> int:
    ended = (report.last_run or {}).get("exit_status", 0)
    return ended if isinstance(ended, int) else int(Exit.BUG)


def _last_problems(report: StatusReport) -> list[str]:
    """Why the last run was not complete, as far as its report says."""
    import msgspec

    from hsmirror.cli.summary import problem_lines
    from hsmirror.mirror.report import Problem

    if report.last_run is None or _last_status(report) == Exit.COMPLETE:
        return []
    try:
        problems = msgspec.convert(report.last_run.get("problems", []), list[Problem])
    except msgspec.ValidationError:
        return []
    lines = [printable(line) for line in problem_lines(problems)]
    if len(lines) > _MOST_PROBLEMS:
        more = f"{counted(len(lines) - _MOST_PROBLEMS, 'further problem')}: --json has them all"
        lines = [*lines[:_MOST_PROBLEMS], more]
    return lines


def _checked(checked: Coverage | None, now: float) -> str:
    if checked is None:
        return "never verified: see hsmirror verify"
    last = age(checked.last_checked_at, now)
    if checked.broken_files:
        return (
            f"last verified {last}: {counted(checked.broken_files, 'broken file')}; hsmirror verify names them"
        )
    if checked.checked_since is None:
        parts = f"{checked.checked_parts} of {checked.parts} parts"
        return f"last verified {last}: {parts} sound, {checked.oldest_part} never looked at"
    if checked.checked_parts == 1:
        return f"last verified {last}: all of it, sound"
    since = age(checked.checked_since, now)
    return f"last verified {last}: all of it sound, the oldest part ({checked.oldest_part}) {since}"


def _show_experiment(experiment: HeldExperiment, output: Output, now: float) -> None:
    from rich.text import Text

    from hsmirror.cli.tables import compact_table

    name = f"  {printable(experiment.name)}" if experiment.name else ""
    output.result(Text.assemble((printable(experiment.id), "bold"), name, overflow="fold"))
    if experiment.problem:
        output.result(Text.assemble("  ", output.mark(False), f" {printable(experiment.problem)}"))
    rows: list[tuple[str | Text, ...]] = [
        (
            output.mark(kind.is_complete),
            printable(kind.data_type),
            number(kind.rows),
            number(kind.rooms),
            size(kind.size_bytes),
            age(kind.read_at, now) if kind.read_at else "",
            _remark(kind),
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


def _remark(kind: HeldType) -> str:
    gone = f"{number(kind.gone_rows)} no longer upstream" if kind.gone_rows else ""
    return "; ".join(filter(None, (gone, printable(kind.why))))


def _missing_files(experiment: HeldExperiment) -> str:
    failed = [f"{number(len(experiment.failed))} failed"] if experiment.failed else []
    pending = [f"{number(len(experiment.pending))} not final yet"] if experiment.pending else []
    return ", ".join(failed + pending)
