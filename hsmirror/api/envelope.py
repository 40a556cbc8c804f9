"""One answer of the API taken apart: rows as the bytes that came, and what the server claims about them.

A page is decoded twice by msgspec, once into raw rows and once into the few fields that name a row and its
room: that is faster than decoding row by row. msgspec refuses lone surrogate escapes (`\\ud800`), which are
legal JSON texts; a page that holds one goes through the standard library's scanner instead, row spans kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from hsmirror.api import list_claims
from hsmirror.api.json_texts import elements, loads, members
from hsmirror.api.list_claims import Pagination
from hsmirror.api.rows import Keys, Row, one_line, read_keys, read_keys_row_by_row
from hsmirror.api.words import ServerWords, printable
from hsmirror.errors import CorruptError
from hsmirror.model import DataType


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
    experiments: Sequence[str | None] = ()
    """Of each row, if any names one."""
    age_seconds: int = 0
    """How long a cache on the way has had it; 0 where it comes from the server itself."""

    def after(self, count: int) -> Page:
        """The page without its first `count` rows; what it says of its size fits that."""
        if not count:
            return self
        limit = self.pagination.limit
        pagination = replace(self.pagination, limit=limit - count) if limit else self.pagination
        return replace(self._cut(slice(count, None)), pagination=pagination)

    def first(self, count: int) -> Page:
        """The same page cut to its first `count` rows."""
        return self if count >= len(self.rows) else self._cut(slice(count))

    def only(self, numbers: Sequence[int]) -> Page:
        """The same page with these of its rows alone."""
        if len(numbers) == len(self.rows):
            return self
        return replace(
            self,
            rows=[self.rows[number] for number in numbers],
            ids=[self.ids[number] for number in numbers],
            rooms=[self.rooms[number] for number in numbers],
            experiments=[self.experiments[number] for number in numbers] if self.experiments else (),
        )

    def of(self, experiments: set[str | None]) -> Page:
        """The same page without the rows that name another experiment than one of these."""
        if experiments.issuperset(self.experiments):
            return self
        return self.only([number for number, each in enumerate(self.experiments) if each in experiments])

    def _cut(self, rows: slice) -> Page:
        return replace(
            self,
            rows=self.rows[rows],
            ids=self.ids[rows],
            rooms=self.rooms[rows],
            experiments=self.experiments[rows],
        )


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    data: list[msgspec.Raw]
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    status: Any = "success"


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_UTF8_PIECE_BYTES = 1 << 16


def parse_page(body: bytes, data_type: DataType, words: ServerWords = printable) -> Page:
    """Take one list answer apart, its warnings as `words` leaves them.

    Raises:
        CorruptError: not UTF-8, not JSON, not an envelope with a list of rows, or an error under 200.
    """
    _require_utf8(body)
    try:
        envelope, beside = _taken_apart(body)
    except RecursionError:
        raise CorruptError("the answer is nested too deeply to be a list of rows") from None
    except msgspec.DecodeError:
        return _parse_page_slowly(body, data_type, words)
    if envelope.status != "success":
        raise CorruptError("an error came under status 200")
    rows: Sequence[Row] = envelope.data
    # Pretty-printed: line breaks between tokens go. None can stand inside a string: msgspec refuses those.
    if b"\n" in body or b"\r" in body:
        rows = [one_line(row) for row in rows]
    try:
        keys = read_keys(body, data_type)
    except (msgspec.DecodeError, RecursionError):
        keys = read_keys_row_by_row(rows, data_type)
    return _page(rows, keys, bytes(envelope.metadata), beside, len(body), words)


def _taken_apart(body: bytes) -> tuple[_Envelope, dict[str, Any]]:
    """The envelope, and what stands in it beside its documented members: that may speak of the list, too."""
    try:
        return _decode_envelope(body), {}
    except msgspec.ValidationError:
        parts = _decode_members(body)
    data, metadata, status = (parts.pop(name, None) for name in ("data", "metadata", "status"))
    envelope = _Envelope(
        _decode_rows(data or b""),
        metadata or msgspec.Raw(b"{}"),
        msgspec.json.decode(status) if status is not None else "success",
    )
    return envelope, {name: loads(bytes(text).decode()) for name, text in parts.items()}


def parse_document(body: bytes) -> tuple[Any, bytes]:
    """An answer whose `data` is not a list of rows: its `data` decoded, and the same as bytes on one line.

    Raises:
        CorruptError: as `parse_page`.
    """
    _require_utf8(body)
    parts = members(body.decode(), "the answer")
    if "data" not in parts or parts.get("status", '"success"') != '"success"':
        raise CorruptError("the answer holds no data")
    text = parts["data"]
    return loads(text), one_line(text.encode())


def first_element(text: bytes) -> bytes:
    """The first element of the JSON array that `text` is, as it stood there; `{}` where it is empty."""
    found = elements(text.decode())
    return found[0].encode() if found else b"{}"


def members_of(document: bytes, names: Sequence[str]) -> bytes:
    """A JSON object with just these members of another one, each value as it stood there."""
    there = members(document.decode(), "the document")
    kept = [f"{json.dumps(name)}:{there[name]}" for name in names if name in there]
    return one_line(("{" + ",".join(kept) + "}").encode())


@dataclass(frozen=True, slots=True)
class ErrorEnvelope:
    """What an error answer says, every field optional upstream."""

    code: str = ""
    message: str = ""
    required_scopes: tuple[str, ...] = ()
    is_of_api: bool = False
    """It is the API's own envelope. Proxies and gateways answer with JSON, too, and speak for nobody else."""

    @property
    def has_route_code(self) -> bool:
        """Does its code say that there is no such endpoint, and not just no such room or experiment?"""
        return _ROUTE_CODE.search(self.code) is not None

    @property
    def names_route(self) -> bool:
        """The same of its code or its text, under 404."""
        return self.has_route_code or _ROUTE_WORDS.search(self.message) is not None


_ROUTE_CODE = re.compile(r"ROUTE|ENDPOINT|DATA_?TYPE", re.IGNORECASE)
_ROUTE_WORDS = re.compile(
    r"\b(?:route|endpoint)\b.* (?:not found|unknown|does not exist|not (?:available|supported|implemented))"
    r"|\b(?:no such|unknown|no) (?:route|endpoint|data type)\b|\bcannot get /",
    re.IGNORECASE,
)
_SCOPE = re.compile(r"\b[a-z]+:(?:[a-z][a-z_/-]*|\*)")


def parse_error(body: bytes, words: ServerWords = printable) -> ErrorEnvelope:
    """The error envelope of an answer, its texts as `words` leaves them; an empty one where there is none."""
    try:
        answer = json.loads(body)
        error = answer.get("error")
    except (ValueError, AttributeError, RecursionError):
        return ErrorEnvelope()
    if not isinstance(error, dict):
        return ErrorEnvelope()
    code, message = words(error.get("code")), words(error.get("message"))
    is_of_api = answer.get("status") == "error" and bool(code or message)
    return ErrorEnvelope(code, message, _scopes_named(error, code, message, words), is_of_api)


def _scopes_named(error: dict[str, Any], code: str, message: str, words: ServerWords) -> tuple[str, ...]:
    """The scopes that the key would need: as a list, or in the text of an answer about scopes."""
    details = error.get("details")
    required = details.get("required") if isinstance(details, dict) else None
    if isinstance(required, str):
        required = [required]
    if isinstance(required, list):
        return tuple(filter(None, map(words, required[:10])))
    if "scope" not in f"{code} {message}".lower():
        return ()
    return tuple(dict.fromkeys(_SCOPE.findall(message)))[:10]


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
    keys: Keys,
    metadata: bytes,
    beside: Mapping[str, Any],
    size_bytes: int,
    words: ServerWords,
) -> Page:
    claims = loads(metadata.decode())
    if not isinstance(claims, dict):
        claims = {}
    said = tuple(words(text) for text in list_claims.warnings(claims, beside)[:20])
    pagination = list_claims.pagination(claims, beside)
    return Page(rows, keys.ids, keys.rooms, pagination, said, metadata, size_bytes, keys.experiments)


def _parse_page_slowly(body: bytes, data_type: DataType, words: ServerWords) -> Page:
    parts = members(body.decode(), "the answer")
    if parts.get("status", '"success"') != '"success"':
        raise CorruptError("an error came under status 200")
    if not parts.get("data", "").startswith("["):
        raise CorruptError("the answer holds no list of rows")
    rows = [one_line(text.encode()) for text in elements(parts["data"])]
    metadata = parts.get("metadata", "{}").encode()
    beside = {name: loads(text) for name, text in parts.items() if name not in {"data", "metadata", "status"}}
    return _page(rows, read_keys_row_by_row(rows, data_type), metadata, beside, len(body), words)
