"""Nights on which the server is not itself: nothing is misfiled, nothing is called complete that is not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from oracle import EXPERIMENT, held_rows, ledger_rows, receipts, state_of_files
from reliability.model_steps import damage
from sync_runs import failing, run_sync, settings_for, type_reports, unlisting

from hsmirror.archive.reader import Archive
from hsmirror.archive.verify import verify
from hsmirror.lab.answers import AnswerOptions, EndpointOptions
from hsmirror.lab.server import LabFaults
from hsmirror.mirror.repair import repair
from hsmirror.mirror.run import RunOptions
from hsmirror.model import Secret

SMALL = {"rooms": 4, "events_per_room": 20, "recordings_per_room": 1}
MANY = {"rooms": 30, "events_per_room": 20, "recordings_per_room": 0, "rows_name_rooms": False}
A_LOT = {"limits.requests_per_minute_per_endpoint": 10_000}


def compared(archive: Path, lab: Any, data_type: str) -> dict[str, int]:
    """Rows that are missing, held too often, and held of no room, whatever room they are filed under."""
    held, true = held_rows(archive, EXPERIMENT, data_type), ledger_rows(lab.source, EXPERIMENT, data_type)
    held_texts = Counter(row for _, row in held.elements())
    true_texts = Counter(row for _, row in true.elements())
    return {
        "missing": (true_texts - held_texts).total(),
        "too often": (held_texts - true_texts).total(),
        "of no room": sum(room is None for room, _ in held.elements()),
    }


ALL_RIGHT = {"missing": 0, "too often": 0, "of no room": 0}


@pytest.mark.parametrize("data_type", ["events", "components"])
async def test_rows_of_a_room_that_cannot_be_read_are_not_filed_under_no_room(start_lab, tmp_path, data_type):
    lab = await start_lab(**MANY)
    bad = lab.source.room_ids(EXPERIMENT)[20]
    troubled = await start_lab(**MANY, faults=LabFaults(api=(failing(f"/data/{data_type}/room/{bad}"),)))
    options: dict[str, Any] = {"data_types": (data_type,), "overrides": A_LOT}
    await run_sync(lab, tmp_path, **options)
    troubled.source.add_rows(EXPERIMENT, bad, data_type, 3)
    report = await run_sync(troubled, tmp_path, days_later=1, **options)
    assert report.exit_status == 3
    assert compared(tmp_path / "archive", troubled, data_type) == ALL_RIGHT | {"missing": 3}
    lab.source.add_rows(EXPERIMENT, bad, data_type, 3)
    report = await run_sync(lab, tmp_path, days_later=2, **options)
    assert report.exit_status == 0
    assert compared(tmp_path / "archive", lab, data_type) == ALL_RIGHT


async def test_a_damaged_shard_of_no_room_is_told_with_what_to_do_and_the_run_goes_on(start_lab, tmp_path):
    nameless = SMALL | {"rows_name_rooms": False}
    unlisted = await start_lab(**nameless, endpoints=EndpointOptions(rooms=False, deployments=False))
    lab = await start_lab(**nameless)
    options: dict[str, Any] = {"data_types": ("chat", "events"), "overrides": A_LOT}
    await run_sync(unlisted, tmp_path, **options)
    (shard,) = receipts(tmp_path / "archive", kind="shard", data_type="chat")
    damage(tmp_path / "archive" / shard["path"], "flipped")
    report = await run_sync(lab, tmp_path, days_later=40, **options)
    assert report.exit_status == 3
    (problem,) = report.problems
    assert (problem.data_type, "verify --repair" in problem.what) == ("chat", True)
    assert compared(tmp_path / "archive", lab, "events") == ALL_RIGHT


async def test_while_rooms_are_not_listed_a_new_rooms_rows_are_not_filed_under_no_room(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    unlisted = await start_lab(**SMALL, endpoints=EndpointOptions(rooms=False, deployments=False))
    options: dict[str, Any] = {"data_types": ("components",), "overrides": A_LOT}
    await run_sync(lab, tmp_path, **options)
    for each in (lab, unlisted):
        each.source.add_room(EXPERIMENT)
    report = await run_sync(unlisted, tmp_path, days_later=1, **options)
    assert report.exit_status == 3
    assert compared(tmp_path / "archive", lab, "components")["of no room"] == 0
    assert (await run_sync(lab, tmp_path, days_later=2, **options)).exit_status == 0
    assert compared(tmp_path / "archive", lab, "components") == ALL_RIGHT


async def test_rows_that_were_held_of_no_room_leave_that_place_when_a_room_has_them(start_lab, tmp_path):
    """A server that lists no rooms at first: what names none is filed under none."""
    unlisted = await start_lab(
        **(SMALL | {"rows_name_rooms": False}), endpoints=EndpointOptions(rooms=False, deployments=False)
    )
    lab = await start_lab(**(SMALL | {"rows_name_rooms": False}))
    options: dict[str, Any] = {"data_types": ("chat",), "overrides": A_LOT}
    await run_sync(unlisted, tmp_path, **options)
    assert compared(tmp_path / "archive", lab, "chat")["of no room"] > 0
    for full in (True, False):
        assert (await run_sync(lab, tmp_path, full=full, days_later=40, **options)).exit_status == 0
        assert compared(tmp_path / "archive", lab, "chat") == ALL_RIGHT


async def test_a_room_that_went_and_one_that_came_do_not_hide_each_other(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    lab.source.remove_room(EXPERIMENT, lab.source.room_ids(EXPERIMENT)[1])
    new = lab.source.add_room(EXPERIMENT)
    assert (await run_sync(lab, tmp_path, days_later=1)).exit_status == 0
    for data_type in ("rooms", "events", "variables", "recordings", "components"):
        assert not ledger_rows(lab.source, EXPERIMENT, data_type) - held_rows(
            tmp_path / "archive", EXPERIMENT, data_type
        )
    assert receipts(tmp_path / "archive", kind="shard", data_type="events", room=new)


async def test_a_newer_type_that_is_not_there_for_a_night_is_told_and_not_forgotten(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    older = await start_lab(**SMALL, endpoints=EndpointOptions(newer_types=False))
    await run_sync(lab, tmp_path)
    report = await run_sync(older, tmp_path, days_later=1)
    assert report.exit_status == 3
    assert {problem.data_type for problem in report.problems} >= {"participants", "eyetracking"}
    lab.source.add_rows(EXPERIMENT, "room_abc123", "eyetracking", 2)
    assert (await run_sync(lab, tmp_path, days_later=2)).exit_status == 0
    assert compared(tmp_path / "archive", lab, "eyetracking") == ALL_RIGHT


async def test_a_night_without_totals_does_not_end_the_probing(start_lab, tmp_path):
    shape = SMALL | {"rows_name_rooms": False}
    lab = await start_lab(**shape)
    mute = await start_lab(**shape, answers=AnswerOptions(pagination="no-total"))
    await run_sync(lab, tmp_path)
    assert (await run_sync(mute, tmp_path, days_later=1)).exit_status == 0
    lab.source.add_rows(EXPERIMENT, "room_abc123", "events", 3)
    assert (await run_sync(lab, tmp_path, days_later=2)).exit_status == 0
    assert compared(tmp_path / "archive", lab, "events") == ALL_RIGHT


async def test_a_clock_that_was_ahead_once_does_not_put_off_what_is_due(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, days_later=3650)
    lab.source.edit_rows(EXPERIMENT, "room_abc123", "events", 1)
    assert (await run_sync(lab, tmp_path, days_later=32)).exit_status == 0
    assert not ledger_rows(lab.source, EXPERIMENT, "events") - held_rows(
        tmp_path / "archive", EXPERIMENT, "events"
    )


async def test_an_unchanged_night_leaves_no_trace_when_all_has_come_to_be_settled(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    before = state_of_files(tmp_path / "archive")
    assert (await run_sync(lab, tmp_path, days_later=3)).exit_status == 0
    assert state_of_files(tmp_path / "archive") == before


async def test_where_no_rooms_are_listed_a_full_run_leaves_their_rows_where_they_are(start_lab, tmp_path):
    nameless = SMALL | {"rows_name_rooms": False}
    lab = await start_lab(**nameless)
    troubled = await start_lab(
        **nameless, faults=LabFaults(api=(unlisting(),)), endpoints=EndpointOptions(deployments=False)
    )
    await run_sync(lab, tmp_path, overrides=A_LOT)
    await run_sync(troubled, tmp_path, overrides=A_LOT, full=True)
    for data_type in ("events", "components", "variables"):
        assert compared(tmp_path / "archive", lab, data_type) == ALL_RIGHT
        of_type = receipts(tmp_path / "archive", kind="shard", data_type=data_type)
        assert not any(receipt.get("gone_rows") for receipt in of_type)


@pytest.mark.parametrize("full", [False, True])
async def test_a_room_that_the_list_of_rooms_lacks_for_a_night_is_not_filed_under_no_room(
    start_lab, tmp_path, full
):
    nameless = SMALL | {"rows_name_rooms": False}
    lab = await start_lab(**nameless)
    hidden = lab.source.room_ids(EXPERIMENT)[1]
    troubled = await start_lab(**nameless, faults=LabFaults(api=(unlisting(hidden),)))
    await run_sync(lab, tmp_path, overrides=A_LOT)
    await run_sync(troubled, tmp_path, overrides=A_LOT, full=full, days_later=1)
    assert compared(tmp_path / "archive", lab, "events") == ALL_RIGHT
    assert compared(tmp_path / "archive", lab, "components") == ALL_RIGHT


async def test_a_server_that_lists_no_rooms_can_be_mirrored_completely_night_after_night(start_lab, tmp_path):
    """Of one room there are no events, and what is only probed for names no room."""
    lab = await start_lab(
        rooms=12,
        events_per_room=20,
        recordings_per_room=1,
        faults=LabFaults(api=(unlisting(),)),
        endpoints=EndpointOptions(deployments=False),
    )
    lab.source.delete_rows(EXPERIMENT, lab.source.room_ids(EXPERIMENT)[3], "events", 20)
    await run_sync(lab, tmp_path, overrides=A_LOT)
    for days in (3, 4, 5):
        lab.source.add_rows(EXPERIMENT, "room_abc123", "events", 2)
        report = await run_sync(lab, tmp_path, overrides=A_LOT, days_later=days)
        assert {each.data_type for each in report.problems} <= {"variables"}
        assert compared(tmp_path / "archive", lab, "events") == ALL_RIGHT


async def test_no_type_is_complete_where_rooms_that_were_not_asked_for_cannot_be_listed(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    troubled = await start_lab(**SMALL, faults=LabFaults(api=(failing("/data/rooms/"),)))
    wanted: dict[str, Any] = {"data_types": ("events", "chat", "sync", "variables"), "overrides": A_LOT}
    await run_sync(lab, tmp_path, **wanted)
    await run_sync(lab, tmp_path, days_later=3, **wanted)
    troubled.source.add_room(EXPERIMENT)
    troubled.source.delete_rows(EXPERIMENT, "room_abc123", "events", 20)
    report = await run_sync(troubled, tmp_path, days_later=4, **wanted)
    for data_type, each in type_reports(report).items():
        assert not each.is_complete or compared(tmp_path / "archive", troubled, data_type)["missing"] == 0
    assert not type_reports(report)["variables"].is_complete


@pytest.mark.parametrize(("how", "is_repair"), [("flipped", True), ("gone", True), ("gone", False)])
async def test_damaged_rows_of_no_room_are_fetched_again(start_lab, tmp_path, how, is_repair):
    nameless = SMALL | {"rows_name_rooms": False}
    hidden = (await start_lab(**nameless)).source.room_ids(EXPERIMENT)[1]
    faults = LabFaults(api=(unlisting(hidden), failing(f"/room/{hidden}")))
    lab = await start_lab(**nameless, faults=faults, endpoints=EndpointOptions(deployments=False))
    wanted: dict[str, Any] = {"data_types": ("rooms", "chat", "events"), "overrides": A_LOT}
    await run_sync(lab, tmp_path, **wanted)
    archive = tmp_path / "archive"
    (shard,) = (
        receipt["path"]
        for receipt in receipts(archive, kind="shard", data_type="events")
        if receipt["room"] is None and receipt["rows"]
    )
    damage(archive / shard, how)
    broken = verify(archive).broken_paths
    assert broken == (shard,)
    if is_repair:
        settings, key = settings_for(lab, tmp_path, A_LOT), Secret(lab.key)
        options = RunOptions(state_folder=tmp_path / "state")
        report = await repair(settings, key, Archive.open(archive).receipts, broken, options=options)
        assert report.exit_status == 0
    else:
        assert (await run_sync(lab, tmp_path, days_later=1, **wanted)).exit_status == 0
    assert verify(archive).is_sound
    assert compared(archive, lab, "events") == ALL_RIGHT | {"of no room": 20}


@pytest.mark.parametrize("lists_rooms", [True, False])
async def test_a_new_room_that_only_other_types_name_is_read_the_same_night(start_lab, tmp_path, lists_rooms):
    """The server has no endpoint that lists rooms, or it lists none."""
    lab = await start_lab(
        **SMALL,
        faults=LabFaults(api=(unlisting(),) if lists_rooms else ()),
        endpoints=EndpointOptions(rooms=lists_rooms, deployments=False),
    )
    await run_sync(lab, tmp_path, overrides=A_LOT)
    await run_sync(lab, tmp_path, overrides=A_LOT, days_later=3)
    lab.source.add_room(EXPERIMENT)
    for days in (4, 5):
        report = await run_sync(lab, tmp_path, overrides=A_LOT, days_later=days)
        for data_type in ("events", "components", "variables"):
            assert compared(tmp_path / "archive", lab, data_type) == ALL_RIGHT
        # That no rooms are listed, where some are held and nothing names them tonight, is a reason to doubt.
        incomplete = {each.data_type for each in report.experiments[0].types if not each.is_complete}
        assert incomplete <= ({"variables"} if lists_rooms else set())
