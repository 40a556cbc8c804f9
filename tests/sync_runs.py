"""Runs of `sync` against a lab, for tests: settings and key as the lab needs them, all state in one folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from oracle import EXPERIMENT

from hsmirror.clock import SystemClock
from hsmirror.lab.server import Lab
from hsmirror.mirror.report import ExperimentReport, RunReport, TypeReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, Settings, load


def settings_for(lab: Lab[Any], folder: Path, overrides: Mapping[str, object] | None = None) -> Settings:
    """The archive is `folder / "archive"`; `overrides` are by dotted key (`"archive.shard_size"`)."""
    given = {"api.base_url": lab.base_url, "archive.path": str(folder / "archive")}
    return load(
        config=None, environ={}, overrides=given | dict(overrides or {}), cwd=folder, user_config_dir=folder
    )


async def run_sync(
    lab: Lab[Any],
    folder: Path,
    *experiments: str,
    key: str | None = None,
    full: bool = False,
    overrides: Mapping[str, object] | None = None,
    days_later: float = 0.0,
    longest_wait_seconds: float | None = None,
    **narrowing: Any,
) -> RunReport:
    """One run over `experiments` (the first one of the lab where none is named), each narrowed alike.

    `days_later` sets its clock ahead.
    """
    return await sync(
        settings_for(lab, folder, overrides),
        Secret(lab.key if key is None else key),
        [ExperimentSettings(id=each, **narrowing) for each in experiments or (EXPERIMENT,)],
        options=RunOptions(full=full, longest_wait_seconds=longest_wait_seconds, state_folder=folder / "state"),
        clock=_LaterClock(days_later * 86_400),
    )


class _LaterClock(SystemClock):
    def __init__(self, ahead_seconds: float) -> None:
        self._ahead_seconds = ahead_seconds

    def epoch(self) -> float:
        return super().epoch() + self._ahead_seconds


def the_experiment(report: RunReport) -> ExperimentReport:
    """The only experiment of a report."""
    (experiment,) = report.experiments
    return experiment


def type_reports(report: RunReport) -> dict[str, TypeReport]:
    """Of the only experiment, by data type."""
    return {each.data_type: each for each in the_experiment(report).types}


def failing(*paths: str) -> Middleware:
    """The server cannot answer what has one of these in its path."""

    @web.middleware
    async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
        if any(path in request.path for path in paths):
            return web.json_response({"error": "broken"}, status=500)
        return await handler(request)

    return broken


def unlisting(*rooms: str) -> Middleware:
    """The server's list of rooms lacks these, or all where none is named; their own lists are there."""

    @web.middleware
    async def lacking(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if "/data/rooms/" not in request.path or not isinstance(answer, web.Response):
            return answer
        body = answer.body
        assert isinstance(body, bytes)
        envelope = json.loads(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
        envelope["data"] = [row for row in envelope["data"] if rooms and row["id"] not in rooms]
        envelope["metadata"]["pagination"] |= {"total": len(envelope["data"]), "hasMore": False}
        return web.json_response(envelope)

    return lacking
