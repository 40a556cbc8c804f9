"""The API over a handful of rows, on loopback."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from hsmirror.clock import ManualClock
from hsmirror.serve.app import api_application
from hsmirror.serve.recordings import RecordingRef
from hsmirror.serve.source import Page, Query, RecordingFile

KNOWN_IDS = frozenset({"exp_1", "room_1", "user_1"})


class FewRows:
    """A source of whatever rows a test gives it; it remembers the queries it was asked."""

    def __init__(self, rows: Mapping[str, list[bytes]], folder: Path) -> None:
        self.rows = rows
        self.folder = folder
        self.queries: list[Query] = []

    async def experiments(self, *, search: str | None, offset: int, limit: int, shared: bool) -> Page:
        rows = self.rows.get("shared" if shared else "experiments", [])
        found = [row for row in rows if search is None or search.encode() in row]
        return Page(found[offset : offset + limit], len(found))

    async def experiment(self, experiment_id: str) -> bytes | None:
        return b'{"id":"exp_1"}' if experiment_id == "exp_1" else None

    experiment_config = experiment
    experiment_export = experiment

    async def deployments(self, *, experiment_id: str | None, status: str | None) -> Page:
        rows = self.rows.get("deployments", [])
        wanted = [row for row in rows if all(w.encode() in row for w in (experiment_id, status) if w)]
        return Page(wanted, len(wanted))

    async def deployment(self, deployment_id: str) -> bytes | None:
        return b'{"id":"dep_1"}' if deployment_id == "dep_1" else None

    async def deployment_sessions(self, deployment_id: str) -> Page | None:
        return Page([b'{"id":"room_1"}'], 1) if deployment_id == "dep_1" else None

    async def data(self, query: Query) -> Page | None:
        self.queries.append(query)
        if query.scope_id not in KNOWN_IDS:
            return None
        rows = self.rows.get(query.data_type, [])
        page = rows[query.offset : query.offset + query.limit]
        return Page(page, len(rows), "2024-10-20T14:30:00.000Z")

    async def counts(self, participant_id: str, room_id: str) -> dict[str, int] | None:
        return {"events": 3, "chat": 0} if (participant_id, room_id) == ("user_1", "room_1") else None

    async def recording_file(self, room_id: str, recording_id: str) -> RecordingFile | None:
        path = self.folder / f"{recording_id}.mp4"
        if room_id != "room_1" or not path.exists():
            return None
        content = path.read_bytes()
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        return RecordingFile(recording_id, room_id, path, len(content), "video/mp4", md5, "AAAAAA==")


class PlainAddresses:
    """Addresses that say what they are of."""

    def fields(self, recording: RecordingRef) -> Mapping[str, str]:
        return {"downloadUrl": self.mint(recording)}

    def mint(self, recording: RecordingRef) -> str:
        return f"https://files.example/{recording.room_id}/{recording.recording_id}.{recording.suffix}"


ServeRows = Callable[..., Awaitable[TestClient[Any, Any]]]


@pytest.fixture
async def serve_rows(tmp_path: Path) -> AsyncIterator[ServeRows]:
    """`client = await serve_rows(events=[b'{…}'], style=…)`: the API over these rows; see `client.source`."""
    async with AsyncExitStack() as stack:

        async def start(*, clock: ManualClock | None = None, **given: Any) -> TestClient[Any, Any]:
            options = {name: given.pop(name) for name in ("style", "middlewares") if name in given}
            source = FewRows({name.replace("__", "/"): rows for name, rows in given.items()}, tmp_path)
            app = api_application(source, addresses=PlainAddresses(), clock=clock or ManualClock(), **options)
            client = await stack.enter_async_context(TestClient(TestServer(app)))
            client.source = source  # type: ignore[attr-defined]
            return client

        yield start
