from __future__ import annotations

import asyncio

import pytest
from canned_server import CannedServer, answer, serving

from hsmirror.api.ping import Signal, ping
from hsmirror.errors import PermanentError, TimedOutError, UnreachableError, UpstreamError
from hsmirror.model import Secret


async def told(server: CannedServer, signal: Signal, path: str = "/5ecret", body: str = "") -> None:
    await ping(Secret(f"{server.url}{path}"), signal, body, timeout_seconds=5)


@pytest.mark.parametrize(
    ("path", "signal", "target"),
    [
        ("/5ecret", Signal.START, "/5ecret/start"),
        ("/5ecret", Signal.SUCCESS, "/5ecret"),
        ("/5ecret", Signal.FAILURE, "/5ecret/fail"),
        ("/5ecret/", Signal.FAILURE, "/5ecret/fail"),
        ("/5ecret?rid=1&x=%2F", Signal.FAILURE, "/5ecret/fail?rid=1&x=%2F"),
        ("/a%2Fb", Signal.SUCCESS, "/a%2Fb"),
    ],
)
async def test_each_signal_has_its_address(path: str, signal: Signal, target: str) -> None:
    async with serving(answer()) as server:
        await told(server, signal, path)

        assert [heard.target for heard in server.heard] == [target]


async def test_what_is_sent_is_plain_text_and_nothing_of_the_apis() -> None:
    async with serving(answer()) as server:
        await told(server, Signal.SUCCESS, body="complete")

        (heard,) = server.heard
        assert heard.headers["content-type"] == "text/plain; charset=utf-8"
        assert heard.headers["content-length"] == "8"
        assert not {"x-api-key", "authorization", "cookie", "x-organization-id"} & heard.headers.keys()


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with serving(answer()) as other, serving(answer(status, Location=f"{other.url}/x")) as server:
        with pytest.raises(PermanentError, match="redirect"):
            await told(server, Signal.START)

        assert other.heard == []


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error", "100 Continue"])
async def test_any_other_answer_is_an_error_without_the_address(status: str) -> None:
    async with serving(answer(status)) as server:
        with pytest.raises(UpstreamError) as caught:
            await told(server, Signal.START)

    assert "5ecret" not in str(caught.value)


async def test_a_monitor_that_does_not_answer_is_given_up_in_time() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silence) as server:
        with pytest.raises(TimedOutError) as caught:
            await ping(Secret(f"{server.url}/5ecret"), Signal.START, "", timeout_seconds=0.05)

    assert "5ecret" not in str(caught.value)


async def test_a_monitor_that_is_not_there_is_an_error_without_the_address() -> None:
    async with serving(answer()) as server:
        url = server.url
    with pytest.raises(UnreachableError) as caught:
        await ping(Secret(f"{url}/5ecret"), Signal.START, "", timeout_seconds=5)

    assert "5ecret" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..test", "a" * 300, "1.2.3.4.5"])
async def test_a_host_that_makes_no_sense_is_an_error_without_the_address(host: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        await ping(Secret(f"https://{host}/5ecret"), Signal.START, "", timeout_seconds=5)

    assert "5ecret" not in str(caught.value)
    assert caught.value.__suppress_context__
