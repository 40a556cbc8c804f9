"""`sync` and `plan`: the same selection, fetched or only reckoned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hsmirror.cli import signals
from hsmirror.cli.invocation import Injected, Invocation, longest_wait_seconds
from hsmirror.cli.logs import Level
from hsmirror.cli.selection import Narrowing, select
from hsmirror.cli.text import counted, printable
from hsmirror.errors import Exit, HsmirrorError

if TYPE_CHECKING:
    from hsmirror.cli.output import Output
    from hsmirror.mirror.monitor import Monitor
    from hsmirror.mirror.report import RunReport
    from hsmirror.model import Secret
    from hsmirror.settings import ExperimentSettings, Settings

_WHOLE = Narrowing()
ArchiveOption = Annotated[Path | None, Parameter(help="The archive's folder; needs no configuration file.")]


@dataclass(frozen=True, slots=True)
class _Job:
    settings: Settings
    key: Secret
    experiments: tuple[ExperimentSettings, ...]


def sync(
    *experiments: Annotated[str, Parameter(help="Ids, or '*' for every one. None: as configured.")],
    archive: ArchiveOption = None,
    narrowing: Narrowing = _WHOLE,
    full: Annotated[bool, Parameter(help="Read every list again, settled or not.")] = False,
    wait: Annotated[
        bool | None,
        Parameter(
            negative="--no-wait",
            help="Wait for the limits, or end with 3. Else: wait; 5 minutes if unattended.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, Parameter(name=["--dry-run", "-n"], help="Only say what would be fetched.")
    ] = False,
    metrics_file: Annotated[
        Path | None, Parameter(help="Write the run's figures for Prometheus there, whatever its end.")
    ] = None,
    invocation: Injected,
) -> int:
    """Bring the archive up to date."""
    settings = invocation.settings({"archive.path": archive, "monitor.metrics_file": metrics_file})
    if dry_run:
        return _plan(invocation, _job(invocation, settings, experiments, narrowing), full=full)
    from hsmirror.mirror.monitor import Monitor

    output, stopped_with = invocation.output, list[Exit]()
    monitor = Monitor(settings, invocation.clock, remark=output.warn, stopped_with=stopped_with)
    try:
        job = _job(invocation, settings, experiments, narrowing)
    except HsmirrorError as error:
        status = error.exit_status
        signals.run(lambda: monitor.tell_end(status))
        raise
    longest_wait = longest_wait_seconds(wait, is_terminal=output.is_terminal)
    report = _run(invocation, job, monitor, stopped_with, full=full, longest_wait=longest_wait)
    _show(report, output)
    return int(report.exit_status)


def _run(
    invocation: Invocation,
    job: _Job,
    monitor: Monitor,
    stopped_with: list[Exit],
    *,
    full: bool,
    longest_wait: float | None,
) -> RunReport:
    from hsmirror.cli import progress
    from hsmirror.cli.heap import settle_heap

    settle_heap()
    _say_opening(job, invocation.output)
    with progress.showing(invocation.output) as on_start:
        return signals.run(
            lambda: monitor.watch(
                lambda: invocation.program.sync(
                    job.settings,
                    job.key,
                    job.experiments,
                    full=full,
                    longest_wait_seconds=longest_wait,
                    on_start=on_start,
                    stopped_with=stopped_with,
                    on_report=monitor.hear,
                )
            ),
            on_signal=stopped_with.append,
        )


def _show(report: RunReport, output: Output) -> None:
    from hsmirror.cli import run_log, summary

    if output.log is not None:
        run_log.log_report(output, report)
    if output.is_json:
        output.document(report)
    elif output.log is None:
        summary.show_summary(report, output)


def plan(
    *experiments: Annotated[str, Parameter(help="Ids, or '*' for every one. None: as configured.")],
    archive: ArchiveOption = None,
    narrowing: Narrowing = _WHOLE,
    invocation: Injected,
) -> int:
    """Say what a run would fetch, in how many requests and how long; touch nothing."""
    settings = invocation.settings({"archive.path": archive})
    return _plan(invocation, _job(invocation, settings, experiments, narrowing), full=False)


def _job(invocation: Invocation, settings: Settings, ids: tuple[str, ...], narrowing: Narrowing) -> _Job:
    chosen = select(settings.experiments, ids, narrowing, now=invocation.clock.epoch())
    return _Job(settings, invocation.key(settings), chosen)


def _plan(invocation: Invocation, job: _Job, *, full: bool) -> int:
    from hsmirror.cli import planned

    report = signals.run(lambda: invocation.program.plan(job.settings, job.key, job.experiments, full=full))
    if invocation.output.is_json:
        invocation.output.document(report)
    else:
        planned.show_plan(report, invocation.output)
    return 0


def _say_opening(job: _Job, output: Output) -> None:
    if output.log is not None:
        ids = [experiment.id for experiment in job.experiments]
        archive = str(job.settings.archive.path)
        output.event(Level.INFO, "start", _opening(job), experiments=ids, archive=archive)
    elif output.is_terminal:
        output.detail(_opening(job))
    else:
        output.say(_opening(job))


def _opening(job: _Job) -> str:
    ids = [printable(experiment.id) for experiment in job.experiments]
    named = ", ".join(ids) if len(ids) <= 3 else counted(len(ids), "experiment")
    return f"fetching {named} from {job.settings.api.base_url} into {printable(str(job.settings.archive.path))}"
