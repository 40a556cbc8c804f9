"""The only HTTP client of the project.

Two sessions, kept apart on purpose: one for the API, which holds the key and follows no redirect to another
origin, and one for storage hosts (`storage`), which has no key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import anyio
from isal import isal_zlib
from yarl import URL

from hsmirror.api.addresses import SignedAddress, is_loopback_host, is_sendable
from hsmirror.api.envelope import parse_error
from hsmirror.api.headers import retry_after_seconds
from hsmirror.api.memory import AnswerMemory
from hsmirror.api.storage import FileStream, StorageHosts
from hsmirror.api.wire import (
    CONNECT_SECONDS,
    MOST_REDIRECTS,
    REDIRECTS,
    TRANSIENT_STATUSES,
    USER_AGENT,
    Speed,
    count,
    server_epoch,
    skew_seconds,
    translated,
)
from hsmirror.api.words import ServerWords, printable
from hsmirror.clock import Clock
from hsmirror.errors import (
    CorruptError,
    ForbiddenError,
    IntermediaryError,
    InvalidParameterError,
    KeyRefusedError,
    NotFoundError,
    PermanentError,
    RefusedAddressError,
    ThrottledError,
    TimedOutError,
    TransientError,
    UpstreamError,
)
from hsmirror.model import Secret

_NETWORK_STATUSES = frozenset({407, 511})
"""A proxy's sign-in and a network's: whatever they say, it is not the API that says it."""

LARGEST_BODY_BYTES = 512 << 20
"""Of one API answer, decoded. The largest real ones are a tenth of that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200 from the API: its body, and what its header says of the limits and the server's clock."""

    body: bytes
    words: ServerWords = printable
    """For what it says, outside its rows."""
    skew_seconds: float = 0.0
    """How far the server's clock is ahead of ours; 0 where it sends no date."""
    remaining: int | None = None
    """Requests left in the window that the server names, where it names one."""
    limit: int | None = None
    age_seconds: int = 0
    """How old it is: more than nothing where it comes from a cache on the way, although none is wanted."""
    has_next_link: bool = False
    """Its header names a next page (`Link: <…>; rel="next"`)."""


class Transport:
    """The wire. Use as an async context manager; all methods raise the errors of `hsmirror.errors` only."""

    def __init__(
        self,
        base_url: str,
        key: Secret,
        *,
        clock: Clock,
        memory: AnswerMemory | None = None,
        organization_id: str = "",
        max_connections: int = 16,
        max_downloads: int = 4,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._origin = _origin(self._base_url)
        self.loopback_allowed = is_loopback_host(urlsplit(base_url).hostname or "")
        self._clock = clock
        self._memory = memory or AnswerMemory()
        self._words = ServerWords(key)
        self._headers = {"X-API-Key": key.reveal(), "Accept": "application/json"}
        if organization_id:
            self._headers["X-Organization-Id"] = organization_id
        self._max_connections = max_connections
        self._max_downloads = max_downloads

    def __repr__(self) -> str:
        return f"<Transport to {self._base_url}>"

    async def __aenter__(self) -> Self:
        # isal inflates twice as fast as zlib; aiohttp's choice of library is one for the whole process.
        aiohttp.set_zlib_backend(isal_zlib)
        self._api = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=20),
            headers={
                **self._headers,
                "Accept-Encoding": "gzip",
                "Cache-Control": "no-cache",
                "User-Agent": USER_AGENT,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._storage = StorageHosts(
            self._clock, loopback_allowed=self.loopback_allowed, max_connections=self._max_downloads + 2
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self._api.close()
            await self._storage.close()

    # --- the API -------------------------------------------------------------------------------------
    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> Answer:
        """One GET below the base URL, with the key; gives the whole body of a 200.

        Raises:
            KeyRefusedError, ForbiddenError, NotFoundError, InvalidParameterError: 401, 403, 404, 400, in the
                API's own words; IntermediaryError in any others'.
            ThrottledError: 429. TransientError, TimedOutError: worth another try. PermanentError: the rest.
            RefusedAddressError: a redirect to another origin; the key does not follow it.
            CorruptError: a body beyond all measure.
        """
        # encoded=True: an id's escapes are ours, and must not be undone.
        url = URL(f"{self._base_url}/{path.lstrip('/')}", encoded=True).update_query(params)
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=timeout_seconds)
        with translated("the API"):
            async with asyncio.timeout(timeout_seconds) as deadline:
                for _ in range(MOST_REDIRECTS):
                    async with self._api.get(url, timeout=timeout, allow_redirects=False) as response:
                        if response.status in REDIRECTS:
                            url = self._same_origin(url, response.headers.get("Location", ""))
                            continue
                        body = self._words.without_key(await self._read_body(response, deadline))
                        if response.status != 200:
                            raise self._api_error(response, body)
                        return self._answer(response, body)
        raise PermanentError("the API redirects in a circle")

    def _same_origin(self, url: URL, location: str) -> URL:
        try:
            target = urljoin(str(url), location) if location else ""
            is_own = _origin(target) == self._origin
        except ValueError:
            target, is_own = "", False
        if not is_sendable(target):
            raise PermanentError("the API redirects to what is no address")
        if not is_own:
            raise RefusedAddressError(
                "the API redirects to another host; the key is not handed on to it. Check api.base_url"
            )
        return URL(target, encoded=True)

    async def _read_body(self, response: aiohttp.ClientResponse, deadline: asyncio.Timeout) -> bytes:
        """All of it. Waiting for room in memory is our own doing, and is not counted against the server; an
        error, which may be a 429 that all others must heed, does not wait at all.
        """
        chunks: list[bytes] = []
        speed = Speed(self._clock)
        with self._memory.reading() as reading:
            while True:
                if response.status == 200 and not reading.has_room:
                    with _suspended(deadline):
                        await reading.wait_for_room()
                speed.wait()
                chunk = await response.content.readany()
                if not chunk:
                    break
                speed.received(len(chunk))
                reading.received(len(chunk))
                chunks.append(chunk)
                if reading.received_bytes > LARGEST_BODY_BYTES:
                    raise CorruptError(f"an answer is larger than {LARGEST_BODY_BYTES >> 20} MiB")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _answer(self, response: aiohttp.ClientResponse, body: bytes) -> Answer:
        headers = response.headers
        return Answer(
            body,
            self._words,
            skew_seconds(headers.get("Date"), self._clock),
            count(headers.get("X-RateLimit-Remaining") or headers.get("RateLimit-Remaining")),
            count(headers.get("X-RateLimit-Limit") or headers.get("RateLimit-Limit")),
            count(headers.get("Age")) or 0,
            "next" in response.links,
        )

    def _api_error(self, response: aiohttp.ClientResponse, body: bytes) -> UpstreamError:
        status, error = response.status, parse_error(body, self._words)
        said = f"{status} {error.message or self._words(response.reason)}".strip()
        if status == 429:
            wait = retry_after_seconds(
                response.headers.get("Retry-After"), now_epoch=server_epoch(response.headers, self._clock)
            )
            return ThrottledError(f"the API asks for a pause ({said})", retry_after_seconds=wait)
        if status in {504, 408}:
            return TimedOutError(f"the API took too long ({said})")
        if status in TRANSIENT_STATUSES or status >= 520:
            return TransientError(f"the API is in trouble ({said})")
        if status == 413 or (status in {400, 422} and error.is_of_api and not error.has_route_code):
            return InvalidParameterError(f"the API refuses a parameter ({said})")
        if status in _NETWORK_STATUSES or (400 <= status < 500 and not error.is_of_api):
            return IntermediaryError(
                f"not the API answered but something before it ({status}, {_kind_of(response, body)}): "
                "a proxy, a firewall, a sign-in page, or api.base_url is wrong"
            )
        if status == 401:
            return KeyRefusedError(f"the API refused the key ({said})")
        if status == 403:
            return ForbiddenError(f"the API forbids it ({said})", required_scopes=error.required_scopes)
        if status in {400, 404, 422}:
            return NotFoundError(f"the API does not have it ({said})", is_of_route=error.names_route)
        return PermanentError(f"the API answered {said}")

    # --- storage hosts -------------------------------------------------------------------------------
    def open_file(
        self, address: SignedAddress, *, start: int = 0, if_match: str | None = None
    ) -> AbstractAsyncContextManager[FileStream]:
        """As `StorageHosts.open_file`: without the key."""
        return self._storage.open_file(address, start=start, if_match=if_match)


def _kind_of(response: aiohttp.ClientResponse, body: bytes) -> str:
    """What an answer is that is not the API's."""
    start = body[:256].lstrip().lower()
    if not start:
        return "without a body"
    if response.content_type in {"text/html", "application/xhtml+xml"} or start.startswith(
        (b"<!doctype html", b"<html")
    ):
        return "an HTML page"
    if start.startswith((b"{", b"[")):
        return "JSON that is not the API's"
    return "XML" if start.startswith(b"<") else "text"


@contextmanager
def _suspended(deadline: asyncio.Timeout) -> Iterator[None]:
    """Meanwhile the deadline does not come nearer."""
    loop = asyncio.get_running_loop()
    when = deadline.when()
    assert when is not None
    began_at = loop.time()
    deadline.reschedule(None)
    yield
    deadline.reschedule(when + loop.time() - began_at)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port
