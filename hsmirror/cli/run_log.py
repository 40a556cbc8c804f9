"""A run in a log of JSON lines: how it stands now and then, and all that its report says at its end."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hsmirror.cli.logs import Level

if TYPE_CHECKING:
    from hsmirror.cli.output import Output
    from hsmirror.mirror.report import ExperimentReport, RunReport, RunStatistics


def log_progress(output: Output, now: RunStatistics, message: str) -> None:
    """One line; its fields are those of `RunStatistics`."""
    output.event(Level.INFO, "progress", message, **dataclasses.asdict(now))


def log_report(output: Output, report: RunReport) -> None:
    """A line for each experiment, each data type, each problem and each note, then one for the whole run."""
    from hsmirror.cli.summary import next_step, problem_line

    for experiment in report.experiments:
        _log_experiment(output, experiment)
    for problem in report.problems:
        output.event(
            Level.ERROR,
            "problem",
            problem_line(problem),
            experiment=problem.experiment,
            data_type=problem.data_type,
            room=problem.room,
        )
    for note in report.notes:
        output.event(Level.INFO, "note", note)
    output.event(
        Level.INFO if report.is_complete else Level.WARNING,
        "run",
        next_step(report).plain,
        run=report.run,
        archive=report.archive,
        requests=report.requests,
        throttled=report.throttled,
        retried=report.retried,
        received_rows=report.received_rows,
        received_bytes=report.received_bytes,
        downloaded_bytes=report.downloaded_bytes,
        changed_files=report.changed_files,
        problems=len(report.problems),
        notes=len(report.notes),
        seconds=report.seconds,
        resume_at=report.resume_at,
    )


def _log_experiment(output: Output, experiment: ExperimentReport) -> None:
    for kind in experiment.types:
        output.event(
            Level.DEBUG if kind.is_complete else Level.WARNING,
            "data_type",
            kind.why or "complete",
            experiment=experiment.id,
            data_type=kind.data_type,
            rows=kind.rows,
            rooms=kind.rooms,
            changed_shards=kind.changed_shards,
            is_complete=kind.is_complete,
        )
    output.event(
        Level.INFO if experiment.is_complete else Level.WARNING,
        "experiment",
        experiment.problem or ("complete" if experiment.is_complete else "not complete"),
        experiment=experiment.id,
        rooms=experiment.rooms,
        rows=experiment.rows,
        files=experiment.files,
        files_fetched=experiment.files_fetched,
        files_pending=experiment.files_pending,
        files_failed=experiment.files_failed,
        is_complete=experiment.is_complete,
    )
