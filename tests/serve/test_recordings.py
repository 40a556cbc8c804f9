"""Address fields in recording rows."""

from __future__ import annotations

import json

import pytest

from hsmirror.serve.recordings import with_fields

FINAL = '"status":"completed","format":"mp4"'


async def addresses(serve_rows, path: str, rows: list[bytes], **more: list[bytes]) -> list[str | None]:
    client = await serve_rows(recordings=rows, **more)
    answer = json.loads(await (await client.get(f"/api/v3/data/recordings/{path}")).read())
    return [row.get("downloadUrl") for row in answer["data"]]


@pytest.mark.parametrize(
    "room",
    ['"roomId":"room_1"', '"metadata":{"roomName":"room_1"}', '"sessionId":"room_1"'],
)
async def test_the_room_is_found_wherever_a_row_names_it(serve_rows, room):
    row = f'{{"egressId":"EG_1",{room},{FINAL}}}'.encode()
    assert await addresses(serve_rows, "experiment/exp_1", [row]) == ["https://files.example/room_1/EG_1.mp4"]


async def test_at_room_scope_the_row_need_not_name_its_room(serve_rows):
    row = f'{{"recordingId":"rec_1",{FINAL}}}'.encode()
    assert await addresses(serve_rows, "room/room_1", [row]) == ["https://files.example/room_1/rec_1.mp4"]


async def test_at_experiment_scope_an_unnamed_room_is_looked_up(serve_rows):
    row = f'{{"recordingId":"rec_1",{FINAL}}}'.encode()
    found = await addresses(serve_rows, "experiment/exp_1", [row], rooms=[b'{"id":"room_1"}'])
    assert found == ["https://files.example/room_1/rec_1.mp4"]


async def test_a_recording_that_still_runs_has_no_address(serve_rows):
    rows = [b'{"recordingId":"rec_1","roomId":"room_1","status":"active"}', b'{"roomId":"room_1"}']
    assert await addresses(serve_rows, "room/room_1", rows) == [None, None]


async def test_odd_numbers_and_escapes_beside_the_address_stay_as_they_are(serve_rows):
    row = f'{{"recordingId":"rec_1",{FINAL},"n":1e400,"m":1.10,"s":"\\ud800"'.encode()
    client = await serve_rows(recordings=[row + b"}"])
    body = await (await client.get("/api/v3/data/recordings/room/room_1")).read()
    assert row + b',"downloadUrl":"https://files.example/room_1/rec_1.mp4"}' in body


def test_fields_go_to_the_end():
    assert with_fields(b'{"a":1.10}', {"b": "x"}) == b'{"a":1.10,"b":"x"}'
    assert with_fields(b"{ }\n", {"b": "x"}) == b'{"b":"x"}'
    assert with_fields(b'{"a":1}', {}) == b'{"a":1}'


def test_a_field_that_is_there_already_is_replaced():
    assert with_fields(b'{"b":"old","a":1.10}', {"b": "new"}) == b'{"b":"new","a":1.10}'
