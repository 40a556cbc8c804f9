"""Frozen values that the stages hand on. No behaviour beyond what their fields imply."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final


@final
class Secret:
    """A text that cannot be printed, logged or formatted by accident: `reveal()` is the only way out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for the one line that hands it to the wire."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


class Scope(StrEnum):
    """The three scopes of the data endpoints, plus the one that sessions are listed by."""

    EXPERIMENT = "experiment"
    ROOM = "room"
    PARTICIPANT = "participant"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True, slots=True)
class DataType:
    """What is known of one data type; `api.data_types` holds them all.

    `room_fields`, `id_fields` and the like are looked at in order; the first that a row has counts. A dotted
    name reaches into an object (`metadata.roomName`).
    """

    name: str
    required_scope: str
    id_fields: tuple[str, ...] = ()
    room_fields: tuple[str, ...] = ("roomId", "sessionId")
    person_fields: tuple[str, ...] = ("participantId",)
    scopes: frozenset[Scope] = frozenset({Scope.EXPERIMENT, Scope.ROOM, Scope.PARTICIPANT})
    paged: bool = True
    takes_time_range: bool = False
    documented: bool = True
    """Documented types must be there; the others are newer, and a server that lacks one is no failure."""
    experiment_fields: tuple[str, ...] = ("experimentId",)
    time_fields: tuple[str, ...] = ("timestamp", "startTime", "startedAt", "createdAt")
    """When a row is from: any of them that can be read counts."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a list was narrowed to: rows at or after `start`, before `end`, of one participant. None: not."""

    start: str | None = None
    end: str | None = None
    participant: str | None = None

    @property
    def is_whole(self) -> bool:
        return self == WHOLE


WHOLE = Window()


@dataclass(frozen=True, slots=True)
class ListKey:
    """One paginated list upstream: one data type of one experiment, at one scope, under one window.

    `room` is set where all rows are known to be of that room.
    """

    experiment: str
    data_type: DataType
    scope: Scope
    scope_id: str
    room: str | None = None
    window: Window = WHOLE

    def __str__(self) -> str:
        where = f"experiment {self.experiment}"
        if self.scope is not Scope.EXPERIMENT:
            where += f", {self.scope} {self.scope_id}"
        if self.scope is Scope.PARTICIPANT and self.room:
            where += f" in room {self.room}"
        return f"{self.data_type.name} of {where}"
