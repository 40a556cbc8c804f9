"""A run that has ended, for people: what is held, what is missing and why, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from hsmirror.cli.output import Output
from hsmirror.cli.tables import compact_table
from hsmirror.cli.text import counted, duration, local_time, number, printable, size
from hsmirror.errors import Exit
from hsmirror.mirror.report import ExperimentReport, Problem, RunReport

_MOST_EXPERIMENTS_IN_FULL = 4
_MOST_PROBLEMS = 20
_MOST_TYPES_NAMED = 4


def show_summary(report: RunReport, output: Output) -> None:
    """On stderr; problems even with `-q`, as errors."""
    if output.verbosity >= 0:
        output.say(*_tables(report, output), Text(_costs(report), style="dim"))
    _show_problems(report, output)
    if report.notes:
        notes = [f"note: {printable(note)}" for note in report.notes]
        output.detail(*notes)
        if output.verbosity == 0:
            output.say(Text(f"{counted(len(notes), 'note')}: run with -v to see them", style="dim"))
    output.say(next_step(report))


def _tables(report: RunReport, output: Output) -> Iterator[RenderableType]:
    if len(report.experiments) > _MOST_EXPERIMENTS_IN_FULL and output.verbosity < 1:
        yield _overview(report, output)
        return
    told = {(problem.experiment, problem.data_type) for problem in report.problems}
    for experiment in report.experiments:
        yield from _experiment(experiment, output, told)


def _overview(report: RunReport, output: Output) -> RenderableType:
    rows = []
    for experiment in report.experiments:
        types = [kind.data_type for kind in experiment.types if not kind.is_complete]
        missing = [experiment.problem, *types, _pending(experiment)]
        rows.append(
            (
                output.mark(experiment.is_complete),
                printable(experiment.id),
                number(experiment.rooms),
                number(experiment.rows),
                number(experiment.files),
                printable(", ".join(part for part in missing if part)),
            )
        )
    return compact_table(("", "experiment", "rooms>", "rows>", "files>", "missing"), rows)


def _experiment(
    experiment: ExperimentReport, output: Output, told: set[tuple[str, str]]
) -> Iterator[RenderableType]:
    """`told` are the experiments and data types whose problems are shown below anyway."""
    yield Text.assemble(_title(experiment), (f" · {counted(experiment.rooms, 'room')}", "dim"), overflow="fold")
    if experiment.problem and (experiment.id, "") not in told:
        yield Text.assemble("  ", output.mark(False), f" {printable(experiment.problem)}")
    shown = [kind for kind in experiment.types if kind.rows or not kind.is_complete or output.verbosity > 0]
    rows: list[tuple[str | Text, ...]] = [
        (
            output.mark(kind.is_complete),
            kind.data_type,
            number(kind.rows),
            number(kind.rooms),
            number(kind.changed_shards) if kind.changed_shards else "",
            "" if (experiment.id, kind.data_type) in told else printable(kind.why),
        )
        for kind in shown
    ]
    if experiment.files or experiment.files_failed or experiment.files_pending:
        fetched = number(experiment.files_fetched) if experiment.files_fetched else ""
        good = output.mark(not experiment.files_failed)
        rows.append((good, "files", number(experiment.files), "", fetched, _pending(experiment)))
    if rows:
        yield compact_table(("", "data type", "rows>", "rooms>", "changed>", ""), rows)
    empty = [kind.data_type for kind in experiment.types if kind not in shown]
    if empty:
        yield Text(f"  no rows: {', '.join(empty)}", style="dim")


def _title(experiment: ExperimentReport) -> Text:
    name = f"  {printable(experiment.name)}" if experiment.name else ""
    return Text.assemble((printable(experiment.id), "bold"), name, overflow="fold")


def _pending(experiment: ExperimentReport) -> str:
    parts = []
    if experiment.files_failed:
        parts.append(f"{number(experiment.files_failed)} failed")
    if experiment.files_pending:
        parts.append(f"{number(experiment.files_pending)} not final yet")
    return ", ".join(parts)


def _costs(report: RunReport) -> str:
    parts = [counted(report.requests, "request")]
    if report.throttled:
        parts.append(f"{number(report.throttled)} refused for the limit")
    if report.retried:
        parts.append(f"{number(report.retried)} repeated")
    parts.append(f"{size(report.received_bytes + report.downloaded_bytes)} received")
    parts.append(duration(report.seconds))
    return " · ".join(parts)


def _show_problems(report: RunReport, output: Output) -> None:
    lines = problem_lines(report.problems)
    for line in lines[:_MOST_PROBLEMS]:
        output.error(line)
    more = len(lines) - _MOST_PROBLEMS
    if more > 0:
        output.error(f"{counted(more, 'further problem')}: see the run's report, or --json")


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """A line each; what several data types of one experiment have in common is said once."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for each in problems:
        alike.setdefault((each.experiment, each.room, each.what), []).append(each.data_type)
    return [
        problem_line(Problem(what, experiment=experiment, data_type=_together(types), room=room))
        for (experiment, room, what), types in alike.items()
    ]


def _together(data_types: Iterable[str]) -> str:
    names = sorted(set(data_types) - {""})
    if len(names) <= _MOST_TYPES_NAMED:
        return ", ".join(names)
    return (
        f"{', '.join(names[: _MOST_TYPES_NAMED - 1])} and {len(names) - _MOST_TYPES_NAMED + 1} more data types"
    )


def problem_line(problem: Problem) -> str:
    """`exp_1, room room_2, events: what happened, and what to do`."""
    names_room = (
        re.search(rf"\broom {re.escape(problem.room)}(?![\w-])", problem.what) if problem.room else None
    )
    room = f"room {problem.room}" if problem.room and not names_room else ""
    where = [problem.experiment, room, problem.data_type]
    place = ", ".join(part for part in where if part)
    return f"{place}: {problem.what}" if place else problem.what


def next_step(report: RunReport) -> Text:
    """The last line: how it ended, and what to do now."""
    archive = printable(report.archive)
    if report.is_complete:
        changed = (
            f"{counted(report.changed_files, 'file')} changed" if report.changed_files else "nothing changed"
        )
        return Text.assemble(("complete", "bold green"), f": {changed} in {archive}", overflow="fold")
    if report.resume_at:
        when = f"after {local_time(report.resume_at)}"
        todo = (
            f"the limits are used up; run the same command again {when}, or with --wait: it goes on from here"
        )
    elif report.exit_status == Exit.INCOMPLETE:
        todo = "what is not named above is held; once that is mended, the same command goes on from here"
    else:
        todo = "see above; what was held before stands"
    return Text.assemble(("incomplete", "bold red"), f": {todo}", overflow="fold")
