"""One answer of the API taken apart: rows as the bytes that came, and what the server claims about them.

A page is decoded twice by msgspec, once into raw rows and once into the few fields that name a row and its
room: that is faster than decoding row by row. msgspec refuses lone surrogate escapes (`\\ud800`), which are
legal JSON texts; a page that holds one goes through the standard library's scanner instead, row spans kept.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from hsmirror.errors import CorruptError
from hsmirror.model import DataType

Row: TypeAlias = "bytes | msgspec.Raw"


@dataclass(frozen=True, slots=True)
class Pagination:
    """What the server says of the list. All of it is advisory: totals can be wrong, flags early or late."""

    total: int | None = None
    has_more: bool | None = None
    limit: int | None = None

    @property
    def is_absent(self) -> bool:
        return self == _NO_PAGINATION


_NO_PAGINATION = Pagination()


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one answer, one line each, in the order they came, with their ids and rooms alongside.

    `ids[i]` is None where row i has no id; `rooms[i]` is None where it names no room.
    """

    rows: Sequence[Row]
    ids: Sequence[str | None]
    rooms: Sequence[str | None]
    pagination: Pagination
    warnings: tuple[str, ...]
    metadata: bytes
    size_bytes: int

    def after(self, count: int) -> Page:
        """The page without its first `count` rows; what it says of its size fits that."""
        if not count:
            return self
        limit = self.pagination.limit
        return replace(
            self,
            rows=self.rows[count:],
            ids=self.ids[count:],
            rooms=self.rooms[count:],
            pagination=replace(self.pagination, limit=limit - count) if limit else self.pagination,
        )

    def first(self, count: int) -> Page:
        """The same page cut to its first `count` rows."""
        if count >= len(self.rows):
            return self
        return replace(self, rows=self.rows[:count], ids=self.ids[:count], rooms=self.rooms[:count])


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw]
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    status: Any = "success"


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_UTF8_PIECE_BYTES = 1 << 16


def parse_page(body: bytes, data_type: DataType, *, is_of_one_room: bool = False) -> Page:
    """Take one list answer apart. Where all of it `is_of_one_room`, the rows are not asked for theirs.

    Raises:
        CorruptError: not UTF-8, not JSON, not an envelope with a list of rows, or an error under 200.
    """
    _require_utf8(body)
    if is_of_one_room:
        data_type = _without_rooms(data_type)
    try:
        envelope = _decode_envelope(body)
    except RecursionError:
        raise CorruptError("the answer is nested too deeply to be a list of rows") from None
    except msgspec.DecodeError:
        return _parse_page_slowly(body, data_type)
    if envelope.status != "success":
        raise CorruptError("an error came under status 200")
    rows: Sequence[Row] = envelope.data
    # Pretty-printed: line breaks between tokens go. None can stand inside a string: msgspec refuses those.
    if b"\n" in body or b"\r" in body:
        rows = [one_line(row) for row in rows]
    try:
        if data_type.id_fields or data_type.room_fields:
            ids, rooms = _read_keys(body, data_type)
        else:
            ids = rooms = [None] * len(rows)
    except (msgspec.DecodeError, RecursionError):
        ids, rooms = _read_keys_row_by_row(rows, data_type)
    return _page(rows, ids, rooms, bytes(envelope.metadata), len(body))


def parse_document(body: bytes) -> tuple[Any, bytes]:
    """An answer whose `data` is not a list of rows: its `data` decoded, and the same as bytes on one line.

    Raises:
        CorruptError: as `parse_page`.
    """
    _require_utf8(body)
    members = _members(body.decode(), "the answer")
    if "data" not in members or members.get("status", '"success"') != '"success"':
        raise CorruptError("the answer holds no data")
    text = members["data"]
    return _loads(text), one_line(text.encode())


def first_element(text: bytes) -> bytes:
    """The first element of the JSON array that `text` is, as it stood there; `{}` where it is empty."""
    elements = _elements(text.decode())
    return elements[0].encode() if elements else b"{}"


def members_of(document: bytes, names: Sequence[str]) -> bytes:
    """A JSON object with just these members of another one, each value as it stood there."""
    members = _members(document.decode(), "the document")
    kept = [f"{json.dumps(name)}:{members[name]}" for name in names if name in members]
    return one_line(("{" + ",".join(kept) + "}").encode())


def one_line(row: Row) -> bytes:
    """A JSON text without line breaks between its tokens; every other byte as it came."""
    text = bytes(row)
    if b"\n" in text or b"\r" in text:
        return text.translate(None, b"\r\n")
    return text


@dataclass(frozen=True, slots=True)
class ErrorEnvelope:
    """What an error answer says, every field optional upstream."""

    code: str = ""
    message: str = ""
    required_scopes: tuple[str, ...] = ()


def parse_error(body: bytes) -> ErrorEnvelope:
    """The error envelope of an answer; an empty one where there is none to be read."""
    try:
        error = json.loads(body).get("error")
    except (ValueError, AttributeError, RecursionError):
        return ErrorEnvelope()
    if not isinstance(error, dict):
        return ErrorEnvelope()
    details = error.get("details")
    required = details.get("required") if isinstance(details, dict) else None
    scopes = tuple(map(printable, required[:10])) if isinstance(required, list) else ()
    return ErrorEnvelope(
        printable(error.get("code")), printable(error.get("message")), tuple(filter(None, scopes))
    )


def printable(value: object) -> str:
    """A server's text cut short and without control characters, fit for a terminal."""
    text = value if isinstance(value, str) else ""
    return "".join(character for character in text[:300] if character.isprintable())


def _require_utf8(body: bytes) -> None:
    """Decoded in pieces that stay in a core's cache: five times as fast as all at once."""
    if body.isascii():
        return
    view = memoryview(body)
    start = 0
    try:
        while start < len(body):
            end = body.find(b'"', start + _UTF8_PIECE_BYTES)  # never in the middle of a character
            end = end if end >= 0 else len(body)
            str(view[start:end], "utf-8")
            start = end
    except UnicodeDecodeError:
        raise CorruptError("the answer is not UTF-8") from None


def _page(
    rows: Sequence[Row],
    ids: Sequence[str | None],
    rooms: Sequence[str | None],
    metadata: bytes,
    size_bytes: int,
) -> Page:
    claims = _loads(metadata.decode())
    if not isinstance(claims, dict):
        claims = {}
    warnings = claims.get("_warnings")
    texts = tuple(printable(text) for text in warnings[:20]) if isinstance(warnings, list) else ()
    if claims.get("truncated") is True:
        texts += ("TRUNCATED: the server left rows out.",)
    return Page(rows, ids, rooms, _pagination(claims), texts, metadata, size_bytes)


def _pagination(metadata: dict[str, Any]) -> Pagination:
    claims = metadata.get("pagination")
    if not isinstance(claims, dict):
        claims = metadata  # recorded traffic also has the same fields flat in the metadata
    has_more = claims.get("hasMore")
    return Pagination(
        total=_count(claims.get("total")),
        has_more=has_more if isinstance(has_more, bool) else None,
        limit=_count(claims.get("limit")),
    )


def _count(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def parse_row(row: Row) -> Any:
    """One row as plain values.

    Raises:
        CorruptError: not JSON; cannot be for a row of a page.
    """
    return _loads(bytes(row).decode())


def row_id(row: bytes, data_type: DataType) -> str | None:
    """The id of one stored row; None where its type has none, or it lacks it."""
    if not data_type.id_fields:
        return None
    try:
        decoded = _key_decoder(data_type.id_fields).decode(row)
    except (msgspec.DecodeError, RecursionError):
        return _first_member(_loads(row.decode("utf-8", "replace")), data_type.id_fields)
    return _first_text(decoded, data_type.id_fields)


# --- the fields that name a row and its room ---------------------------------------------------------
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
def _texts_decoder(fields: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """The same, and refuses an answer of which a row lacks one of them, or has no text in it."""
    return _column_decoder(
        msgspec.defstruct("Texts", [(name, str) for name in dict.fromkeys(fields)], gc=False)
    )


def _column_decoder(row: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(
        msgspec.defstruct("Columns", [("data", types.GenericAlias(list, (row,)))], gc=False)
    )


@cache
def _without_rooms(data_type: DataType) -> DataType:
    return replace(data_type, room_fields=())


def _read_keys(body: bytes, data_type: DataType) -> tuple[Sequence[str | None], Sequence[str | None]]:
    ids, rooms = data_type.id_fields, data_type.room_fields
    # Nearly always the first field of each holds a text in every row; only the others make it look further.
    firsts = ids[:1] + rooms[:1]
    if not any("." in field for field in firsts):
        with suppress(msgspec.ValidationError):
            rows = _texts_decoder(firsts).decode(body).data
            first_ids, first_rooms = _texts(rows, ids), _texts(rows, rooms)
            if first_ids is not None and first_rooms is not None:
                return first_ids, first_rooms
    rows = _keys_decoder(ids + rooms).decode(body).data
    return _column(rows, ids), _column(rows, rooms)


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
        if (text := _id_text(value)) is not None:
            return text
    return None


def _id_text(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _read_keys_row_by_row(
    rows: Sequence[Row], data_type: DataType
) -> tuple[list[str | None], list[str | None]]:
    decoded = [_loads(bytes(row).decode()) for row in rows]
    return (
        [_first_member(row, data_type.id_fields) for row in decoded],
        [_first_member(row, data_type.room_fields) for row in decoded],
    )


def _first_member(row: object, fields: tuple[str, ...]) -> str | None:
    for field in fields:
        value = row
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if (text := _id_text(value)) is not None:
            return text
    return None


# --- the slow way, for texts that msgspec refuses ----------------------------------------------------


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_integer(digits: str) -> int | str:
    """Python refuses to turn thousands of digits into an integer; nothing here needs their value."""
    return int(digits) if len(digits) < 1000 else digits


_ESCAPES = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)")
"""Every escape of a JSON text; the first group is half of a surrogate pair, alone."""

_DECODER = json.JSONDecoder(parse_int=_parse_integer, parse_constant=_refuse_constant)
_SPACE = re.compile(r"[ \t\r\n]*")


def _loads(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    # A lone surrogate cannot be written to any file or terminal: what is made of the text has a mark instead.
    whole = _ESCAPES.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)
    try:
        return _DECODER.decode(whole)
    except (ValueError, RecursionError):
        raise CorruptError("the answer is not JSON") from None


def _parse_page_slowly(body: bytes, data_type: DataType) -> Page:
    members = _members(body.decode(), "the answer")
    if members.get("status", '"success"') != '"success"':
        raise CorruptError("an error came under status 200")
    if not members.get("data", "").startswith("["):
        raise CorruptError("the answer holds no list of rows")
    rows = [one_line(text.encode()) for text in _elements(members["data"])]
    ids, rooms = _read_keys_row_by_row(rows, data_type)
    metadata = members.get("metadata", "{}").encode()
    return _page(rows, ids, rooms, metadata, len(body))


def _members(text: str, what: str) -> dict[str, str]:
    """The members of the object that `text` is, each value as the text it stands as."""
    text = text.removeprefix("\ufeff")
    at = _skip_space(text, 0)
    if text[at : at + 1] != "{":
        kind = "HTML" if text[at : at + 1] == "<" else "no JSON object"
        raise CorruptError(f"{what} is {kind}")
    members: dict[str, str] = {}
    at = _skip_space(text, at + 1)
    while text[at : at + 1] != "}":
        if text[at : at + 1] != '"':
            raise CorruptError(f"{what} is not JSON")
        key, at = _scan(text, at)
        at = _skip_space(text, at)
        if text[at : at + 1] != ":":
            raise CorruptError(f"{what} is not JSON")
        start = _skip_space(text, at + 1)
        _, at = _scan(text, start)
        members[str(key)] = text[start:at]
        at = _after_comma(text, at, "}")
    if _skip_space(text, at + 1) != len(text):
        raise CorruptError(f"{what} is not JSON")
    return members


def _elements(text: str) -> list[str]:
    elements: list[str] = []
    at = _skip_space(text, 1)
    while text[at : at + 1] != "]":
        start = at
        _, at = _scan(text, start)
        elements.append(text[start:at])
        at = _after_comma(text, at, "]")
    return elements


def _after_comma(text: str, at: int, closing: str) -> int:
    at = _skip_space(text, at)
    if text[at : at + 1] == ",":
        at = _skip_space(text, at + 1)
        if text[at : at + 1] != closing:
            return at
    elif text[at : at + 1] == closing:
        return at
    raise CorruptError("the answer is not JSON")


def _scan(text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        raise CorruptError("the answer is not JSON") from None


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
