"""Rows of the types in the API's document of data types: the same fields, types and order as shown there.

Not documented, but seen in recorded answers of newer servers: every field of `_newer_sparse_rows`, and
the event category `pre_experiment` with its types. Guesses: the category `questionnaire` as a value, and
which fields may be missing or null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import orjson

from hsmirror.lab.row import Batch, Row, iso, text_of
from hsmirror.lab.words import (
    COMPONENTS,
    EVENTS,
    ODD_MESSAGES,
    PLAIN_MESSAGES,
    PRE_EXPERIMENT_EVENTS,
    QUESTIONS,
    STATES,
    EventKind,
)

_BEYOND_64_BITS = orjson.Fragment(b"123456789012345678901234567890")
_TRAILING_ZERO = orjson.Fragment(b"1.10")
_BEYOND_FLOAT = orjson.Fragment(b"1e400")
_LONE_SURROGATE = orjson.Fragment(b'"half an emoji \\ud800, cut off"')


def event_rows(batch: Batch) -> Iterator[Row]:
    """What participants did. The first events of a room are consent and instructions, before its start."""
    room = batch.room
    before = [(kind, seat) for kind in PRE_EXPERIMENT_EVENTS for seat in range(len(room.people))]
    before = before[: batch.count // 4] if batch.first == 0 else []
    place, rng = batch.event_place(), batch.rng
    for number, (kind, seat) in enumerate(before):
        at_ms = room.opened_ms + 30_000 + 500 * number
        yield _event(batch, place, number, at_ms, seat, kind)
    for number, at_ms in enumerate(batch.times_ms(batch.count - len(before)), len(before)):
        kind = EVENTS[int(rng.random() * len(EVENTS))]
        yield _event(batch, place, number, at_ms, int(rng.random() * len(room.people)), kind)


def _event(batch: Batch, place: dict[str, str], number: int, at_ms: int, seat: int, kind: EventKind) -> Row:
    person, rng = batch.room.people[seat], batch.rng
    onset_ms = at_ms - batch.room.started_ms
    fields: dict[str, object] = {
        "id": batch.id_of("event", number),
        "timestamp": iso(at_ms),
        "onset": onset_ms,
        **place,
        "participantId": person.id,
        "eventType": kind.event_type,
        "category": kind.category,
    }
    if kind.component_type is not None:
        fields["componentType"] = kind.component_type
        fields["componentId"] = kind.component_id
    elif kind.category == "state":
        fields["componentType"] = None
    fields["content"] = kind.content
    if onset_ms >= 0:
        fields["stateName"] = STATES[int(rng.random() * len(STATES))]
    fields["participantRole"] = person.role
    if kind.has_duration and rng.random() < 0.9:
        big = batch.shape.big_numbers and number % 5 == 0
        fields["duration"] = _TRAILING_ZERO if big else int(rng.random() * 60_000)
    if kind.has_response:
        fields["response"] = _response(batch, number)
    return Row(text_of(fields), at_ms, onset_ms, person.id, kind.category)


def _response(batch: Batch, number: int) -> dict[str, object] | None:
    rng = batch.rng
    if rng.random() < 0.1:
        return None
    if batch.shape.big_numbers and number % 3 == 0:
        return {"value": _BEYOND_64_BITS, "responseTime": _TRAILING_ZERO}
    return {
        "value": "yes" if rng.random() < 0.7 else "nein, überhaupt nicht",
        "responseTime": _response_ms(rng),
    }


def _response_ms(rng: Random) -> int:
    return 300 + int(rng.random() * 6000)


def chat_rows(batch: Batch) -> Iterator[Row]:
    """Text messages. Every fourth is odd: line breaks, U+2028, emoji, quotes, HTML, or very long."""
    room, place, rng = batch.room, batch.place(), batch.rng
    for number, at_ms in enumerate(batch.times_ms()):
        sender = room.people[int(rng.random() * len(room.people))]
        content: object = PLAIN_MESSAGES[int(rng.random() * len(PLAIN_MESSAGES))]
        if number % 4 == 3:
            content = ODD_MESSAGES[(batch.first + number // 4 + 4 * room.index) % len(ODD_MESSAGES)]
        elif batch.shape.big_numbers and number % 4 == 2:
            content = _LONE_SURROGATE
        fields = {
            "messageId": batch.id_of("msg", number),
            **place,
            "senderId": sender.id,
            "senderName": sender.name,
            "content": content,
            "timestamp": iso(at_ms),
            "onset": at_ms - room.started_ms,
            "recipientIds": [person.id for person in room.people if person is not sender],
            "messageType": "text",
        }
        yield Row(text_of(fields), at_ms, at_ms - room.started_ms, sender.id)


def continuous_rating_rows(batch: Batch) -> Iterator[Row]:
    """A slider's samples, 100 to 500 ms apart; closer where the room is too short for that many."""
    room, place, rng = batch.room, batch.place(), batch.rng
    longest_ms = min(500, (room.closed_ms - room.started_ms - 1) // max(1, batch.count))
    shortest_ms = min(100, longest_ms)
    at_ms = room.started_ms
    for number in range(batch.count):
        at_ms += shortest_ms + int(rng.random() * (longest_ms - shortest_ms + 1))
        person = room.people[number % len(room.people)]
        raw = int(rng.random() * 101)
        fields = {
            "ratingId": batch.id_of("rating", number),
            **place,
            "participantId": person.id,
            "componentId": "emotion_rating",
            "timestamp": iso(at_ms),
            "onset": at_ms - room.started_ms,
            "value": raw / 100,
            "normalizedValue": raw / 100,
            "rawValue": raw,
            "scaleMin": 0,
            "scaleMax": 100,
        }
        yield Row(text_of(fields), at_ms, at_ms - room.started_ms, person.id)


def sparse_rating_rows(batch: Batch) -> Iterator[Row]:
    """Single ratings: as documented, or as newer servers write them if `room_field` is newer."""
    make = _newer_sparse_fields if batch.shape.room_field == "newer" else _sparse_fields
    for number, at_ms in enumerate(batch.times_ms()):
        person = batch.room.people[int(batch.rng.random() * len(batch.room.people))]
        fields = make(batch, number, at_ms, person.id)
        yield Row(text_of(fields), at_ms, at_ms - batch.room.started_ms, person.id)


def _sparse_fields(batch: Batch, number: int, at_ms: int, person_id: str) -> dict[str, object]:
    rng = batch.rng
    component_id, _, low, high = QUESTIONS[number % len(QUESTIONS)]
    fields: dict[str, object] = {
        "ratingId": batch.id_of("sparse", number),
        **batch.place(),
        "participantId": person_id,
        "componentId": component_id,
        "timestamp": iso(at_ms),
        "onset": at_ms - batch.room.started_ms,
        "value": 1 + int(rng.random() * 10),
        "responseTime": None if rng.random() < 0.1 else _response_ms(rng),
        "scaleMin": 1,
        "scaleMax": 10,
    }
    if batch.shape.big_numbers and number % 3 == 1:
        fields["responseTime"] = _BEYOND_FLOAT
    if number % 4 != 3:
        fields["labels"] = {"min": low, "max": high}
    return fields


def _newer_sparse_fields(batch: Batch, number: int, at_ms: int, person_id: str) -> dict[str, object]:
    """As in recorded answers: neither experiment nor room, but what the rating interrupted."""
    rng, onset_ms = batch.rng, at_ms - batch.room.started_ms
    raw, response_ms = int(rng.random() * 81), _response_ms(rng)
    return {
        "ratingId": batch.id_of("sparse", number),
        "participantId": person_id,
        "timestamp": iso(at_ms),
        "onset": onset_ms,
        "rawOnset": onset_ms + 20,
        "clockOffsetApplied": 20,
        "value": raw * 1.25,
        "rawValue": _TRAILING_ZERO if batch.shape.big_numbers and number % 3 == 1 else raw,
        "scale": {"min": 0, "max": 80},
        "type": "sparse",
        "stateId": "state_video_1",
        "stimulusId": "video_abc",
        "stimulusTime": max(0, onset_ms - 3500),
        "responseTime": response_ms,
        "confidence": None,
        "metadata": {
            "question": QUESTIONS[number % len(QUESTIONS)][1],
            "dimension": "engagement",
            "componentType": "vasrating",
            "sampleIndex": number,
        },
        "ratingEndOnset": onset_ms + response_ms,
        "sparseRatingData": {
            "videoId": "video_abc",
            "pauseIndex": number,
            "videoRelativeTime": max(0, onset_ms - 3500),
            "pauseTimestamp": at_ms,
            "componentType": "vasrating",
            "componentData": {"value": raw},
            "previousRatings": {"video_abc": raw} if number else None,
            "mediaPauseOnset": onset_ms - 300,
            "mediaResumeOnset": onset_ms + response_ms + 200,
            "actualPauseDuration": response_ms + 500,
        },
        "stateStartTime": iso(batch.room.started_ms),
        "stateDuration": 60_000,
    }


def sync_rows(batch: Batch) -> Iterator[Row]:
    """How well the participants' playback kept together."""
    room, place, rng = batch.room, batch.place(), batch.rng
    for number, at_ms in enumerate(batch.times_ms()):
        person = room.people[number % len(room.people)]
        fields = {
            "metricId": batch.id_of("sync", number),
            **place,
            "participantId": person.id,
            "timestamp": iso(at_ms),
            "onset": at_ms - room.started_ms,
            "timeDrift": int(rng.random() * 400) - 200,
            "playbackRate": round(0.995 + rng.random() / 100, 3),
            "syncQuality": round(0.8 + rng.random() / 5, 2),
            "latency": 20 + int(rng.random() * 180),
            "bufferHealth": round(rng.random(), 2),
        }
        yield Row(text_of(fields), at_ms, at_ms - room.started_ms, person.id)


def component_rows(batch: Batch) -> Iterator[Row]:
    """Components as they were shown. No row names its room or its participant, and none has an id.

    So two participants to whom one component was shown at one moment give two rows alike to the byte:
    rows 0 and 1 of each room are such twins, and so is about every eighth row and the one before it.
    """
    room, rng = batch.room, batch.rng
    times = batch.times_ms()
    twin: Row | None = None
    for number, at_ms in enumerate(times):
        person = room.people[number % len(room.people)]
        if twin is not None and number % 8 == 1:
            yield Row(twin.text, twin.at_ms, twin.onset_ms, person.id)
            continue
        component_id, component_type, config = COMPONENTS[int(rng.random() * len(COMPONENTS))]
        snapshot: dict[str, object] = {
            "participant_name": "John",
            "condition": "treatment" if room.index % 2 == 0 else "control",
        }
        if batch.shape.big_numbers and number % 2 == 0:
            snapshot |= {"counter": _BEYOND_64_BITS, "weight": _BEYOND_FLOAT, "note": _LONE_SURROGATE}
        fields = {
            "componentId": component_id,
            "componentType": component_type,
            "experimentId": room.experiment_id,
            "stateId": STATES[int(rng.random() * len(STATES))],
            "config": config,
            "timestamp": iso(at_ms),
            "onset": at_ms - room.started_ms,
            "variableSnapshot": snapshot,
        }
        twin = Row(text_of(fields), at_ms, at_ms - room.started_ms, person.id)
        yield twin


DOCUMENTED_MAKERS: dict[str, Callable[[Batch], Iterator[Row]]] = {
    "events": event_rows,
    "chat": chat_rows,
    "ratings/continuous": continuous_rating_rows,
    "ratings/sparse": sparse_rating_rows,
    "sync": sync_rows,
    "components": component_rows,
}
