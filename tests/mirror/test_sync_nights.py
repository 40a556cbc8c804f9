"""Nights after the first: what is settled is not read again, and what has moved is found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from oracle import EXPERIMENT, differences, held_rows, receipts, shards, state_of_files
from sync_runs import run_sync, the_experiment, type_reports

from hsmirror.lab.answers import AnswerOptions, EndpointOptions
from hsmirror.lab.storage import StorageOptions

SMALL = {"rooms": 3, "events_per_room": 20, "recordings_per_room": 1}
MANY = {"rooms": 24, "events_per_room": 60, "recordings_per_room": 1, "answers": AnswerOptions(page_cap=200)}
ROOM = "room_abc123"


def asked(lab: Any, since: int = 0) -> Counter[str]:
    """Requests by data type and scope, such as `events/room`; others by their first part."""
    counts: Counter[str] = Counter()
    for request in lab.requests[since:]:
        if request.site == "api":
            parts = request.target.removeprefix("/api/v3/").split("?")[0].split("/")
            counts["/".join(parts[1:-1]) if parts[0] == "data" else parts[0]] += 1
    return counts


def by_type(counts: Counter[str]) -> dict[str, int]:
    types: Counter[str] = Counter()
    for what, count in counts.items():
        types[what.rpartition("/")[0] or what] += count
    return types


# --- unchanged nights --------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [{}, {"rows_name_rooms": False}, {"room_field": "newer"}])
async def test_an_unchanged_night_costs_a_request_a_data_type_however_many_rooms_there_are(
    start_lab, tmp_path, shape
):
    lab = await start_lab(**MANY, **shape)
    await run_sync(lab, tmp_path)
    before, requests = state_of_files(tmp_path / "archive"), len(lab.requests)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 0
    assert state_of_files(tmp_path / "archive") == before
    counts = by_type(asked(lab, requests))
    assert counts.pop("experiments") == 3
    assert "variables" not in counts
    assert set(counts.values()) == {1}


async def test_nor_does_it_cost_more_where_the_server_tells_rooms_only_by_its_deployments(start_lab, tmp_path):
    lab = await start_lab(**MANY, endpoints=EndpointOptions(rooms=False))
    await run_sync(lab, tmp_path)
    requests = len(lab.requests)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert max(count for what, count in by_type(asked(lab, requests)).items() if what != "deployments") <= 3


async def test_the_report_counts_what_is_held_as_if_it_had_been_read(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    first, second = await run_sync(lab, tmp_path), await run_sync(lab, tmp_path)
    assert (the_experiment(first).files, the_experiment(second).files) == (3, 3)
    for name, report in type_reports(first).items():
        again = type_reports(second)[name]
        assert (again.rows, again.rooms, again.is_complete) == (report.rows, report.rooms, True)


# --- what has moved ----------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [{}, {"rows_name_rooms": False}], ids=["whole list", "room by room"])
@pytest.mark.parametrize("room_number", [0, 11, 23])
async def test_fault_55_late_rows_of_a_settled_room_are_found_the_same_night(
    start_lab, tmp_path, shape, room_number
):
    lab = await start_lab(**MANY, **shape)
    await run_sync(lab, tmp_path)
    lab.source.add_rows(EXPERIMENT, lab.source.room_ids(EXPERIMENT)[room_number], "events", 2)
    requests = len(lab.requests)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.changed_files) == (0, 1)
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == Counter(
        lab.source.ledger_rows(EXPERIMENT, "events")
    )
    assert {what for what, count in by_type(asked(lab, requests)).items() if count > 1} == {
        "events",
        "experiments",
    }


async def test_new_rooms_are_read_and_no_settled_one(start_lab, tmp_path):
    lab = await start_lab(**(MANY | {"answers": AnswerOptions(page_cap=100)}))
    await run_sync(lab, tmp_path)
    new = [lab.source.add_room(EXPERIMENT) for _ in range(2)]
    requests = len(lab.requests)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert differences(tmp_path / "archive", lab.source) == {}
    rooms_read = {
        request.target.split("?")[0].rpartition("/")[2]
        for request in lab.requests[requests:]
        if "/room/" in request.target
    }
    assert rooms_read == set(new)
    counts = asked(lab, requests)
    assert (counts["events/room"], counts["events/experiment"], counts["rooms/experiment"]) == (2, 1, 1)


async def test_a_room_that_is_still_running_is_read_every_night(start_lab, tmp_path):
    lab = await start_lab(**(MANY | {"answers": AnswerOptions(page_cap=100)}), last_room_active=True)
    await run_sync(lab, tmp_path)
    running = lab.source.room_ids(EXPERIMENT)[-1]
    for _ in range(2):
        requests = len(lab.requests)
        report = await run_sync(lab, tmp_path)
        assert (report.exit_status, report.changed_files) == (0, 0)
        assert any(f"/events/room/{running}" in request.target for request in lab.requests[requests:])


async def test_everything_is_read_again_when_the_recheck_is_due_and_then_not_for_as_long(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    requests_a_night = []
    for days in (29, 31, 32, 62):
        requests = len(lab.requests)
        assert (await run_sync(lab, tmp_path, days_later=days)).exit_status == 0
        requests_a_night.append(len(lab.requests) - requests)
    night, recheck, next_night, next_recheck = requests_a_night
    assert night == next_night < recheck == next_recheck


# --- what has gone -----------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [{}, {"rows_name_rooms": False}], ids=["whole list", "room by room"])
async def test_fault_56_rows_of_a_room_that_has_vanished_stay_and_are_marked(start_lab, tmp_path, shape):
    lab = await start_lab(**MANY, **shape)
    await run_sync(lab, tmp_path)
    before = held_rows(tmp_path / "archive", EXPERIMENT, "events")
    room = lab.source.room_ids(EXPERIMENT)[4]
    lab.source.remove_room(EXPERIMENT, room)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == before
    (receipt,) = receipts(tmp_path / "archive", kind="shard", data_type="events", room=room)
    assert receipt["gone_rows"] == receipt["rows"] > 0
    unchanged, requests = state_of_files(tmp_path / "archive"), len(lab.requests)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert state_of_files(tmp_path / "archive") == unchanged
    assert max(count for what, count in by_type(asked(lab, requests)).items() if what != "experiments") == 1


async def test_fault_56_an_empty_list_after_a_full_one_is_suspicious_until_a_full_run_confirms_it(
    start_lab, tmp_path
):
    lab = await start_lab(**SMALL)
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    before = held_rows(archive, EXPERIMENT, "chat")
    for room in lab.source.room_ids(EXPERIMENT):
        lab.source.delete_rows(EXPERIMENT, room, "chat", 1_000)
    for _ in range(2):
        report = await run_sync(lab, tmp_path)
        assert report.exit_status == 3
        (problem,) = report.problems
        assert (problem.data_type, "--full" in problem.what) == ("chat", True)
        assert not any(receipt.get("gone_rows") for receipt in receipts(archive, kind="shard"))
    for full in (True, False):
        assert (await run_sync(lab, tmp_path, full=full)).exit_status == 0
        assert held_rows(archive, EXPERIMENT, "chat") == before
        gone = [receipt for receipt in receipts(archive, kind="shard", data_type="chat") if receipt["rows"]]
        assert all(receipt["gone_rows"] == receipt["rows"] for receipt in gone)


@pytest.mark.parametrize("shape", [{}, {"rows_name_rooms": False}], ids=["whole list", "room by room"])
async def test_fault_56_that_all_rooms_have_vanished_is_believed_in_a_full_run_and_from_then_on(
    start_lab, tmp_path, shape
):
    lab = await start_lab(**SMALL, **shape)
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    for room in lab.source.room_ids(EXPERIMENT):
        lab.source.remove_room(EXPERIMENT, room)
    assert (await run_sync(lab, tmp_path)).exit_status == 3
    assert not any(receipt.get("gone_rows") for receipt in receipts(archive, kind="shard"))
    for full in (True, False, False):
        report = await run_sync(lab, tmp_path, full=full)
        assert (report.exit_status, report.problems) == (0, ())
    of_rooms = [receipt for receipt in receipts(archive, kind="shard") if receipt["room"] and receipt["rows"]]
    assert {receipt["data_type"] for receipt in of_rooms} >= {"events", "variables", "rooms"}
    assert all(receipt["gone_rows"] == receipt["rows"] for receipt in of_rooms)
    unchanged = state_of_files(archive)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert state_of_files(archive) == unchanged


# --- what is lacking on our side ---------------------------------------------------------------------
async def test_a_shard_that_is_missing_or_cut_short_is_fetched_again_settled_or_not(start_lab, tmp_path):
    lab = await start_lab(**MANY)
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    first, second, *_ = shards(archive, EXPERIMENT, "events")
    first.unlink()
    second.write_bytes(second.read_bytes()[:-20])
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.changed_files) == (0, 2)
    assert differences(archive, lab.source) == {}


@pytest.mark.parametrize("addresses", ["inline", "minted"])
async def test_a_recording_file_that_is_not_held_is_fetched_although_its_room_is_settled(
    start_lab, tmp_path, addresses
):
    lab = await start_lab(**MANY, storage=StorageOptions(addresses=addresses))
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path, files=False)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, the_experiment(report).files_fetched) == (0, 24)
    next(iter(archive.glob("*/files/*/*.mp4"))).unlink()
    requests = len(lab.requests)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, the_experiment(report).files_fetched) == (0, 1)
    assert differences(archive, lab.source) == {}
    assert by_type(asked(lab, requests))["events"] == 1


async def test_a_night_that_a_list_failed_in_is_made_up_for_by_the_next_one(start_lab, tmp_path):
    """Rooms that were read are not read again for the sake of the one that was not."""
    lab = await start_lab(**MANY, rows_name_rooms=False)
    lab_rooms = lab.source.room_ids(EXPERIMENT)
    narrow = {"data_types": ("events", "rooms")}
    await run_sync(lab, tmp_path, **narrow, longest_wait_seconds=0, overrides={"limits.requests_per_hour": 14})
    held = {receipt["room"] for receipt in receipts(tmp_path / "archive", kind="shard", data_type="events")}
    assert 0 < len(held) < len(lab_rooms)
    requests = len(lab.requests)
    state = tmp_path / "state"
    for path in state.iterdir():
        path.unlink()  # another hour
    assert (await run_sync(lab, tmp_path, **narrow)).exit_status == 0
    read = {
        request.target.split("?")[0].rpartition("/")[2]
        for request in lab.requests[requests:]
        if "/events/room/" in request.target
    }
    assert read == set(lab_rooms) - held


# --- runs that may not wait for the limits -----------------------------------------------------------
HURRIED = {"limits.requests_per_hour": 40, "limits.requests_per_minute_per_endpoint": 1000}


async def runs_until_complete(lab: Any, folder: Any, *types: str, most: int) -> list[dict[str, bool]]:
    """One run an hour, none of which may wait; which types were complete after each."""
    complete: list[dict[str, bool]] = []
    while not complete or not all(complete[-1].values()):
        assert len(complete) < most
        for path in (folder / "state").glob("*"):
            path.unlink()  # an hour has passed
        report = await run_sync(
            lab, folder, data_types=types, overrides=HURRIED, longest_wait_seconds=0, files=False
        )
        assert report.requests <= 40
        complete.append({name: each.is_complete for name, each in type_reports(report).items()})
        assert (report.exit_status, bool(report.resume_at)) == ((0, False) if report.is_complete else (3, True))
    return complete


async def test_lists_that_do_not_fit_together_into_an_hour_are_finished_one_after_another(start_lab, tmp_path):
    """Each has 25 pages or so, and 40 requests may go: none may use up what another one needs."""
    lab = await start_lab(rooms=4, events_per_room=600, answers=AnswerOptions(page_cap=100))
    types = ("events", "ratings/continuous", "eyetracking")
    complete = await runs_until_complete(lab, tmp_path, *types, most=6)
    assert sum(complete[0].values()) >= 1
    assert not differences(tmp_path / "archive", lab.source).keys() & set(types)


async def test_a_list_longer_than_an_hour_allows_is_read_room_by_room_and_each_run_gets_on(start_lab, tmp_path):
    lab = await start_lab(rooms=12, events_per_room=450, answers=AnswerOptions(page_cap=100))
    complete = await runs_until_complete(lab, tmp_path, "events", most=4)
    assert len(complete) >= 2
    assert not differences(tmp_path / "archive", lab.source).keys() & {"events"}
    requests = len(lab.requests)
    await run_sync(lab, tmp_path, data_types=("events",))
    assert asked(lab, requests)["events/experiment"] == 1
    assert asked(lab, requests)["events/room"] == 0


async def test_a_recheck_that_the_hour_does_not_allow_waits_and_the_night_goes_on(start_lab, tmp_path):
    lab = await start_lab(rooms=4, events_per_room=400, answers=AnswerOptions(page_cap=100))
    narrow = {"data_types": ("events",), "files": False}
    await run_sync(lab, tmp_path, **narrow)
    lab.source.add_rows(EXPERIMENT, ROOM, "events", 1)
    overrides = HURRIED | {"limits.requests_per_hour": 13}
    (tmp_path / "state").rename(tmp_path / "spent")
    report = await run_sync(lab, tmp_path, **narrow, days_later=31, overrides=overrides, longest_wait_seconds=0)
    assert any("due to be read again" in note for note in report.notes)
    assert report.requests <= 13
