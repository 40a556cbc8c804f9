"""Rows as CSV (RFC 4180): one table, whose columns are the union of the rows' fields."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec

from hsmirror.serve.rows import readable

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


def csv_table(rows: Sequence[bytes]) -> bytes:
    """A header in first-seen order, then a line a row; no rows give an empty body, for they have no columns.

    Texts stand as they are, numbers with the very digits that they came with, null as an empty cell, and
    nested objects and lists as JSON. Lines end in CR LF. Lone surrogates, which UTF-8 cannot hold, become
    U+FFFD.
    """
    records = [_FIELDS.decode(readable(row)) for row in rows]
    columns = list(dict.fromkeys(name for record in records for name in record))
    if not columns:
        return b""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(columns)
    for record in records:
        writer.writerow([_cell(record.get(name)) for name in columns])
    return table.getvalue().encode()


def _cell(value: msgspec.Raw | None) -> str:
    if value is None:
        return ""
    text = bytes(value)
    if text == b"null":
        return ""
    if not text.startswith(b'"'):
        return text.decode()
    return _TEXT.decode(text)
