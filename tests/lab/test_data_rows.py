"""The lab's rows, field by field, against the API's document and the official SDK's recorded answers."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hsmirror.lab.data import LabShape, MadeUpSource

EXPERIMENT = "exp_research_001"

DOCUMENTED_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "events": {
        "id": str,
        "timestamp": str,
        "onset": int,
        "experimentId": str,
        "sessionId": str,
        "participantId": str,
        "eventType": str,
        "category": str,
        "componentType": (str, type(None)),
        "componentId": str,
        "content": str,
        "stateName": str,
        "participantRole": str,
        "duration": int,
        "response": (dict, type(None)),
    },
    "recordings": {
        "recordingId": str,
        "egressId": str,
        "participantId": str,
        "participantName": str,
        "experimentId": str,
        "roomId": str,
        "startTime": str,
        "endTime": str,
        "duration": int,
        "videoOffset": int,
        "fileSize": int,
        "status": str,
        "format": str,
        "resolution": str,
        "metadata": dict,
    },
    "chat": {
        "messageId": str,
        "experimentId": str,
        "roomId": str,
        "senderId": str,
        "senderName": str,
        "content": str,
        "timestamp": str,
        "onset": int,
        "recipientIds": list,
        "messageType": str,
    },
    "ratings/continuous": {
        "ratingId": str,
        "experimentId": str,
        "roomId": str,
        "participantId": str,
        "componentId": str,
        "timestamp": str,
        "onset": int,
        "value": float,
        "normalizedValue": float,
        "rawValue": int,
        "scaleMin": int,
        "scaleMax": int,
    },
    "ratings/sparse": {
        "ratingId": str,
        "experimentId": str,
        "roomId": str,
        "participantId": str,
        "componentId": str,
        "timestamp": str,
        "onset": int,
        "value": int,
        "responseTime": (int, type(None)),
        "scaleMin": int,
        "scaleMax": int,
        "labels": dict,
    },
    "sync": {
        "metricId": str,
        "experimentId": str,
        "roomId": str,
        "participantId": str,
        "timestamp": str,
        "onset": int,
        "timeDrift": int,
        "playbackRate": float,
        "syncQuality": float,
        "latency": int,
        "bufferHealth": float,
    },
    "components": {
        "componentId": str,
        "componentType": str,
        "experimentId": str,
        "stateId": str,
        "config": dict,
        "timestamp": str,
        "onset": int,
        "variableSnapshot": dict,
    },
}


def rows_of(data_type: str, folder: Path, **shape: Any) -> list[dict[str, Any]]:
    source = MadeUpSource(LabShape(**shape), folder)
    return [json.loads(text) for _, text in source.ledger_rows(EXPERIMENT, data_type)]


@pytest.mark.parametrize("data_type", sorted(DOCUMENTED_FIELDS))
def test_rows_have_the_documented_fields_types_and_order(data_type: str, tmp_path: Path) -> None:
    documented = DOCUMENTED_FIELDS[data_type]
    rows = rows_of(data_type, tmp_path, rooms=5)
    seen: set[str] = set()
    for row in rows:
        assert [name for name in documented if name in row] == list(row)
        for name, value in row.items():
            assert isinstance(value, documented[name]), (name, value)
        seen |= row.keys()
    assert seen == documented.keys()


@pytest.mark.parametrize(
    ("data_type", "id_field"),
    [
        ("events", "id"),
        ("recordings", "recordingId"),
        ("chat", "messageId"),
        ("ratings/continuous", "ratingId"),
        ("ratings/sparse", "ratingId"),
        ("sync", "metricId"),
        ("agent-decisions", "id"),
        ("agent-runs", "id"),
        ("rooms", "id"),
    ],
)
def test_no_id_is_given_twice(data_type: str, id_field: str, tmp_path: Path) -> None:
    ids = [row[id_field] for row in rows_of(data_type, tmp_path, rooms=6)]
    assert len(set(ids)) == len(ids) > 0


def test_the_names_of_the_document_come_first(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(experiments=2), tmp_path)
    assert source.experiment_ids()[0] == EXPERIMENT
    assert source.room_ids(EXPERIMENT)[0] == "room_abc123"
    assert rows_of("participants", tmp_path)[0]["participantId"] == "user_xyz789"
    assert rows_of("recordings", tmp_path)[0]["recordingId"] == "rec_abc123"


def test_every_text_is_one_compact_line_of_utf8(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(), tmp_path)
    for data_type in DOCUMENTED_FIELDS:
        for _, text in source.ledger_rows(EXPERIMENT, data_type):
            compact = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
            assert text.decode() == compact
            assert b"\n" not in text


def test_events_have_every_category_and_start_before_the_room_does(tmp_path: Path) -> None:
    rows = rows_of("events", tmp_path)
    assert {row["category"] for row in rows} == {
        "component",
        "state",
        "media",
        "communication",
        "sync",
        "pre_experiment",
        "questionnaire",
    }
    before = [row for row in rows if row["category"] == "pre_experiment"]
    assert {row["eventType"].split(".")[0] for row in before} == {"consent", "instructions"}
    assert all(row["onset"] < 0 for row in before)


def test_optional_fields_are_missing_from_some_rows_and_null_in_others(tmp_path: Path) -> None:
    events = rows_of("events", tmp_path)
    for name in ("response", "duration", "componentType"):
        assert 0 < sum(name in row for row in events) < len(events)
    assert any(row.get("response", ...) is None for row in events)
    sparse = rows_of("ratings/sparse", tmp_path)
    assert 0 < sum("labels" in row for row in sparse) < len(sparse)
    recordings = rows_of("recordings", tmp_path)
    assert 0 < sum("fileSize" in row for row in recordings) < len(recordings)


def test_chat_has_texts_that_careless_readers_break_at(tmp_path: Path) -> None:
    texts = [row["content"] for row in rows_of("chat", tmp_path)]
    for odd in ("\n", "\u2028", "😂", '"', "<script>", "\u0000", "\\"):
        assert any(odd in text for text in texts), odd
    assert max(map(len, texts)) > 3000
    assert "" in texts


def test_some_times_are_equal(tmp_path: Path) -> None:
    times = Counter(row["timestamp"] for row in rows_of("events", tmp_path))
    assert max(times.values()) > 1


def test_component_rows_name_no_room_and_include_twins_alike_to_the_byte(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(), tmp_path)
    for room_id in source.room_ids(EXPERIMENT):
        texts = [text for room, text in source.ledger_rows(EXPERIMENT, "components") if room == room_id]
        assert room_id.encode() not in b"".join(texts)
        assert 1 < len(set(texts)) < len(texts)


def test_continuous_ratings_are_100_to_500_milliseconds_apart(tmp_path: Path) -> None:
    onsets = [row["onset"] for row in rows_of("ratings/continuous", tmp_path, rooms=1)]
    steps = [later - earlier for earlier, later in pairwise(onsets)]
    assert min(steps) >= 100
    assert max(steps) <= 500


def test_someone_comes_back_for_a_second_room(tmp_path: Path) -> None:
    people = Counter(row["participantId"] for row in rows_of("participants", tmp_path))
    assert people["user_xyz789"] == 2


def test_a_room_of_one_has_no_sync_metrics(tmp_path: Path) -> None:
    assert rows_of("sync", tmp_path, participants=1) == []
    assert rows_of("sync", tmp_path, participants=2) != []


def test_newer_servers_name_the_room_elsewhere(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(room_field="newer"), tmp_path)
    for room_id, text in source.ledger_rows(EXPERIMENT, "events"):
        event = json.loads(text)
        assert (event["roomId"], event["sessionId"]) == (room_id, f"{room_id}-s1")
    for room_id, text in source.ledger_rows(EXPERIMENT, "recordings"):
        recording = json.loads(text)
        assert "roomId" not in recording
        assert recording["metadata"]["roomName"] == room_id
        assert recording["recordingId"] == recording["egressId"]


def test_newer_sparse_ratings_have_the_recorded_fields_and_no_room(tmp_path: Path) -> None:
    for row in rows_of("ratings/sparse", tmp_path, room_field="newer"):
        assert list(row) == [
            "ratingId",
            "participantId",
            "timestamp",
            "onset",
            "rawOnset",
            "clockOffsetApplied",
            "value",
            "rawValue",
            "scale",
            "type",
            "stateId",
            "stimulusId",
            "stimulusTime",
            "responseTime",
            "confidence",
            "metadata",
            "ratingEndOnset",
            "sparseRatingData",
            "stateStartTime",
            "stateDuration",
        ]


@pytest.mark.parametrize("room_field", ["document", "newer"])
def test_rows_can_keep_quiet_about_their_rooms(room_field: str, tmp_path: Path) -> None:
    shape = LabShape(rows_name_rooms=False, room_field=room_field)  # type: ignore[arg-type]
    source = MadeUpSource(shape, tmp_path)
    for data_type in (*DOCUMENTED_FIELDS, "participants", "videochat", "eyetracking", "agent-runs"):
        for room_id, text in source.ledger_rows(EXPERIMENT, data_type):
            assert str(room_id) not in json.dumps(json.loads(text)), data_type
            assert not {"roomId", "sessionId"} & json.loads(text).keys()


def test_big_numbers_are_valid_json_that_a_careless_parser_changes(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(big_numbers=True), tmp_path)
    everything = b""
    for data_type in DOCUMENTED_FIELDS:
        for _, text in source.ledger_rows(EXPERIMENT, data_type):
            assert isinstance(json.loads(text), dict)
            everything += text
    for odd in (b":123456789012345678901234567890", b":1.10", b":1e400", b"\\ud800,"):
        assert odd in everything


def test_the_last_recording_of_an_active_room_has_no_end_yet(tmp_path: Path) -> None:
    *earlier, last = rows_of("recordings", tmp_path, last_room_active=True)
    assert last["status"] == "active"
    assert not {"endTime", "duration", "fileSize"} & last.keys()
    assert {row["status"] for row in earlier} == {"completed"}
    *ended, running = rows_of("rooms", tmp_path, last_room_active=True)
    assert (running["status"], running["endedAt"]) == ("active", None)
    assert all(room["endedAt"] for room in ended)


def test_agent_rows_have_the_recorded_fields(tmp_path: Path) -> None:
    rows = rows_of("agent-decisions", tmp_path, rooms=1)
    assert [row["_type"] for row in rows] == ["decision", "decision", "decision", "run"]
    assert set(rows[0]) == {
        "_type",
        "id",
        "participantId",
        "roomId",
        "seq",
        "stateId",
        "stateName",
        "turnKind",
        "action",
        "value",
        "model",
        "provider",
        "latencyMs",
        "inputTokens",
        "outputTokens",
        "timestamp",
    }
    (run,) = rows_of("agent-runs", tmp_path, rooms=1)
    assert {**run, "_type": "run"}.keys() - rows[-1].keys() == {"roomStatus", "orphaned"}
    assert run["totalCostUsd"] == rows[-1]["totalCostUsd"]
