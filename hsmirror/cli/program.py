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
    from hsmirror.mirror.planning import PlanReport
    from hsmirror.mirror.report import RunReport
    from hsmirror.mirror.view import RunView
    from hsmirror.model import Secret
    from hsmirror.settings import ExperimentSettings, Settings


class Program(Protocol):
    """The program behind the command line."""

    async def sync(
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
    ) -> RunReport:
        """Brings the archive up to date.

        `longest_wait_seconds` None waits for the limits as long as it takes; `state_folder` None shares their
        budget with the user's other runs.
        """

    async def plan(
        self, settings: Settings, key: Secret, experiments: Sequence[ExperimentSettings]
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
        """Every receipt against every byte."""

    def status(self, root: Path) -> StatusReport:
        """What is held."""


class WholeProgram:
    """The program itself."""

    async def sync(
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
    ) -> RunReport:
        from hsmirror.mirror import run

        return await run.sync(
            settings,
            key,
            experiments,
            options=run.RunOptions(full, longest_wait_seconds, state_folder, stopped_with),
            on_start=on_start,
        )

    async def plan(
        self, settings: Settings, key: Secret, experiments: Sequence[ExperimentSettings]
    ) -> PlanReport:
        from hsmirror.mirror import planning

        return await planning.plan(settings, key, experiments)

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
        from hsmirror.archive import verify

        return verify.verify(root, sample=sample, on_progress=on_progress)

    def status(self, root: Path) -> StatusReport:
        from hsmirror.archive import status

        return status.status(root)
