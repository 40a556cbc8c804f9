"""What the lab was asked: counts for a report, and a log of single requests for tests."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hsmirror.clock import Clock
from hsmirror.lab.keys import KEY_HEADER, LabKey, by_text
from hsmirror.serve.endpoints import endpoint_of

Site = Literal["api", "storage"]

_LONGEST_LOG = 200_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request. `target` is path and query for the API; for storage, whose queries are secrets, the path.

    `status` 0: no answer was given, for the handler failed or the client had gone. `at` is in epoch seconds;
    `seconds` is how long the answer took to begin.
    """

    site: Site
    method: str
    target: str
    key_id: str | None
    status: int
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class LabStatistics:
    """Counts since the start. `by_endpoint` is of API requests, by what counts as one endpoint."""

    requests: int
    throttled: int
    by_endpoint: Mapping[str, int]
    by_status: Mapping[int, int]
    in_flight: int
    max_in_flight: int
    storage_requests: int
    storage_by_status: Mapping[int, int]
    storage_in_flight: int
    storage_max_in_flight: int
    storage_bytes_sent: int
    storage_requests_with_key: int
    """Requests that brought the API key to the storage host, which must never see it: the client's fault."""


@dataclass(frozen=True, slots=True)
class _Begun:
    site: Site
    at: float
    monotonic: float


_BEGUN: web.RequestKey[_Begun] = web.RequestKey("begun", _Begun)


class Journal:
    """Counts and logs; its middlewares stand outermost, one for each site."""

    def __init__(self, keys: Sequence[LabKey], clock: Clock) -> None:
        self._keys = by_text(keys)
        self._clock = clock
        self._log: deque[LoggedRequest] = deque(maxlen=_LONGEST_LOG)
        self._endpoints: Counter[str] = Counter()
        self._statuses: dict[Site, Counter[int]] = {"api": Counter(), "storage": Counter()}
        self._in_flight: Counter[Site] = Counter()
        self._max_in_flight: Counter[Site] = Counter()
        self._storage_bytes_sent = 0
        self._storage_requests_with_key = 0

    @property
    def requests(self) -> list[LoggedRequest]:
        """The latest requests, at most 200,000, in the order in which they were answered."""
        return list(self._log)

    def statistics(self) -> LabStatistics:
        """The counts as they stand."""
        api, storage = self._statuses["api"], self._statuses["storage"]
        return LabStatistics(
            requests=api.total(),
            throttled=api[429],
            by_endpoint=dict(self._endpoints),
            by_status=dict(api),
            in_flight=self._in_flight["api"],
            max_in_flight=self._max_in_flight["api"],
            storage_requests=storage.total(),
            storage_by_status=dict(storage),
            storage_in_flight=self._in_flight["storage"],
            storage_max_in_flight=self._max_in_flight["storage"],
            storage_bytes_sent=self._storage_bytes_sent,
            storage_requests_with_key=self._storage_requests_with_key,
        )

    def count_sent(self, size_bytes: int) -> None:
        """Adds to the bytes that storage has sent."""
        self._storage_bytes_sent += size_bytes

    def writes_down(self, site: Site) -> Middleware:
        """The middleware that counts and logs each request of one site."""

        @web.middleware
        async def write_down(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[_BEGUN] = _Begun(site, self._clock.epoch(), self._clock.monotonic())
            self._in_flight[site] += 1
            self._max_in_flight[site] = max(self._max_in_flight[site], self._in_flight[site])
            status = 0
            try:
                response = await handler(request)
                status = response.status
                return response
            except web.HTTPException as answer:
                status = answer.status
                raise
            finally:
                self._in_flight[site] -= 1
                self._note(request, status)

        return write_down

    async def note_beginning(self, request: web.Request, response: web.StreamResponse) -> None:
        """A signal receiver for sites that stream: there a client sees the end before the middleware does."""
        self._note(request, response.status)

    def _note(self, request: web.Request, status: int) -> None:
        begun = request.pop(_BEGUN, None)
        if begun is not None:
            self._add(begun.site, request, status, begun.at, self._clock.monotonic() - begun.monotonic)

    def _add(self, site: Site, request: web.Request, status: int, at: float, seconds: float) -> None:
        given = request.headers.get(KEY_HEADER)
        key = self._keys.get(given) if given is not None else None
        self._statuses[site][status] += 1
        target = request.path
        if site == "api":
            self._endpoints[endpoint_of(request.path)] += 1
            target = request.path_qs
        elif given is not None:
            self._storage_requests_with_key += 1
        key_id = key.key_id if key is not None else None
        self._log.append(LoggedRequest(site, request.method, target, key_id, status, at, seconds))
