"""A room's list narrowed here to one participant, where the server does not do it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import anyio.to_thread

from hsmirror.api.rows import Row
from hsmirror.archive.shards import StagedPart
from hsmirror.mirror.context import Context
from hsmirror.mirror.parts import Parts, PartsByRoom
from hsmirror.mirror.people import person_of
from hsmirror.mirror.reading import OnRows, ProvenList
from hsmirror.mirror.write import rows_of_staged, write_rows
from hsmirror.model import DataType


def of_person(on_rows: OnRows | None, person: str, data_type: DataType) -> OnRows | None:
    """`on_rows`, hearing of this person's rows alone."""
    if on_rows is None:
        return None

    def narrow(rows: Sequence[tuple[str | None, Row]]) -> None:
        on_rows([(room, row) for room, row in rows if person_of(bytes(row), data_type) == person])

    return narrow


async def narrowed_to(context: Context, found: ProvenList, person: str, data_type: DataType) -> ProvenList:
    """The person's rows of a list. Where none of its rows names anybody, what is theirs is not proven."""
    names_somebody = not found.rows

    def pick(parts: Iterable[StagedPart]) -> Iterator[bytes]:
        nonlocal names_somebody
        for row in rows_of_staged(parts):
            owner = person_of(row, data_type)
            names_somebody = names_somebody or owner is not None
            if owner == person:
                yield row

    def narrow() -> PartsByRoom:
        return {
            room: write_rows(pick(found.parts.take(room)), context.staging.builder())
            for room in list(found.parts)
        }

    parts = Parts.sealed(await anyio.to_thread.run_sync(narrow, limiter=context.staging.threads))
    if not names_somebody:
        note = f"the rows of the room name nobody: which are those of {person} cannot be told"
        return replace(found, parts=parts, is_proven=False, note=note)
    return replace(found, parts=parts)
