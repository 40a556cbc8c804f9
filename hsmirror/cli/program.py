"""What the commands run, each part imported when it is first wanted.

Aiohttp alone takes longer to import than `--help` may take. Commands are handed a `Program`, so that a test
can hand them another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hsmirror.archive.status import StatusReport
    from hsmirror.archive.verify import VerifyReport
    from hsmirror.errors import Exit
    from hsmirror.mirror.doctor import Finding
    from hsmirror.mirror.forget import ForgetReport
    from hsmirror.mirror.planning import PlanReport
    from hsmirror.mirror.report import Problem, RunReport
    from hsmirror.mirror.view import RunView
    from hsmirror.model import Secret
    from hsmirror.settings import ExperimentSettings, Settings


class Program(Protocol):
    """The program behind the command line."""

    async def sync(  # noqa: PLR0913 - what a run may be told, by name
        self,
        settings: Settings,
        key: Secret,
        experiments: Sequence[ExperimentSettings],
        *,
        full: bool = False,
        longest_wait_seconds: float | None = None,
        state_folder: Path | None = None,
        on_start: Callable[[RunView], None] | None = None,
        stopped_with: Sequence[Exit] = (),
        on_report: Callable[[RunReport], None] | None = None,
    ) -> RunReport:
        """Brings the archive up to date.

        `on_report` hears of every run that got as far as the archive, whatever ended it.
        `longest_wait_seconds` None waits for the limits as long as it takes; `state_folder` None shares their
        budget with the user's other runs.
        """

    async def plan(
        self,
        settings: Settings,
        key: Secret,
        experiments: Sequence[ExperimentSettings],
        *,
        full: bool = False,
    ) -> PlanReport:
        """What `sync` would fetch."""

    async def diagnose(self, settings: Settings, key: Secret | None) -> tuple[Finding, ...]:
        """What would stop a run; None where there is no key."""

    def verify(
        self,
        root: Path,
        *,
        sample: tuple[int, int] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> VerifyReport:
        """Every receipt against every byte; when each part was checked is remembered in the archive."""

    async def repair(
        self,
        settings: Settings,
        key: Secret,
        broken: VerifyReport,
        *,
        longest_wait_seconds: float | None = None,
        on_start: Callable[[RunView], None] | None = None,
        stopped_with: Sequence[Exit] = (),
    ) -> tuple[VerifyReport, tuple[Problem, ...]]:
        """Fetches again what `broken` names, puts strays aside, and checks it.

        Gives what is broken still, and what could not be had.
        """

    def status(self, root: Path) -> StatusReport:
        """What is held."""

    async def forget(self, root: Path, participant: str, *, dry_run: bool = False) -> ForgetReport:
        """Removes a person for good; `dry_run` only looks."""


class WholeProgram:
    """The program itself."""

    async def sync(  # noqa: PLR0913 - what a run may be told, by name
        self,
        settings: Settings,
        key: Secret,
        experiments: Sequence[ExperimentSettings],
        *,
        full: bool = False,
        longest_wait_seconds: float | None = None,
        state_folder: Path | None = None,
        on_start: Callable[[RunView], None] | None = None,
        stopped_with: Sequence[Exit] = (),
        on_report: Callable[[RunReport], None] | None = None,
    ) -> RunReport:
        from hsmirror.mirror import run

        return await run.sync(
            settings,
            key,
            experiments,
            options=run.RunOptions(
                full=full,
                longest_wait_seconds=longest_wait_seconds,
                state_folder=state_folder,
                stopped_with=stopped_with,
                on_report=on_report,
            ),
            on_start=on_start,
        )

    async def plan(
        self,
        settings: Settings,
        key: Secret,
        experiments: Sequence[ExperimentSettings],
        *,
        full: bool = False,
    ) -> PlanReport:
        from hsmirror.mirror import planning

        return await planning.plan(settings, key, experiments, is_full=full)

    async def diagnose(self, settings: Settings, key: Secret | None) -> tuple[Finding, ...]:
        from hsmirror.mirror import doctor

        return await doctor.diagnose(settings, key)

    def verify(
        self,
        root: Path,
        *,
        sample: tuple[int, int] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> VerifyReport:
        from hsmirror.archive import checks, verify
        from hsmirror.clock import SystemClock

        began_at = SystemClock().epoch()
        report = verify.verify(root, sample=sample, on_progress=on_progress)
        checks.remember_report(root, report, report.broken_count, began_at)
        return report

    async def repair(
        self,
        settings: Settings,
        key: Secret,
        broken: VerifyReport,
        *,
        longest_wait_seconds: float | None = None,
        on_start: Callable[[RunView], None] | None = None,
        stopped_with: Sequence[Exit] = (),
    ) -> tuple[VerifyReport, tuple[Problem, ...]]:
        from anyio import to_thread

        from hsmirror.archive import checks, verify
        from hsmirror.archive.reader import Archive
        from hsmirror.clock import SystemClock
        from hsmirror.mirror import repair
        from hsmirror.mirror.run import RunOptions

        began_at = SystemClock().epoch()
        root, paths = settings.archive.path, broken.broken_paths
        archive = await to_thread.run_sync(Archive.open, root)
        options = RunOptions(longest_wait_seconds=longest_wait_seconds, stopped_with=stopped_with)
        run = await repair.repair(settings, key, archive.receipts, paths, options=options, on_start=on_start)
        await to_thread.run_sync(repair.put_aside, settings, broken.strays)
        # Where receipts were lost, there was more to check than they told of.
        only = None if broken.unvouched else (*paths, *broken.strays)
        left = await to_thread.run_sync(lambda: verify.verify(root, only=only))
        checks.remember_report(root, broken, left.broken_count, began_at)
        return left, run.problems

    def status(self, root: Path) -> StatusReport:
        from hsmirror.archive import status

        return status.status(root)

    async def forget(self, root: Path, participant: str, *, dry_run: bool = False) -> ForgetReport:
        from hsmirror.mirror import forget

        return await forget.forget(root, participant, dry_run=dry_run)
