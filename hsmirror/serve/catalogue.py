"""The endpoints that say what there is: health, experiments, deployments and their sessions."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from aiohttp import web

from hsmirror.clock import Clock
from hsmirror.serve.data import API_VERSION
from hsmirror.serve.endpoints import BASE_PATH
from hsmirror.serve.envelope import (
    AnswerStyle,
    PageFacts,
    iso_milliseconds,
    json_answer,
    object_envelope,
    rows_envelope,
)
from hsmirror.serve.parameters import whole_number
from hsmirror.serve.refusals import not_found
from hsmirror.serve.source import Source

_DEFAULT_LIMIT = 50
_USER_ID = "user_owner"


@dataclass(frozen=True, slots=True)
class CatalogueHandlers:
    """Answers for `/health`, `/experiments…` and `/deployments…`, from one source."""

    source: Source
    style: AnswerStyle
    clock: Clock

    def routes(self) -> list[web.RouteDef]:
        """Every route, below the API's base path."""
        experiments, deployments = f"{BASE_PATH}/experiments", f"{BASE_PATH}/deployments"
        return [
            web.get(f"{BASE_PATH}/health", self.health),
            web.get(experiments, self.own_experiments),
            web.get(f"{experiments}/shared", self.shared_experiments),
            web.get(f"{experiments}/{{id}}", self.experiment),
            web.get(f"{experiments}/{{id}}/config", self.experiment_config),
            web.get(f"{experiments}/{{id}}/export", self.experiment_export),
            web.get(deployments, self.deployments),
            web.get(f"{deployments}/{{id}}", self.deployment),
            web.get(f"{deployments}/{{id}}/sessions", self.deployment_sessions),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """That the server is there, and its version; needs no key."""
        health = {
            "status": "healthy",
            "version": API_VERSION,
            "timestamp": iso_milliseconds(self.clock.epoch()),
        }
        return await json_answer(request, object_envelope(orjson.dumps(health)), self.style)

    async def own_experiments(self, request: web.Request) -> web.Response:
        """The experiments of the key's owner, in pages."""
        return await self._experiments(request, shared=False)

    async def shared_experiments(self, request: web.Request) -> web.Response:
        """The experiments that others share with the key's owner, in pages."""
        return await self._experiments(request, shared=True)

    async def _experiments(self, request: web.Request, *, shared: bool) -> web.Response:
        given = request.query
        offset = whole_number(given, "offset", 0)
        limit = min(whole_number(given, "limit", _DEFAULT_LIMIT, at_least=1), self.style.page_cap)
        search = given.get("search") or None
        page = await self.source.experiments(search=search, offset=offset, limit=limit, shared=shared)
        metadata = {
            "dataType": "experiments",
            "scope": "user",
            "scopeId": _USER_ID,
            "timestamp": iso_milliseconds(self.clock.epoch()),
            **self.style.paging(PageFacts(page.total, len(page.rows), offset, limit)),
        }
        return await json_answer(request, rows_envelope(page.rows, metadata), self.style)

    async def experiment(self, request: web.Request) -> web.Response:
        """One experiment, with its counts."""
        row = await self.source.experiment(request.match_info["id"])
        return await self._one(request, row, "experiment", what="Experiment")

    async def experiment_config(self, request: web.Request) -> web.Response:
        """One experiment's definition as it runs."""
        row = await self.source.experiment_config(request.match_info["id"])
        return await self._one(request, row, "experimentConfig", what="Experiment")

    async def experiment_export(self, request: web.Request) -> web.Response:
        """One experiment as portable JSON."""
        row = await self.source.experiment_export(request.match_info["id"])
        return await self._one(request, row, "experimentExport", what="Experiment")

    async def deployments(self, request: web.Request) -> web.Response:
        """Every deployment, or those of one experiment or status."""
        given = request.query
        page = await self.source.deployments(
            experiment_id=given.get("experimentId") or None, status=given.get("status") or None
        )
        metadata = {"dataType": "deployments", "scope": "user", "scopeId": _USER_ID}
        return await json_answer(request, rows_envelope(page.rows, metadata), self.style)

    async def deployment(self, request: web.Request) -> web.Response:
        """One deployment."""
        row = await self.source.deployment(request.match_info["id"])
        return await self._one(request, row, "deployment", what="Deployment")

    async def deployment_sessions(self, request: web.Request) -> web.Response:
        """The rooms of one deployment."""
        deployment_id = request.match_info["id"]
        page = await self.source.deployment_sessions(deployment_id)
        if page is None:
            raise not_found("Deployment")
        metadata = {"dataType": "sessions", "scope": "deployment", "scopeId": deployment_id}
        return await json_answer(request, rows_envelope(page.rows, metadata), self.style)

    async def _one(self, request: web.Request, row: bytes | None, data_type: str, *, what: str) -> web.Response:
        if row is None:
            raise not_found(what)
        scope_id = request.match_info["id"]
        metadata = {"dataType": data_type, "scope": what.lower(), "scopeId": scope_id}
        return await json_answer(request, rows_envelope([row], metadata), self.style)
