"""Rows of the types that the API's document lacks.

Known from recorded answers: `agent-decisions`, `agent-runs` (every field), the sessions of a deployment.
Known by name alone, so that their fields are guesses in the manner of the documented types: `rooms`,
`participants`, `videochat`, `eyetracking`, `variables` (its metadata's names come from the official SDK).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from hsmirror.lab.plans import RoomPlan
from hsmirror.lab.row import Batch, Row, iso, text_of
from hsmirror.lab.words import STATES

_MODEL = {"model": "claude-opus-4-8", "provider": "anthropic"}
_VARIABLES = ("condition", "shared_rating", "partner_ready")


def videochat_rows(batch: Batch) -> Iterator[Row]:
    """Connections of the video chat. Guessed; no id field is known."""
    room, place, rng = batch.room, batch.place(), batch.rng
    kinds = ("participant_connected", "track_published", "quality_changed", "participant_disconnected")
    for number, at_ms in enumerate(batch.times_ms()):
        person = room.people[number % len(room.people)]
        fields = {
            **place,
            "participantId": person.id,
            "participantName": person.name,
            "timestamp": iso(at_ms),
            "onset": at_ms - room.started_ms,
            "eventType": kinds[number % len(kinds)],
            "trackType": "video" if number % 2 == 0 else "audio",
            "connectionQuality": ("excellent", "good", "poor", None)[int(rng.random() * 4)],
        }
        yield Row(text_of(fields), at_ms, at_ms - room.started_ms, person.id)


def eyetracking_rows(batch: Batch) -> Iterator[Row]:
    """Gaze samples; a blink has no position. Guessed; no id field is known."""
    room, place, rng = batch.room, batch.place(), batch.rng
    for number, at_ms in enumerate(batch.times_ms()):
        person = room.people[number % len(room.people)]
        is_blink = rng.random() < 0.05
        fields = {
            **place,
            "participantId": person.id,
            "timestamp": iso(at_ms),
            "onset": at_ms - room.started_ms,
            "x": None if is_blink else round(rng.random(), 5),
            "y": None if is_blink else round(rng.random(), 5),
            "pupilDiameter": None if is_blink else round(2 + rng.random() * 4, 3),
            "confidence": round(rng.random(), 3),
        }
        yield Row(text_of(fields), at_ms, at_ms - room.started_ms, person.id)


def variable_rows(batch: Batch) -> Iterator[Row]:
    """The log of writes to a room's variables. Guessed; the SDK names `source` and `persisted`."""
    room, place, rng = batch.room, batch.place(), batch.rng
    for number, at_ms in enumerate(batch.times_ms()):
        person = room.people[number % len(room.people)]
        name = _VARIABLES[number % len(_VARIABLES)]
        values: dict[str, object] = {
            "condition": "treatment",
            "shared_rating": int(rng.random() * 101),
            "partner_ready": rng.random() < 0.5,
        }
        fields = {
            **place,
            "participantId": person.id,
            "variableName": name,
            "value": values[name],
            "source": "seed" if number == 0 else "component",
            "persisted": True,
            "stateId": STATES[number * len(STATES) // batch.count],
            "timestamp": iso(at_ms),
            "onset": at_ms - room.started_ms,
        }
        yield Row(text_of(fields), at_ms, at_ms - room.started_ms, person.id)


def variables_metadata(writes: Sequence[bytes]) -> dict[str, Any]:
    """What joins the metadata of a room's variables: for each state, every variable's value when it ended."""
    held: dict[str, Any] = {}
    timeline: dict[str, dict[str, Any]] = {}
    for text in writes:
        write = orjson.loads(text)
        held[write["variableName"]] = write["value"]
        timeline[write["stateId"]] = {"stateId": write["stateId"], "timestamp": write["timestamp"], **held}
    return {
        "timeline": list(timeline.values()),
        "variableNames": list(held),
        "matrixColumns": ["stateId", "timestamp", *held],
        "droppedWrites": [],
        "mode": "full",
    }


def agent_decision_rows(batch: Batch) -> Iterator[Row]:
    """The turns of the one AI agent of a room."""
    room, agent_id = batch.room, agent_id_of(batch.room)
    for number, at_ms in enumerate(batch.times_ms()):
        sequence = batch.first + number + 1
        is_chat = number % 2 == 0
        fields = {
            "_type": "decision",
            "id": f"{agent_id}_{sequence}",
            "participantId": agent_id,
            **_agent_place(batch),
            "seq": sequence,
            "stateId": f"state_{number}",
            "stateName": "Introduction" if is_chat else "Rating",
            "turnKind": "chat" if is_chat else "component",
            "action": "send_message" if is_chat else "respond",
            "value": "Hello! Nice to meet you." if is_chat else int(batch.rng.random() * 101),
            **_MODEL,
            "latencyMs": 900 + int(batch.rng.random() * 2000),
            "inputTokens": 2000 + int(batch.rng.random() * 900),
            "outputTokens": 10 + int(batch.rng.random() * 80),
            "timestamp": iso(at_ms),
        }
        yield Row(text_of(fields), at_ms, at_ms - room.started_ms, agent_id)


def agent_run_rows(batch: Batch) -> Iterator[Row]:
    """The manifest of each agent's run, as `agent-runs` lists it."""
    for _ in range(batch.count):
        fields = _run_fields(batch)
        ended_at = fields.pop("endedAt")
        started_at = fields.pop("startedAt")
        fields |= {
            "roomStatus": "failed" if batch.room.status == "abandoned" else batch.room.status,
            "orphaned": batch.room.status == "abandoned",
            "startedAt": started_at,
            "endedAt": ended_at if batch.room.status == "completed" else None,
        }
        yield Row(text_of(fields), batch.room.started_ms, 0, agent_id_of(batch.room))


def tagged_run_row(batch: Batch) -> Row:
    """The same manifest as a room's `agent-decisions` show it, after the decisions."""
    text = text_of({"_type": "run", **_run_fields(batch)})
    return Row(text, batch.room.started_ms, 0, agent_id_of(batch.room))


def agent_id_of(room: RoomPlan) -> str:
    """The agent of a room; it is no participant of the lab's own lists."""
    return f"agent_{room.tag}_p1"


def _run_fields(batch: Batch) -> dict[str, object]:
    room, rng = batch.room, batch.rng
    return {
        "id": agent_id_of(room),
        "participantId": agent_id_of(room),
        **_agent_place(batch),
        "personaId": "persona_xyz",
        **_MODEL,
        "seed": 42,
        "totalInputTokens": 4000 + int(rng.random() * 4000),
        "totalOutputTokens": 50 + int(rng.random() * 200),
        "totalCostUsd": round(rng.random() / 5, 3),
        "turns": 3,
        "codeCommitSha": "812fa5e18",
        "startedAt": iso(room.started_ms),
        "endedAt": iso(room.closed_ms),
    }


def _agent_place(batch: Batch) -> dict[str, str]:
    return {"roomId": batch.room.id} if batch.shape.rows_name_rooms else {}


def participant_rows(batch: Batch) -> Iterator[Row]:
    """Who is in a room. Someone who came back is listed once a room, under one id. Guessed."""
    room, place = batch.room, batch.place()
    for number, person in enumerate(room.people[: batch.count]):
        joined_ms = room.opened_ms + 10_000 + 1000 * number
        fields = {
            "participantId": person.id,
            **place,
            "participantName": person.name,
            "role": person.role,
            "status": "active" if room.is_active else "completed",
            "joinedAt": iso(joined_ms),
            "completedAt": None if room.is_active else iso(room.closed_ms),
        }
        yield Row(text_of(fields), joined_ms, joined_ms - room.started_ms, person.id)


def room_rows(batch: Batch) -> Iterator[Row]:
    """The room itself, as its experiment lists it. Guessed."""
    room = batch.room
    for _ in range(batch.count):
        fields = {
            "id": room.id,
            "experimentId": room.experiment_id,
            "deploymentId": room.deployment_id,
            "status": room.status,
            "participantCount": len(room.people),
            "createdAt": iso(room.opened_ms),
            "startedAt": iso(room.started_ms),
            "endedAt": None if room.is_active else iso(room.closed_ms),
            "updatedAt": iso(room.started_ms if room.is_active else room.closed_ms),
        }
        yield Row(text_of(fields), room.opened_ms, room.opened_ms - room.started_ms, "")


def session_row(room: RoomPlan) -> bytes:
    """The room as its deployment lists it, as in recorded answers."""
    fields: dict[str, object] = {
        "id": room.id,
        "experimentId": room.experiment_id,
        "deploymentId": room.deployment_id,
        "status": room.status,
        "participantCount": len(room.people),
        "createdAt": iso(room.opened_ms),
    }
    return text_of(fields)


NEWER_MAKERS: dict[str, Callable[[Batch], Iterator[Row]]] = {
    "videochat": videochat_rows,
    "eyetracking": eyetracking_rows,
    "variables": variable_rows,
    "agent-decisions": agent_decision_rows,
    "agent-runs": agent_run_rows,
    "participants": participant_rows,
    "rooms": room_rows,
}
