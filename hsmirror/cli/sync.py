"""`sync` and `plan`: the same selection, fetched or only reckoned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hsmirror.cli import signals
from hsmirror.cli.invocation import Injected, Invocation
from hsmirror.cli.selection import Narrowing, select
from hsmirror.cli.text import counted, printable

if TYPE_CHECKING:
    from hsmirror.errors import Exit
    from hsmirror.model import Secret
    from hsmirror.settings import ExperimentSettings, Settings

LONGEST_WAIT_UNATTENDED_SECONDS = 300.0
"""Where nobody looks on, a run that would wait longer ends instead, and says when to come back."""

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
    invocation: Injected,
) -> int:
    """Bring the archive up to date."""
    job = _job(invocation, experiments, archive, narrowing)
    if dry_run:
        return _plan(invocation, job)
    from hsmirror.cli import progress, summary

    output = invocation.output
    output.say(_opening(job)) if not output.is_terminal else output.detail(_opening(job))
    stopped_with: list[Exit] = []
    with progress.showing(output) as on_start:
        report = signals.run(
            lambda: invocation.program.sync(
                job.settings,
                job.key,
                job.experiments,
                full=full,
                longest_wait_seconds=_longest_wait_seconds(wait, is_terminal=output.is_terminal),
                on_start=on_start,
                stopped_with=stopped_with,
            ),
            on_signal=stopped_with.append,
        )
    if output.is_json:
        output.document(report)
    else:
        summary.show_summary(report, output)
    return int(report.exit_status)


def plan(
    *experiments: Annotated[str, Parameter(help="Ids, or '*' for every one. None: as configured.")],
    archive: ArchiveOption = None,
    narrowing: Narrowing = _WHOLE,
    invocation: Injected,
) -> int:
    """Say what a run would fetch, in how many requests and how long; touch nothing."""
    return _plan(invocation, _job(invocation, experiments, archive, narrowing))


def _job(invocation: Invocation, ids: tuple[str, ...], archive: Path | None, narrowing: Narrowing) -> _Job:
    settings = invocation.settings({"archive.path": archive})
    chosen = select(settings.experiments, ids, narrowing, now=invocation.clock.epoch())
    return _Job(settings, invocation.key(settings), chosen)


def _plan(invocation: Invocation, job: _Job) -> int:
    from hsmirror.cli import planned

    report = signals.run(lambda: invocation.program.plan(job.settings, job.key, job.experiments))
    if invocation.output.is_json:
        invocation.output.document(report)
    else:
        planned.show_plan(report, invocation.output)
    return 0


def _opening(job: _Job) -> str:
    ids = [printable(experiment.id) for experiment in job.experiments]
    named = ", ".join(ids) if len(ids) <= 3 else counted(len(ids), "experiment")
    return f"fetching {named} from {job.settings.api.base_url} into {printable(str(job.settings.archive.path))}"


def _longest_wait_seconds(wait: bool | None, *, is_terminal: bool) -> float | None:
    if wait is None:
        return None if is_terminal else LONGEST_WAIT_UNATTENDED_SECONDS
    return None if wait else 0.0
