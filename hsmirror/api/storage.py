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
from hsmirror.api.containers import HEAD_BYTES, is_container, no_recording
from hsmirror.api.headers import (
    OfferedHashes,
    Version,
    content_coding,
    content_range,
    offered_hashes,
    retry_after_seconds,
    version,
)
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
from hsmirror.api.words import printable
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

_DECODED = frozenset({"", "gzip"})
"""The content codings whose bytes become a recording again; see `mirror.files`."""

_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z]{1,64})\s*</Code>")


@dataclass(slots=True)
class FileStream:
    """An answer of a storage host, its body still to come.

    `start` is the offset of the first byte that `pieces` gives, `stop` the one behind the last, None where only
    the body's end will tell: a host may give less than was asked for. `total_bytes` is the size of the whole
    object, None where the host does not say. `status` is 200, 206, 412 (the object changed) or 416 (nothing
    there). The bytes, their numbers and `hashes` are of the object as the host stores it, `version.coding`
    included.
    """

    status: int
    start: int
    total_bytes: int | None
    version: Version
    hashes: OfferedHashes
    skew_seconds: float
    _body: Body = field(repr=False)
    _label: str = ""
    stop: int | None = None
    media_type: str = ""

    async def pieces(self, size_bytes: int) -> AsyncGenerator[Piece, None]:
        """The body in pieces of about `size_bytes`, the last one smaller; each is good until the next.

        Raises:
            TransientError: the connection broke, or the body ended before its announced length.
            CorruptError: it begins as no recording does, whatever it calls itself, or is longer than its range.
            PermanentError: it is encoded in a way that cannot be undone here.
        """
        at = self.start
        try:
            while True:
                with translated(self._label):
                    piece = await self._body.piece(size_bytes)
                if not piece:
                    break
                if at == 0:
                    self._require_recording(bytes(piece[:HEAD_BYTES]))
                at += len(piece)
                if self.stop is not None and at > self.stop:
                    raise CorruptError(f"{self._label} sent more than the range that it named")
                yield piece
                del piece  # an error that comes next would hold it
            if self.stop is not None and at < self.stop:
                raise TransientError(f"{self._label} sent less than the range that it named")
        finally:
            self._body.close()

    def _require_recording(self, head: bytes) -> None:
        # An error page under 200 may claim to be a film, and where neither size nor hash is known, nothing
        # else tells.
        coding = self.version.coding
        if coding not in _DECODED and not is_container(head):
            raise PermanentError(f"{self._label} stores it {coding}-encoded, which cannot be undone here")
        if what := no_recording(head, self.media_type):
            raise CorruptError(f"{self._label} sent {what} instead of a recording")


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
            CorruptError: another range than asked for.
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
                if _is_inflated(response) and "Accept-Encoding" not in headers:
                    headers["Accept-Encoding"] = "gzip"  # only so Google sends the bytes that its hash is of
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
        status, total, stop = response.status, response.content_length, None
        if status == 206:
            span = content_range(headers.get("content-range"))
            if span is not None and span.first == start:
                total, stop = span.total_bytes, span.last + 1
            elif start and headers.get("content-range") == f"bytes {start}-{start - 1}/{start}":
                status = 416  # how some say that nothing is behind the end
            else:
                raise CorruptError(f"{label} sent another range than byte {start} onwards")
        if status == 416:
            total = count(headers.get("content-range", "").rpartition("/")[2])
        return FileStream(
            status=status,
            start=start if status == 206 else 0,
            total_bytes=total,
            version=version(headers),
            hashes=OfferedHashes() if _is_inflated(response) else offered_hashes(headers),
            skew_seconds=skew_seconds(headers.get("date"), self._clock),
            _body=body_of(response, Speed(self._clock)),
            _label=label,
            stop=stop,
            media_type=printable(headers.get("content-type", "").partition(";")[0].strip()),
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


def _is_inflated(response: aiohttp.ClientResponse) -> bool:
    """Is this an object that is stored gzip-encoded, inflated on the way? It then comes without a length, from
    its first byte on whatever the range, and what is said of it is said of other bytes.
    """
    stored = response.headers.get("x-goog-stored-content-encoding", "identity").lower()
    coding = content_coding({"content-encoding": response.headers.get("Content-Encoding", "")})
    return response.status in {200, 206} and stored != "identity" and not coding


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
