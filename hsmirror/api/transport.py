"""The only HTTP client of the project, and the boundary where its exceptions become ours.

Two sessions, kept apart on purpose: one for the API, which holds the key and follows no redirect to another
origin, and one for storage hosts, which has no key and visits only addresses that `addresses` allows. No text
raised here holds a URL: aiohttp's own messages print whole addresses, signatures included.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import anyio
from aiohttp.abc import ResolveResult
from isal import isal_zlib
from yarl import URL

from hsmirror import __version__
from hsmirror.api.addresses import SignedAddress, is_loopback_host, is_public_host, parse_address
from hsmirror.api.envelope import parse_error
from hsmirror.api.headers import OfferedHashes, content_range, http_date, offered_hashes, retry_after_seconds
from hsmirror.clock import Clock
from hsmirror.errors import (
    AddressExpiredError,
    CorruptError,
    ForbiddenError,
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

LARGEST_BODY_BYTES = 512 << 20
"""Of one API answer, decoded. The largest real ones are a tenth of that."""

_USER_AGENT = f"hsmirror/{__version__}"
_CONNECT_SECONDS = 15.0
_SLOWEST_BYTES_PER_SECOND = 1024
_SPEED_GRACE_SECONDS = 15.0
_MOST_REDIRECTS = 5
_LARGEST_XML_BYTES = 16_384
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z]{1,64})\s*</Code>")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUSES = frozenset({408, 425, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200 from the API: its body, and what its header says of the limits and the server's clock."""

    body: bytes
    skew_seconds: float = 0.0
    """How far the server's clock is ahead of ours; 0 where it sends no date."""
    remaining: int | None = None
    """Requests left in the window that the server names, where it names one."""
    limit: int | None = None


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
    _response: aiohttp.ClientResponse = field(repr=False)
    _clock: Clock = field(repr=False)
    _label: str = ""

    async def pieces(self, size_bytes: int) -> AsyncGenerator[bytes, None]:
        """The body in pieces of about `size_bytes`, the last one smaller.

        Raises:
            TransientError: the connection broke, or the body ended before its announced length.
        """
        gathered: list[bytes] = []
        size = 0
        failure: Exception | None = None
        speed = _Speed(self._clock)
        while failure is None:
            try:
                with speed.waiting():
                    chunk = await self._response.content.readany()
                speed.received(len(chunk))
            except (aiohttp.ClientError, OSError, TimedOutError) as error:
                failure = error  # what came before it is still good
                break
            if not chunk:
                break
            gathered.append(chunk)
            size += len(chunk)
            if size >= size_bytes:
                yield b"".join(gathered)
                gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)
        if failure is not None:
            with _translated(self._label):
                raise failure


class _Speed:
    """Notices a sender that gives next to nothing, by the time spent waiting for it alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waited_seconds = 0.0
        self._bytes = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        started = self._clock.monotonic()
        yield
        self._waited_seconds += self._clock.monotonic() - started

    def received(self, count: int) -> None:
        self._bytes += count
        is_slow = self._bytes < self._waited_seconds * _SLOWEST_BYTES_PER_SECOND
        if self._waited_seconds > _SPEED_GRACE_SECONDS and is_slow:
            raise TimedOutError("less than 1 KiB a second comes")


class Transport:
    """The wire. Use as an async context manager; all methods raise the errors of `hsmirror.errors` only."""

    def __init__(
        self,
        base_url: str,
        key: Secret,
        *,
        clock: Clock,
        organization_id: str = "",
        max_connections: int = 16,
        max_downloads: int = 4,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._origin = _origin(self._base_url)
        self.loopback_allowed = is_loopback_host(urlsplit(base_url).hostname or "")
        self._clock = clock
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
            headers={**self._headers, "Accept-Encoding": "gzip", "User-Agent": _USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=1 << 20,
        )
        self._files = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_downloads + 2,
                resolver=_PublicResolver(loopback_allowed=self.loopback_allowed),
            ),
            headers={"Accept-Encoding": "identity", "User-Agent": _USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=4 << 20,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self._api.close()
            await self._files.close()

    # --- the API -------------------------------------------------------------------------------------
    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> Answer:
        """One GET below the base URL, with the key; gives the whole body of a 200.

        Raises:
            KeyRefusedError, ForbiddenError, NotFoundError, InvalidParameterError: 401, 403, 404, 400.
            ThrottledError: 429. TransientError, TimedOutError: worth another try. PermanentError: the rest.
            RefusedAddressError: a redirect to another origin; the key does not follow it.
            CorruptError: a body beyond all measure.
        """
        # encoded=True: an id's escapes are ours, and must not be undone.
        url = URL(f"{self._base_url}/{path.lstrip('/')}", encoded=True).update_query(params)
        timeout = aiohttp.ClientTimeout(
            total=timeout_seconds, sock_connect=_CONNECT_SECONDS, sock_read=timeout_seconds
        )
        with _translated("the API"):
            for _ in range(_MOST_REDIRECTS):
                async with self._api.get(url, timeout=timeout, allow_redirects=False) as response:
                    if response.status in _REDIRECTS:
                        url = self._same_origin(url, response.headers.get("Location", ""))
                        continue
                    body = await self._read_body(response)
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
        if not is_own:
            raise RefusedAddressError(
                "the API redirects to another host; the key is not handed on to it. Check api.base_url"
            )
        return URL(target, encoded=True)

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        speed = _Speed(self._clock)
        while True:
            with speed.waiting():
                chunk = await response.content.readany()
            if not chunk:
                break
            speed.received(len(chunk))
            chunks.append(chunk)
            size += len(chunk)
            if size > LARGEST_BODY_BYTES:
                raise CorruptError(f"an answer is larger than {LARGEST_BODY_BYTES >> 20} MiB")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _answer(self, response: aiohttp.ClientResponse, body: bytes) -> Answer:
        headers = response.headers
        return Answer(
            body,
            self._skew(headers.get("Date")),
            _count(headers.get("X-RateLimit-Remaining") or headers.get("RateLimit-Remaining")),
            _count(headers.get("X-RateLimit-Limit") or headers.get("RateLimit-Limit")),
        )

    def _skew(self, date: str | None) -> float:
        server = http_date(date)
        # The header has whole seconds, so that a small difference is none.
        skew = 0.0 if server is None else server - self._clock.epoch()
        return skew if abs(skew) > 2.0 else 0.0

    def _api_error(self, response: aiohttp.ClientResponse, body: bytes) -> UpstreamError:
        status, error = response.status, parse_error(body)
        said = f"{status} {error.message or response.reason or ''}".strip()
        said = said.replace(self._headers["X-API-Key"], "(the key)")
        if status == 401:
            return KeyRefusedError(f"the API refused the key ({said})")
        if status == 403:
            return ForbiddenError(f"the API forbids it ({said})", required_scopes=error.required_scopes)
        if status == 404:
            return NotFoundError(f"the API does not have it ({said})")
        if status == 429:
            wait = retry_after_seconds(response.headers.get("Retry-After"), now_epoch=self._clock.epoch())
            return ThrottledError(f"the API asks for a pause ({said})", retry_after_seconds=wait)
        if status in {504, 408}:
            return TimedOutError(f"the API took too long ({said})")
        if status in _TRANSIENT_STATUSES or status >= 520:
            return TransientError(f"the API is in trouble ({said})")
        if status == 400:
            return InvalidParameterError(f"the API refuses a parameter ({said})")
        return PermanentError(f"the API answered {said}")

    # --- storage hosts -------------------------------------------------------------------------------
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
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=60.0)
        url = address.url.reveal()
        for _ in range(_MOST_REDIRECTS):
            with _translated(label):
                # encoded=True: an address is signed byte by byte and must not be normalised.
                response = await self._files.get(
                    URL(url, encoded=True), headers=headers, timeout=timeout, allow_redirects=False
                )
            async with response:
                if response.status in _REDIRECTS:
                    url = self._redirected(url, response.headers.get("Location", ""))
                    continue
                with _translated(label):
                    stream = await self._file_stream(response, address, start, label)
                yield stream
                return
        raise PermanentError(f"{label} redirects in a circle")

    def _redirected(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
        except ValueError:
            raise RefusedAddressError("a storage host redirects to what is no address") from None
        return parse_address(target, loopback_allowed=self.loopback_allowed).url.reveal()

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
            total = _count(headers.get("content-range", "").rpartition("/")[2])
        # An object that is stored gzip-encoded is inflated on the way: its hash is of other bytes than these.
        is_as_stored = headers.get("x-goog-stored-content-encoding", "identity") == "identity"
        return FileStream(
            status=response.status,
            start=start if response.status == 206 else 0,
            total_bytes=total,
            etag=headers.get("etag"),
            hashes=offered_hashes(headers) if is_as_stored else OfferedHashes(),
            skew_seconds=self._skew(headers.get("date")),
            _response=response,
            _clock=self._clock,
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
            wait = retry_after_seconds(response.headers.get("Retry-After"), now_epoch=self._clock.epoch())
            return ThrottledError(f"{label} asks for a pause ({said})", retry_after_seconds=wait)
        if status in _TRANSIENT_STATUSES:
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
        now = self._clock.epoch() + self._skew(response.headers.get("Date"))
        return now >= address.expires_at


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


class _translated:  # noqa: N801  # reads as a clause: `with _translated("the API"):`
    """Turns aiohttp's and the system's errors into ours, without their texts, which print addresses."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, UpstreamError):
            return
        name = type(error).__name__
        if isinstance(error, TimeoutError):
            raise TimedOutError(f"{self._label} did not answer in time") from None
        if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
            raise PermanentError(
                f"{self._label} cannot be trusted: the TLS handshake failed ({name})"
            ) from None
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = error.os_error.strerror or type(error.os_error).__name__
            raise TransientError(f"{self._label} cannot be reached ({reason})") from None
        if isinstance(error, aiohttp.InvalidURL):
            raise PermanentError(f"{self._label} has an address that makes no sense") from None
        if isinstance(error, aiohttp.ClientError | OSError):
            raise TransientError(f"{self._label} broke off ({name})") from None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None
