"""Whose row is it, and where does it name somebody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.rows import row_id
from hsmirror.model import DataType

_OF_UNKNOWN_TYPES = ("participantId", "senderId")


def person_of(row: bytes, data_type: DataType) -> str | None:
    """The id of the person whose row this is; None where it names nobody."""
    return row_id(row, _identified_by_person(data_type))


def type_called(name: str) -> DataType:
    """The data type of that name; of one that is not known, both names of a person's field count."""
    return DATA_TYPES.get(name) or DataType(name, "", person_fields=_OF_UNKNOWN_TYPES)


@cache
def _identified_by_person(data_type: DataType) -> DataType:
    return replace(data_type, id_fields=data_type.person_fields)


@dataclass(frozen=True, slots=True)
class Sought:
    """A person's id, and how it is looked for in texts."""

    id: str
    _spellings: tuple[bytes, ...]
    _word: re.Pattern[bytes]

    @classmethod
    def of(cls, person: str) -> Sought:
        spellings = spellings_of(person)
        # Rows are full of numbers: one that is also an id counts only where it is a text of its own.
        word = re.compile(b'"%s"' % spellings[0]) if person.isdecimal() else word_pattern(spellings)
        return cls(person, spellings, word)

    def may_stand_in(self, row: bytes) -> bool:
        """A quick look: False where the id cannot stand in this text. An escape may hide a letter of it."""
        return self._spellings[0] in row or b"\\" in row

    def stands_in(self, text: bytes) -> bool:
        """Is the id in there, and no mere part of a longer one?"""
        return any(spelling in text for spelling in self._spellings) and self._word.search(text) is not None


def spellings_of(word: str) -> tuple[bytes, ...]:
    """How a word stands within a JSON string: as it is, or with everything but ASCII escaped."""
    return tuple(
        dict.fromkeys(
            json.dumps(word, ensure_ascii=is_ascii)[1:-1].encode("utf-8", "surrogatepass")
            for is_ascii in (False, True)
        )
    )


def word_pattern(spellings: Iterable[bytes], *, beside: bytes = b"") -> re.Pattern[bytes]:
    """Any of the spellings without a letter or a digit beside it: `user_1` does not stand in `user_12`.

    Nor is any sign of `beside` to stand there. No spelling at all is found nowhere.
    """
    words = b"|".join(map(re.escape, spellings)) or b"(?!)"
    return re.compile(rb"(?<![0-9A-Za-z%s])(?:%s)(?![0-9A-Za-z%s])" % (beside, words, beside))
