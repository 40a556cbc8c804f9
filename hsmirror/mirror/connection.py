"""The way to the upstream, as settings describe it: wire, gate, budget."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import platformdirs

from hsmirror.api.memory import AnswerMemory
from hsmirror.api.transport import Transport
from hsmirror.clock import Clock
from hsmirror.mirror.budget_file import BudgetFile, UnsharedBudget
from hsmirror.mirror.fetch import Fetcher, Gate, Wire
from hsmirror.mirror.lists import ListReader, PageSizes
from hsmirror.model import Secret
from hsmirror.pace.budget import Budget, Limits
from hsmirror.settings import Settings


@dataclass(frozen=True, slots=True)
class Connection:
    """An open way to the upstream. `random` gives numbers from 0 to 1, for jitter."""

    transport: Transport
    fetcher: Fetcher
    reader: ListReader
    limits: Limits
    clock: Clock
    random: Callable[[], float]
    is_budget_shared: bool


@asynccontextmanager
async def connected(
    settings: Settings,
    key: Secret,
    clock: Clock,
    *,
    longest_wait_seconds: float | None = None,
    state_folder: Path | None = None,
    wire: Wire | None = None,
) -> AsyncIterator[Connection]:
    """Open the way; nothing is sent yet. `state_folder` None: the user's own; `wire` None: over HTTP."""
    limits = Limits(settings.limits.requests_per_hour, settings.limits.requests_per_minute_per_endpoint).shared(
        settings.limits.share
    )
    budget = Budget(limits)
    memory = AnswerMemory()
    async with AsyncExitStack() as stack:
        shared = _shared_budget(stack, settings, key, clock, state_folder)
        transport = await stack.enter_async_context(
            Transport(
                settings.api.base_url,
                key,
                clock=clock,
                memory=memory,
                organization_id=settings.api.organization_id,
                max_connections=settings.limits.max_concurrent_requests,
                max_downloads=settings.limits.max_concurrent_downloads,
            )
        )
        gate = Gate(
            budget,
            clock,
            slots=settings.limits.max_concurrent_requests,
            shared=shared,
            longest_wait_seconds=longest_wait_seconds,
        )
        random = Random().random  # noqa: S311  # jitter, not secrets
        fetcher = Fetcher(wire or transport, gate, budget, clock, random)
        reader = ListReader(
            fetcher,
            PageSizes(),
            concurrent_pages=settings.limits.max_concurrent_requests,
            memory=memory,
        )
        is_shared = isinstance(shared, BudgetFile)
        yield Connection(transport, fetcher, reader, limits, clock, random, is_shared)


def _shared_budget(
    stack: AsyncExitStack, settings: Settings, key: Secret, clock: Clock, folder: Path | None
) -> BudgetFile | UnsharedBudget:
    try:
        shared = BudgetFile(
            folder or platformdirs.user_state_path("hsmirror"), settings.api.base_url, key, clock
        )
    except OSError:  # a container without a home: this run keeps the limits alone
        return UnsharedBudget()
    stack.callback(shared.close)
    return shared
