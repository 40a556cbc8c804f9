"""Rows as the bytes that came, and the fields that name a row and its room.

Where a whole answer is there, these fields are decoded for all its rows at once, into nothing else: faster than
row by row.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec

from hsmirror.api.json_texts import loads
from hsmirror.api.times import epoch_of
from hsmirror.model import DataType

Row: TypeAlias = "bytes | msgspec.Raw"


def one_line(row: Row) -> bytes:
    """A JSON text without line breaks between its tokens; every other byte as it came."""
    text = bytes(row)
    if b"\n" in text or b"\r" in text:
        return text.translate(None, b"\r\n")
    return text


def parse_row(row: Row) -> Any:
    """One row as plain values.

    Raises:
        CorruptError: not JSON; cannot be for a row of a page.
    """
    return loads(bytes(row).decode())


def row_id(row: bytes, data_type: DataType) -> str | None:
    """The id of one stored row; None where its type has none, or it lacks it."""
    if not data_type.id_fields:
        return None
    try:
        decoded = _key_decoder(data_type.id_fields).decode(row)
    except (msgspec.DecodeError, RecursionError):
        return _first_member(loads(row.decode("utf-8", "replace")), data_type.id_fields)
    return _first_text(decoded, data_type.id_fields)


def row_times(row: bytes, data_type: DataType) -> tuple[float, ...]:
    """When a stored row is from, in epoch seconds, by each of its type's fields that can be read."""
    try:
        decoded = _key_decoder(data_type.time_fields).decode(row)
        values = [getattr(decoded, name) for name in data_type.time_fields]
    except (msgspec.DecodeError, RecursionError):
        fields = loads(row.decode("utf-8", "replace"))
        values = [fields.get(name) for name in data_type.time_fields] if isinstance(fields, dict) else []
    return tuple(epoch for value in values if (epoch := epoch_of(value)) is not None)


@cache
def _key_decoder(fields: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Decodes one row into just these fields, None where it lacks one."""
    top_level = dict.fromkeys(field.partition(".")[0] for field in fields)
    return msgspec.json.Decoder(msgspec.defstruct("Keys", [(name, Any, None) for name in top_level], gc=False))


@cache
def _keys_decoder(fields: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Decodes a whole answer into just these fields of each row."""
    return _column_decoder(_key_decoder(fields).type)


@cache
def _texts_decoder(fields: tuple[str, ...], optional: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """The same, and refuses an answer of which a row lacks one of `fields`, or has no text in it."""
    texts: list[tuple[str, type]] = [(name, str) for name in dict.fromkeys(fields)]
    others = [(name, Any, None) for name in optional if name not in fields]
    return _column_decoder(msgspec.defstruct("Texts", [*texts, *others], gc=False))


def _column_decoder(row: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(
        msgspec.defstruct("Columns", [("data", types.GenericAlias(list, (row,)))], gc=False)
    )


class Keys(NamedTuple):
    """What names each of some rows: its id, its room, its experiment; None where it names none.

    `experiments` is empty where no row names one.
    """

    ids: Sequence[str | None]
    rooms: Sequence[str | None]
    experiments: Sequence[str | None]


def read_keys(body: bytes, data_type: DataType) -> Keys:
    """The keys of all rows of an answer.

    Raises:
        msgspec.DecodeError, RecursionError: it has to be taken row by row.
    """
    ids, rooms, experiments = data_type.id_fields, data_type.room_fields, data_type.experiment_fields
    # Nearly always the first field of each holds a text in every row; only the others make it look further.
    firsts = ids[:1] + rooms[:1]
    if not any("." in field for field in (*firsts, *experiments)):
        with suppress(msgspec.ValidationError):
            rows = _texts_decoder(firsts, experiments).decode(body).data
            first_ids, first_rooms = _texts(rows, ids), _texts(rows, rooms)
            if first_ids is not None and first_rooms is not None:
                return Keys(first_ids, _once(first_rooms), _if_any(_column(rows, experiments)))
    rows = _keys_decoder(ids + rooms + experiments).decode(body).data
    return Keys(_column(rows, ids), _once(_column(rows, rooms)), _if_any(_column(rows, experiments)))


def _if_any(names: Sequence[str | None]) -> Sequence[str | None]:
    return _once(names) if any(names) else ()


def _once(names: Sequence[str | None]) -> Sequence[str | None]:
    """The same names; where all are the same one, it is in memory once: most lists are of one room."""
    return [names[0]] * len(names) if len(set(names)) == 1 else names


def _texts(rows: Sequence[object], fields: tuple[str, ...]) -> Sequence[str | None] | None:
    """The first of `fields` of rows that are known to hold a text there; None where one is empty."""
    if not fields:
        return [None] * len(rows)
    texts = list(map(attrgetter(fields[0]), rows))
    return texts if all(texts) else None


def _column(rows: Sequence[object], fields: tuple[str, ...]) -> Sequence[str | None]:
    """The first text in `fields` of each row. Field by field, as mostly all rows hold one, or none does."""
    while fields:
        if (texts := _first_column(rows, fields)) is not None:
            return texts
        name = fields[0].partition(".")[0]
        if set(map(type, map(attrgetter(name), rows))) - {types.NoneType}:
            return [_first_text(row, fields) for row in rows]
        fields = fields[1:]
    return [None] * len(rows)


def _first_column(rows: Sequence[object], fields: tuple[str, ...]) -> Sequence[str | None] | None:
    """What the first of `fields` holds, if that is a text in every row; None where it is not."""
    if not fields:
        return [None] * len(rows)
    if "." in fields[0]:
        return None
    values = list(map(attrgetter(fields[0]), rows))
    return values if all(values) and set(map(type, values)) <= {str} else None


def _first_text(row: object, fields: tuple[str, ...]) -> str | None:
    for field in fields:
        name, _, inner = field.partition(".")
        value = getattr(row, name)
        if inner:
            value = value.get(inner) if isinstance(value, dict) else None
        if (text := id_text(value)) is not None:
            return text
    return None


def id_text(value: object) -> str | None:
    """An id as a text, which a number may be, too; None for anything else."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def read_keys_row_by_row(rows: Sequence[Row], data_type: DataType) -> Keys:
    """The same, for rows that msgspec refuses."""
    decoded = [loads(bytes(row).decode()) for row in rows]

    def column(fields: tuple[str, ...]) -> list[str | None]:
        return [_first_member(row, fields) for row in decoded]

    experiments = _if_any(column(data_type.experiment_fields))
    return Keys(column(data_type.id_fields), column(data_type.room_fields), experiments)


def _first_member(row: object, fields: tuple[str, ...]) -> str | None:
    for field in fields:
        value = row
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if (text := id_text(value)) is not None:
            return text
    return None
