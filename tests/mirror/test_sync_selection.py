"""What a selection must not do: spoil what comes later, file rows elsewhere, pass for the whole."""

from __future__ import annotations

from oracle import EXPERIMENT, differences, receipts
from sync_runs import run_sync, type_reports

from hsmirror.archive.status import status
from hsmirror.lab.keys import LabKey
from hsmirror.lab.server import EndpointOptions

SMALL = {"rooms": 3, "events_per_room": 10, "recordings_per_room": 0}


async def test_a_mistyped_room_switches_nothing_off_for_later_runs(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    report = await run_sync(lab, tmp_path, rooms=("room_typo",))
    assert report.exit_status == 3
    assert receipts(tmp_path / "archive", kind="absent") == []
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_a_room_is_filed_under_its_own_experiment_alone(start_lab, tmp_path):
    lab = await start_lab(experiments=3, **SMALL)
    report = await run_sync(lab, tmp_path, *lab.source.experiment_ids(), rooms=("room_abc123",))
    assert report.exit_status == 0
    shards = receipts(tmp_path / "archive", kind="shard")
    assert {each["experiment"] for each in shards} == {EXPERIMENT}


async def test_a_participant_need_not_be_in_every_experiment(start_lab, tmp_path):
    lab = await start_lab(experiments=2, **SMALL)
    selection = {"participants": ("user_xyz789",)}
    assert (await run_sync(lab, tmp_path, *lab.source.experiment_ids(), **selection)).exit_status == 0


async def test_a_narrowed_archive_is_not_called_complete(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, start_time="2024-10-20T14:30:00Z")
    (experiment,) = status(tmp_path / "archive").experiments
    chat = next(each for each in experiment.types if each.data_type == "events")
    assert not chat.is_complete
    await run_sync(lab, tmp_path)
    assert all(each.is_complete for each in status(tmp_path / "archive").experiments)


async def test_where_nothing_tells_the_rooms_of_a_participant_that_is_said(start_lab, tmp_path):
    endpoints = EndpointOptions(rooms=False, newer_types=False, experiments=False, deployments=False)
    lab = await start_lab(endpoints=endpoints, **SMALL)
    report = await run_sync(lab, tmp_path, participants=("user_xyz789",))
    assert report.exit_status == 3
    assert "name the rooms" in report.problems[0].what


async def test_a_scope_that_one_key_lacks_is_tried_again_with_another(start_lab, tmp_path):
    lacking = LabKey("hst_test_" + "a" * 64, scopes=frozenset({"read:chat", "read:ratings"}))
    whole = LabKey("hst_test_" + "b" * 64)
    lab = await start_lab(keys=(lacking, whole), **SMALL)
    assert (await run_sync(lab, tmp_path, key=lacking.text)).exit_status == 3
    report = await run_sync(lab, tmp_path, key=whole.text)
    assert report.exit_status == 0
    assert "participants" in type_reports(report)
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_fault_46_a_shard_that_was_cut_short_is_made_whole_again(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    shard = next((tmp_path / "archive").glob("*/data_type=events/*/part-00000.ndjson.gz"))
    shard.write_bytes(shard.read_bytes()[:-20])
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 0
    assert any(shard.parent.name in note for note in report.notes)
    assert differences(tmp_path / "archive", lab.source) == {}
