"""Who took part in what, and when: the frame that the lab's rows are made in.

Rooms of an experiment start one after another, about 25 minutes apart; every fourth overlaps the one
before it. That bounds how many rooms any moment touches, which is what lets a page of a whole
experiment be made from a few rooms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2s
from random import Random

from hsmirror.lab.shape import LabShape

FIRST_START_MS = 1_729_434_600_000
"""2024-10-20T14:30:00Z: when the document's own example starts."""

_MINUTE_MS = 60_000
_WEEK_MS = 7 * 24 * 60 * _MINUTE_MS
_WAITING_MS = 3 * _MINUTE_MS
_SPACING_MS = 25 * _MINUTE_MS
_OVERLAP_SPACING_MS = 9 * _MINUTE_MS
_NAMES = ("Participant", "Zoë", "李雷", "Amélie", "Øyvind", "Иван")


@dataclass(frozen=True, slots=True)
class Person:
    """One participant. `role` is their seat in the experiment, `participant_a` for the first."""

    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """One room. Every row of it has a time at or after `opened_ms` and before `closed_ms` (epoch ms)."""

    experiment_id: str
    id: str
    tag: str
    index: int
    deployment_id: str
    people: tuple[Person, ...]
    opened_ms: int
    started_ms: int
    closed_ms: int
    status: str

    @property
    def is_active(self) -> bool:
        return self.status == "active"


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """One experiment with its rooms in the order of their starts. Two deployments: a pilot, then the study."""

    id: str
    index: int
    name: str
    is_shared: bool
    pilot_id: str
    study_id: str
    planned_ms: int
    rooms: tuple[RoomPlan, ...]


def plan_experiments(shape: LabShape) -> Iterator[ExperimentPlan]:
    """Every experiment of the shape, own ones first."""
    for index in range(shape.experiments + shape.shared_experiments):
        shared_number = index - shape.experiments + 1
        is_shared = shared_number > 0
        plan = ExperimentPlan(
            id=f"exp_shared_{shared_number:03d}" if is_shared else f"exp_research_{index + 1:03d}",
            index=index,
            name=f"Shared Study {shared_number}" if is_shared else f"Emotion Study {index + 1}",
            is_shared=is_shared,
            pilot_id=f"dep_{2 * index + 1:03d}",
            study_id=f"dep_{2 * index + 2:03d}",
            planned_ms=_first_start_ms(index) - 2 * _WEEK_MS,
            rooms=(),
        )
        yield with_rooms(plan, shape, shape.rooms)


def with_rooms(experiment: ExperimentPlan, shape: LabShape, count: int) -> ExperimentPlan:
    """The experiment with `count` further rooms after those it has."""
    rooms = list(experiment.rooms)
    last = len(rooms) + count - 1
    for index in range(len(rooms), last + 1):
        is_active = shape.last_room_active and index == last
        rooms.append(_plan_room(experiment, shape, rooms[-1] if rooms else None, is_active=is_active))
    return replace(experiment, rooms=tuple(rooms))


def roles(shape: LabShape) -> list[str]:
    """The roles that each room of an experiment fills, in the order of its seats."""
    return [f"participant_{_letter(seat)}" for seat in range(shape.participants)]


def tag_of(*parts: object) -> str:
    """Twelve hexadecimal digits that stand for `parts` and look random; for ids."""
    return blake2s("/".join(map(str, parts)).encode(), digest_size=6).hexdigest()


def _first_start_ms(experiment_index: int) -> int:
    return FIRST_START_MS + experiment_index * _WEEK_MS


def _plan_room(
    experiment: ExperimentPlan, shape: LabShape, previous: RoomPlan | None, *, is_active: bool
) -> RoomPlan:
    index = previous.index + 1 if previous else 0
    rng = Random(f"{shape.seed}/room/{experiment.index}/{index}")
    if previous is None:
        started_ms = _first_start_ms(experiment.index)
    else:
        spacing_ms = _OVERLAP_SPACING_MS if index % 4 == 2 else _SPACING_MS
        started_ms = previous.started_ms + spacing_ms + rng.randrange(_MINUTE_MS)
    is_first = experiment.index == 0 and index == 0
    tag = "abc123" if is_first else tag_of(shape.seed, "room", experiment.index, index)
    is_pilot = index < max(1, shape.rooms // 4)
    return RoomPlan(
        experiment_id=experiment.id,
        id=f"room_{tag}",
        tag=tag,
        index=index,
        deployment_id=experiment.pilot_id if is_pilot else experiment.study_id,
        people=tuple(_people(experiment, shape, previous, index)),
        opened_ms=started_ms - _WAITING_MS,
        started_ms=started_ms,
        closed_ms=started_ms + 15 * _MINUTE_MS + rng.randrange(4 * _MINUTE_MS),
        status="active" if is_active else "abandoned" if index % 9 == 8 else "completed",
    )


def _people(
    experiment: ExperimentPlan, shape: LabShape, previous: RoomPlan | None, index: int
) -> Iterator[Person]:
    for seat in range(shape.participants):
        if previous is not None and index % 5 == 1 and seat == 0:
            yield previous.people[0]  # someone who came back for a second session
            continue
        is_first = experiment.index == 0 and index == 0 and seat == 0
        tag = "xyz789" if is_first else tag_of(shape.seed, "person", experiment.index, index, seat)
        letter = _letter(seat)
        name = f"{_NAMES[(index + seat // 2) % len(_NAMES)]} {letter.upper()}"
        yield Person(f"user_{tag}", name, f"participant_{letter}")


def _letter(seat: int) -> str:
    return chr(ord("a") + seat) if seat < 26 else str(seat + 1)
