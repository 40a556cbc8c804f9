"""Faults 1 to 11: lists that move, lie or do not end while they are read, as a whole run meets them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from aiohttp import web
from oracle import EXPERIMENT, differences, held_rows, ledger_rows, lines, shards, state_of_files
from sync_runs import run_sync, type_reports

from faults.upstream import GivenRows, Handler, event, on, rewriting, serving_rows
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.server import LabFaults
from hsmirror.serve.source import Query

ROOM = "room_abc123"
EVENTS = {"data_types": ("events",), "files": False}
PAGES = {"rooms": 2, "events_per_room": 60, "recordings_per_room": 0}
"""120 events; in pages of 20, six of them."""
TWENTY = AnswerOptions(page_cap=20, gzip=False)


def asked_for_events(lab: Any) -> int:
    return sum("/data/events/" in each.target for each in lab.requests)


async def moving(start_lab: Any, change: Any, *, times: int) -> Any:
    """A lab whose events change after each of the first `times` pages."""

    async def answer(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        page = await handler(request)
        if number < times:
            change(lab.source)
        return page

    lab = await start_lab(answers=TWENTY, faults=LabFaults(api=(on("/data/events/", answer),)), **PAGES)
    return lab


def insert(source: Any) -> None:
    source.add_rows(EXPERIMENT, ROOM, "events", 5)


def delete(source: Any) -> None:
    source.delete_rows(EXPERIMENT, ROOM, "events", 5)


async def test_fault_01_rows_inserted_while_paging_are_all_found_and_none_twice(start_lab, tmp_path):
    lab = await moving(start_lab, insert, times=2)
    report = await run_sync(lab, tmp_path, **EVENTS)
    held = held_rows(tmp_path / "archive", EXPERIMENT, "events")
    assert held == ledger_rows(lab.source, EXPERIMENT, "events")
    assert (report.exit_status, held.total()) == (0, 130)
    assert asked_for_events(lab) > 7  # one reading cannot have shown it


async def test_fault_01_a_list_that_never_stands_still_is_not_called_complete(start_lab, tmp_path):
    lab = await moving(start_lab, insert, times=1_000)
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 3
    assert "kept changing" in type_reports(report)["events"].why
    assert asked_for_events(lab) < 100
    held = held_rows(tmp_path / "archive", EXPERIMENT, "events")
    assert held <= ledger_rows(lab.source, EXPERIMENT, "events")
    assert held.total() >= 120


async def test_fault_02_a_gap_that_a_deletion_leaves_is_filled(start_lab, tmp_path):
    """Five rows go after the first page: the five behind it slip into the page that was read already."""
    lab = await moving(start_lab, delete, times=1)
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 0
    left = ledger_rows(lab.source, EXPERIMENT, "events")
    assert left.total() == 115
    assert left - held_rows(tmp_path / "archive", EXPERIMENT, "events") == {}
    assert asked_for_events(lab) > 6


@pytest.mark.parametrize("total", [b"127", b"60", b"null", b'"120"', b"-1", b"1.5", b"true", b"[]", None])
async def test_fault_03_a_total_may_be_anything(start_lab, tmp_path, total):
    """One that is ahead of its list may be right tomorrow: until it has stood, the list is not complete."""

    def tell(body: bytes, number: int) -> bytes:
        return body.replace(b'"total":120,', b"" if total is None else b'"total":' + total + b",")

    faults = LabFaults(api=(rewriting("/data/events/", tell),))
    lab = await start_lab(answers=TWENTY, faults=faults, **PAGES)
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == (3 if total == b"127" else 0)
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == ledger_rows(
        lab.source, EXPERIMENT, "events"
    )


@pytest.mark.parametrize("page_cap", [20, 60, 10_000])
async def test_fault_04_no_more_said_too_early_is_probed_past(start_lab, tmp_path, page_cap):
    lab = await start_lab(answers=AnswerOptions(pagination="early-end", page_cap=page_cap), **PAGES)
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == ledger_rows(
        lab.source, EXPERIMENT, "events"
    )
    assert asked_for_events(lab) <= 120 // page_cap + 2


def without_end(rows_of: Any, **pagination: Any) -> Any:
    async def answer(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        offset = int(request.query["offset"])
        body = {
            "status": "success",
            "data": rows_of(offset),
            "metadata": {"pagination": {"hasMore": True, **pagination}},
        }
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    return on("/data/events/", answer)


def same_page(offset: int) -> list[Any]:
    return [orjson.Fragment(event(number)) for number in range(10)]


@pytest.mark.parametrize("pagination", [{"total": 1000}, {"total": 10**9}, {}, {"nextOffset": 0}])
async def test_fault_05_the_same_page_again_and_again_stops_with_an_error(start_lab, tmp_path, pagination):
    faults = LabFaults(api=(without_end(same_page, **pagination),))
    lab = await start_lab(rooms=1, events_per_room=1, faults=faults)
    overrides = {"limits.max_concurrent_requests": 2}
    report = await run_sync(lab, tmp_path, overrides=overrides, **EVENTS)
    assert report.exit_status == 3
    assert "repeats the page" in type_reports(report)["events"].why
    assert asked_for_events(lab) < 30


async def test_fault_05_more_claimed_for_ever_ends_with_the_rows_and_is_not_complete(start_lab, tmp_path):
    def thirty(offset: int) -> list[Any]:
        return [orjson.Fragment(event(number)) for number in range(offset, min(offset + 10, 30))]

    lab = await start_lab(rooms=1, events_per_room=1, faults=LabFaults(api=(without_end(thirty),)))
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert report.exit_status == 3
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events").total() == 30
    assert asked_for_events(lab) < 20


@pytest.mark.parametrize("claim", [b"null", b'"20"', b"0", b"-20", b"7", b"1e9", None])
async def test_fault_06_the_next_offset_is_what_came_whatever_the_server_claims(start_lab, tmp_path, claim):
    def tell(body: bytes, number: int) -> bytes:
        at = body.find(b',"nextOffset":')
        if at < 0:
            return body
        end = body.index(b"}", at)
        return body[:at] + (b"" if claim is None else b',"nextOffset":' + claim) + body[end:]

    faults = LabFaults(api=(rewriting("/data/events/", tell),))
    lab = await start_lab(answers=TWENTY, faults=faults, **PAGES)
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == ledger_rows(
        lab.source, EXPERIMENT, "events"
    )
    truthful = await start_lab(answers=TWENTY, **PAGES)
    await run_sync(truthful, tmp_path / "truthful", **EVENTS)
    assert asked_for_events(lab) == asked_for_events(truthful)


@pytest.mark.parametrize("style", ["document", "fixture"], ids=["without a word", "named"])
async def test_fault_07_the_server_clamps_the_limit_and_every_row_comes_once(start_lab, tmp_path, style):
    lab = await start_lab(answers=AnswerOptions(pagination=style, page_cap=7), **PAGES)
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert (report.exit_status, report.problems) == (0, ())
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == ledger_rows(
        lab.source, EXPERIMENT, "events"
    )
    assert asked_for_events(lab) <= 21  # 120 by 7, of which one is of the page before


def emptied(body: bytes) -> bytes:
    """The same answer without its rows."""
    metadata = body[body.index(b'"metadata":') :]
    return b'{"status":"success","data":[],' + metadata


@pytest.mark.parametrize("times", [1, 1_000], ids=["once", "always"])
async def test_fault_08_an_empty_page_midway_is_not_taken_for_the_end(start_lab, tmp_path, times):
    """One that stays empty is asked for a few times; what lies behind it is held, and not called complete."""
    asked = 0

    async def answer(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        nonlocal asked
        page = await handler(request)
        if int(request.query["offset"]) <= 40 < int(request.query["offset"]) + 20:
            asked += 1
            if asked <= times:
                assert isinstance(page, web.Response)
                assert isinstance(page.body, bytes)
                page.body = emptied(page.body)
        return page

    faults = LabFaults(api=(on("/data/events/", answer),))
    lab = await start_lab(answers=TWENTY, faults=faults, **PAGES)
    report = await run_sync(lab, tmp_path, **EVENTS)
    held = held_rows(tmp_path / "archive", EXPERIMENT, "events")
    if times == 1:
        assert report.exit_status == 0
        assert held == ledger_rows(lab.source, EXPERIMENT, "events")
        return
    assert report.exit_status == 3
    assert not type_reports(report)["events"].is_complete
    assert 100 <= held.total() < 120
    assert asked <= 30


def in_pairs(rows: list[bytes], *, is_swapped: bool) -> list[bytes]:
    """Neighbours have equal times, and come in the one order or the other."""
    pairs = [rows[at : at + 2] for at in range(0, len(rows), 2)]
    return [row for pair in pairs for row in (pair[::-1] if is_swapped else pair)]


PAIRS = [("room_a", event(number)) for number in range(60)]
MANY_A_MINUTE = {"limits.requests_per_minute_per_endpoint": 10_000}


async def test_fault_09_an_order_that_varies_from_night_to_night_gives_the_same_shard(tmp_path):
    readings = 0

    def other_order_each_time(rows: list[bytes], query: Query) -> list[bytes]:
        nonlocal readings
        readings += query.offset == 0
        return in_pairs(rows, is_swapped=bool(readings % 2))

    source = GivenRows({"events": PAIRS}, reorder=other_order_each_time)
    async with serving_rows(source, answers=AnswerOptions(page_cap=7)) as lab:
        report = await run_sync(lab, tmp_path, full=True, overrides=MANY_A_MINUTE, **EVENTS)
        assert (report.exit_status, report.problems) == (0, ())
        (shard,) = shards(tmp_path / "archive", EXPERIMENT, "events")
        assert sorted(lines(shard)) == sorted(row for _, row in PAIRS)
        before = state_of_files(tmp_path / "archive")
        for _ in range(3):
            report = await run_sync(lab, tmp_path, full=True, overrides=MANY_A_MINUTE, **EVENTS)
            assert report.exit_status == 0
            assert state_of_files(tmp_path / "archive") == before


async def test_fault_09_an_order_that_varies_from_page_to_page_loses_no_row(tmp_path):
    """Pages of seven cut through some pairs, so that each reading has a row twice where it lacks another. The
    readings together have them all, each once; whether that is proof, the report says."""
    seen: Counter[int] = Counter()

    def other_order_each_page(rows: list[bytes], query: Query) -> list[bytes]:
        seen[query.offset] += 1
        return in_pairs(rows, is_swapped=bool((query.offset // 6 + seen[query.offset]) % 2))

    source = GivenRows({"events": PAIRS}, reorder=other_order_each_page)
    async with serving_rows(source, answers=AnswerOptions(page_cap=7)) as lab:
        report = await run_sync(lab, tmp_path, full=True, overrides=MANY_A_MINUTE, **EVENTS)
        (shard,) = shards(tmp_path / "archive", EXPERIMENT, "events")
        assert sorted(lines(shard)) == sorted(row for _, row in PAIRS)
        assert type_reports(report)["events"].is_complete == (report.exit_status == 0)


async def test_fault_10_a_page_that_is_too_large_for_its_server_is_halved_for_that_list_alone(
    start_lab, tmp_path
):
    async def slow(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if int(request.query["limit"]) > 50:
            return web.Response(status=504, text="<html>gateway timeout</html>", content_type="text/html")
        return await handler(request)

    lab = await start_lab(faults=LabFaults(api=(on("/data/events/", slow),)), **PAGES)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    assert sum(each.status == 504 for each in lab.requests) <= 8
    assert [each.target.count("limit=10000") for each in lab.requests if "/data/chat/" in each.target] == [1]


@pytest.mark.parametrize("style", ["none", "flat"])
@pytest.mark.parametrize("page_cap", [20, 10_000])
async def test_fault_11_without_a_pagination_object_a_list_is_still_proven(
    start_lab, tmp_path, style, page_cap
):
    lab = await start_lab(answers=AnswerOptions(pagination=style, page_cap=page_cap), **PAGES)
    report = await run_sync(lab, tmp_path, **EVENTS)
    assert (report.exit_status, report.problems) == (0, ())
    assert type_reports(report)["events"].is_complete
    assert held_rows(tmp_path / "archive", EXPERIMENT, "events") == ledger_rows(
        lab.source, EXPERIMENT, "events"
    )
