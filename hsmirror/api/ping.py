"""Telling a monitor how a run goes: one short POST, with nothing of the API's in it.

The convention is that of healthchecks.io and its like: `<address>/start`, `<address>`, `<address>/fail`.
"""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from yarl import URL

from hsmirror.api.wire import REDIRECTS, USER_AGENT, translated
from hsmirror.errors import PermanentError
from hsmirror.model import Secret


class Signal(StrEnum):
    """What is told; the value is what the address's path gets added."""

    START = "/start"
    SUCCESS = ""
    FAILURE = "/fail"


async def ping(address: Secret, signal: Signal, body: str, *, timeout_seconds: float) -> None:
    """POST `body` (plain text) to the address of `signal`; no redirect is followed.

    Raises:
        UpstreamError: it was not taken, and why; the text does not hold the address.
    """
    try:
        with translated("the monitor"):
            status = await _post(_with_suffix(address.reveal(), signal), body, timeout_seconds)
    except ValueError:  # a host that no resolver takes; the error's text is the address
        raise PermanentError("the monitor has an address that makes no sense: check monitor.ping_url") from None
    if status in REDIRECTS:
        raise PermanentError("the monitor redirects, which is not followed: check monitor.ping_url")
    if not 200 <= status < 300:
        raise PermanentError(f"the monitor answered {status}: check monitor.ping_url")


async def _post(url: str, body: str, timeout_seconds: float) -> int:
    headers = {"User-Agent": USER_AGENT, "Content-Type": "text/plain; charset=utf-8"}
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.post(URL(url, encoded=True), data=body.encode(), allow_redirects=False) as response,
    ):
        return response.status


def _with_suffix(url: str, signal: Signal) -> str:
    """At the end of the path: a query stays behind it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + signal)) if signal else url
