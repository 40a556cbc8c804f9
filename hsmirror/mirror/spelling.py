"""Rows without an id that came in another spelling: a new field in all of them, other numbers. Pure.

By their contents all of them are new, and all that are held are gone. So that they do not stand twice in the
tree, those that are held are matched with those that came by what the two spellings have in common.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from hsmirror.api.rows import parse_row
from hsmirror.mirror.merge import content_digest

_SAMPLE_ROWS = 1_000

Rows = Callable[[], Iterable[bytes]]


def spelled_anew(gone: Rows, came: Rows, *, is_all_new: bool) -> Counter[bytes]:
    """The contents of the rows in `gone` that `came` has in another spelling.

    `gone` are those that a proven list lacks; `is_all_new`: it has none that was held. Otherwise only a field
    that all rows that came have, and none that is gone, makes another spelling.
    """
    fields, old_fields = _fields(came()), _fields(gone(), any_of_them=True)
    if is_all_new:
        common = _kept_fields(gone, came, fields)
        if not _tells_apart(came, common):
            return _as_many(gone, came)
    elif fields - old_fields:
        common = sorted(old_fields)
    else:
        return Counter()
    left = Counter(_projected(came(), common))
    matched: Counter[bytes] = Counter()
    for row, projection in zip(gone(), _projected(gone(), common), strict=True):
        if left[projection] > 0:
            left[projection] -= 1
            matched[content_digest(row)] += 1
    return matched


def _fields(rows: Iterable[bytes], *, any_of_them: bool = False) -> AbstractSet[str]:
    """The members that all rows have, or any of them."""
    fields: set[str] | None = None
    for row in rows:
        names = set(_members(row))
        if fields is None:
            fields = names
        elif any_of_them:
            fields |= names
        else:
            fields &= names
    return fields or set()


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


def _tells_apart(rows: Rows, fields: list[str]) -> bool:
    """Do these fields tell rows as well as their whole contents do, or nearly so?"""
    sample = list(islice(rows(), _SAMPLE_ROWS))
    return 2 * len(set(_projected(sample, fields))) > len(set(sample))


def _as_many(gone: Rows, came: Rows) -> Counter[bytes]:
    """What changed tells the rows apart: then only their number can say that they are the same."""
    rows = Counter(map(content_digest, gone()))
    return rows if rows.total() <= sum(1 for _ in came()) else Counter()


def _projected(rows: Iterable[bytes], fields: list[str]) -> Iterator[bytes]:
    for row in rows:
        members = _members(row)
        yield content_digest(_text([members.get(name) for name in fields]).encode("utf-8", "surrogatepass"))


def _members(row: bytes) -> dict[str, Any]:
    members = parse_row(row)
    return members if isinstance(members, dict) else {}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
