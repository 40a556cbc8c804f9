"""Lists of single rooms, several at once: what one of them lacks does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio

from hsmirror.errors import (
    BudgetExhaustedError,
    ForbiddenError,
    KeyRefusedError,
    NotFoundError,
    UpstreamError,
)
from hsmirror.mirror.context import Context
from hsmirror.mirror.outcome import Outcome
from hsmirror.mirror.reading import OnRows, nothing_found, proven_list
from hsmirror.model import DataType, ListKey, Scope

ROOMS_ASKED_BEFOREHAND = 3
"""A newer type without a list at experiment scope is not offered where these are all answered with 404."""


class ListsByRoom:
    """Reads lists of single rooms and settles them. `has_vanished`: the server no longer has that room."""

    def __init__(
        self,
        context: Context,
        data_type: DataType,
        outcome: Outcome,
        *,
        at_once: int,
        on_rows: OnRows | None,
        has_vanished: Callable[[str | None], Awaitable[bool]],
    ) -> None:
        self._context = context
        self._type = data_type
        self._outcome = outcome
        self._at_once = at_once
        self._on_rows = on_rows
        self._has_vanished = has_vanished

    async def read(self, by_room: Sequence[Sequence[ListKey]], *, may_be_absent: bool = False) -> None:
        """Read the lists of several rooms, some rooms at once, the lists of one room in turn.

        Raises:
            ForbiddenError, KeyRefusedError, BudgetExhaustedError: these concern them all.
            NotFoundError: `may_be_absent`, and a few rooms have shown that the server does not offer the type.
        """
        self._context.tally.lists += sum(map(len, by_room))
        if may_be_absent and by_room:
            step = max(1, (len(by_room) - 1) // (ROOMS_ASKED_BEFOREHAND - 1))
            asked = set(range(0, len(by_room), step)[:ROOMS_ASKED_BEFOREHAND])
            await self._ask_some([by_room[number] for number in sorted(asked)])
            by_room = [keys for number, keys in enumerate(by_room) if number not in asked]
        waiting = iter(by_room)
        stopped: list[UpstreamError] = []

        async def work() -> None:
            for keys in waiting:
                for key in keys:
                    if stopped:
                        return
                    try:
                        await self._read_if_found(key)
                    except (ForbiddenError, KeyRefusedError, BudgetExhaustedError) as error:
                        stopped.append(error)
                    except UpstreamError as error:
                        self._fail_at(key, error)

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self._at_once, len(by_room))):
                tasks.start_soon(work)
        if stopped:
            raise stopped[0]

    async def _ask_some(self, by_room: Iterable[Sequence[ListKey]]) -> None:
        """A few rooms tell whether the type is offered; each of them is to be read anyway."""
        refused: list[NotFoundError] = []
        failed: list[UpstreamError] = []

        async def ask(key: ListKey) -> None:
            try:
                await self._read_one(key)
            except NotFoundError as error:
                refused.append(error)
            except UpstreamError as error:
                failed.append(error)

        keys = [key for keys in by_room for key in keys]
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(ask, key)
        if failed:
            raise failed[0]
        if keys and len(refused) == len(keys):
            raise refused[0]

    async def _read_one(self, key: ListKey) -> None:
        try:
            async with proven_list(self._context, key, on_rows=self._on_rows) as found:
                is_of_person = key.scope is Scope.PARTICIPANT
                await self._outcome.settle(
                    found,
                    [key.room],
                    participant=key.scope_id if is_of_person else None,
                    are_gone=not found.rows and not is_of_person and await self._has_vanished(key.room),
                )
                if self._type.name == "variables":
                    await self._outcome.keep_timeline(key.room, found)
        finally:
            self._context.tally.lists_done += 1

    async def _read_if_found(self, key: ListKey) -> None:
        try:
            await self._read_one(key)
        except NotFoundError as error:
            await self._not_found(key, error)

    async def _not_found(self, key: ListKey, error: NotFoundError) -> None:
        if key.scope is Scope.PARTICIPANT:
            return
        if await self._has_vanished(key.room):
            await self._outcome.settle(nothing_found(), [key.room], are_gone=True)
        elif self._type.documented or self._outcome.upstream_rows_of([key.room]):
            self._fail_at(key, error)

    def _fail_at(self, key: ListKey, error: UpstreamError) -> None:
        self._outcome.fail(f"{key.scope} {key.scope_id}: {error}", room=key.room or "")
