"""`demo`: the whole of it in some seconds, without a key and without a network."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from hsmirror.cli import signals
from hsmirror.cli.invocation import Injected, Invocation
from hsmirror.errors import Exit, UsageError

if TYPE_CHECKING:
    from hsmirror.lab.server import LabOptions
    from hsmirror.mirror.report import RunReport
    from hsmirror.settings import Settings

DIR = Path("hsmirror-demo")
_NO_LIMIT = 1_000_000_000
_LOOPBACK = "127.0.0.1"


def demo(
    *,
    dir: Annotated[Path, Parameter(show_default=True, help="Where the archive goes.")] = DIR,  # noqa: A002 - its option
    rooms: Annotated[int, Parameter(show_default=True, help="Rooms of the made-up experiment.")] = 6,
    invocation: Injected,
) -> int:
    """Mirror a made-up lab on this machine and show what came out; no key, no network."""
    from hsmirror.cli import tour

    root = invocation.surroundings.cwd / dir.expanduser()
    _refuse_real_archive(invocation, root)
    output = invocation.output
    output.say("Starting a made-up lab on this machine; mirroring and verifying it …")
    report = signals.run(lambda: _mirror(invocation, root, _options(rooms)))
    checked = invocation.program.verify(root)
    if output.is_json:
        output.document({"archive": str(root), "run": report, "verify": checked})
    else:
        tour.show_tour(output, root, Path(os.path.relpath(root, invocation.surroundings.cwd)), report, checked)
    return report.exit_status or (Exit.COMPLETE if checked.is_sound else Exit.DAMAGED)


def _refuse_real_archive(invocation: Invocation, root: Path) -> None:
    """Made-up rows have no place among real ones."""
    if not (root / "archive.json").exists():
        return
    if urlsplit(invocation.program.status(root).upstream).hostname != _LOOPBACK:
        raise UsageError(f"{root} holds an archive that no demo made: give another folder with --dir")


def _options(rooms: int) -> LabOptions:
    from hsmirror.lab.server import LabOptions
    from hsmirror.lab.shape import LabShape
    from hsmirror.lab.storage import StorageOptions

    # Minted addresses: rows that hold addresses would change with the lab's port from one demo to the next.
    return LabOptions(
        shape=LabShape(rooms=rooms, participants=3), limits=None, storage=StorageOptions(addresses="minted")
    )


async def _mirror(invocation: Invocation, root: Path, options: LabOptions) -> RunReport:
    from hsmirror.lab.server import running_lab
    from hsmirror.model import Secret

    with tempfile.TemporaryDirectory(prefix="hsmirror-demo-") as folder:
        async with running_lab(options, files_dir=Path(folder) / "recordings") as lab:
            settings = _settings(lab.base_url, root)
            return await invocation.program.sync(
                settings, Secret(lab.key), settings.experiments, state_folder=Path(folder) / "state"
            )


def _settings(base_url: str, root: Path) -> Settings:
    """Its own, whatever the user's configuration says; without limits, as the lab has none."""
    from hsmirror.settings import ApiSettings, ArchiveSettings, ExperimentSettings, LimitSettings, Settings

    return Settings(
        api=ApiSettings(base_url=base_url),
        limits=LimitSettings(requests_per_hour=_NO_LIMIT, requests_per_minute_per_endpoint=_NO_LIMIT),
        archive=ArchiveSettings(path=root),
        experiments=(ExperimentSettings(id="*"),),
    )
