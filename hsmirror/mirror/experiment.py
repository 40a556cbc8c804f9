"""One experiment: its definition, its rooms, its data types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.echo import parse_answer
from hsmirror.archive.layout import document_path
from hsmirror.errors import (
    BudgetExhaustedError,
    ForbiddenError,
    KeyRefusedError,
    NotFoundError,
    UnreachableError,
    UpstreamError,
)
from hsmirror.mirror.context import Context
from hsmirror.mirror.data_type import TypeMirror
from hsmirror.mirror.documents import document_commit
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.lacking import without_lacking_files
from hsmirror.mirror.lists import FALLBACK_LIMIT, path_segment
from hsmirror.mirror.night import HeldList, RoomState
from hsmirror.mirror.reading import OnRows
from hsmirror.mirror.report import ExperimentReport, Problem, TypeReport
from hsmirror.mirror.rooms import ExperimentRooms
from hsmirror.mirror.wanted import Wanted
from hsmirror.model import DataType, ListKey, Scope
from hsmirror.pace.agenda import Urgency

_ROOMS = DATA_TYPES["rooms"]
_DEFINITION = ("", "experiment.json")
_OTHER_DOCUMENTS = (("/config", "config.json"), ("/export", "export.json"))


class ExperimentMirror:
    """Mirrors one experiment, all wanted data types at once.

    `may_be_gone`: it is held, and a proven list of all experiments does not name it any more.
    """

    def __init__(
        self,
        context: Context,
        wanted: Wanted,
        types: Sequence[DataType],
        *,
        concurrent_lists: int,
        on_recordings: OnRows | None,
        may_be_gone: bool = False,
    ) -> None:
        self._context = context
        self._wanted = wanted
        self._types = types
        self._concurrent_lists = concurrent_lists
        self._on_recordings = on_recordings
        self._may_be_gone = may_be_gone
        self._held: dict[str, HeldList | None] = {}
        self._name = ""
        self._is_defined: bool | None = None
        self._undefined = ""  # in the API's words

    async def define(self) -> None:
        """Read the experiment's definition: the first request, which also shows whether the key is good.

        Raises:
            KeyRefusedError: it is not.
        """
        if self._is_defined is None:
            self._is_defined = await self._read_document(*_DEFINITION)

    async def mirror(self) -> ExperimentReport:
        """Read, write and commit all that is wanted of it.

        Raises:
            KeyRefusedError, StorageError: these end the run. All else is in the report.
        """
        experiment = self._wanted.experiment
        try:
            await self.define()
            if not self._is_defined and not await self._exists():
                return self._gone() if self._may_be_gone else self._unknown()
            self._rooms = await self._known_rooms()
            if self._wanted.rooms:
                self._wanted = replace(self._wanted, rooms=tuple(await self._rooms.wanted()))
                if not self._wanted.rooms:
                    doubt = self._rooms.selection_doubt
                    return self._unreadable(doubt) if doubt else ExperimentReport(experiment, name=self._name)
        except KeyRefusedError:
            raise
        except UpstreamError as error:
            return self._unreadable(str(error))
        reports: dict[str, TypeReport] = {}
        doubtful: list[str] = []

        async def mirror_type(data_type: DataType) -> None:
            mirror = TypeMirror(
                self._context,
                self._wanted,
                data_type,
                self._rooms,
                concurrent_lists=self._concurrent_lists,
                on_rows=self._on_rows(data_type),
                held=self._held[data_type.name],
            )
            try:
                if (report := await mirror.run()) is not None:
                    reports[data_type.name] = report
                    if data_type is _ROOMS:
                        self._rooms.doubt = mirror.unread
                elif mirror.doubtful_absence:
                    doubtful.append(f"{data_type.name}: {mirror.doubtful_absence}")
            finally:
                self._rooms.told(data_type)

        async with anyio.create_task_group() as tasks:
            if self._is_defined:
                for suffix, name in _OTHER_DOCUMENTS:
                    tasks.start_soon(self._read_other_document, suffix, name)
            for data_type in self._types:
                tasks.start_soon(mirror_type, data_type)
        if doubtful and not reports:
            return self._unreadable(f"nothing of it could be read ({'; '.join(doubtful[:3])})")
        return ExperimentReport(
            experiment,
            name=self._name,
            rooms=len(self._rooms),
            types=tuple(reports[data_type.name] for data_type in self._types if data_type.name in reports),
        )

    async def room_states(self) -> Mapping[str, RoomState]:
        """The rooms that the server lists, and whether they have ended; to be called after `mirror`."""
        try:
            return await self._rooms.states(DATA_TYPES["recordings"])
        except KeyRefusedError:
            raise
        except UpstreamError:
            return {}

    async def _known_rooms(self) -> ExperimentRooms:
        """What is held, looked at, and what is known of the rooms."""
        wanted = self._wanted
        names = [data_type.name for data_type in self._types] if wanted.is_whole else []

        def look() -> dict[str, HeldList | None]:
            return {name: self._context.held.list_of(wanted.experiment, name) for name in {*names, "rooms"}}

        held = await anyio.to_thread.run_sync(look)
        self._held = {data_type.name: held.get(data_type.name) for data_type in self._types}
        if not wanted.is_whole:
            self._held = dict.fromkeys(self._held)
        elif self._on_recordings is not None and (recordings := self._held.get("recordings")) is not None:
            self._held["recordings"] = await anyio.to_thread.run_sync(
                without_lacking_files, self._context, wanted.experiment, recordings
            )
        return ExperimentRooms(self._context, wanted, self._types, held_rooms=held["rooms"])

    def _on_rows(self, data_type: DataType) -> OnRows | None:
        if data_type.name == "recordings":
            return self._on_recordings
        return self._rooms.seen if data_type is _ROOMS else None

    # --- the documents -------------------------------------------------------------------------------
    async def _read_other_document(self, suffix: str, name: str) -> None:
        try:
            await self._read_document(suffix, name)
        except BudgetExhaustedError as error:
            self._fail_at(name, str(error))
        except UnreachableError as error:
            self._fail_at(name, f"{error}; run again")

    async def _read_document(self, suffix: str, name: str) -> bool:
        """Does the server know it? A repair does not ask for what is not damaged."""
        experiment = self._wanted.experiment
        path = document_path(experiment, name)
        damaged = self._context.held.damaged
        if damaged and path not in damaged:
            return True
        request = Request(
            "experiments", f"experiments/{path_segment(experiment)}{suffix}", {}, urgency=Urgency.CATALOGUE
        )
        try:
            parse = partial(parse_answer, experiment=experiment, is_definition=not suffix)
            data, document = await self._context.fetcher.get_parsed(request, parse)
        except (KeyRefusedError, BudgetExhaustedError, UnreachableError):
            raise
        except UpstreamError as error:
            return self._document_failed(name, path, error)
        if isinstance(data, dict) and name == "experiment.json":
            self._name = str(data.get("name") or "")
        await anyio.to_thread.run_sync(self._context.receipts.load, experiment)
        commit = document_commit(self._context, experiment, path, document)
        if commit is not None:
            await self._context.committer.commit(commit)
        return True

    def _document_failed(self, name: str, path: str, error: UpstreamError) -> bool:
        """Does the server know the experiment all the same, for all that this answer says?

        A document that the server lacks, or the key may not read, is no failure unless it was there before.
        """
        lacks_scope = isinstance(error, ForbiddenError) and bool(error.required_scopes)
        if not (isinstance(error, NotFoundError) or lacks_scope):
            self._fail_at(name, f"{error}; run again")
            return True
        if name == "experiment.json":
            self._undefined = str(error)  # an unknown experiment, or a server without this endpoint
        else:
            self._not_offered(name, path, str(error))
        return False

    def _not_offered(self, name: str, path: str, why: str) -> None:
        if self._context.receipts.document(path) is None or self._context.policy.is_full:
            self._context.tally.note(f"{name} of {self._wanted.experiment}: {why}")
        else:
            self._fail_at(name, f"{why}; what is held of it stays, run again")

    def _fail_at(self, name: str, why: str) -> None:
        self._context.tally.problems.append(Problem(f"{name}: {why}", experiment=self._wanted.experiment))

    async def _exists(self) -> bool:
        """A server without `/experiments` may know the experiment all the same."""
        experiment = self._wanted.experiment
        path = document_path(experiment, "experiment.json")
        is_held = await anyio.to_thread.run_sync(self._context.held.has_any, experiment)
        # One that is held without it never had it: its lists are asked anyway.
        exists = (is_held and self._context.receipts.document(path) is None) or await self._is_listed()
        if exists:
            self._not_offered("experiment.json", path, self._undefined)
        return exists

    async def _is_listed(self) -> bool:
        """Does one of its lists tell that it is there? Asked for with the documented page size."""
        data_type = next((each for each in self._types if each.documented), DATA_TYPES["events"])
        key = ListKey(self._wanted.experiment, data_type, Scope.EXPERIMENT, self._wanted.experiment)
        try:
            await self._context.reader.first_page(key, FALLBACK_LIMIT)
        except NotFoundError:
            return False
        except (KeyRefusedError, BudgetExhaustedError):
            raise
        except UpstreamError:
            pass  # that is for the data types to report
        return True

    def _gone(self) -> ExperimentReport:
        experiment = self._wanted.experiment
        self._context.tally.note(
            f"{experiment} is no longer there ({self._undefined}); what is held of it stays"
        )
        return ExperimentReport(experiment)

    def _unknown(self) -> ExperimentReport:
        return self._unreadable(
            "the API knows no such experiment, or the key may not see it; check the id, and who owns it"
        )

    def _unreadable(self, why: str) -> ExperimentReport:
        self._context.tally.problems.append(Problem(why, experiment=self._wanted.experiment))
        return ExperimentReport(self._wanted.experiment, problem=why)
