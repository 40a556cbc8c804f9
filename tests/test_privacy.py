"""Participants' data stay private: modes under any umask, links not written through, names escaped."""

from __future__ import annotations

import gzip
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from oracle import EXPERIMENT
from sync_runs import run_sync

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import ListReceipt, PendingReceipt, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.archive.shards import Form
from hsmirror.archive.spool import Spool
from hsmirror.archive.verify import verify
from hsmirror.cli.main import main
from hsmirror.errors import StorageError
from hsmirror.mirror.files import PartialFile, PartialNote
from hsmirror.mirror.write import Staging

SMALL = {"rooms": 2, "events_per_room": 10, "recordings_per_room": 1}
HOSTILE_NAMES = ["\x1b]0;owned\x07", "\x9b31mred", "\u202egnp.exe", "a\r\nb", "\u2028", "\x00"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permission bits are POSIX's")


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    """So that what is private is so by our doing."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes_below(folder: Path) -> dict[str, int]:
    """Permission bits of all that is there, the folder itself included, by path."""
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def require_modes(folder: Path, *, folders: int, files: int) -> None:
    wrong = {
        name: oct(mode)
        for name, mode in modes_below(folder).items()
        if mode != (folders if (folder / name).is_dir() else files)
    }
    assert wrong == {}


async def synced_twice(start_lab, tmp_path: Path, overrides: dict[str, object] | None = None) -> Path:
    """An archive in which a second run has replaced what a first one left: there is all there can be."""
    archive = tmp_path / "archive"
    first = await start_lab(**SMALL)
    assert (await run_sync(first, tmp_path, overrides=overrides)).exit_status == 0
    second = await start_lab(**SMALL | {"events_per_room": 12})
    await run_sync(second, tmp_path, overrides=overrides, full=True)
    names = modes_below(archive)
    for place in (
        "SHA256SUMS",
        "archive.json",
        ".hsmirror/lock",
        ".hsmirror/runs",
        f"experiment_id={EXPERIMENT}/files",
    ):
        assert place in names, f"without {place} this shows less than it should"
    assert any(name.endswith(".superseded") for name in names)
    assert any(name.startswith("receipts/") for name in names)
    return archive


# --- modes ------------------------------------------------------------------------------------------------
async def test_fault_63_all_that_a_run_makes_is_private_under_any_umask(start_lab, tmp_path: Path) -> None:
    """Receipts, sums, reports, lock, older generations and the budget included."""
    archive = await synced_twice(start_lab, tmp_path)
    require_modes(archive, folders=0o700, files=0o600)
    require_modes(tmp_path / "state", folders=0o700, files=0o600)


def test_fault_63_what_is_staged_is_private_while_it_grows(tmp_path: Path) -> None:
    """Shards in pieces, rows that were spilled, recording files with their notes."""
    layout = Layout(tmp_path / "archive")
    staging = Staging(layout.root, layout.staging_of("run"), Form(), Modes())
    builder = staging.builder()
    builder.add(b"1\n" * (1 << 20))
    builder.flush()
    builder.add(b"2\n")
    builder.spill(Spool(staging.new_path()))
    partial = PartialFile(layout, "experiment_id=e/files/room_id=r/rec.mp4", Modes())
    partial.open("bucket/rec.mp4")
    partial.describe(PartialNote("bucket/rec.mp4", None, None))
    partial.append(b"0123456789")
    partial.keep()
    assert len([path for path in layout.staging.rglob("*") if path.is_file()]) == 4
    require_modes(layout.root, folders=0o700, files=0o600)


async def test_archive_mode_widens_what_is_shared_and_nothing_else(start_lab, tmp_path: Path) -> None:
    """As documented: folders as it says, files the same without the x; the user's own budget stays private."""
    archive = await synced_twice(start_lab, tmp_path, {"archive.mode": "0750"})
    require_modes(archive, folders=0o750, files=0o640)
    require_modes(tmp_path / "state", folders=0o700, files=0o600)


async def test_a_narrow_umask_does_not_narrow_what_is_to_be_shared(start_lab, tmp_path: Path) -> None:
    os.umask(0o077)
    archive = await synced_twice(start_lab, tmp_path, {"archive.mode": "2770"})
    shared = {name: mode for name, mode in modes_below(archive).items() if name != "."}
    assert {mode for name, mode in shared.items() if (archive / name).is_dir()} == {0o2770}
    assert {mode for name, mode in shared.items() if not (archive / name).is_dir()} == {0o660}


# --- planted links ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "place",
    [
        f"experiment_id={EXPERIMENT}",
        f"experiment_id={EXPERIMENT}/data_type=events",
        f"experiment_id={EXPERIMENT}/files",
        "receipts",
        ".hsmirror/runs",
        ".hsmirror/staging",
        ".hsmirror/superseded",
    ],
)
async def test_fault_64_nothing_is_written_through_a_linked_folder(
    start_lab, tmp_path: Path, place: str
) -> None:
    archive, outside = tmp_path / "archive", tmp_path / "outside"
    (outside / "keepsake").mkdir(parents=True)
    await run_sync(await start_lab(**SMALL), tmp_path)
    planted = archive / place
    if planted.is_dir():
        planted.rename(tmp_path / "moved away")
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(outside)
    with pytest.raises(StorageError, match=r"link|not a folder"):
        await run_sync(await start_lab(**SMALL | {"events_per_room": 12}), tmp_path, full=True)
    assert [path.name for path in outside.rglob("*")] == ["keepsake"]


@pytest.mark.parametrize("place", ["SHA256SUMS", "SHA256SUMS.staged", "archive.json.staged", ".hsmirror/lock"])
async def test_fault_64_nothing_is_written_through_a_linked_file(start_lab, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"somebody else's")
    await run_sync(await start_lab(**SMALL), tmp_path)
    planted = tmp_path / "archive" / place
    planted.unlink(missing_ok=True)
    planted.symlink_to(outside)
    with suppress(StorageError):  # to refuse is right, too
        await run_sync(await start_lab(**SMALL | {"events_per_room": 12}), tmp_path, full=True)
    assert outside.read_bytes() == b"somebody else's"


async def test_fault_64_a_linked_shard_is_replaced_and_not_written_through(start_lab, tmp_path: Path) -> None:
    outside = tmp_path / "outside.gz"
    outside.write_bytes(gzip.compress(b'{"id":"somebody else\'s"}\n'))
    before = outside.read_bytes()
    await run_sync(await start_lab(**SMALL), tmp_path)
    shard = min((tmp_path / "archive").glob("*/data_type=events/*/*.gz"))
    shard.unlink()
    shard.symlink_to(outside)
    report = await run_sync(await start_lab(**SMALL), tmp_path, full=True)
    assert report.exit_status == 0
    assert not shard.is_symlink()
    assert outside.read_bytes() == before
    assert verify(tmp_path / "archive").is_sound


# --- names on the terminal --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("command", ["status", "verify"])
async def test_fault_65_hostile_names_reach_no_terminal_as_they_are(
    start_lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    """Names come from the server and from receipts; each is shown escaped, whatever the command."""
    await run_sync(await start_lab(**SMALL), tmp_path)
    archive = tmp_path / "archive"
    receipts = Receipts(Layout(archive), Modes(), "20990101T000000Z-ffff")
    path = "experiment_id=x/data_type=events/room_id=x/part-00000.ndjson.gz"
    receipts.append(
        [
            ShardReceipt(path=path, experiment=name, data_type="events", room=name, rows=1, sha256="0" * 64),
            ListReceipt(experiment=name, data_type="events", is_complete=False, why=name),
            PendingReceipt(
                path="experiment_id=x/files/room_id=x/a.mp4",
                experiment=name,
                room=name,
                recording_id=name,
                why=name,
                is_failure=True,
            ),
        ]
    )
    (archive / f"experiment_id={EXPERIMENT}" / "experiment.json").write_text(json.dumps({"name": name}))
    if "\x00" not in name and "/" not in name:
        (archive / f"stray {name}").write_bytes(b"")
    capsys.readouterr()
    main([command, str(archive)])
    shown = capsys.readouterr()
    for line in (*shown.out.split("\n"), *shown.err.split("\n")):
        assert line.isprintable(), f"{command} shows {line!r}"
    assert shown.out or shown.err


async def test_fault_65_a_hostile_data_type_reaches_no_terminal_as_it_is(
    start_lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await run_sync(await start_lab(**SMALL), tmp_path)
    receipts = Receipts(Layout(tmp_path / "archive"), Modes(), "20990101T000000Z-ffff")
    receipts.append([ListReceipt(experiment=EXPERIMENT, data_type="\x1b[2J")])
    capsys.readouterr()
    main(["status", str(tmp_path / "archive")])
    assert "\x1b" not in capsys.readouterr().out
