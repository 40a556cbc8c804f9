"""What an answer says of its list: how long it is, whether it goes on, and whether something was left out.

All of it is advisory. It never proves that rows are there; it can show that rows are missing. So every word
that may say "there is more" or "this is not all" is looked for, in whatever place or shape a server puts it,
and a word that says so is believed.

Source: the API's documentation (`metadata.pagination`, `metadata._warnings`, `truncated`), recorded answers
(the same fields flat in `metadata`), and the usual words of other paginated APIs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DEEPEST = 6
_NOT_SAID = frozenset(
    ("timeline", "variableNames", "matrixColumns", "query", "filters", "params", "parameters", "request")
)
"""Members that hold what participants did, or what was asked for, and not what is said of the list."""

_PARTIAL = ("warning", "partial", "truncat", "incomplete")
"""A member whose name has one of these in it says, where its value is not empty, that rows may be missing."""
_WHOLE = frozenset(("complete", "iscomplete"))

_MORE = re.compile(
    "(has|is|are)?(there)?more(available|data|dataavailable|pages?|records|results|rows|items|toload|tocome)?"
    "|hasnext(page)?"
)
_LEFT = re.compile("(rows|items|records|results)?(remaining|left)(rows|items|records|results|count)?")
"""How many there are behind this answer; not the word alone, which limits of requests use, too."""
_LAST = re.compile("(is)?last(page)?|(is)?end|done|exhausted")
_NEXT = re.compile(
    r"(.*\.)?next(cursor|page|pagetoken|pagenumber|token|url|uri|link|href|pageurl|key|marker|bookmark|id|index|skip"
    "|position|start(key|after|time|ingtoken|index)?|batch|continuation(token)?|partition(key)?|row(key)?)?"
    "|cursornext|continuation(token)?|continuetoken|scrollid|resumptiontoken|(last|exclusive)evaluatedkey"
)
_WEAK_NEXT = frozenset(
    [
        "nextoffset",
        "cursor",
        "endcursor",
        "after",
        "startafter",
        "searchafter",
        "marker",
        "bookmark",
        "pagetoken",
    ]
)
"""They count only where no other word says whether there is more, and no total."""

_TOTAL = re.compile(
    "total(count|rows|items|results|records|elements|entries|hits|matches)?"
    "|(count|rows|items|results|records)total"
)

_LIMIT = frozenset(["limit"])
_PAGE = frozenset(("page", "currentpage", "pagenumber", "pageindex"))
_PAGES = frozenset(("pages", "totalpages", "pagecount", "numpages", "lastpage"))

_CONTAINERS = frozenset(
    ["pagination", "paging", "page", "pageinfo", "pagingmetadata", "links", "meta", "cursors"]
)

_REFUSED_TEXTS = frozenset(("", "false", "no", "none", "null", "0"))
_AGREED_TEXTS = frozenset(("true", "yes", "1"))


@dataclass(frozen=True, slots=True)
class Pagination:
    """What the server says of the list. All of it is advisory: totals can be wrong, flags early or late.

    `has_more` is True where any word says that there is more, whatever the others say; None where all are
    silent.
    """

    total: int | None = None
    has_more: bool | None = None
    limit: int | None = None
    page: int | None = None
    """The number of this page, from whatever number the server begins with."""
    pages: int | None = None

    @property
    def is_absent(self) -> bool:
        return self == _NO_PAGINATION


_NO_PAGINATION = Pagination()


def pagination(metadata: Mapping[str, Any], root: Mapping[str, Any]) -> Pagination:
    """What `metadata`, and what stands beside it, say of the list."""
    places = [*_containers(metadata), *_containers(root), metadata, root]
    words = [(_plain(name), value) for place in places for name, value in place.items()]
    counts = ((word, _count(value)) for word, value in words if _TOTAL.fullmatch(word))
    total = next((count for _, count in counts if count is not None), None)
    return Pagination(
        total=total,
        has_more=_has_more(words, has_total=total is not None),
        limit=_number(words, _LIMIT),
        page=_number(words, _PAGE),
        pages=_number(words, _PAGES),
    )


def _number(words: list[tuple[str, Any]], names: frozenset[str]) -> int | None:
    numbers = (_count(value) for word, value in words if word in names)
    return next((number for number in numbers if number is not None), None)


def warnings(metadata: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """Every word of the answer that says that it may not be all, as texts."""
    return [text for name, value in (*_members(root), *_members(metadata)) for text in _warned(name, value)]


def _containers(place: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Objects that speak of paging, and those within them (`_links: {next: {href: …}}`)."""
    for name, value in place.items():
        if isinstance(value, Mapping) and _plain(name) in _CONTAINERS:
            yield value
            yield from _containers(value)


def _has_more(words: list[tuple[str, Any]], *, has_total: bool) -> bool | None:
    said = [each for word, value in words if (each := _says_more(word, value)) is not None]
    if not (said or has_total):
        said = [True for word, value in words if word in _WEAK_NEXT and _is_given(value)]
    return any(said) if said else None


def _says_more(word: str, value: Any) -> bool | None:
    if _NEXT.fullmatch(word):
        return _is_given(value)
    if _MORE.fullmatch(word):
        return _flag(value)
    if word not in {"left", "remaining"} and _LEFT.fullmatch(word):
        return None if (count := _count(value)) is None else count > 0
    if _LAST.fullmatch(word) and str(value).casefold() in {"true", "false"}:  # no number, and no link
        return str(value).casefold() == "false"
    return None


def _is_given(value: Any) -> bool:
    """Is it a next page? Offsets and page numbers, too, but not nought, and no object of empty members."""
    if isinstance(value, str):
        return value.strip().casefold() not in _REFUSED_TEXTS
    if isinstance(value, Mapping):
        return any(map(_is_given, value.values()))
    return bool(value)


def _flag(value: Any) -> bool | None:
    if isinstance(value, int):
        return value > 0
    if isinstance(value, str) and (text := value.strip().casefold()) in _AGREED_TEXTS | _REFUSED_TEXTS:
        return text in _AGREED_TEXTS
    return None


def _members(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """All members of an object and of what is in it, but for those that are data."""
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for name, member in value.items():
            if name not in _NOT_SAID:
                yield _plain(name), member
                yield from _members(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            yield from _members(member, depth + 1)


def _warned(name: str, value: Any) -> Iterator[str]:
    if name in _WHOLE:
        if value is False or (isinstance(value, str) and value.casefold() == "false"):
            yield "INCOMPLETE: the server says that its answer is not complete."
    elif any(word in name for word in _PARTIAL) and _is_given(value):
        yield from _texts(value) if "warning" in name else [_left_out(name, value)]


def _left_out(name: str, value: Any) -> str:
    said = value if isinstance(value, str) and value.casefold() not in {"true", "yes"} else ""
    return f"{name.removeprefix('is').upper()}: the server left rows out{f' ({said})' if said else ''}."


def _texts(value: Any) -> list[str]:
    """The texts of a warning, whatever its shape; one that says nothing to be read is told as such."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        texts = [
            value[name] for name in ("code", "message", "text", "detail") if isinstance(value.get(name), str)
        ]
        return [": ".join(texts)] if texts else [_UNREADABLE]
    if isinstance(value, list):
        return [text for each in value[:20] for text in _texts(each)]
    return [_UNREADABLE]


_UNREADABLE = "the server warns of something, in a form that cannot be read"


def _plain(name: object) -> str:
    return str(name).replace("_", "").replace("-", "").casefold()


def _count(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value
