"""What of an experiment is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from hsmirror.model import Window


@dataclass(frozen=True, slots=True)
class Wanted:
    """An experiment's id, and what narrows it."""

    experiment: str
    rooms: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    window: Window = field(default_factory=Window)

    @property
    def is_whole(self) -> bool:
        """Is it not narrowed at all? What a narrow run finds says nothing about the whole."""
        return not self.rooms and not self.participants and self.window.is_whole
