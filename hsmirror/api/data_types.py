"""The data types, one table. Source: the API's documentation and the official SDK's recorded answers.

`documented` types stand in the API's own document of data types and must be there; the others are newer,
and a server may lack any of them.
"""

from __future__ import annotations

from dataclasses import replace

from hsmirror.model import DataType, Scope

_EXPERIMENT = frozenset({Scope.EXPERIMENT})
_EXPERIMENT_AND_ROOM = frozenset({Scope.EXPERIMENT, Scope.ROOM})

_ALL = (
    DataType("events", "read:events", ("id",), takes_time_range=True),
    DataType(
        "recordings",
        "read:recordings",
        ("recordingId", "egressId"),
        ("roomId", "metadata.roomName", "sessionId"),
        experiment_fields=("experimentId", "metadata.experimentId"),
    ),
    DataType("chat", "read:chat", ("messageId",), person_fields=("senderId",), takes_time_range=True),
    DataType("ratings/continuous", "read:ratings", ("ratingId",), takes_time_range=True),
    DataType("ratings/sparse", "read:ratings", ("ratingId",), takes_time_range=True),
    DataType("sync", "read:sync", ("metricId",), takes_time_range=True),
    # `componentId` names the component, not the row: many rows share it, and may be alike to the byte.
    DataType("components", "read:components", ()),
    DataType("rooms", "read:events", ("id",), ("id",), (), _EXPERIMENT, documented=False),
    DataType("participants", "read:events", ("participantId",), scopes=_EXPERIMENT_AND_ROOM, documented=False),
    DataType("videochat", "read:videochat", takes_time_range=True, documented=False),
    DataType("eyetracking", "read:eyetracking", documented=False),
    DataType("variables", "read:events", scopes=frozenset({Scope.ROOM}), paged=False, documented=False),
    # A room's list has the runs, too; but those are the rows of agent-runs, so that one way is enough.
    DataType("agent-decisions", "read:events", ("id",), scopes=_EXPERIMENT, paged=False, documented=False),
    DataType("agent-runs", "read:events", ("id",), scopes=_EXPERIMENT, paged=False, documented=False),
    DataType("deployments", "read:deployments", ("id",), (), (), _EXPERIMENT, paged=False, documented=False),
)

DATA_TYPES: dict[str, DataType] = {data_type.name: data_type for data_type in _ALL}
"""Every data type by its name as the API spells it, in the order in which they are read."""

DOCUMENTED: tuple[DataType, ...] = tuple(data_type for data_type in _ALL if data_type.documented)

SESSIONS = DataType(
    "sessions",
    "read:deployments",
    ("id",),
    ("id",),
    (),
    frozenset({Scope.DEPLOYMENT}),
    paged=False,
    documented=False,
)
"""The rooms of a deployment: no type of its own in the archive, but servers without `rooms` tell them here."""

EXPERIMENTS = DataType(
    "experiments", "read:experiments", ("id", "experimentId"), (), (), _EXPERIMENT, documented=False
)
SHARED_EXPERIMENTS = replace(EXPERIMENTS, name="experiments/shared")
"""The experiments that the key may read, its own and those of others: what `"*"` stands for."""
