"""The lab's API over loopback: keys, scopes, limits, switches, and what it keeps count of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hsmirror.clock import ManualClock
from hsmirror.lab.answers import AnswerOptions, EndpointOptions
from hsmirror.lab.keys import LabKey
from hsmirror.lab.limits import LimitOptions
from hsmirror.lab.server import Lab, LabFaults

EVENTS = "/data/events/experiment/exp_research_001"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def get(
    session: aiohttp.ClientSession, lab: Lab[Any], path: str, *, key: str | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    headers = {"X-API-Key": lab.key if key is None else key}
    async with session.get(lab.base_url + path, headers=headers) as answer:
        return answer.status, await answer.json(), dict(answer.headers)


async def test_no_key_and_a_wrong_key_answer_401(start_lab, session):
    lab = await start_lab(rooms=1)
    async with session.get(lab.base_url + EVENTS) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (401, "AUTHENTICATION_ERROR")
    status, body, _ = await get(session, lab, EVENTS, key="hst_test_unknown")
    assert status == 401
    assert body == {
        "status": "error",
        "error": {"code": "AUTHENTICATION_ERROR", "message": "Invalid or expired API key"},
    }


async def test_health_needs_no_key(start_lab, session):
    lab = await start_lab(rooms=1)
    async with session.get(f"{lab.base_url}/health") as answer:
        assert answer.status == 200


async def test_a_key_looks_like_the_platforms_own(start_lab):
    lab = await start_lab(rooms=1)
    assert lab.key.startswith("hst_test_")
    assert len(lab.key) == len("hst_test_") + 64


async def test_a_key_without_the_scope_answers_403_with_both(start_lab, session):
    key = LabKey("hst_test_narrow", scopes=frozenset({"read:recordings"}))
    lab = await start_lab(rooms=1, keys=(key,))
    status, body, _ = await get(session, lab, EVENTS)
    assert status == 403
    assert body["error"] == {
        "code": "FORBIDDEN",
        "message": "Insufficient scopes. Required: read:events",
        "details": {"required": ["read:events"], "provided": ["read:recordings"]},
    }
    status, _, _ = await get(session, lab, "/data/recordings/experiment/exp_research_001")
    assert status == 200


async def test_beyond_a_limit_429_says_when_to_come_again(start_lab, session):
    clock = ManualClock()
    lab = await start_lab(rooms=1, limits=LimitOptions(requests_per_minute_per_endpoint=2), clock=clock)
    for _ in range(2):
        assert (await get(session, lab, EVENTS))[0] == 200
    clock.advance(20.5)
    status, body, headers = await get(session, lab, EVENTS)
    assert (status, body["error"]["code"], headers["Retry-After"]) == (429, "RATE_LIMIT_EXCEEDED", "40")
    assert (await get(session, lab, "/data/chat/experiment/exp_research_001"))[0] == 200
    clock.advance(40)
    assert (await get(session, lab, EVENTS))[0] == 200
    assert lab.statistics().throttled == 1


async def test_retry_after_is_never_below_a_second(start_lab, session):
    clock = ManualClock()
    limits = LimitOptions(requests_per_hour=1, hour_seconds=4)
    lab = await start_lab(rooms=1, limits=limits, clock=clock)
    await get(session, lab, EVENTS)
    clock.advance(3.999)
    _, _, headers = await get(session, lab, EVENTS)
    assert headers["Retry-After"] == "1"


async def test_an_old_server_lacks_the_newer_endpoints(start_lab, session):
    lab = await start_lab(rooms=1, endpoints=EndpointOptions(rooms=False, experiments=False))
    for path in ("/data/rooms/experiment/exp_research_001", "/experiments", "/experiments/exp_research_001"):
        status, body, _ = await get(session, lab, path)
        assert (status, body["error"]["code"]) == (404, "ROUTE_NOT_FOUND")
    assert (await get(session, lab, "/deployments"))[0] == 200


async def test_answers_take_the_shape_that_was_asked_for(start_lab, session):
    lab = await start_lab(
        rooms=1, answers=AnswerOptions(pagination="flat", pretty=True, gzip=False, page_cap=7)
    )
    headers = {"X-API-Key": lab.key, "Accept-Encoding": "gzip"}
    async with session.get(f"{lab.base_url}{EVENTS}?limit=5000", headers=headers) as answer:
        assert "Content-Encoding" not in answer.headers
        text = await answer.text()
        body = await answer.json()
    assert text.startswith('{\n  "status": "success",\n  "data": [\n    {\n      "')
    assert len(body["data"]) == body["metadata"]["limit"] == 7
    assert "pagination" not in body["metadata"]


async def test_the_date_is_the_labs_own(start_lab, session):
    lab = await start_lab(rooms=1, clock=ManualClock(1_700_000_000.0))
    _, _, headers = await get(session, lab, EVENTS)
    assert headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


async def test_every_request_is_counted_and_logged_without_its_key(start_lab, session):
    lab = await start_lab(rooms=1)
    await get(session, lab, f"{EVENTS}?limit=1")
    await get(session, lab, "/data/chat/room/nowhere")
    await get(session, lab, "/experiments", key="hst_test_unknown")
    statistics = lab.statistics()
    assert (statistics.requests, statistics.by_status) == (3, {200: 1, 404: 1, 401: 1})
    assert statistics.by_endpoint == {"data/events": 1, "data/chat": 1, "experiments": 1}
    first, _, third = lab.requests
    assert (first.method, first.target, first.status) == ("GET", f"/api/v3{EVENTS}?limit=1", 200)
    assert first.key_id is not None
    assert third.key_id is None
    assert lab.key not in repr(lab) + repr(lab.requests) + repr(lab.statistics())


async def test_requests_in_flight_are_counted_at_their_most(start_lab, session):
    lab = await start_lab(rooms=1, answers=AnswerOptions(latency_seconds=0.1))
    await asyncio.gather(*(get(session, lab, EVENTS) for _ in range(5)))
    assert (lab.statistics().max_in_flight, lab.statistics().in_flight) == (5, 0)


async def test_faults_come_between_the_limits_and_the_answer(start_lab, session):
    @web.middleware
    async def broken(request, handler):
        await handler(request)
        return web.Response(status=503, text="upstream connect error")

    lab = await start_lab(rooms=1, faults=LabFaults(api=(broken,)))
    headers = {"X-API-Key": lab.key}
    async with session.get(lab.base_url + EVENTS, headers=headers) as answer:
        assert (answer.status, await answer.text()) == (503, "upstream connect error")
    assert lab.statistics().by_status == {503: 1}
