"""Faults 97 to 106: lists whose pages, caches, totals and words speak against them, in a whole run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from aiohttp import web
from oracle import EXPERIMENT, held_rows
from sync_runs import run_sync, type_reports

from faults.upstream import GivenRows, Handler, event, on, serving_rows
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.server import LabFaults
from hsmirror.serve.source import Query

EVENTS = {"data_types": ("events", "rooms"), "files": False}
ENDED = [
    (room, orjson.dumps({"id": room, "status": "completed", "endedAt": "2024-01-01T00:00:00Z"}))
    for room in ("room_a", "room_b")
]
ROWS = [(f"room_{'ab'[number % 2]}", event(number, f"room_{'ab'[number % 2]}")) for number in range(60)]
TWENTY = AnswerOptions(page_cap=20, gzip=False)


def held(tmp_path: Any, data_type: str = "events") -> Counter[tuple[Any, bytes]]:
    return held_rows(tmp_path / "archive", EXPERIMENT, data_type)


def changing(path: str, change: Any) -> LabFaults:
    """Answers below `path` with their envelope changed; `change` is given it and the request."""

    async def answer(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        given = await handler(request)
        assert isinstance(given, web.Response)
        assert isinstance(given.body, bytes)
        envelope = orjson.loads(given.body)
        headers = change(envelope, request)
        return web.Response(body=orjson.dumps(envelope), content_type="application/json", headers=headers or {})

    return LabFaults(api=(on(path, answer),))


# --- 97 to 100: readings that do not stand still ---------------------------------------------------------
@pytest.mark.parametrize("data_type", ["events", "components"])
@pytest.mark.parametrize("at", [19, 18, 39])
async def test_fault_97_ties_that_each_page_orders_otherwise_hide_no_row(tmp_path, data_type, at):
    """Two rows have the same time; which comes first depends on the page, always in the same way."""
    rows = [
        ("room_a", orjson.dumps({"id": f"e{number}", "n": number, "roomId": "room_a"})) for number in range(60)
    ]

    def by_page(given: list[bytes], query: Query) -> list[bytes]:
        if query.data_type == data_type and (query.offset or query.limit < 60) and query.offset > 0:
            given[at], given[at + 1] = given[at + 1], given[at]
        return given

    source = GivenRows({data_type: rows, "rooms": ENDED[:1]}, reorder=by_page)
    async with serving_rows(source, answers=TWENTY) as lab:
        report = await run_sync(lab, tmp_path, data_types=(data_type, "rooms"), files=False)
    assert report.exit_status == 0
    assert held(tmp_path, data_type) == Counter(rows)


async def test_fault_97_where_every_page_has_an_order_of_its_own_the_rooms_are_read(tmp_path):
    """No reading of the experiment's list can be proven; its rooms' lists are a page each."""

    def by_page(given: list[bytes], query: Query) -> list[bytes]:
        turned = (query.offset * 7 + query.limit) % len(given) if query.data_type == "events" and given else 0
        return [*given[turned:], *given[:turned]]

    source = GivenRows({"events": ROWS, "rooms": ENDED}, reorder=by_page)
    async with serving_rows(source, answers=AnswerOptions(page_cap=30)) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 0
    assert held(tmp_path) == Counter(ROWS)
    assert any("read one by one" in note for note in report.notes)


async def test_fault_98_answers_from_a_cache_that_heeds_nothing_prove_nothing(tmp_path):
    wanted = set()

    def aged(envelope: Any, request: web.Request) -> dict[str, str]:
        wanted.add(request.headers.get("Cache-Control"))
        return {"Age": "120"}

    faults = changing("/data/events/", aged)
    async with serving_rows({"events": ROWS, "rooms": ENDED}, answers=TWENTY, faults=faults) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert wanted == {"no-cache"}
    assert report.exit_status == 3
    assert "cache" in type_reports(report)["events"].why
    assert held(tmp_path) == Counter(ROWS)


# --- 102, 103: what the answers themselves say -----------------------------------------------------------
@pytest.mark.parametrize("total", [True, False])
async def test_fault_102_more_said_to_be_behind_the_last_row_is_never_the_end(tmp_path, total):
    def more(envelope: Any, request: web.Request) -> None:
        envelope["metadata"]["pagination"]["hasMore"] = True
        if not total:
            del envelope["metadata"]["pagination"]["total"]

    async with serving_rows(
        {"events": ROWS, "rooms": ENDED}, answers=TWENTY, faults=changing("/events/", more)
    ) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 3
    assert "more behind" in type_reports(report)["events"].why
    assert held(tmp_path) == Counter(ROWS)


async def test_fault_103_a_warning_on_the_nights_probe_is_seen(tmp_path):
    warns = False

    def warn(envelope: Any, request: web.Request) -> None:
        if warns and request.query.get("limit") == "1":
            envelope["warnings"] = "the index is being built"

    async with serving_rows(
        {"events": ROWS, "rooms": ENDED}, answers=TWENTY, faults=changing("/events/", warn)
    ) as lab:
        assert (await run_sync(lab, tmp_path, **EVENTS)).exit_status == 0
        warns = True
        report = await run_sync(lab, tmp_path, days_later=1, **EVENTS)
    assert report.exit_status == 3
    assert "the index is being built" in type_reports(report)["events"].why


# --- 104, 105: totals and lists that differ --------------------------------------------------------------
def ahead_by_two(envelope: Any, request: web.Request) -> None:
    envelope["metadata"]["pagination"]["total"] += 2


async def test_fault_104_a_total_ahead_of_its_list_is_believed_to_be_wrong_once_it_has_stood(tmp_path):
    """Until then the list is read again each night, and is not complete."""
    faults = changing(f"/events/experiment/{EXPERIMENT}", ahead_by_two)
    async with serving_rows(
        {"events": ROWS[:57], "rooms": ENDED}, faults=faults, answers=AnswerOptions(gzip=False)
    ) as lab:
        statuses = [
            (await run_sync(lab, tmp_path, days_later=days, **EVENTS)).exit_status for days in (0, 1, 1.9)
        ]
        assert statuses == [3, 3, 3]
        report = await run_sync(lab, tmp_path, days_later=2.1, **EVENTS)
        assert report.exit_status == 0
        assert any("the server says 59 rows" in note for note in report.notes)
        asked_before = sum("/data/events/" in each.target for each in lab.requests)
        assert (await run_sync(lab, tmp_path, days_later=5, **EVENTS)).exit_status == 0
        assert sum("/data/events/" in each.target for each in lab.requests) == asked_before + 1
    assert held(tmp_path) == Counter(ROWS[:57])


async def test_fault_104_rows_that_were_counted_before_they_show_are_held_when_they_do(tmp_path):
    shown = 57

    def late(envelope: Any, request: web.Request) -> None:
        envelope["data"] = envelope["data"][: max(0, shown - int(request.query["offset"]))]
        envelope["metadata"]["pagination"]["total"] = 60

    faults = changing(f"/events/experiment/{EXPERIMENT}", late)
    async with serving_rows(
        {"events": ROWS, "rooms": ENDED[:1]}, faults=faults, answers=AnswerOptions(gzip=False)
    ) as lab:
        assert (await run_sync(lab, tmp_path, **EVENTS)).exit_status == 3
        shown = 60
        assert (await run_sync(lab, tmp_path, days_later=1, **EVENTS)).exit_status == 0
    assert held(tmp_path) == Counter(ROWS)


async def test_fault_105_a_list_that_stops_below_its_total_is_read_room_by_room(tmp_path):
    def cap(envelope: Any, request: web.Request) -> None:
        left = max(0, 50 - int(request.query["offset"]))
        envelope["data"] = envelope["data"][:left]
        envelope["metadata"]["pagination"]["hasMore"] = len(envelope["data"]) == 20

    faults = changing(f"/events/experiment/{EXPERIMENT}", cap)
    async with serving_rows({"events": ROWS, "rooms": ENDED}, answers=TWENTY, faults=faults) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 0
    assert held(tmp_path) == Counter(ROWS)


async def test_fault_78_a_refused_offset_means_room_by_room(tmp_path):
    async def window(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if int(request.query["offset"]) + int(request.query.get("limit", 20)) > 40:
            error = {"code": "INVALID_PARAMETER", "message": "limit + offset must be at most 40"}
            return web.json_response({"status": "error", "error": error}, status=400)
        return await handler(request)

    faults = LabFaults(api=(on("/data/events/", window),))
    answers = AnswerOptions(page_cap=20, pagination="fixture")
    async with serving_rows({"events": ROWS, "rooms": ENDED}, answers=answers, faults=faults) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 0
    assert held(tmp_path) == Counter(ROWS)


# --- 106: sums that balance ------------------------------------------------------------------------------
@pytest.mark.parametrize("page_cap", [10, 6], ids=["on one page", "on two pages"])
async def test_fault_106_a_row_in_two_rooms_does_not_make_up_for_one_in_none(tmp_path, page_cap):
    """Rows name no room. The rooms' lists have as many rows together as the experiment's, and not the same."""
    rows = [("room_a" if number < 5 else "room_b", event(number, None)) for number in range(10)]

    def twice(given: list[bytes], query: Query) -> list[bytes]:
        if query.data_type == "events" and query.scope_id == "room_b":
            return [
                rows[0][1],
                *given[1:],
            ]  # its first row is of no room by now; one of room_a is listed in its place
        return given

    source = GivenRows({"events": rows, "rooms": ENDED}, reorder=twice)
    async with serving_rows(source, answers=AnswerOptions(page_cap=page_cap)) as lab:
        report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 3 or held(tmp_path) == Counter(rows)
    assert report.exit_status == 3
