"""The endpoints of the API, one table: what each data type offers, and the scope that a key needs for it.

Sources: the API's document of data types, and the official SDK for what that leaves out. Written down here
on its own, not shared with the client's table, so that each side checks the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsmirror.model import Scope

BASE_PATH = "/api/v3"

_EXPERIMENT = frozenset({Scope.EXPERIMENT})
_EXPERIMENT_AND_ROOM = frozenset({Scope.EXPERIMENT, Scope.ROOM})
_EVERY = frozenset({Scope.EXPERIMENT, Scope.ROOM, Scope.PARTICIPANT})
_BY_TIME = ("timestamp", "onset")


@dataclass(frozen=True, slots=True)
class DataEndpoint:
    """One data type as the server offers it; `shown_as` opens its metadata."""

    name: str
    required_scope: str
    shown_as: tuple[tuple[str, str], ...]
    scopes: frozenset[Scope] = _EVERY
    sorts: tuple[str, ...] = _BY_TIME
    """What `sort` may name; the first is the default."""
    paged: bool = True
    """Unpaged lists come whole, without a `pagination` object."""
    default_limit: int = 1000


def _shown(data_type: str, **more: str) -> tuple[tuple[str, str], ...]:
    return (("dataType", data_type), *more.items())


_ALL = (
    DataEndpoint("events", "read:events", _shown("events")),
    DataEndpoint("recordings", "read:recordings", _shown("recordings"), sorts=("startTime", *_BY_TIME)),
    DataEndpoint("chat", "read:chat", _shown("chat")),
    DataEndpoint("ratings/continuous", "read:ratings", _shown("ratings", ratingType="continuous")),
    DataEndpoint("ratings/sparse", "read:ratings", _shown("ratings", ratingType="sparse")),
    DataEndpoint("sync", "read:sync", _shown("sync")),
    DataEndpoint("components", "read:components", _shown("components")),
    DataEndpoint("videochat", "read:videochat", _shown("videochat")),
    DataEndpoint("eyetracking", "read:eyetracking", _shown("eyetracking")),
    DataEndpoint("participants", "read:events", _shown("participants"), _EXPERIMENT_AND_ROOM),
    DataEndpoint("rooms", "read:events", _shown("rooms"), _EXPERIMENT),
    DataEndpoint("variables", "read:events", _shown("variables"), frozenset({Scope.ROOM}), paged=False),
    DataEndpoint(
        "agent-decisions",
        "read:events",
        _shown("agentDecisions"),
        _EXPERIMENT_AND_ROOM,
        paged=False,
        default_limit=5000,
    ),
    DataEndpoint("agent-runs", "read:events", _shown("agentRuns"), _EXPERIMENT, paged=False),
)

DATA_ENDPOINTS: dict[str, DataEndpoint] = {endpoint.name: endpoint for endpoint in _ALL}
"""Every data type that is served, by the name that stands in its path."""

_OTHER_SCOPES = {
    "experiments": "read:experiments",
    "deployments": "read:deployments",
    "data/counts": "read:events",
}


def endpoint_of(path: str) -> str:
    """What counts as one endpoint for limits, scopes and statistics.

    For data it is the data type's path (`data/events`, `data/ratings/sparse`; minting counts as
    `data/recordings`), otherwise the first part below the base path (`experiments`).
    """
    parts = path.removeprefix(BASE_PATH).strip("/").split("/")
    if parts[0] != "data":
        return parts[0]
    return "/".join(parts[: 3 if parts[1:2] == ["ratings"] else 2])


def required_scope(endpoint: str) -> str | None:
    """The scope that a key needs for an endpoint as `endpoint_of` names it; None: any key will do."""
    data_endpoint = DATA_ENDPOINTS.get(endpoint.removeprefix("data/"))
    if data_endpoint is not None and endpoint.startswith("data/"):
        return data_endpoint.required_scope
    return _OTHER_SCOPES.get(endpoint)
