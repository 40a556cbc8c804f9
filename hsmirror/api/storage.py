"""Recordings' bytes from storage hosts: a client of its own, which has no key.

It visits only addresses that `addresses` allows, at every redirect anew, and only public hosts once resolved.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from hsmirror.api.addresses import SignedAddress, is_loopback_host, is_public_host, parse_address
from hsmirror.api.bodies import Body, Piece, body_of
from hsmirror.api.headers import OfferedHashes, content_range, etag, offered_hashes, retry_after_seconds
from hsmirror.api.wire import (
    CONNECT_SECONDS,
    IDLE_SECONDS,
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
from hsmirror.clock import Clock
from hsmirror.errors import (
    AddressExpiredError,
    CorruptError,
    ForbiddenError,
    NotFoundError,
    PermanentError,
    RefusedAddressError,
    ThrottledError,
    TransientError,
    UpstreamError,
)

_LARGEST_XML_BYTES = 16_384
_READ_BYTES = 512 << 10
"""Twice as much of a body the client holds before it stops reading."""

_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|html)\b", re.IGNORECASE)
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z]{1,64})\s*</Code>")


@dataclass(slots=True)
class FileStream:
    """An answer of a storage host, its body still to come.

    `start` is the offset of the first byte that `pieces` gives; `total_bytes` the size of the whole object,
    None where the host does not say. `status` is 200, 206, 412 (the object changed) or 416 (nothing there).
    """

    status: int
    start: int
    total_bytes: int | None
    etag: str | None
    hashes: OfferedHashes
    skew_seconds: float
    _body: Body = field(repr=False)
    _label: str = ""

    async def pieces(self, size_bytes: int) -> AsyncGenerator[Piece, None]:
        """The body in pieces of about `size_bytes`, the last one smaller; each is good until the next.

        Raises:
            TransientError: the connection broke, or the body ended before its announced length.
            CorruptError: it begins as a page does, whatever it calls itself.
        """
        is_first = self.start == 0
        try:
            while True:
                with translated(self._label):
                    piece = await self._body.piece(size_bytes)
                if not piece:
                    return
                # An error page under 200 may claim to be a film, and where neither size nor hash is known,
                # nothing else tells.
                if is_first and _PAGE.match(piece):
                    raise CorruptError(f"{self._label} sent a page instead of a recording")
                is_first = False
                yield piece
                del piece  # an error that comes next would hold it
        finally:
            self._body.close()


class StorageHosts:
    """The hosts behind signed addresses. `close` ends its connections."""

    def __init__(self, clock: Clock, *, loopback_allowed: bool, max_connections: int) -> None:
        self._clock = clock
        self._loopback_allowed = loopback_allowed
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=max_connections, resolver=_PublicResolver(loopback_allowed=loopback_allowed)
            ),
            headers={"Accept-Encoding": "identity", "User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def open_file(
        self, address: SignedAddress, *, start: int = 0, if_match: str | None = None
    ) -> AsyncIterator[FileStream]:
        """A GET of a recording's bytes from offset `start` on, without the key.

        Raises:
            AddressExpiredError: by the provider's code, or by the address's own time.
            RefusedAddressError: a redirect to where hsmirror does not go.
            CorruptError: a page instead of a recording, or another range than asked for.
            ThrottledError, TransientError, TimedOutError, NotFoundError, ForbiddenError, PermanentError.
        """
        label = f"the storage host {address.host}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and if_match:
            headers["If-Match"] = if_match
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
        url = address.url.reveal()
        for _ in range(MOST_REDIRECTS):
            with translated(label):
                # encoded=True: an address is signed byte by byte and must not be normalised.
                response = await self._session.get(
                    URL(url, encoded=True), headers=headers, timeout=timeout, allow_redirects=False
                )
            async with response:
                if response.status in REDIRECTS:
                    url = self._redirected(url, response.headers.get("Location", ""))
                    continue
                with translated(label):
                    stream = await self._file_stream(response, address, start, label)
                yield stream
                return
        raise PermanentError(f"{label} redirects in a circle")

    def _redirected(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
        except ValueError:
            raise RefusedAddressError("a storage host redirects to what is no address") from None
        return parse_address(target, loopback_allowed=self._loopback_allowed).url.reveal()

    async def _file_stream(
        self, response: aiohttp.ClientResponse, address: SignedAddress, start: int, label: str
    ) -> FileStream:
        if response.status not in {200, 206, 412, 416}:
            raise await self._file_error(response, address, label)
        headers = {name.lower(): ",".join(response.headers.getall(name)) for name in response.headers}
        kind = response.content_type
        if response.status in {200, 206} and (kind in {"text/html", "application/xml", "text/xml"}):
            raise CorruptError(f"{label} sent {kind} instead of a recording")
        span = content_range(headers.get("content-range"))
        if response.status == 206 and (span is None or span.first != start):
            raise CorruptError(f"{label} sent another range than byte {start} onwards")
        total = span.total_bytes if span else None
        if response.status == 200:
            total = response.content_length
        if response.status == 416:
            total = count(headers.get("content-range", "").rpartition("/")[2])
        # An object that is stored gzip-encoded is inflated on the way: its hash is of other bytes than these.
        is_as_stored = headers.get("x-goog-stored-content-encoding", "identity") == "identity"
        return FileStream(
            status=response.status,
            start=start if response.status == 206 else 0,
            total_bytes=total,
            etag=etag(headers.get("etag")),
            hashes=offered_hashes(headers) if is_as_stored else OfferedHashes(),
            skew_seconds=skew_seconds(headers.get("date"), self._clock),
            _body=body_of(response, Speed(self._clock)),
            _label=label,
        )

    async def _file_error(
        self, response: aiohttp.ClientResponse, address: SignedAddress, label: str
    ) -> UpstreamError:
        status = response.status
        body = b""
        while len(body) < _LARGEST_XML_BYTES and (chunk := await response.content.readany()):
            body += chunk
        match = _XML_CODE.search(body)
        code = match[1].decode() if match else ""
        if status in {400, 401, 403} and self._has_expired(code, body, address, response):
            return AddressExpiredError(f"{label} says that the address has expired")
        said = f"{status} {code}".strip()
        if status == 404:
            return NotFoundError(f"{label} does not have the file ({said})")
        if status == 429:
            now = server_epoch(response.headers, self._clock)
            wait = retry_after_seconds(response.headers.get("Retry-After"), now_epoch=now)
            return ThrottledError(f"{label} asks for a pause ({said})", retry_after_seconds=wait)
        if status in TRANSIENT_STATUSES:
            return TransientError(f"{label} is in trouble ({said})")
        if status in {400, 401, 403}:
            return ForbiddenError(f"{label} refuses the address ({said})")
        return PermanentError(f"{label} answered {said}")

    def _has_expired(
        self, code: str, body: bytes, address: SignedAddress, response: aiohttp.ClientResponse
    ) -> bool:
        # Google: ExpiredToken under 400. Amazon: AccessDenied under 403, told from other denials by the
        # server's time beside it. CloudFront says nothing telling: there the address's own time counts.
        if code in {"ExpiredToken", "RequestExpired"}:
            return True
        if code == "AccessDenied" and b"<ServerTime>" in body:
            return True
        if address.expires_at is None:
            return False
        return server_epoch(response.headers, self._clock) >= address.expires_at


class _PublicResolver(aiohttp.ThreadedResolver):
    """Names resolve to public addresses only, so that a recording's address cannot reach into the network."""

    def __init__(self, *, loopback_allowed: bool) -> None:
        super().__init__()
        self._loopback_allowed = loopback_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for result in found:
            if self._loopback_allowed and is_loopback_host(result["host"]):
                continue
            if not is_public_host(result["host"]):
                raise RefusedAddressError(f"the storage host {host} resolves to a private address")
        return found
