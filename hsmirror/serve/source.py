"""What the API is served from.

A source knows rows and files; it knows nothing of HTTP. Rows are JSON texts, one object each, as bytes:
an archive hands on the very bytes that it holds, and the lab those that it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hsmirror.model import Scope


@dataclass(frozen=True, slots=True)
class Query:
    """One validated data request. `start`/`end` are epoch seconds; `limit` is already clamped by the server."""

    data_type: str
    scope: Scope
    scope_id: str
    room_id: str | None = None
    deployment_id: str | None = None
    category: str | None = None
    start: float | None = None
    end: float | None = None
    sort: str | None = None
    descending: bool = False
    offset: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """`rows` of a list that has `total` rows in all; `extra` joins the metadata (a variables timeline, say)."""

    rows: Sequence[bytes]
    total: int
    experiment_started_at: str | None = None
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """A recording's bytes on disk, as the storage origin serves them."""

    recording_id: str
    room_id: str
    path: Path
    size_bytes: int
    media_type: str
    md5_base64: str
    crc32c_base64: str
    generation: int = 1


class Source(Protocol):
    """Where rows and files come from. A method answers None where the thing asked for does not exist."""

    async def experiments(self, *, search: str | None, offset: int, limit: int, shared: bool) -> Page:
        """The experiments of the key's owner, or those shared with them."""

    async def experiment(self, experiment_id: str) -> bytes | None:
        """One experiment's row, as `/experiments/{id}` shows it."""

    async def experiment_config(self, experiment_id: str) -> bytes | None: ...

    async def experiment_export(self, experiment_id: str) -> bytes | None: ...

    async def deployments(self, *, experiment_id: str | None, status: str | None) -> Page: ...

    async def deployment(self, deployment_id: str) -> bytes | None: ...

    async def deployment_sessions(self, deployment_id: str) -> Page | None: ...

    async def data(self, query: Query) -> Page | None:
        """One page of a data type at one scope; None: no such experiment, room or participant."""

    async def counts(self, participant_id: str, room_id: str) -> dict[str, int] | None:
        """How many rows of each data type one participant has in one room."""

    async def recording_file(self, room_id: str, recording_id: str) -> RecordingFile | None:
        """The file behind a recording row; None where there is none (yet)."""
