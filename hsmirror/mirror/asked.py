"""What a reading was of, and what of a shard it may speak for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from hsmirror.api.rows import row_id, row_times
from hsmirror.archive.receipts import WHOLE, Claim, instant
from hsmirror.mirror.people import person_of
from hsmirror.model import DataType


@dataclass(frozen=True, slots=True)
class Asked:
    """One reading: of which type, for what it is complete if it `is_proven`.

    Rows that came beside what was asked for, in the list of another room, `only_add`: they replace nothing.
    """

    data_type: DataType
    claim: Claim = WHOLE
    is_proven: bool = True
    only_adds: bool = False

    @property
    def is_narrow(self) -> bool:
        """Was it of less than the whole list? Rows that it lacks are not gone then."""
        return self.only_adds or self.claim != WHOLE

    @property
    def is_whole(self) -> bool:
        """Does it prove the whole list, so that what it lacks is gone?"""
        return self.is_proven and not self.is_narrow

    @property
    def proves(self) -> Claim | None:
        """What is held all of from now on."""
        return self.claim if self.is_proven and not self.only_adds else None

    @property
    def has_range(self) -> bool:
        return self.claim.start is not None or self.claim.end is not None

    def admits(self, row: bytes) -> bool:
        """Is a row that came within the time range? One that tells no time is: it came."""
        times = self.times(row)
        return not times or self._is_within(times)

    def speaks_for(self, row: bytes) -> bool:
        """Is it sure that the list would show a row that is held, if it were still there?"""
        if not self.is_proven or self.only_adds:
            return False
        is_of_person = self.claim.participant is None or self.claim.participant == self.person(row)
        return is_of_person and (not self.has_range or self._is_within(self.times(row)))

    def identity(self, row: bytes) -> str | None:
        return row_id(row, self.data_type)

    def identity_of_person(self, row: bytes) -> str | None:
        """The id with whose row it is; None where one of them is missing."""
        name, person = self.identity(row), self.person(row)
        return None if name is None or person is None else f"{name}\n{person}"

    def identity_of_time(self, row: bytes) -> str | None:
        """The same with when it is from, which cannot be missing."""
        name, times = self.identity(row), self.times(row)
        return f"{name}\n{self.person(row)}\n{times}" if name is not None and times else None

    def person(self, row: bytes) -> str | None:
        return person_of(row, self.data_type)

    def times(self, row: bytes) -> tuple[float, ...]:
        return row_times(row, self.data_type)

    def _is_within(self, times: tuple[float, ...]) -> bool:
        start, end = _bounds(self.claim)
        return any(start <= time < end for time in times)


def _bounds(claim: Claim) -> tuple[float, float]:
    start = instant(claim.start).timestamp() if claim.start is not None else -inf
    return start, instant(claim.end).timestamp() if claim.end is not None else inf
