"""What is damaged is fetched again, and nothing else; what it replaces is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oracle import EXPERIMENT, differences, held_rows, ledger_rows, shards
from sync_runs import failing, run_sync, settings_for

from hsmirror.archive.reader import Archive
from hsmirror.archive.verify import VerifyReport, verify
from hsmirror.lab.answers import EndpointOptions
from hsmirror.lab.server import LabFaults
from hsmirror.mirror.repair import repair
from hsmirror.mirror.run import RunOptions
from hsmirror.model import Secret

SMALL = {"rooms": 3, "events_per_room": 20, "recordings_per_room": 1}


def flip_a_bit(path: Path) -> bytes:
    """Bit rot: the size stays. Gives what was there before."""
    before = path.read_bytes()
    at = len(before) // 2
    path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    return before


async def run_repair(lab: Any, folder: Path, **overrides: Any) -> VerifyReport:
    """Repairs all that `verify` finds broken; what it finds afterwards."""
    archive = folder / "archive"
    broken = verify(archive)
    assert not broken.is_sound
    await repair(
        settings_for(lab, folder, overrides),
        Secret(lab.key),
        Archive.open(archive).receipts,
        broken.broken_paths,
        options=RunOptions(state_folder=folder / "state"),
    )
    return verify(archive)


@pytest.mark.parametrize("compression", ["gzip", "none", "zstd"])
async def test_a_shard_with_a_flipped_bit_comes_back_as_it_was(start_lab, tmp_path, compression):
    lab = await start_lab(**SMALL)
    overrides = {"archive.compression": compression}
    await run_sync(lab, tmp_path, overrides=overrides)
    archive = tmp_path / "archive"
    broken = next(path for path in archive.rglob("part-*") if "data_type=events" in str(path))
    before = flip_a_bit(broken)
    damaged = broken.read_bytes()
    assert (await run_repair(lab, tmp_path, **overrides)).is_sound
    assert broken.read_bytes() == before
    assert damaged in [path.read_bytes() for path in (archive / ".hsmirror/superseded").rglob("*.superseded")]
    if compression == "gzip":
        assert differences(archive, lab.source) == {}


@pytest.mark.parametrize("pattern", ["files/*/*", "experiment.json", "data_type=variables/*/metadata.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink])
async def test_so_do_files_and_documents(start_lab, tmp_path, pattern, damage):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    broken = next(iter((tmp_path / "archive").glob(f"*/{pattern}")))
    before = broken.read_bytes()
    damage(broken)
    assert (await run_repair(lab, tmp_path)).is_sound
    assert broken.read_bytes() == before


@pytest.mark.parametrize("data_type", ["rooms", "agent-runs"])
async def test_so_do_shards_of_types_that_have_no_lists_of_single_rooms(start_lab, tmp_path, data_type):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    flip_a_bit(shards(tmp_path / "archive", EXPERIMENT, data_type)[0])
    assert (await run_repair(lab, tmp_path)).is_sound


async def test_only_what_is_damaged_is_asked_for(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    flip_a_bit(shards(tmp_path / "archive", EXPERIMENT, "chat")[1])
    lab.source.add_rows(EXPERIMENT, "room_abc123", "events", 3)
    requests = len(lab.requests)
    await run_repair(lab, tmp_path)
    (asked,) = (request.target for request in lab.requests[requests:])
    assert "/data/chat/room/" in asked
    # The next night goes on as if nothing had been.
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_many_damaged_shards_of_a_short_list_come_with_the_whole_list_in_one_request(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    for broken in shards(tmp_path / "archive", EXPERIMENT, "chat"):
        flip_a_bit(broken)
    requests = len(lab.requests)
    assert (await run_repair(lab, tmp_path)).is_sound
    (asked,) = (request.target for request in lab.requests[requests:])
    assert "/data/chat/experiment/" in asked
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_of_a_damaged_shard_no_row_is_taken_that_is_not_proven_sound(start_lab, tmp_path):
    """Rows that are gone upstream are then only in the damaged file, which is kept; the run says so."""
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    lab.source.delete_rows(EXPERIMENT, "room_abc123", "events", 4)
    await run_sync(lab, tmp_path)
    (broken,) = (path for path in shards(archive, EXPERIMENT, "events") if "room_abc123" in str(path))
    flip_a_bit(broken)
    damaged = broken.read_bytes()
    assert (await run_repair(lab, tmp_path)).is_sound
    assert held_rows(archive, EXPERIMENT, "events") == ledger_rows(lab.source, EXPERIMENT, "events")
    assert damaged in [path.read_bytes() for path in (archive / ".hsmirror/superseded").rglob("*.superseded")]
    report = max((archive / ".hsmirror" / "runs").glob("*.json")).read_text()
    assert "20 of its 20 rows (of room room_abc123) may be lost, at least 4 of them for sure" in report


async def test_what_the_upstream_no_longer_has_stays_damaged_and_is_said_to_be(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    (broken,) = (tmp_path / "archive").glob("*/files/room_id=room_abc123/*.mp4")
    flip_a_bit(broken)
    lab.source.delete_rows(EXPERIMENT, "room_abc123", "recordings", 1)
    report = await run_repair(lab, tmp_path)
    assert report.broken_paths == (broken.relative_to(tmp_path / "archive").as_posix(),)


async def test_a_room_that_nobody_can_tell_of_does_not_keep_the_others_from_being_repaired(start_lab, tmp_path):
    nameless = SMALL | {"rows_name_rooms": False}
    lab = await start_lab(**nameless)
    unlisted = failing("/deployments", "/data/rooms/")
    troubled = await start_lab(**nameless, faults=LabFaults(api=(unlisted,)))
    await run_sync(lab, tmp_path)
    folder = tmp_path / "archive" / f"experiment_id={EXPERIMENT}"
    vanished, *others = sorted(folder.glob("data_type=events/*/*.gz"))
    for shard in (vanished, *others, *folder.glob("data_type=chat/*/*.gz")):
        flip_a_bit(shard)
    troubled.source.remove_room(EXPERIMENT, vanished.parent.name.removeprefix("room_id="))
    report = await run_repair(troubled, tmp_path)
    assert {Path(path).parent.name for path in report.broken_paths} == {vanished.parent.name}


async def test_a_repair_says_so_where_it_could_not_read_again_what_is_damaged(start_lab, tmp_path):
    """All of the room is gone already, and nobody can tell tonight whether the room is."""
    lab = await start_lab(**SMALL)
    troubled = await start_lab(**SMALL, endpoints=EndpointOptions(rooms=False, deployments=False))
    await run_sync(lab, tmp_path)
    for each in (lab, troubled):
        each.source.remove_room(EXPERIMENT, "room_abc123")
    await run_sync(lab, tmp_path, full=True)
    archive = tmp_path / "archive"
    (shard,) = archive.glob("*/data_type=variables/room_id=room_abc123/*.gz")
    flip_a_bit(shard)
    report = await repair(
        settings_for(troubled, tmp_path, {}),
        Secret(troubled.key),
        Archive.open(archive).receipts,
        verify(archive).broken_paths,
        options=RunOptions(state_folder=tmp_path / "state"),
    )
    assert report.exit_status == 3
    assert [each.data_type for each in report.problems] == ["variables"]
