"""Experiments and deployments: who knows which room is where, and the rows that list them.

Known from recorded answers: every field of an experiment and of a deployment as they are listed. Guesses:
what a configuration and an export hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hsmirror.lab.plans import ExperimentPlan, RoomPlan, plan_experiments, roles, with_rooms
from hsmirror.lab.row import iso, text_of
from hsmirror.lab.shape import LabShape
from hsmirror.lab.words import COMPONENTS, STATES

_OWNER = {"ownerEmail": "researcher@example.com", "ownerId": "user_owner"}
_COLLEAGUE = {"ownerEmail": "colleague@example.org", "ownerId": "user_colleague"}


class Catalogue:
    """Every experiment, deployment, room and person of the lab, by id. A lookup that fails gives None."""

    def __init__(self, shape: LabShape) -> None:
        self._shape = shape
        self._experiments = {plan.id: plan for plan in plan_experiments(shape)}
        self._rooms: dict[str, RoomPlan] = {}
        self._room_ids_of: dict[str, list[str]] = {}
        self._by_deployment = {
            deployment_id: plan.id
            for plan in self._experiments.values()
            for deployment_id in (plan.pilot_id, plan.study_id)
        }
        for plan in self._experiments.values():
            for room in plan.rooms:
                self._enter(room)

    def experiments(self) -> Iterator[ExperimentPlan]:
        """All of them, own ones first."""
        yield from self._experiments.values()

    def experiment(self, experiment_id: str) -> ExperimentPlan | None:
        return self._experiments.get(experiment_id)

    def room(self, room_id: str) -> RoomPlan | None:
        return self._rooms.get(room_id)

    def rooms_of_person(self, person_id: str) -> tuple[RoomPlan, ...] | None:
        """The rooms that someone took part in, in the order of their starts."""
        room_ids = self._room_ids_of.get(person_id)
        return None if room_ids is None else tuple(self._rooms[room_id] for room_id in room_ids)

    def deployment(self, deployment_id: str) -> ExperimentPlan | None:
        """The experiment that the deployment is of."""
        return self._experiments.get(self._by_deployment.get(deployment_id, ""))

    def add_room(self, experiment: ExperimentPlan) -> RoomPlan:
        """One room more, after all others of the experiment; one that was still running has then ended."""
        ended = tuple(
            replace(room, status="completed") if room.is_active else room for room in experiment.rooms
        )
        grown = with_rooms(replace(experiment, rooms=ended), self._shape, 1)
        self._experiments[experiment.id] = grown
        for room in ended:
            self._rooms[room.id] = room
        self._enter(grown.rooms[-1])
        return grown.rooms[-1]

    def remove_room(self, experiment: ExperimentPlan, gone: RoomPlan) -> None:
        """A room that is there no longer. The id of the last one may be given again."""
        left = tuple(room for room in experiment.rooms if room.id != gone.id)
        self._experiments[experiment.id] = replace(experiment, rooms=left)
        del self._rooms[gone.id]
        for person in gone.people:
            self._room_ids_of[person.id].remove(gone.id)

    def _enter(self, room: RoomPlan) -> None:
        self._rooms[room.id] = room
        for person in room.people:
            self._room_ids_of.setdefault(person.id, []).append(room.id)


def listed_experiment_row(plan: ExperimentPlan) -> bytes:
    """An experiment as the list of experiments shows it."""
    fields = _experiment_fields(plan)
    del fields["ownerId"]
    return text_of(fields)


def experiment_row(plan: ExperimentPlan, shape: LabShape) -> bytes:
    """An experiment as it is shown alone: its owner, states and roles join."""
    filled = {role: {"mode": "human"} for role in roles(shape)}
    return text_of(
        _experiment_fields(plan) | {"states": [], "roles": filled, "requiredParticipants": shape.participants}
    )


def config_row(plan: ExperimentPlan) -> bytes:
    """An experiment's configuration. Guessed from the SDK's models."""
    return text_of(_config_fields(plan))


def export_row(plan: ExperimentPlan) -> bytes:
    """An experiment's definition and the media it needs. Guessed from the SDK's description."""
    assets = [{"name": "intro.mp4", "url": "https://example.com/intro.mp4", "mediaType": "video/mp4"}]
    return text_of({"version": "3.0.0", "experiment": _config_fields(plan), "mediaAssets": assets})


def deployment_row(plan: ExperimentPlan, deployment_id: str) -> bytes:
    """A deployment as it is listed: the pilot is over, the study goes on."""
    return text_of(
        {
            "id": deployment_id,
            "experimentId": plan.id,
            "name": "Pilot Study" if deployment_id == plan.pilot_id else "Main Study",
            "status": deployment_status(plan, deployment_id),
            "ownerId": _owner_of(plan)["ownerId"],
            "ownerName": "Test User",
            "createdAt": iso(plan.planned_ms),
        }
    )


def deployment_status(plan: ExperimentPlan, deployment_id: str) -> str:
    return "completed" if deployment_id == plan.pilot_id else "active"


def description_of(plan: ExperimentPlan) -> str:
    return f"A study on emotional responses to film clips, cohort {plan.index + 1}"


def _experiment_fields(plan: ExperimentPlan) -> dict[str, object]:
    updated_ms = plan.rooms[-1].closed_ms if plan.rooms else plan.planned_ms
    return {
        "id": plan.id,
        "name": plan.name,
        "description": description_of(plan),
        **_owner_of(plan),
        "roomCount": len(plan.rooms),
        "participantCount": len({person.id for room in plan.rooms for person in room.people}),
        "createdAt": iso(plan.planned_ms),
        "updatedAt": iso(updated_ms),
    }


def _config_fields(plan: ExperimentPlan) -> dict[str, object]:
    states = [
        {
            "id": state,
            "name": state.replace("_", " ").capitalize(),
            "order": order,
            "focusComponent": {"id": component_id, "type": component_type.lower(), "config": config},
        }
        for order, (state, (component_id, component_type, config)) in enumerate(
            zip(STATES, COMPONENTS * 2, strict=False)
        )
    ]
    return {"id": plan.id, "name": plan.name, "states": states, "variables": {"condition": "treatment"}}


def _owner_of(plan: ExperimentPlan) -> dict[str, str]:
    return _COLLEAGUE if plan.is_shared else _OWNER
