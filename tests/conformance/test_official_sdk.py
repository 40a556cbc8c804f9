"""The official Python SDK, unchanged, against the lab: what it gets is what the ledger says."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import hyperstudy
import pytest
from hyperstudy import exceptions

from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.keys import LabKey
from hsmirror.lab.limits import LimitOptions
from hsmirror.lab.server import Lab
from hsmirror.lab.storage import StorageOptions

EXPERIMENT = "exp_research_001"
ROOM = "room_abc123"
PERSON = "user_xyz789"
ADDRESS_FIELDS = {"url", "downloadUrl", "downloadPath"}
DATA_TYPES = {
    "events": "get_events",
    "recordings": "get_recordings",
    "chat": "get_chat",
    "ratings/continuous": "get_ratings",
    "ratings/sparse": "get_ratings",
    "sync": "get_sync",
    "components": "get_components",
    "videochat": "get_videochat",
    "eyetracking": "get_eyetracking",
}
EVERY_TYPE = pytest.mark.parametrize("data_type", DATA_TYPES)


@pytest.fixture(scope="module")
def lab(start_lab_in_thread) -> Lab[MadeUpSource]:
    return start_lab_in_thread(rooms=3, events_per_room=700)


@pytest.fixture(scope="module")
def client(lab) -> hyperstudy.HyperStudy:
    return sdk(lab)


def sdk(lab: Lab[Any], key: str | None = None) -> hyperstudy.HyperStudy:
    return hyperstudy.HyperStudy(api_key=key or lab.key, base_url=lab.base_url)


def fetched(client: hyperstudy.HyperStudy, data_type: str, scope_id: str, **more: Any) -> list[dict[str, Any]]:
    family, _, kind = data_type.partition("/")
    kinds = {"kind": kind} if family == "ratings" else {}
    get = getattr(client, DATA_TYPES[data_type])
    return get(scope_id, output="dict", progress=False, **kinds, **more)


def ledger(lab: Lab[MadeUpSource], data_type: str, room: str | None = None) -> list[dict[str, Any]]:
    rows = lab.source.ledger_rows(EXPERIMENT, data_type)
    return [json.loads(row) for room_id, row in rows if room in (None, room_id)]


def as_a_bag(rows: list[dict[str, Any]]) -> Counter[str]:
    """Rows regardless of their order and of the addresses that each answer adds."""
    bare = [{name: value for name, value in row.items() if name not in ADDRESS_FIELDS} for row in rows]
    return Counter(json.dumps(row, sort_keys=True) for row in bare)


@EVERY_TYPE
def test_an_experiment_has_every_row_of_the_ledger(client, lab, data_type):
    expected = ledger(lab, data_type)
    assert len(expected) > 0
    assert as_a_bag(fetched(client, data_type, EXPERIMENT)) == as_a_bag(expected)


@EVERY_TYPE
def test_a_room_has_its_rows_of_the_ledger(client, lab, data_type):
    assert as_a_bag(fetched(client, data_type, ROOM, scope="room")) == as_a_bag(ledger(lab, data_type, ROOM))


@EVERY_TYPE
def test_the_people_of_a_room_have_its_rows_between_them(client, lab, data_type):
    rooms_rows = ledger(lab, data_type, ROOM)
    person_field = "senderId" if data_type == "chat" else "participantId"
    people = {row["participantId"] for row in ledger(lab, "participants", ROOM)}
    of_each = {
        person: fetched(client, data_type, person, scope="participant", room_id=ROOM) for person in people
    }
    for person, rows in of_each.items():
        assert {row.get(person_field, person) for row in rows} <= {person}
    named = [row for row in rooms_rows if row.get(person_field) in people]
    got = [row for rows in of_each.values() for row in rows]
    if data_type == "components":
        assert as_a_bag(got) == as_a_bag(rooms_rows)
    else:
        assert as_a_bag(got) == as_a_bag(named)
        assert of_each[PERSON]


def test_long_lists_come_in_pages_of_a_thousand(client, lab):
    before = len(lab.requests)
    rows = fetched(client, "ratings/continuous", EXPERIMENT)
    pages = [request.target for request in lab.requests[before:]]
    assert len(rows) > 2000
    assert len(pages) == -(-len(rows) // 1000)
    assert "offset=1000" in pages[1]


def test_one_page_is_one_page(client):
    assert len(fetched(client, "events", EXPERIMENT, limit=10)) == 10
    assert (
        fetched(client, "events", EXPERIMENT, limit=5, offset=5)
        == fetched(client, "events", EXPERIMENT, limit=10)[5:]
    )


def test_a_time_range_includes_its_start_and_excludes_its_end(client):
    rows = fetched(client, "events", ROOM, scope="room")
    start, end = rows[100]["timestamp"], rows[200]["timestamp"]
    narrowed = fetched(client, "events", ROOM, scope="room", start_time=start, end_time=end)
    assert narrowed == [row for row in rows if start <= row["timestamp"] < end]
    assert 0 < len(narrowed) < len(rows)


def test_rows_are_sorted_as_asked(client):
    onsets = [row["onset"] for row in fetched(client, "events", EXPERIMENT, sort="onset", order="desc")]
    assert onsets == sorted(onsets, reverse=True)
    assert onsets[-1] < 0
    times = [row["timestamp"] for row in fetched(client, "events", EXPERIMENT)]
    assert times == sorted(times)


def test_a_category_narrows_events(client, lab):
    rows = fetched(client, "events", EXPERIMENT, category="media")
    assert as_a_bag(rows) == as_a_bag([row for row in ledger(lab, "events") if row["category"] == "media"])
    assert rows


def test_questionnaires_instructions_and_consents_are_found(client, lab):
    events = ledger(lab, "events")
    expected = {
        "questionnaire": [row for row in events if row["category"] == "questionnaire"],
        "instructions": [row for row in events if row["eventType"].startswith("instructions.")],
        "consent": [row for row in events if row["eventType"].startswith("consent.")],
    }
    for name, rows in expected.items():
        got = getattr(client, f"get_{name}")(EXPERIMENT, output="dict", progress=False)
        assert rows
        assert as_a_bag(got) == as_a_bag(rows)


def test_a_deployment_narrows_a_list_to_its_rooms(client, lab):
    deployment = client.list_deployments(experiment_id=EXPERIMENT, output="dict")[0]
    sessions = {row["id"] for row in client.get_deployment_sessions(deployment["id"], output="dict")}
    rows = fetched(client, "chat", EXPERIMENT, deployment_id=deployment["id"])
    expected = [row for room in sessions for row in ledger(lab, "chat", room)]
    assert as_a_bag(rows) == as_a_bag(expected)


def test_frames_have_a_line_a_row(client, lab):
    frame = client.get_events(EXPERIMENT, progress=False)
    assert len(frame) == len(ledger(lab, "events"))
    assert {"id", "onset", "timestamp"} <= set(frame.columns)


def test_rooms_and_participants_are_listed(client, lab):
    rooms = client.get_rooms(EXPERIMENT, output="dict", progress=False)
    assert [room["id"] for room in rooms] == lab.source.room_ids(EXPERIMENT)
    participants = client.get_participants(EXPERIMENT, output="dict", progress=False)
    assert as_a_bag(participants) == as_a_bag(ledger(lab, "participants"))


def test_variables_come_with_their_timeline(client, lab):
    variables = client.get_variables(ROOM, output="dict")
    assert as_a_bag(variables["writes"]) == as_a_bag(ledger(lab, "variables", ROOM))
    assert variables["timeline"]
    assert set(variables["variable_names"]) <= set(variables["matrix_columns"])
    assert variables["mode"]


def test_agent_data_are_served(client, lab):
    decisions = client.get_agent_decisions(ROOM, scope="room", output="dict")
    assert as_a_bag(decisions) == as_a_bag(ledger(lab, "agent-decisions", ROOM))
    decision = next(row for row in decisions if row.get("_type") == "decision")
    assert client.get_agent_decision(ROOM, decision["id"]) == decision
    runs = client.get_agent_runs(EXPERIMENT, output="dict")
    assert as_a_bag(runs) == as_a_bag(ledger(lab, "agent-runs"))


def test_decisions_beyond_the_limit_are_said_to_be_missing(client):
    with pytest.warns(UserWarning, match="truncated"):
        rows = client.get_agent_decisions(ROOM, scope="room", limit=1, output="dict")
    assert sum(row["_type"] == "decision" for row in rows) == 1


def test_everything_of_a_participant_comes_at_once(client, lab):
    data = client.get_all_data(PERSON, room_id=ROOM, output="dict")
    counts = client.get_counts(PERSON, ROOM)
    assert len(data["events"]) == counts["counts"]["events"] > 0
    assert len(data["chat"]) == counts["counts"]["chat"] > 0
    assert counts["hasData"]["events"] is True
    assert {row["participantId"] for row in data["events"]} == {PERSON}


def test_experiments_are_listed_searched_and_shown(client, lab):
    experiments = client.list_experiments(output="dict", progress=False)
    assert [row["id"] for row in experiments] == lab.source.experiment_ids()
    assert client.get_experiment(EXPERIMENT)["id"] == EXPERIMENT
    assert client.get_experiment_config(EXPERIMENT)
    assert client.export_experiment(EXPERIMENT)
    assert client.list_experiments(search="nothing is called this", output="dict", progress=False) == []


def test_more_than_one_page_of_experiments_is_listed(start_lab_in_thread):
    lab = start_lab_in_thread(experiments=120, rooms=1)
    listed = sdk(lab).list_experiments(output="dict", progress=False)
    assert [row["id"] for row in listed] == lab.source.experiment_ids()


def test_deployments_are_listed_and_shown(client):
    deployments = client.list_deployments(output="dict")
    assert len(deployments) > 1
    first = deployments[0]
    assert client.get_deployment(first["id"]) == first
    same_status = client.list_deployments(status=first["status"], output="dict")
    assert {row["status"] for row in same_status} == {first["status"]}


def test_health_is_reported(client):
    assert client.health()["status"] == "success"


@pytest.mark.parametrize("addresses", ["inline", "minted", "url"])
@pytest.mark.filterwarnings("error")
def test_every_recording_is_downloaded_whole(start_lab_in_thread, tmp_path: Path, addresses):
    lab = start_lab_in_thread(rooms=2, recordings_per_room=3, storage=StorageOptions(addresses=addresses))
    frame = sdk(lab).download_recordings(EXPERIMENT, output_dir=str(tmp_path), progress=False)
    expected = {file.recording_id: file.sha256 for file in lab.source.ledger_files(EXPERIMENT)}
    assert set(frame["download_status"]) == {"downloaded"}
    got = {
        row.recordingId: hashlib.sha256(Path(row.local_path).read_bytes()).hexdigest()
        for row in frame.itertuples()
    }
    assert got == expected
    assert len(got) == 6
    assert lab.statistics().storage_requests_with_key == 0


def test_a_wrong_key_is_an_authentication_error(lab):
    with pytest.raises(exceptions.AuthenticationError) as caught:
        sdk(lab, "hst_test_wrong").get_events(EXPERIMENT)
    assert (caught.value.status_code, caught.value.code) == (401, "AUTHENTICATION_ERROR")


def test_a_missing_scope_is_a_forbidden_error(start_lab_in_thread):
    lab = start_lab_in_thread(rooms=1, keys=(LabKey("hst_test_narrow", frozenset({"read:chat"})),))
    assert sdk(lab).get_chat(EXPERIMENT, output="dict", progress=False)
    with pytest.raises(exceptions.ForbiddenError) as caught:
        sdk(lab).get_events(EXPERIMENT)
    assert caught.value.details == {"required": ["read:events"], "provided": ["read:chat"]}


def test_an_unknown_room_is_a_not_found_error(client):
    with pytest.raises(exceptions.NotFoundError, match="Room not found"):
        client.get_events("room_none", scope="room")


def test_a_parameter_that_cannot_be_meant_is_a_validation_error(client):
    with pytest.raises(exceptions.ValidationError, match="startTime") as caught:
        client.get_events(EXPERIMENT, start_time="yesterday")
    assert caught.value.code == "INVALID_PARAMETER"
    with pytest.raises(exceptions.ValidationError, match="roomId"):
        client.get_events(PERSON, scope="participant")


def test_too_many_requests_are_refused_with_their_code(start_lab_in_thread):
    lab = start_lab_in_thread(rooms=1, limits=LimitOptions(requests_per_minute_per_endpoint=1))
    client = sdk(lab)
    client.get_chat(EXPERIMENT, limit=1)
    with pytest.raises(exceptions.HyperStudyError) as caught:
        client.get_chat(EXPERIMENT, limit=1)
    assert (caught.value.status_code, caught.value.code) == (429, "RATE_LIMIT_EXCEEDED")
