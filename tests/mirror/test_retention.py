from __future__ import annotations

from pathlib import Path

import pytest
from conftest import StartLab
from sync_runs import run_sync

from hsmirror.archive.layout import Layout
from hsmirror.errors import HsmirrorError

OLD = "20200101T020000Z-00aa"


@pytest.fixture
def superseded(tmp_path: Path) -> Path:
    """A version that was replaced years ago, put aside in an archive once there is one."""
    return Layout(tmp_path / "archive").superseded_path(OLD, "experiment_id=e/experiment.json")


def put_aside(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("{}")


async def test_unless_configured_versions_that_were_replaced_stay_for_ever(
    start_lab: StartLab, tmp_path: Path, superseded: Path
) -> None:
    lab = await start_lab(rooms=1)
    await run_sync(lab, tmp_path)
    put_aside(superseded)

    await run_sync(lab, tmp_path)

    assert superseded.exists()


async def test_a_complete_run_drops_versions_that_were_replaced_long_ago(
    start_lab: StartLab, tmp_path: Path, superseded: Path
) -> None:
    lab = await start_lab(rooms=1)
    await run_sync(lab, tmp_path)
    put_aside(superseded)

    report = await run_sync(lab, tmp_path, overrides={"archive.keep_superseded": "180d"})

    assert report.is_complete
    assert not Layout(tmp_path / "archive").superseded.joinpath(OLD).exists()


async def test_a_run_that_was_not_complete_drops_nothing(
    start_lab: StartLab, tmp_path: Path, superseded: Path
) -> None:
    lab = await start_lab(rooms=1)
    await run_sync(lab, tmp_path)
    put_aside(superseded)

    with pytest.raises(HsmirrorError):
        await run_sync(lab, tmp_path, key="wrong", overrides={"archive.keep_superseded": "180d"})

    assert superseded.exists()
