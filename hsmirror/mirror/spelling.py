"""Rows without an id that came in another spelling: a new field in all of them, other numbers. Pure.

By their contents all of them are new, and all that are held are gone. So that they do not stand twice in the
tree, those that are held are matched with those that came by what the two spellings have in common.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import reduce
from itertools import islice
from operator import and_
from typing import Any

from hsmirror.api.rows import parse_row
from hsmirror.api.times import epoch_of
from hsmirror.mirror.merge import content_digest

_SAMPLE_ROWS = 1_000

Rows = Callable[[], Iterable[bytes]]
Members = dict[str, Any]
Fields = tuple[str, ...]


def longer_ones(gone: Rows, new: Rows) -> Counter[bytes]:
    """The contents of the rows in `gone`, which a proven list lacks, whose fields a new row has, and more."""
    return _matched(gone, new, lambda row: tuple(sorted(row)))


def with_a_new_field(gone: Rows, came: Rows) -> Counter[bytes]:
    """The contents of the rows in `gone` that came with one more field, which all that came have."""
    fields = _fields(came())
    return _matched(gone, came, lambda row: tuple(sorted(row)) if fields - row.keys() else None)


def spelled_anew(gone: Rows, came: Rows) -> Counter[bytes]:
    """The contents of the rows in `gone` that `came` has in another spelling, where none that came was held."""
    common = tuple(_kept_fields(gone, came, _fields(came())))
    changed = len(_fields(gone()) - set(common))
    if changed == 0 or (changed == 1 and _tells_apart(came, common)):
        return _matched(gone, came, lambda _: common)
    return _as_many(gone, came)


def _matched(gone: Rows, came: Rows, fields_of: Callable[[Members], Fields | None]) -> Counter[bytes]:
    """The contents of those in `gone` that `came` has, too, as far as the fields go that count for the row."""
    left: dict[Fields, Counter[bytes]] = {}
    matched: Counter[bytes] = Counter()
    for row in gone():
        members = _members(row)
        fields = fields_of(members)
        if fields is None:
            continue
        if fields not in left:
            left[fields] = Counter(_projection(_members(each), fields) for each in came())
        projection = _projection(members, fields)
        if left[fields][projection] > 0:
            left[fields][projection] -= 1
            matched[content_digest(row)] += 1
    return matched


def _fields(rows: Iterable[bytes]) -> AbstractSet[str]:
    """The members that all rows have."""
    each = map(dict.keys, map(_members, rows))
    return reduce(and_, each, set(next(each, ())))


def _kept_fields(gone: Rows, came: Rows, fields: AbstractSet[str]) -> list[str]:
    """Those whose values most of the rows that are gone have in common with those that came."""
    olds = [_members(row) for row in islice(gone(), _SAMPLE_ROWS)]
    news = [_members(row) for row in islice(came(), _SAMPLE_ROWS)]
    kept: list[str] = []
    for name in sorted(fields):
        values = {_text(row[name]) for row in news}
        again = sum(1 for row in olds if name in row and _text(row[name]) in values)
        if again * 2 > len(olds):
            kept.append(name)
    return kept


def _tells_apart(rows: Rows, fields: Fields) -> bool:
    """Do these fields tell rows as well as their whole contents do?"""
    sample = list(islice(rows(), _SAMPLE_ROWS))
    told = len({_projection(_members(row), fields) for row in sample})
    return told == len(set(sample)) > 1


def _as_many(gone: Rows, came: Rows) -> Counter[bytes]:
    """What changed tells the rows apart: then only their number can say that they are the same."""
    rows = Counter(map(content_digest, gone()))
    return rows if 1 < rows.total() == sum(1 for _ in came()) else Counter()


def _projection(members: Members, fields: Fields) -> bytes:
    text = _text([members.get(name) for name in fields])
    return content_digest(text.encode("utf-8", "surrogatepass"))


def _members(row: bytes) -> Members:
    members = parse_row(row)
    return members if isinstance(members, dict) else {}


def _text(value: object) -> str:
    """A value whatever its format: numbers and times may come as texts, or the other way round."""
    if isinstance(value, str) and (time := epoch_of(value)) is not None:
        return str(time)
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return str(epoch_of(value) or float(value))
    if isinstance(value, list):
        return json.dumps([_text(each) for each in value])
    return json.dumps(value, sort_keys=True)
