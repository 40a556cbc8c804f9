"""Query parameters → a validated `Query`. What cannot be meant is refused with the parameter's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hsmirror.model import Scope
from hsmirror.serve.endpoints import DataEndpoint
from hsmirror.serve.refusals import invalid_parameter
from hsmirror.serve.source import Query

FORMATS = ("json", "csv", "ndjson")

_UNPAGED_LIMIT = 1_000_000
_DIGITS = re.compile(r"[0-9]{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
# A `+` that was not percent-encoded arrives as a space.
_SPACE_FOR_PLUS = re.compile(r"(?<=\d) (?=\d\d:?\d\d$)")


def data_query(
    endpoint: DataEndpoint, scope: Scope, scope_id: str, given: Mapping[str, str], *, page_cap: int
) -> Query:
    """The validated request for one data type at one scope.

    Raises aiohttp's 400 with `INVALID_PARAMETER` naming the parameter. A limit above `page_cap` is clamped
    to it, as servers do. `aggregationWindow` and `detail` are checked and otherwise ignored.
    """
    room_id = given.get("roomId") or None
    if scope is Scope.PARTICIPANT and room_id is None:
        raise invalid_parameter("roomId", None, "it is required at participant scope")
    _checked_decimal(given, "aggregationWindow")
    one_of(given, "detail", ("true", "false"), "false")
    sort = one_of(given, "sort", endpoint.sorts, endpoint.sorts[0])
    return Query(
        data_type=endpoint.name,
        scope=scope,
        scope_id=scope_id,
        room_id=room_id,
        deployment_id=given.get("deploymentId") or None,
        category=given.get("category") or None,
        start=moment(given, "startTime"),
        end=moment(given, "endTime"),
        sort=sort,
        descending=one_of(given, "order", ("asc", "desc"), "asc") == "desc",
        offset=whole_number(given, "offset", 0) if endpoint.paged else 0,
        limit=_limit(endpoint, given, page_cap),
    )


def _limit(endpoint: DataEndpoint, given: Mapping[str, str], page_cap: int) -> int:
    if not endpoint.paged and "limit" not in given and endpoint.default_limit == 1000:
        return _UNPAGED_LIMIT
    asked = whole_number(given, "limit", endpoint.default_limit, at_least=1)
    return min(asked, page_cap if endpoint.paged else _UNPAGED_LIMIT)


def query_shown(query: Query, given: Mapping[str, str], endpoint: DataEndpoint) -> dict[str, Any]:
    """`metadata.query`: the request as the server understood it."""
    shown: dict[str, Any] = {}
    room_id = query.scope_id if query.scope is Scope.ROOM else query.room_id
    if room_id is not None:
        shown["roomId"] = room_id
    if query.deployment_id is not None:
        shown["deploymentId"] = query.deployment_id
    if endpoint.name != "recordings":
        shown["startTime"] = given.get("startTime")
        shown["endTime"] = given.get("endTime")
    if endpoint.name == "events":
        shown["category"] = query.category
    shown |= {"limit": query.limit, "offset": query.offset}
    return shown | {"sort": query.sort, "order": "desc" if query.descending else "asc"}


def whole_number(given: Mapping[str, str], name: str, default: int, *, at_least: int = 0) -> int:
    """A parameter in plain digits, not below `at_least`."""
    text = given.get(name)
    if text is None:
        return default
    if not _DIGITS.fullmatch(text) or int(text) < at_least:
        raise invalid_parameter(name, text, f"expected a whole number, at least {at_least}")
    return int(text)


def one_of(given: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    """A parameter that takes one of a few words."""
    text = given.get(name, default)
    if text not in choices:
        raise invalid_parameter(name, text, f"expected one of {', '.join(choices)}")
    return text


def moment(given: Mapping[str, str], name: str) -> float | None:
    """A time in ISO 8601 as epoch seconds; UTC where it names no zone."""
    text = given.get(name)
    if not text:
        return None
    try:
        when = datetime.fromisoformat(_SPACE_FOR_PLUS.sub("+", text))
    except ValueError:
        raise invalid_parameter(name, text, "expected a time in ISO 8601") from None
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()


def _checked_decimal(given: Mapping[str, str], name: str) -> None:
    text = given.get(name)
    if text is not None and (not _DECIMAL.fullmatch(text) or float(text) <= 0):
        raise invalid_parameter(name, text, "expected a number of milliseconds above 0")
