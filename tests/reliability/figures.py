"""What a measurement of reliability tells: how much was tried, and what did not hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """One section of `docs/reliability.md`.

    `says` is one sentence on what was done; `counts` are the figures, by what they count, in the order in
    which they are printed; `table` is an optional one, its first row the head. `failures` are one line each,
    enough to try it again (seed, number of the step); empty where all held.
    """

    title: str
    says: str
    counts: tuple[tuple[str, int | float | str], ...]
    failures: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()

    @property
    def all_held(self) -> bool:
        return not self.failures
