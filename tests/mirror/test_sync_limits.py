"""Limits that the server enforces and the settings do not know: 429s are obeyed, and the run completes."""

from __future__ import annotations

import itertools

import pytest
from aiohttp import web
from oracle import EXPERIMENT, differences
from sync_runs import run_sync, settings_for

from hsmirror.errors import Exit
from hsmirror.lab.limits import LimitOptions
from hsmirror.lab.server import LabFaults
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings

GENEROUS = {"limits.requests_per_hour": 100_000, "limits.requests_per_minute_per_endpoint": 10_000}
UNTOLD = ("agent-decisions", "agent-runs")
MANY_REQUESTS = {"rooms": 10, "events_per_room": 10, "recordings_per_room": 0, "rows_name_rooms": False}


@pytest.mark.parametrize("window", ["sliding", "fixed"])
async def test_limits_that_the_settings_do_not_know_are_obeyed_by_the_servers_word(start_lab, tmp_path, window):
    """An hour of 6 s and a minute of 1.5 s, so that a run on a slow machine, too, meets the limits."""
    limits = LimitOptions(
        requests_per_hour=40,
        requests_per_minute_per_endpoint=20,
        hour_seconds=6,
        minute_seconds=1.5,
        window=window,
    )
    lab = await start_lab(limits=limits, **MANY_REQUESTS)
    report = await run_sync(lab, tmp_path, overrides=GENEROUS | {"limits.max_concurrent_requests": 2})
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source, untold=UNTOLD) == {}
    statistics = lab.statistics()
    assert statistics.requests - statistics.throttled > 100
    assert 0 < statistics.throttled <= statistics.requests / 10
    assert report.throttled == statistics.throttled


async def test_after_a_429_nothing_is_asked_before_the_time_that_it_names(start_lab, tmp_path):
    limits = LimitOptions(requests_per_hour=10, hour_seconds=2)
    lab = await start_lab(rooms=1, events_per_room=10, recordings_per_room=0, limits=limits)
    overrides = GENEROUS | {"limits.max_concurrent_requests": 1}
    report = await run_sync(lab, tmp_path, overrides=overrides)
    assert report.exit_status == 0
    for refused, following in itertools.pairwise(lab.requests):
        if refused.status == 429:
            assert following.at - refused.at >= 1.0
            assert following.status == 200


async def test_a_429_that_names_no_time_is_waited_out_all_the_same(start_lab, tmp_path):
    refusals = itertools.count()

    @web.middleware
    async def twice(request, handler):
        if "/data/events/" in request.path and next(refusals) < 2:
            return web.Response(status=429, text="slow down")
        return await handler(request)

    lab = await start_lab(rooms=1, events_per_room=10, recordings_per_room=0, faults=LabFaults(api=(twice,)))
    report = await run_sync(lab, tmp_path, data_types=("events",))
    assert (report.exit_status, report.throttled) == (0, 2)


async def test_the_budget_outlives_the_run(start_lab, tmp_path):
    """Thirty requests an hour: the first run takes a part of them, the second one ends when they are spent."""
    lab = await start_lab(rooms=2, events_per_room=10, recordings_per_room=0)

    async def run():
        return await sync(
            settings_for(lab, tmp_path, {"limits.requests_per_hour": 30}),
            Secret(lab.key),
            [ExperimentSettings(id=EXPERIMENT)],
            options=RunOptions(state_folder=tmp_path / "state", longest_wait_seconds=0, full=True),
        )

    first = await run()
    assert (first.exit_status, first.requests) == (0, 21)
    second = await run()
    assert (second.exit_status, second.requests) == (Exit.INCOMPLETE, 9)
    assert second.resume_at
    assert second.problems
    assert differences(tmp_path / "archive", lab.source) == {}
    assert lab.statistics().requests == 30


async def test_what_the_limits_left_undone_the_next_run_does(start_lab, tmp_path):
    lab = await start_lab(rooms=2, events_per_room=10, recordings_per_room=1)

    async def run(state: str):
        return await sync(
            settings_for(lab, tmp_path, {"limits.requests_per_hour": 12}),
            Secret(lab.key),
            [ExperimentSettings(id=EXPERIMENT)],
            options=RunOptions(state_folder=tmp_path / state, longest_wait_seconds=0),
        )

    assert (await run("one hour")).exit_status == Exit.INCOMPLETE
    missing = differences(tmp_path / "archive", lab.source)
    assert missing
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
