"""The lab: the documented API and a storage origin, over real HTTP on two ports of this machine."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Generic, TypeVar

from aiohttp import web
from aiohttp.typedefs import Middleware

from hsmirror.clock import Clock, SystemClock
from hsmirror.lab.answers import AnswerOptions, EndpointOptions, late, without
from hsmirror.lab.data import LabShape, MadeUpSource
from hsmirror.lab.faults.hooks import SURROUNDINGS, LabFaults, Surroundings
from hsmirror.lab.journal import Journal, LabStatistics, LoggedRequest
from hsmirror.lab.keys import LabKey, key_required, scopes_required
from hsmirror.lab.limits import LimitOptions, RequestLimits, limited
from hsmirror.lab.signing import AddressSigner
from hsmirror.lab.storage import LabAddresses, StorageOptions, storage_application
from hsmirror.serve.app import api_application
from hsmirror.serve.endpoints import BASE_PATH
from hsmirror.serve.source import Source

__all__ = ["Lab", "LabFaults", "LabOptions", "lab_over", "running_lab"]

SourceT = TypeVar("SourceT", bound=Source)

_SHUTDOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LabOptions:
    """Everything that decides how a lab behaves. `limits` None: there are none."""

    shape: LabShape = field(default_factory=LabShape)
    keys: tuple[LabKey, ...] = (LabKey(),)
    limits: LimitOptions | None = field(default_factory=LimitOptions)
    storage: StorageOptions = field(default_factory=StorageOptions)
    answers: AnswerOptions = field(default_factory=AnswerOptions)
    endpoints: EndpointOptions = field(default_factory=EndpointOptions)
    faults: LabFaults = field(default_factory=LabFaults)


@dataclass(frozen=True, slots=True)
class Lab(Generic[SourceT]):
    """A lab that is running."""

    base_url: str
    storage_url: str
    source: SourceT
    options: LabOptions
    journal: Journal = field(repr=False)

    @property
    def key(self) -> str:
        """The first key that the lab knows."""
        return self.options.keys[0].text

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request so far, in the order in which they were answered."""
        return self.journal.requests

    def statistics(self) -> LabStatistics:
        """Counts of what was asked and answered so far."""
        return self.journal.statistics()


@asynccontextmanager
async def running_lab(
    options: LabOptions,
    *,
    files_dir: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    storage_port: int = 0,
    clock: Clock | None = None,
) -> AsyncIterator[Lab[MadeUpSource]]:
    """Serves made-up data until left; port 0: any free one. Recordings are made in `files_dir` as needed."""
    options = options.faults.adjusted(options)
    source = MadeUpSource(options.shape, files_dir, alterations=options.faults.alterations)
    async with lab_over(source, options, host=host, port=port, storage_port=storage_port, clock=clock) as lab:
        yield lab


@asynccontextmanager
async def lab_over(
    source: SourceT,
    options: LabOptions,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    storage_port: int = 0,
    clock: Clock | None = None,
) -> AsyncIterator[Lab[SourceT]]:
    """The same over any source; `options.shape` then means nothing, and no fault adjusts options or rows."""
    moments = _ahead(clock or SystemClock(), options.faults.clock_ahead_seconds)
    journal = Journal(options.keys, moments)
    signer = AddressSigner(secrets.token_bytes(32), options.storage.dialect)
    storage = storage_application(
        source,
        signer,
        clock=moments,
        bytes_per_second=options.storage.bytes_per_second,
        on_sent=journal.count_sent,
        middlewares=(journal.writes_down("storage"), *options.faults.storage),
    )
    storage.on_response_prepare.append(journal.note_beginning)
    made_up = source if isinstance(source, MadeUpSource) else None
    storage[SURROUNDINGS] = Surroundings(made_up, "", options.answers.page_cap, moments)
    async with AsyncExitStack() as stack:
        storage_url = await stack.enter_async_context(_site(storage, host, storage_port, moments))
        api = api_application(
            source,
            addresses=LabAddresses(storage_url, signer, options.storage, moments),
            style=options.answers.style(),
            clock=moments,
            middlewares=_api_middlewares(options, journal, moments),
        )
        api[SURROUNDINGS] = Surroundings(made_up, storage_url, options.answers.page_cap, moments)
        api_url = await stack.enter_async_context(_site(api, host, port, moments))
        yield Lab(api_url + BASE_PATH, storage_url, source, options, journal)


def _api_middlewares(options: LabOptions, journal: Journal, clock: Clock) -> list[Middleware]:
    middlewares = [
        journal.writes_down("api"),
        without(options.endpoints.missing()),
        key_required(options.keys),
    ]
    if options.limits is not None:
        middlewares.append(limited(RequestLimits(options.limits), clock))
    middlewares.append(scopes_required())
    if options.answers.latency_seconds > 0:
        middlewares.append(late(options.answers.latency_seconds))
    return [*middlewares, *options.faults.api]


@asynccontextmanager
async def _site(app: web.Application, host: str, port: int, clock: Clock) -> AsyncIterator[str]:
    app.on_response_prepare.append(_dated_by(clock))
    # No access log: it would write signed addresses out.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_port = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound_port}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class _ClockAhead:
    """Another clock, and so many seconds."""

    clock: Clock
    seconds: float

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def epoch(self) -> float:
        return self.clock.epoch() + self.seconds


def _ahead(clock: Clock, seconds: float) -> Clock:
    return _ClockAhead(clock, seconds) if seconds else clock


def _dated_by(clock: Clock) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal receiver that has answers carry this clock's time as their `Date`."""

    async def stamp(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(clock.epoch(), usegmt=True)

    return stamp
