"""The endpoints below `/data`: rows of every type at every scope, counts, access, minted addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from aiohttp import web

from hsmirror.clock import Clock
from hsmirror.model import Scope
from hsmirror.serve.endpoints import BASE_PATH, DATA_ENDPOINTS, DataEndpoint
from hsmirror.serve.envelope import (
    AnswerStyle,
    PageFacts,
    iso_milliseconds,
    json_answer,
    object_envelope,
    rows_envelope,
    text_answer,
)
from hsmirror.serve.parameters import FORMATS, data_query, one_of, query_shown
from hsmirror.serve.recordings import Addresses, RecordingRef, with_addresses
from hsmirror.serve.refusals import invalid_parameter, not_found, scope_not_found
from hsmirror.serve.rows import readable
from hsmirror.serve.source import Page, Query, Source
from hsmirror.serve.tables import csv_table

API_VERSION = "3.0.0"

_EVERYTHING = 1_000_000
_MEDIA_TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson"}


class _Decision(msgspec.Struct, rename={"kind": "_type"}):
    id: str = ""
    kind: str = "decision"


_DECISION = msgspec.json.Decoder(_Decision)


@dataclass(frozen=True, slots=True)
class DataHandlers:
    """Answers for `/data/…`, from one source."""

    source: Source
    addresses: Addresses
    style: AnswerStyle
    clock: Clock

    def routes(self) -> list[web.RouteDef]:
        """Every route, below the API's base path."""
        data = f"{BASE_PATH}/data"
        rows = [
            web.get(f"{data}/{endpoint.name}/{scope}/{{id}}", self._rows_of(endpoint, scope))
            for endpoint in DATA_ENDPOINTS.values()
            for scope in sorted(endpoint.scopes)
        ]
        return [
            *rows,
            web.get(f"{data}/recordings/download/{{room}}/{{recording}}", self.mint),
            web.get(f"{data}/agent-decisions/room/{{id}}/decision/{{decision}}", self.agent_decision),
            web.get(f"{data}/check-access/experiment/{{id}}", self.check_access),
            web.get(f"{data}/counts/participant/{{id}}", self.counts),
        ]

    def _rows_of(
        self, endpoint: DataEndpoint, scope: Scope
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def rows(request: web.Request) -> web.StreamResponse:
            return await self._answer_rows(request, endpoint, scope)

        return rows

    async def _answer_rows(
        self, request: web.Request, endpoint: DataEndpoint, scope: Scope
    ) -> web.StreamResponse:
        began_at = self.clock.monotonic()
        given = request.query
        query = data_query(endpoint, scope, request.match_info["id"], given, page_cap=self.style.page_cap)
        wanted = one_of(given, "format", FORMATS, "json")
        page = await self.source.data(query)
        if page is None:
            raise scope_not_found(scope)
        rows = page.rows
        if endpoint.name == "recordings":
            rows = await with_addresses(rows, query, self.source, self.addresses)
        if wanted != "json":
            body = csv_table(rows) if wanted == "csv" else b"".join(row + b"\n" for row in rows)
            return await text_answer(request, body, _MEDIA_TYPES[wanted], self.style)
        metadata = self._metadata(endpoint, query, given, page, began_at)
        return await json_answer(request, rows_envelope(rows, metadata), self.style)

    def _metadata(
        self, endpoint: DataEndpoint, query: Query, given: Mapping[str, str], page: Page, began_at: float
    ) -> dict[str, Any]:
        processing: dict[str, Any] = {
            "processingTimeMs": round((self.clock.monotonic() - began_at) * 1000),
            "enriched": True,
            "version": API_VERSION,
        }
        if page.experiment_started_at is not None:
            processing = {"experimentStartedAt": page.experiment_started_at, **processing}
        metadata: dict[str, Any] = {
            **dict(endpoint.shown_as),
            "scope": query.scope.value,
            "scopeId": query.scope_id,
            "timestamp": iso_milliseconds(self.clock.epoch()),
            "query": query_shown(query, given, endpoint),
            "processing": processing,
            **(page.extra or {}),
        }
        if endpoint.paged:
            facts = PageFacts(page.total, len(page.rows), query.offset, query.limit)
            metadata |= self.style.paging(facts)
        return metadata

    async def mint(self, request: web.Request) -> web.StreamResponse:
        """A fresh address of one recording's file."""
        room_id, recording_id = request.match_info["room"], request.match_info["recording"]
        file = await self.source.recording_file(room_id, recording_id)
        if file is None:
            raise not_found("Recording")
        recording = RecordingRef(room_id, recording_id, file.path.suffix.lstrip(".") or "mp4")
        return await self._answer_object(request, {"url": self.addresses.mint(recording)})

    async def agent_decision(self, request: web.Request) -> web.StreamResponse:
        """One agent decision, by its room and id."""
        query = Query("agent-decisions", Scope.ROOM, request.match_info["id"], limit=_EVERYTHING)
        page = await self.source.data(query)
        if page is None:
            raise scope_not_found(Scope.ROOM)
        row = _decision(page.rows, request.match_info["decision"])
        return await json_answer(request, object_envelope(row), self.style)

    async def check_access(self, request: web.Request) -> web.StreamResponse:
        """Whether the key may see and export an experiment: it may, if there is one."""
        experiment_id = request.match_info["id"]
        if await self.source.experiment(experiment_id) is None:
            raise scope_not_found(Scope.EXPERIMENT)
        metadata = {"dataType": "access", "scope": "experiment", "scopeId": experiment_id}
        return await self._answer_list_of_one(request, {"canView": True, "canExport": True}, metadata)

    async def counts(self, request: web.Request) -> web.StreamResponse:
        """How many rows of each data type a participant has in a room."""
        participant_id, room_id = request.match_info["id"], request.query.get("roomId")
        if not room_id:
            raise invalid_parameter("roomId", None, "it is required at participant scope")
        counts = await self.source.counts(participant_id, room_id)
        if counts is None:
            raise scope_not_found(Scope.PARTICIPANT)
        row = {"counts": counts, "hasData": {name: count > 0 for name, count in counts.items()}}
        metadata = {"dataType": "counts", "scope": "participant", "scopeId": participant_id}
        return await self._answer_list_of_one(request, row, metadata)

    async def _answer_object(self, request: web.Request, row: Mapping[str, Any]) -> web.Response:
        return await json_answer(request, object_envelope(orjson.dumps(row)), self.style)

    async def _answer_list_of_one(
        self, request: web.Request, row: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> web.Response:
        return await json_answer(request, rows_envelope([orjson.dumps(row)], metadata), self.style)


def _decision(rows: Sequence[bytes], decision_id: str) -> bytes:
    for row in rows:
        facts = _DECISION.decode(readable(row))
        if facts.id == decision_id and facts.kind != "run":
            return row
    raise not_found("Decision")
