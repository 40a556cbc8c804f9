"""Faults 53 to 61: rows that are alike, late, gone, strange or large; each is kept as the bytes that came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from oracle import (
    EXPERIMENT,
    contents,
    differences,
    held_rows,
    ledger_rows,
    lines,
    receipts,
    shards,
    state_of_files,
)
from sync_runs import run_sync, type_reports

from faults.upstream import GivenRows, Handler, event, on, serving_rows
from hsmirror.archive.verify import verify
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.server import LabFaults

SMALL = {"rooms": 3, "events_per_room": 20, "recordings_per_room": 1}
ROOM = "room_abc123"
EVENTS = {"data_types": ("events",), "files": False}


async def held_of(folder: Path, data_type: str, rows: Sequence[tuple[str | None, bytes]]) -> Counter[Any]:
    """What two runs over these rows hold; the second one must change nothing."""
    async with serving_rows({data_type: rows}) as lab:
        first = await run_sync(lab, folder, data_types=(data_type,), files=False)
        assert (first.exit_status, first.problems) == (0, ())
        before = state_of_files(folder / "archive")
        second = await run_sync(lab, folder, data_types=(data_type,), files=False, full=True)
        assert (second.exit_status, state_of_files(folder / "archive")) == (0, before)
    return held_rows(folder / "archive", EXPERIMENT, data_type)


# --- identity --------------------------------------------------------------------------------------------
async def test_fault_53_rows_without_an_id_stay_as_often_as_they_are(tmp_path):
    alike = b'{"componentId":"video_intro","roomId":"room_a","onset":5000}'
    other = b'{"componentId":"video_intro","roomId":"room_a","onset":5001}'
    rows = [("room_a", alike), ("room_a", other), ("room_a", alike), ("room_a", alike)]
    assert await held_of(tmp_path, "components", rows) == Counter(rows)


async def test_fault_53_so_do_rows_of_other_types_whose_id_is_missing(tmp_path):
    unnamed = b'{"id":null,"roomId":"room_a","eventType":"state.enter"}'
    rows = [("room_a", event(1)), ("room_a", unnamed), ("room_a", event(2)), ("room_a", b'{"roomId":"room_a"}')]
    assert await held_of(tmp_path, "events", rows) == Counter(rows)


async def test_fault_53_an_id_that_two_rooms_share_is_a_row_of_each(tmp_path):
    rows = [(room, event(1, room)) for room in ("room_a", "room_b")]
    assert await held_of(tmp_path, "events", rows) == Counter(rows)


async def test_fault_54_one_id_with_two_contents_is_kept_twice_and_said(tmp_path):
    rows = [("room_a", event(1, content="one")), ("room_a", event(1, content="two")), ("room_a", event(2))]
    async with serving_rows({"events": rows}) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == Counter(rows)
    assert any("share their id" in note for note in report.notes)


# --- what changes upstream -------------------------------------------------------------------------------
async def test_fault_55_rows_that_arrive_late_in_a_room_that_was_read_are_found(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    for data_type in ("events", "components", "chat"):
        lab.source.add_rows(EXPERIMENT, ROOM, data_type, 5)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 0
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_fault_56_rows_that_are_gone_upstream_are_kept_and_marked(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    all_rows = ledger_rows(lab.source, EXPERIMENT, "events")
    lab.source.delete_rows(EXPERIMENT, ROOM, "events", 4)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == all_rows
    (receipt,) = receipts(tmp_path / "archive", kind="shard", data_type="events", room=ROOM)
    assert receipt["gone_rows"] == 4


async def test_fault_56_a_room_that_is_gone_upstream_is_kept_and_marked(tmp_path):
    rows = {"events": [(room, event(number, room)) for number, room in enumerate(("room_a", "room_b"))]}
    source = GivenRows(rows)
    async with serving_rows(source) as lab:
        await run_sync(lab, tmp_path, **EVENTS)
        source.rows = {"events": rows["events"][:1]}
        await run_sync(lab, tmp_path, **EVENTS)
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == Counter(rows["events"])
    (receipt,) = receipts(tmp_path / "archive", kind="shard", data_type="events", room="room_b")
    assert receipt["gone_rows"] == 1
    assert verify(tmp_path / "archive").is_sound


async def test_fault_56_a_list_that_is_empty_after_a_full_one_is_suspicious_and_nothing_is_dropped(
    start_lab, tmp_path
):
    is_empty = False

    async def emptied(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if not is_empty:
            return await handler(request)
        return web.json_response({"status": "success", "data": [], "metadata": {"pagination": {"total": 0}}})

    lab = await start_lab(faults=LabFaults(api=(on("/data/events/", emptied),)), **SMALL)
    await run_sync(lab, tmp_path)
    before = held_rows(tmp_path / "archive", EXPERIMENT, "events")
    is_empty = True
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 3
    assert not type_reports(report)["events"].is_complete
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == before
    is_empty = False
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, differences(tmp_path / "archive", lab.source)) == (0, {})


# --- bytes -----------------------------------------------------------------------------------------------
NEW = [
    b'{"id":"event_1","roomId":"room_a","brandNew":{"deep":[{"er":null}]},"eventType":"never.seen.before"}',
    b'{"id":2,"roomId":"room_a","timestamp":null,"onset":"soon"}',
    b'{"id":"event_3","roomId":"room_a","data":[1],"metadata":{"x":1},"status":"error"}',
    b'{"roomId":"room_a","z":1,"a":2,"id":"event_4"}',
    b'{"id":"event_5","id":"event_6","roomId":"room_a"}',
]


async def test_fault_57_fields_and_kinds_nobody_knew_of_are_kept_as_they_came(tmp_path):
    rows = [("room_a", row) for row in NEW]
    assert await held_of(tmp_path, "events", rows) == Counter(rows)


AWKWARD = [
    b'{"id":"n1","roomId":"room_a","x":123456789012345678901234567890}',
    b'{"id":"n2","roomId":"room_a","x":1.10,"y":-0.0,"z":1E5}',
    b'{"id":"n3","roomId":"room_a","x":1e400}',
    b'{"id":"n4","roomId":"room_a","x":' + b"9" * 5000 + b"}",
    b'{"id":"s1","roomId":"room_a","x":"\\ud800"}',
    b'{"id":"s2","roomId":"room_a","x":"\\udc00\\ud83d"}',
    b'{"id":"s3","roomId":"room_a","x":"\\u2028\\u0000\\/"}',
    '{"id":"s4","roomId":"room_a","x":"\u2028\u2029\u0085\x7f"}'.encode(),
    b'{"id":"s5","roomId":"room_a","x":"line\\nbreak\\r\\n"}',
    '{"id":"s6","roomId":"room_a","x":"caf\u00e9 cafe\u0301 \U0001f600"}'.encode(),
    b'{"id":"s7","roomId":"room_a","x":"\\u0041\\uD83D\\uDE00"}',
    b'{ "id" : "w1" , "roomId" : "room_a" , "x" : [ ] }',
]


@pytest.mark.parametrize("gzip", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("page_cap", [1, 5, 10_000])
async def test_fault_58_every_byte_of_numbers_and_texts_is_kept_one_row_a_line(tmp_path, page_cap, gzip):
    rows = [("room_a", row) for row in AWKWARD]
    answers = AnswerOptions(gzip=gzip, page_cap=page_cap)
    async with serving_rows({"events": rows}, answers=answers) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert (report.exit_status, report.problems) == (0, ())
    (shard,) = shards(tmp_path / "archive", EXPERIMENT, "events")
    assert lines(shard) == AWKWARD


async def test_fault_58_line_breaks_between_tokens_go_and_nothing_else(tmp_path):
    pretty = b'{\r\n  "id": "w2",\n  "roomId": "room_a",\r  "x": "a\\nb  c"\n}'
    async with serving_rows({"events": [("room_a", pretty)]}) as lab:
        assert (await run_sync(lab, tmp_path, **EVENTS)).exit_status == 0
    (shard,) = shards(tmp_path / "archive", EXPERIMENT, "events")
    assert lines(shard) == [pretty.translate(None, b"\r\n")]


async def test_fault_59_a_row_of_50_mb_is_kept_among_its_neighbours(tmp_path):
    huge = event(1, blob="0123456789abcdef" * (50 * 65_536))
    rows = [("room_a", event(0)), ("room_a", huge), ("room_a", event(2))]
    async with serving_rows({"events": rows}) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert (report.exit_status, report.problems) == (0, ())
    assert len(huge) > 50 << 20
    (shard,) = shards(tmp_path / "archive", EXPERIMENT, "events")
    assert [len(line) for line in lines(shard)] == [len(row) for _, row in rows]
    assert lines(shard)[1] == huge


async def test_fault_60_rows_of_no_room_have_a_place_of_their_own(tmp_path):
    rows = [(None, event(1, None)), ("room_a", event(2)), (None, event(3, None))]
    assert await held_of(tmp_path, "events", rows) == Counter(rows)
    place = "data_type=events/room_id=__HIVE_DEFAULT_PARTITION__/part-00000.ndjson.gz"
    shard = tmp_path / "archive" / f"experiment_id={EXPERIMENT}" / place
    assert lines(shard) == [event(1, None), event(3, None)]


def signed_rows(night: int) -> dict[str, list[tuple[str | None, bytes]]]:
    """Rows as one night's answer has them: every signature is another."""
    google = f"https://storage.googleapis.com/b/stimulus.mp4?X-Goog-Date=2026112{night}T020000Z&X-Goog-Signature=c{night}"
    amazon = f"https://b.s3.amazonaws.com/stimulus.mp4?X-Amz-Expires=600&X-Amz-Signature=c{night}"
    cloudfront = f"https://d.cloudfront.net/f.png?Expires={night}&Signature=c{night}&Key-Pair-Id=K"
    escaped = google.replace("/", "\\/").replace("&", "\\u0026")
    return {
        "events": [
            ("room_a", event(1, content=f"Video: {google}")),
            ("room_a", event(2, config={"deep": [{"videoUrl": amazon}, cloudfront]})),
            ("room_a", event(3, url="https://example.com/survey?participant=7&page=2")),
            ("room_a", f'{{"id":"event_4","roomId":"room_a","x":"{escaped}"}}'.encode()),
        ],
        "recordings": [
            (
                "room_a",
                orjson.dumps(
                    {"recordingId": "rec_1", "roomId": "room_a", "status": "active", "downloadUrl": google}
                ),
            )
        ],
    }


async def test_fault_61_signatures_inside_rows_go_so_that_an_unchanged_night_changes_nothing(tmp_path):
    source = GivenRows(signed_rows(1))
    chosen = {"data_types": ("events", "recordings")}
    async with serving_rows(source) as lab:
        assert (await run_sync(lab, tmp_path, **chosen)).exit_status == 0
        before = state_of_files(tmp_path / "archive")
        source.rows = signed_rows(2)
        assert (await run_sync(lab, tmp_path, full=True, **chosen)).exit_status == 0
    assert state_of_files(tmp_path / "archive") == before
    for path, content in contents(tmp_path / "archive"):
        assert not any(mark in content for mark in (b"Signature=", b"ignature=c", b"Key-Pair")), path
    (shard,) = shards(tmp_path / "archive", EXPERIMENT, "events")
    assert b"https://storage.googleapis.com/b/stimulus.mp4" in lines(shard)[0]
    assert lines(shard)[2] == signed_rows(1)["events"][2][1]
