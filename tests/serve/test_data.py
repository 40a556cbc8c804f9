"""The data endpoints, asked over loopback."""

from __future__ import annotations

import json

import pytest

from hsmirror.serve.envelope import AnswerStyle

EVENTS = [f'{{"id":"e{number}","value":1.10}}'.encode() for number in range(25)]
ODD_ROW = '{"id":"odd","n":1e400,"m":123456789012345678901234567890,"s":"\\ud800 \u2028","z":1.10}'.encode()


async def test_rows_come_as_the_very_bytes_of_the_source(serve_rows):
    client = await serve_rows(events=[ODD_ROW, EVENTS[0]])
    body = await (await client.get("/api/v3/data/events/room/room_1")).read()
    assert body.startswith(b'{"status":"success","data":[' + ODD_ROW + b"," + EVENTS[0] + b"]")


async def test_metadata_are_those_of_the_document(serve_rows):
    client = await serve_rows(events=EVENTS)
    answer = await client.get("/api/v3/data/events/room/room_1?limit=10&offset=10&sort=onset&order=desc")
    assert (await answer.json())["metadata"] == {
        "dataType": "events",
        "scope": "room",
        "scopeId": "room_1",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "query": {
            "roomId": "room_1",
            "startTime": None,
            "endTime": None,
            "category": None,
            "limit": 10,
            "offset": 10,
            "sort": "onset",
            "order": "desc",
        },
        "processing": {
            "experimentStartedAt": "2024-10-20T14:30:00.000Z",
            "processingTimeMs": 0,
            "enriched": True,
            "version": "3.0.0",
        },
        "pagination": {"total": 25, "returned": 10, "hasMore": True, "nextOffset": 20},
    }


async def test_the_last_page_names_no_next_offset(serve_rows):
    client = await serve_rows(events=EVENTS)
    answer = await client.get("/api/v3/data/events/room/room_1?limit=10&offset=20")
    pagination = (await answer.json())["metadata"]["pagination"]
    assert pagination == {"total": 25, "returned": 5, "hasMore": False}


async def test_sparse_ratings_say_which_ratings_they_are(serve_rows):
    client = await serve_rows(ratings__sparse=EVENTS)
    answer = await client.get("/api/v3/data/ratings/sparse/experiment/exp_1")
    metadata = (await answer.json())["metadata"]
    assert (metadata["dataType"], metadata["ratingType"]) == ("ratings", "sparse")


async def test_a_limit_above_the_cap_is_clamped(serve_rows):
    client = await serve_rows(events=EVENTS, style=AnswerStyle(page_cap=5))
    answer = await (await client.get("/api/v3/data/events/room/room_1?limit=5000")).json()
    assert len(answer["data"]) == answer["metadata"]["query"]["limit"] == 5


@pytest.mark.parametrize(
    ("scope", "scope_id", "message"),
    [
        ("experiment", "exp_9", "Experiment not found"),
        ("room", "room_9", "Room not found"),
        ("participant", "user_9", "Participant not found"),
    ],
)
async def test_an_unknown_id_answers_404(serve_rows, scope, scope_id, message):
    client = await serve_rows(events=EVENTS)
    answer = await client.get(f"/api/v3/data/events/{scope}/{scope_id}?roomId=room_1")
    assert answer.status == 404
    assert (await answer.json())["error"] == {"code": "NOT_FOUND", "message": message}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v3/data/nonsense/room/room_1",
        "/api/v3/data/participants/participant/user_1",
        "/api/v2/health",
        "/",
    ],
)
async def test_an_unknown_route_answers_404_with_a_code_of_its_own(serve_rows, path):
    client = await serve_rows()
    answer = await client.get(path)
    assert (answer.status, (await answer.json())["error"]["code"]) == (404, "ROUTE_NOT_FOUND")


async def test_writing_is_refused(serve_rows):
    client = await serve_rows()
    answer = await client.post("/api/v3/experiments", json={"name": "x"})
    assert (answer.status, (await answer.json())["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "GET,HEAD"


async def test_a_failure_inside_answers_500_in_the_envelope(serve_rows, caplog):
    client = await serve_rows(recordings=[b"not JSON"])
    answer = await client.get("/api/v3/data/recordings/room/room_1")
    assert (answer.status, (await answer.json())["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "/data/recordings/room/room_1 failed" in caplog.text


async def test_an_id_may_hold_any_character(serve_rows):
    client = await serve_rows()
    await client.get("/api/v3/data/events/room/a%2Fb%20%C3%BC")
    assert client.source.queries[0].scope_id == "a/b ü"


async def test_ndjson_has_a_row_a_line(serve_rows):
    client = await serve_rows(events=EVENTS)
    answer = await client.get("/api/v3/data/events/room/room_1?format=ndjson&limit=3")
    assert answer.content_type == "application/x-ndjson"
    assert await answer.read() == b"\n".join(EVENTS[:3]) + b"\n"


async def test_csv_has_a_header_and_a_line_a_row(serve_rows):
    client = await serve_rows(events=EVENTS)
    answer = await client.get("/api/v3/data/events/room/room_1?format=csv&limit=2")
    assert answer.content_type == "text/csv"
    assert await answer.text() == "id,value\r\ne0,1.10\r\ne1,1.10\r\n"


async def test_recordings_get_their_addresses_with_each_answer(serve_rows):
    row = b'{"recordingId":"rec_1","roomId":"room_1","status":"completed","format":"webm"}'
    client = await serve_rows(recordings=[row])
    answer = await (await client.get("/api/v3/data/recordings/experiment/exp_1")).json()
    assert answer["data"][0]["downloadUrl"] == "https://files.example/room_1/rec_1.webm"
    assert answer["metadata"]["query"] == {"limit": 1000, "offset": 0, "sort": "startTime", "order": "asc"}


async def test_an_address_is_minted_for_a_file_that_is_there(serve_rows, tmp_path):
    (tmp_path / "rec_1.mp4").write_bytes(b"moving pictures")
    client = await serve_rows()
    answer = await client.get("/api/v3/data/recordings/download/room_1/rec_1")
    assert (await answer.json())["data"] == {"url": "https://files.example/room_1/rec_1.mp4"}
    missing = await client.get("/api/v3/data/recordings/download/room_1/rec_2")
    assert (missing.status, (await missing.json())["error"]["message"]) == (404, "Recording not found")


async def test_one_decision_is_found_by_its_id_among_runs_of_the_same_name(serve_rows):
    rows = [b'{"_type":"run","id":"a_1"}', b'{"_type":"decision","id":"a_1","seq":1}']
    client = await serve_rows(**{"agent-decisions": rows})
    answer = await client.get("/api/v3/data/agent-decisions/room/room_1/decision/a_1")
    assert (await answer.json())["data"] == {"_type": "decision", "id": "a_1", "seq": 1}
    missing = await client.get("/api/v3/data/agent-decisions/room/room_1/decision/a_2")
    assert missing.status == 404


async def test_unpaged_types_come_whole_and_without_pagination(serve_rows):
    client = await serve_rows(variables=[b'{"n":1}'] * 3000)
    answer = await (await client.get("/api/v3/data/variables/room/room_1")).json()
    assert len(answer["data"]) == 3000
    assert "pagination" not in answer["metadata"]


async def test_counts_say_what_there_is_of_a_participant(serve_rows):
    client = await serve_rows()
    answer = await client.get("/api/v3/data/counts/participant/user_1?roomId=room_1")
    assert (await answer.json())["data"] == [
        {"counts": {"events": 3, "chat": 0}, "hasData": {"events": True, "chat": False}}
    ]
    assert (await client.get("/api/v3/data/counts/participant/user_1")).status == 400
    assert (await client.get("/api/v3/data/counts/participant/user_2?roomId=room_1")).status == 404


async def test_access_is_granted_to_what_is_there(serve_rows):
    client = await serve_rows()
    answer = await client.get("/api/v3/data/check-access/experiment/exp_1")
    assert (await answer.json())["data"] == [{"canView": True, "canExport": True}]
    assert (await client.get("/api/v3/data/check-access/experiment/exp_2")).status == 404


async def test_answers_are_compressed_only_for_clients_that_accept_it(serve_rows):
    client = await serve_rows(events=EVENTS * 10)
    path = "/api/v3/data/events/room/room_1"
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 5
    assert json.loads(await packed.read()) == json.loads(await plain.read())


async def test_compression_can_be_left_out(serve_rows):
    client = await serve_rows(events=EVENTS * 10, style=AnswerStyle(gzip=False))
    answer = await client.get("/api/v3/data/events/room/room_1", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers
