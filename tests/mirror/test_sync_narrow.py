"""Narrow runs: just what was asked for comes, is claimed for just that, and spoils nothing wider."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from oracle import (
    DOCUMENTED,
    EXPERIMENT,
    Rows,
    differences,
    held_files,
    held_rows,
    ledger_rows,
    receipts,
    state_of_files,
)
from sync_runs import run_sync, the_experiment, type_reports

from hsmirror.lab.answers import EndpointOptions

SMALL = {"rooms": 4, "events_per_room": 20, "recordings_per_room": 1}
ROOM, PERSON = "room_abc123", "user_xyz789"
# The first room starts at 14:30 on this day and runs for 15 minutes or more.
START, END = "2024-10-20T14:32:00Z", "2024-10-20T14:40:00Z"
TIMED = ("events", "chat", "ratings/continuous", "ratings/sparse", "sync", "videochat")


def only(rows: Rows, **fields: Any) -> Rows:
    """The rows whose fields have these values."""

    def fits(row: bytes) -> bool:
        parsed = json.loads(row)
        return all(parsed.get(name) == value for name, value in fields.items())

    return Counter({key: count for key, count in rows.items() if fits(key[1])})


def within(rows: Rows) -> Rows:
    return Counter(
        {
            key: count
            for key, count in rows.items()
            if START[:-1] <= json.loads(key[1])["timestamp"].removesuffix("Z") < END[:-1]
        }
    )


def in_room(rows: Rows, room: str) -> Rows:
    return Counter({key: count for key, count in rows.items() if key[0] == room})


# --- a room ------------------------------------------------------------------------------------------
async def test_of_a_room_just_its_rows_and_files_come(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    report = await run_sync(lab, tmp_path, rooms=(ROOM,))
    assert (report.exit_status, report.problems) == (0, ())
    archive = tmp_path / "archive"
    for data_type in (*DOCUMENTED, "participants", "videochat", "eyetracking", "variables"):
        expected = in_room(ledger_rows(lab.source, EXPERIMENT, data_type), ROOM)
        assert held_rows(archive, EXPERIMENT, data_type) == expected, data_type
    assert {room for room, _, _ in held_files(archive, EXPERIMENT)} == {ROOM}
    shard_receipts = receipts(archive, kind="shard")
    assert shard_receipts
    assert all(each["room"] == ROOM and each["complete_for"] == [{}] for each in shard_receipts)
    assert receipts(archive, kind="list") == []  # nothing is said of the experiment as a whole


async def test_a_room_after_the_whole_changes_nothing(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    before = state_of_files(tmp_path / "archive")
    report = await run_sync(lab, tmp_path, rooms=(ROOM,))
    assert report.exit_status == 0
    assert state_of_files(tmp_path / "archive") == before


# --- a time range ------------------------------------------------------------------------------------
async def test_of_a_time_range_just_its_rows_come_and_are_claimed(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    report = await run_sync(lab, tmp_path, start_time=START, end_time=END, data_types=TIMED)
    assert (report.exit_status, report.problems) == (0, ())
    archive = tmp_path / "archive"
    for data_type in TIMED:
        expected = within(ledger_rows(lab.source, EXPERIMENT, data_type))
        assert held_rows(archive, EXPERIMENT, data_type) == expected, data_type
    assert held_rows(archive, EXPERIMENT, "events")
    claims = [each["complete_for"] for each in receipts(archive, kind="shard")]
    assert claims
    assert all(claim == [{"start": START, "end": END}] for claim in claims)
    assert receipts(archive, kind="list") == []


async def test_types_that_know_no_time_range_are_read_whole(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, start_time=START, end_time=END, data_types=("components", "recordings"))
    archive = tmp_path / "archive"
    for data_type in ("components", "recordings"):
        assert held_rows(archive, EXPERIMENT, data_type) == ledger_rows(lab.source, EXPERIMENT, data_type)
    assert all(each["complete_for"] == [{}] for each in receipts(archive, kind="shard"))


async def test_the_files_of_a_time_range_are_those_that_started_in_it(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    report = await run_sync(
        lab, tmp_path, start_time="2024-10-20T14:30:00Z", end_time=END, data_types=("recordings",)
    )
    assert report.exit_status == 0
    assert {room for room, _, _ in held_files(tmp_path / "archive", EXPERIMENT)} == {ROOM}


async def test_a_time_range_after_the_whole_changes_nothing(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    before = state_of_files(tmp_path / "archive")
    report = await run_sync(lab, tmp_path, start_time=START, end_time=END)
    assert report.exit_status == 0
    assert state_of_files(tmp_path / "archive") == before


async def test_two_time_ranges_join_and_neither_passes_for_the_whole(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    archive, events = tmp_path / "archive", {"data_types": ("events",)}
    await run_sync(lab, tmp_path, end_time=START, **events)
    await run_sync(lab, tmp_path, start_time=START, end_time=END, **events)
    rows = held_rows(archive, EXPERIMENT, "events")
    before_end = [
        key for key in ledger_rows(lab.source, EXPERIMENT, "events") if json.loads(key[1])["timestamp"] < END
    ]
    assert sorted(rows.elements()) == sorted(before_end)
    (receipt,) = receipts(archive, kind="shard", data_type="events", room=ROOM)
    assert {} not in receipt["complete_for"]
    assert len(receipt["complete_for"]) == 2


# --- a participant -----------------------------------------------------------------------------------
@pytest.mark.parametrize("endpoints", [EndpointOptions(), EndpointOptions(newer_types=False)])
async def test_of_a_participant_just_their_rows_come(start_lab, tmp_path, endpoints):
    lab = await start_lab(endpoints=endpoints, **SMALL)
    report = await run_sync(lab, tmp_path, participants=(PERSON,))
    assert (report.exit_status, report.problems) == (0, ())
    archive = tmp_path / "archive"
    for data_type, field in (("events", "participantId"), ("chat", "senderId"), ("sync", "participantId")):
        expected = only(ledger_rows(lab.source, EXPERIMENT, data_type), **{field: PERSON})
        assert held_rows(archive, EXPERIMENT, data_type) == expected, data_type
    assert only(held_rows(archive, EXPERIMENT, "recordings"), participantId=PERSON) == held_rows(
        archive, EXPERIMENT, "recordings"
    )
    claims = [each["complete_for"] for each in receipts(archive, kind="shard")]
    assert claims
    assert all(claim == [{"participant": PERSON}] for claim in claims)
    assert type_reports(report)["events"].rows == held_rows(archive, EXPERIMENT, "events").total()


async def test_someone_who_came_back_is_found_in_every_room(start_lab, tmp_path):
    """The second room of the lab's experiments has a participant of the first one."""
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, participants=(PERSON,), data_types=("events",))
    rooms = {room for room, _ in held_rows(tmp_path / "archive", EXPERIMENT, "events")}
    assert rooms == set(lab.source.room_ids(EXPERIMENT)[:2])


async def test_of_a_participant_in_one_room_the_other_room_does_not_come(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, participants=(PERSON,), rooms=(ROOM,), data_types=("events",))
    assert {room for room, _ in held_rows(tmp_path / "archive", EXPERIMENT, "events")} == {ROOM}


async def test_a_participant_after_the_whole_changes_nothing(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    before = state_of_files(tmp_path / "archive")
    report = await run_sync(lab, tmp_path, participants=(PERSON,))
    assert report.exit_status == 0
    assert state_of_files(tmp_path / "archive") == before


# --- the whole afterwards ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "narrowing",
    [
        {"rooms": (ROOM,)},
        {"start_time": START, "end_time": END},
        {"participants": (PERSON,)},
        {"data_types": ("events", "recordings"), "files": False},
    ],
    ids=["room", "time range", "participant", "types"],
)
async def test_the_whole_after_a_part_is_whole(start_lab, tmp_path, narrowing):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, **narrowing)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    archive = tmp_path / "archive"
    assert differences(archive, lab.source) == {}
    assert all(each["complete_for"] == [{}] for each in receipts(archive, kind="shard"))
    before = state_of_files(archive)
    await run_sync(lab, tmp_path)
    assert state_of_files(archive) == before


async def test_rows_that_came_late_reach_a_narrow_run_and_cost_nothing_that_is_held(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    lab.source.add_rows(EXPERIMENT, ROOM, "events", 30)
    report = await run_sync(lab, tmp_path, start_time=START, end_time=END, data_types=("events",))
    assert report.exit_status == 0
    held = held_rows(tmp_path / "archive", EXPERIMENT, "events")
    ledger = ledger_rows(lab.source, EXPERIMENT, "events")
    assert within(held) == within(ledger)
    assert held.total() > 80
    (receipt,) = receipts(tmp_path / "archive", kind="shard", data_type="events", room=ROOM)
    assert receipt.get("gone_rows", 0) == 0


async def test_one_data_type_alone_leaves_the_others_out(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    report = await run_sync(lab, tmp_path, data_types=("ratings/sparse",))
    assert [each.data_type for each in the_experiment(report).types] == ["ratings/sparse"]
    missing = set(differences(tmp_path / "archive", lab.source))
    assert "ratings/sparse" not in missing
    assert "events" in missing
