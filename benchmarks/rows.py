"""Made-up rows, lifelike in shape and size: about 400 bytes, mixed values, text in several scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_WORDS = (
    *("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "tempor", "rating"),
    *(
        "participant",
        "naïve",
        "café",
        "größer",
        "日本語",
        '"quoted"',
        "path\\to",
        "line\nbreak",
        "emoji🙂",
        "trust",
    ),
)
_CATEGORIES = ("component", "state", "media", "sync", "system", "chat", "rating")
_COMPONENTS = ("video", "text", "slider", "likert", "button", "vas", "image", "audio", "multipleChoice")
_EVENTS = ("component.response", "state.enter", "state.exit", "media.play", "media.pause")
_ROLES = ("A", "B", "observer")
_FIRST_AT = 1_740_787_200.0  # 2025-03-01T00:00:00Z
_STEP_MILLISECONDS = 37

ID_FIELDS = {
    "events": "id",
    "chat": "messageId",
    "sync": "metricId",
    "ratings/continuous": "ratingId",
    "participants": "participantId",
}
"""The field that tells rows of a type apart; components and videochat have none."""


def random_id(random: Random, length: int = 20) -> str:
    """An id as Firestore makes them."""
    return "".join(random.choices(_LETTERS, k=length))


def iso(milliseconds: int) -> str:
    """The time that many milliseconds after the first row's."""
    moment = datetime.fromtimestamp(_FIRST_AT + milliseconds / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def encoded(value: object) -> bytes:
    """JSON as the server sends it and as `json` writes it again: compact, not ASCII."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def made_row(
    random: Random, data_type: str, number: int, experiment: str, room: str | None, people: Sequence[str]
) -> bytes:
    """One row, `number` in its list's order of time; `room` None: it does not say where it belongs."""
    onset = number * _STEP_MILLISECONDS + random.randrange(_STEP_MILLISECONDS)
    component = random.choice(_COMPONENTS)
    row: dict[str, object] = {}
    if (id_field := ID_FIELDS.get(data_type)) is not None:
        row[id_field] = random_id(random)
    row |= {"timestamp": iso(onset), "onset": onset, "experimentId": experiment}
    if room is not None:
        row |= {"sessionId": room, "roomId": room}
    if data_type != "participants":
        row["participantId"] = people[number * 7 % len(people)]
    row |= {
        "eventType": random.choice(_EVENTS),
        "category": random.choice(_CATEGORIES),
        "componentType": component,
        "componentId": f"{component}-{random_id(random, 8)}",
        "content": " ".join(random.choices(_WORDS, k=random.randint(2, 12))),
        "stateName": f"state_{random.randrange(40)}",
        "participantRole": random.choice(_ROLES),
        "duration": random.choice([None, random.randint(5, 60_000)]),
        "response": _response(random),
    }
    return encoded(row)


def _response(random: Random) -> dict[str, object] | None:
    if random.random() >= 0.7:
        return None
    values = (
        lambda: round(random.uniform(0, 100), 3),
        lambda: " ".join(random.choices(_WORDS, k=random.randint(1, 6))),
        lambda: random.randint(1, 7),
        lambda: {"selected": [random_id(random, 4), random_id(random, 4)], "other": None},
    )
    value = random.choices(values, weights=(4, 3, 2, 1))[0]
    return {"value": value(), "responseTime": random.randint(120, 9000)}
