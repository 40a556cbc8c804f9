"""The same data from servers of every age and manner: the archive holds the same, and says so."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from oracle import EXPERIMENT, NEWER, differences, lines, receipts, shards
from sync_runs import run_sync, the_experiment, type_reports

from hsmirror.lab.answers import AnswerOptions, EndpointOptions
from hsmirror.lab.server import LabFaults

SMALL = {"rooms": 5, "events_per_room": 20, "recordings_per_room": 1}

STYLES = (
    "document",
    "fixture",
    "flat",
    "none",
    "null-next",
    "string-numbers",
    "total-high",
    "total-low",
    "no-total",
    "early-end",
)
OF_AGENTS = ("agent-decisions", "agent-runs")
OF_NEWER_SERVERS = tuple(name for name in NEWER if name not in {"rooms", "deployments"})


async def mirrored(start_lab, tmp_path, **given: Any) -> tuple[Any, Any]:
    lab = await start_lab(**(SMALL | given))
    return lab, await run_sync(lab, tmp_path)


# --- how rows tell their rooms -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "untold"),
    [
        pytest.param({"room_field": "newer"}, (), id="newer field names"),
        # What agents did is read by experiment alone: a row that names no room then belongs to none.
        pytest.param({"rows_name_rooms": False}, OF_AGENTS, id="no room in any row"),
        pytest.param({"rows_name_rooms": False, "room_field": "newer"}, OF_AGENTS, id="both"),
    ],
)
@pytest.mark.parametrize("rooms_endpoint", [True, False], ids=["rooms listed", "rooms not listed"])
async def test_rooms_are_told_whatever_the_rows_say(start_lab, tmp_path, shape, untold, rooms_endpoint):
    lab, report = await mirrored(start_lab, tmp_path, endpoints=EndpointOptions(rooms=rooms_endpoint), **shape)
    assert (report.exit_status, report.problems) == (0, ())
    lacking = () if rooms_endpoint else ("rooms",)
    assert differences(tmp_path / "archive", lab.source, untold=untold, lacking=lacking) == {}
    assert the_experiment(report).rooms == 5


async def test_without_a_list_of_rooms_the_rows_name_them(start_lab, tmp_path):
    endpoints = EndpointOptions(rooms=False, deployments=False)
    lab, report = await mirrored(start_lab, tmp_path, endpoints=endpoints)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source, lacking=("rooms", "deployments")) == {}


async def test_rows_whose_room_nothing_tells_are_kept_all_the_same(start_lab, tmp_path):
    """Variables are listed by room alone: without any room's id there is no way to them."""
    endpoints = EndpointOptions(rooms=False, deployments=False)
    shape = {"rows_name_rooms": False, "recordings_per_room": 0}
    lab, report = await mirrored(start_lab, tmp_path, endpoints=endpoints, **shape)
    assert (report.exit_status, report.problems) == (0, ())
    lacking = {"rooms", "deployments", "variables"}
    untold = {"events", "chat", "ratings/continuous", "ratings/sparse", "sync", "components", *NEWER} - lacking
    assert differences(tmp_path / "archive", lab.source, lacking=lacking, untold=untold) == {}


# --- older servers -----------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [{}, {"rows_name_rooms": False}], ids=["rooms in rows", "no room in any row"])
async def test_an_older_server_is_mirrored_without_the_newer_types(start_lab, tmp_path, shape):
    endpoints = EndpointOptions(newer_types=False, experiments=False)
    lab, report = await mirrored(start_lab, tmp_path, endpoints=endpoints, **shape)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source, lacking=OF_NEWER_SERVERS) == {}


async def test_the_oldest_server_has_the_documented_types_alone(start_lab, tmp_path):
    endpoints = EndpointOptions(rooms=False, newer_types=False, experiments=False, deployments=False)
    lab = await start_lab(endpoints=endpoints, **SMALL)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source, lacking=NEWER) == {}


async def test_what_a_server_lacks_is_noted_and_asked_for_again_each_night_once(start_lab, tmp_path):
    endpoints = EndpointOptions(rooms=False, newer_types=False, deployments=False)
    lab = await start_lab(endpoints=endpoints, **SMALL)

    async def asked_and_not_found(**given: Any) -> tuple[int, Any]:
        before = lab.statistics().by_status.get(404, 0)
        report = await run_sync(lab, tmp_path, **given)
        assert report.exit_status == 0
        return lab.statistics().by_status.get(404, 0) - before, report

    first, report = await asked_and_not_found()
    assert first >= len(NEWER)
    for data_type in NEWER:
        assert any(note.startswith(f"{data_type} of {EXPERIMENT}") for note in report.notes), data_type
    assert receipts(tmp_path / "archive", kind="absent") == []
    second, _ = await asked_and_not_found()
    assert second == first == len(NEWER)


# --- how answers look --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("style", "page_cap"),
    [
        *((style, 100) for style in STYLES),
        *((style, 7) for style in STYLES if style != "total-high"),
        *((style, 10_000) for style in ("none", "total-high", "total-low", "early-end")),
    ],
)
async def test_every_style_of_paging_is_read_to_its_end(start_lab, tmp_path, style, page_cap):
    """That every list is complete can be proven under each style: where a total is too low, or lacking,
    a further page or a second reading shows that there is no more. One that is too high has to stand first."""
    lab = await start_lab(answers=AnswerOptions(pagination=style, page_cap=page_cap), **SMALL)
    many = {"limits.requests_per_minute_per_endpoint": 2_000}
    report = await run_sync(lab, tmp_path, overrides=many)
    assert differences(tmp_path / "archive", lab.source) == {}
    if style == "total-high":
        assert report.exit_status == 3
        return
    assert (report.exit_status, report.problems) == (0, ())
    assert all(each.is_complete for each in type_reports(report).values())


async def test_a_total_that_is_too_high_costs_a_look_past_the_end_and_no_more(start_lab, tmp_path):
    """Five rooms and the experiment itself: two readings each, of a page and three looks behind it."""
    lab = await start_lab(answers=AnswerOptions(pagination="total-high"), **SMALL)
    report = await run_sync(lab, tmp_path, data_types=("components",))
    assert report.exit_status == 3
    assert lab.statistics().by_endpoint["data/components"] <= 1 + (5 + 1) * 2 * 4


@pytest.mark.parametrize("gzip", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("pretty", [True, False], ids=["pretty", "compact"])
async def test_rows_are_kept_as_the_bytes_that_came(start_lab, tmp_path, gzip, pretty):
    """Numbers beyond 64 bits, `1.10`, `1e400`, lone surrogates: as they came, one row a line."""
    answers = AnswerOptions(gzip=gzip, pretty=pretty, page_cap=50)
    lab = await start_lab(big_numbers=True, answers=answers, **(SMALL | {"events_per_room": 60}))
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    if not pretty:
        assert differences(tmp_path / "archive", lab.source) == {}
        return
    for data_type in ("events", "chat", "components"):
        held = [line for shard in shards(tmp_path / "archive", EXPERIMENT, data_type) for line in lines(shard)]
        expected = [row for _, row in lab.source.ledger_rows(EXPERIMENT, data_type)]
        assert sorted(map(without_spaces, held)) == sorted(map(without_spaces, expected)), data_type


def without_spaces(row: bytes) -> bytes:
    """Indentation is the server's own and stays, as do spaces in texts: both sides lose all of them alike."""
    return row.replace(b" ", b"")


async def test_a_page_that_is_refused_as_too_large_is_asked_for_in_smaller_ones(start_lab, tmp_path):
    @web.middleware
    async def strict(request, handler):
        if int(request.query.get("limit", 0)) > 1000 and "agent-decisions" not in request.path:
            return web.json_response(
                {"status": "error", "error": {"code": "INVALID_PARAMETER", "message": "limit"}}, status=400
            )
        return await handler(request)

    lab, report = await mirrored(start_lab, tmp_path, faults=LabFaults(api=(strict,)))
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_a_page_that_takes_too_long_is_halved(start_lab, tmp_path):
    @web.middleware
    async def slow(request, handler):
        if "/data/events/" in request.path and int(request.query.get("limit", 0)) > 100:
            return web.Response(status=504, text="<html>gateway timeout</html>", content_type="text/html")
        return await handler(request)

    lab, report = await mirrored(start_lab, tmp_path, faults=LabFaults(api=(slow,)))
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    refused = [each for each in lab.requests if each.status == 504]
    assert len(refused) <= 7


async def test_a_list_that_may_be_incomplete_is_not_called_complete(start_lab, tmp_path):
    """`metadata._warnings` says so: what came is kept, the run is incomplete and tells why."""

    @web.middleware
    async def warned(request, handler):
        answer = await handler(request)
        if "/data/chat/" in request.path:
            warning = b'"_warnings":["MISSING_INDEX: Results may be incomplete."],"dataType":"chat"'
            answer.body = answer.body.replace(b'"dataType":"chat"', warning, 1)
        return answer

    lab, report = await mirrored(
        start_lab, tmp_path, answers=AnswerOptions(gzip=False), faults=LabFaults(api=(warned,))
    )
    assert report.exit_status == 3
    assert differences(tmp_path / "archive", lab.source) == {}
    incomplete = [each for each in type_reports(report).values() if not each.is_complete]
    assert [each.data_type for each in incomplete] == ["chat"]
    assert "MISSING_INDEX" in incomplete[0].why
