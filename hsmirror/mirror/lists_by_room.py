"""Lists of single rooms, several at once: what one of them lacks does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import anyio

from hsmirror.errors import (
    BudgetExhaustedError,
    ForbiddenError,
    IntermediaryError,
    KeyRefusedError,
    NotFoundError,
    UpstreamError,
)
from hsmirror.mirror.context import Context
from hsmirror.mirror.of_person import narrowed_to, of_person
from hsmirror.mirror.outcome import Outcome
from hsmirror.mirror.reading import OnRows, ProvenList, nothing_found, proven_list
from hsmirror.model import DataType, ListKey, Scope

_REFUSALS_IN_A_ROW = 3
"""Rooms refused one after another without a word that the key lacks a scope: then the rest is not asked."""


class ListsByRoom:
    """Reads lists of single rooms and settles them.

    `has_vanished`: the server no longer has that room. `is_known`: it has named that room in this run.
    """

    def __init__(
        self,
        context: Context,
        data_type: DataType,
        outcome: Outcome,
        *,
        at_once: int,
        on_rows: OnRows | None,
        has_vanished: Callable[[str | None], Awaitable[bool]],
        is_known: Callable[[str | None], bool],
    ) -> None:
        self._context = context
        self._type = data_type
        self._outcome = outcome
        self._at_once = at_once
        self._on_rows = on_rows
        self._has_vanished = has_vanished
        self._is_known = is_known
        self._refusals = 0
        self.has_answered = False
        """Has the server given a list of this type, be it an empty one?"""
        self.lacking: list[str] = []
        """Rooms of which it says that they do not have the type."""

    async def read(self, by_room: Sequence[Sequence[ListKey]], *, may_be_absent: bool = False) -> None:
        """Read the lists of several rooms, some rooms at once, the lists of one room in turn.

        Where the type `may_be_absent`, one room is asked first: it may tell that there is no such endpoint.

        Raises:
            ForbiddenError, KeyRefusedError, BudgetExhaustedError: these concern them all.
            NotFoundError: the server says that it has no such endpoint.
            IntermediaryError: room after room is refused by something before the API.
        """
        self._context.tally.lists += sum(map(len, by_room))
        if may_be_absent:
            await self._read_some(by_room[:1])
            by_room = by_room[1:]
        await self._read_some(by_room)

    async def _read_some(self, by_room: Sequence[Sequence[ListKey]]) -> None:
        waiting = iter(by_room)
        stopped: list[UpstreamError] = []

        async def work() -> None:
            for keys in waiting:
                for key in keys:
                    if stopped:
                        return
                    try:
                        await self._read_if_found(key)
                    except UpstreamError as error:
                        if self._concerns_all(error):
                            stopped.append(error)
                        else:
                            self._fail_at(key, error)

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self._at_once, len(by_room))):
                tasks.start_soon(work)
        if stopped:
            raise stopped[0]

    def _concerns_all(self, error: UpstreamError) -> bool:
        """Would the rooms that are left be refused alike?"""
        if isinstance(error, IntermediaryError | ForbiddenError):
            self._refusals += 1
            is_of_type = isinstance(error, ForbiddenError) and (error.required_scopes or not self.has_answered)
            return bool(is_of_type) or self._refusals >= _REFUSALS_IN_A_ROW
        if isinstance(error, NotFoundError):
            return self._is_of_endpoint(error)
        return isinstance(error, KeyRefusedError | BudgetExhaustedError)

    def _is_of_endpoint(self, error: NotFoundError) -> bool:
        """One that has given a list is there, whatever words the next 404 has."""
        return error.is_of_route and not self.has_answered

    async def _read_one(self, key: ListKey) -> None:
        person = key.scope_id if key.scope is Scope.PARTICIPANT else None
        async with proven_list(self._context, key, on_rows=self._on_rows) as found:
            self._was_answered()
            await self._settle(key, found, person)

    async def _settle(self, key: ListKey, found: ProvenList, person: str | None) -> None:
        await self._outcome.settle(
            found,
            [key.room],
            participant=person,
            are_gone=not found.rows and person is None and await self._has_vanished(key.room),
        )
        if self._type.name == "variables":
            await self._outcome.keep_timeline(key.room, found)

    def _was_answered(self) -> None:
        self.has_answered = True
        self._refusals = 0

    async def _read_if_found(self, key: ListKey) -> None:
        try:
            await self._read_one(key)
        except NotFoundError as error:
            if self._is_of_endpoint(error):
                raise
            await self._not_found(key, error)
        finally:
            self._context.tally.lists_done += 1

    async def _not_found(self, key: ListKey, error: NotFoundError) -> None:
        """The 404 speaks for this one list."""
        if key.scope is Scope.PARTICIPANT:
            await self._read_from_room(key, key.scope_id)
        elif await self._has_vanished(key.room):
            await self._outcome.settle(nothing_found(), [key.room], are_gone=True)
        elif self._type.documented or self._outcome.upstream_rows_of([key.room]):
            self._fail_at(key, error)
        elif self._is_known(key.room):
            # A room that is there, without anything of a type that not every room has: an empty list.
            self.lacking += [key.room] if key.room is not None else []
            await self._outcome.settle(nothing_found(), [key.room])
        else:
            self._outcome.note(f"room {key.room}: {error}")

    async def _read_from_room(self, key: ListKey, person: str) -> None:
        """A participant that the server does not know in a room: the room's own list tells what there is."""
        of_room = replace(key, scope=Scope.ROOM, scope_id=key.room or "")
        on_rows = of_person(self._on_rows, person, self._type)
        try:
            async with proven_list(self._context, of_room, on_rows=on_rows) as found:
                self._was_answered()
                await self._settle(key, await narrowed_to(self._context, found, person, self._type), person)
        except NotFoundError as error:
            if self._type.documented:
                self._fail_at(key, error)

    def _fail_at(self, key: ListKey, error: UpstreamError) -> None:
        self._outcome.fail(f"{key.scope} {key.scope_id}: {error}", room=key.room or "")
