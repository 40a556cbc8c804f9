"""Is an answer the answer to the request? What it says of itself is held against what was asked. Pure.

A cache that mixes up two requests gives rows that are sound, and another list's. Servers echo the request in
their metadata, and rows name their room and experiment. What is not echoed contradicts nothing; spelling does
not matter, nor does an id that the server resolved, as long as the rows name the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from hsmirror.api.data_types import DATA_TYPES, SESSIONS
from hsmirror.api.envelope import Page, first_element, parse_document
from hsmirror.api.json_texts import loads, members
from hsmirror.api.rows import id_text, read_keys_row_by_row
from hsmirror.api.times import epoch_of
from hsmirror.api.words import printable
from hsmirror.errors import CorruptError
from hsmirror.model import DataType, ListKey, Scope


def _plain(name: object) -> str:
    """A name without what differs from spelling to spelling: `ratings_continuous`, `agentRuns`."""
    return "".join(filter(str.isalnum, name)).lower() if isinstance(name, str) else ""


_TYPES = {_plain(name) for name in (*DATA_TYPES, SESSIONS.name)}
_BEFORE_ANY_DATA = 631_152_000.0  # 1990
_SCOPES = {f"{scope}{plural}": scope for scope in Scope for plural in ("", "s")}


def require_answer(page: Page, key: ListKey, asked: Mapping[str, str]) -> Page:
    """The page, if nothing in it says that it is another request's. `asked` are the request's parameters.

    Raises:
        CorruptError: it names another data type, scope, offset, participant or time range, or another room or
            experiment throughout.
    """
    metadata = _object(loads(page.metadata.decode()))
    query = _object(metadata.get("query"))
    _require_type(key, metadata.get("dataType"))
    if not key.scope_id:
        return page  # all that the key may read: its scope is the user
    scope = _SCOPES.get(_plain(metadata.get("scope")))
    if scope is not None and scope is not key.scope and key.data_type.name != "deployments":
        raise _not_the_answer("scope", scope)
    is_confirmed = _is_id_confirmed(page, key, metadata, query)
    _require_rows_of_key(page, key, is_confirmed=is_confirmed)
    paging = _object(metadata.get("pagination"))
    if "offset" in asked and _differs(_first(query, paging, "offset"), asked["offset"]):
        raise _not_the_answer("offset", _first(query, paging, "offset"))
    if key.scope is Scope.PARTICIPANT:
        _require_same("room", query.get("roomId"), asked.get("roomId"))
    elif _differs(query.get("participantId"), ""):
        raise _not_the_answer("participant", query.get("participantId"))
    _require_range(query, asked, metadata.get("timestamp"))
    return _doubted(page, key)


def parse_answer(body: bytes, experiment: str, *, is_definition: bool) -> tuple[Any, bytes]:
    """A document of an experiment, as `parse_document` gives it; a list of one is that one.

    Raises:
        CorruptError: as `parse_document`, or it names another experiment.
    """
    data, document = parse_document(body)
    if isinstance(data, list):  # as recorded
        data, document = (data[0], first_element(document)) if data else ({}, b"{}")
    metadata = _object(loads(members(body.decode(), "the answer").get("metadata", "{}")))
    fields = _object(data)
    named = [fields.get("experimentId"), *([fields.get("id")] if is_definition else [])]
    if _SCOPES.get(_plain(metadata.get("scope"))) is Scope.EXPERIMENT:
        named.append(metadata.get("scopeId"))
    # One that was asked for by another name than its id is called so somewhere.
    is_called_so = any(id_text(value) == experiment for value in (*fields.values(), *named))
    other = next((name for name in named if _differs(name, experiment)), None)
    if other is not None and not is_called_so:
        raise _not_the_answer("experiment", other)
    return data, document


def _require_type(key: ListKey, echoed: object) -> None:
    """A word that is no other type's name may be another word for this one (`ratings`, `textchat`)."""
    name = _plain(echoed)
    if name in _TYPES and name != _plain(key.data_type.name):
        raise _not_the_answer("data type", echoed)


def _is_id_confirmed(
    page: Page, key: ListKey, metadata: Mapping[str, object], query: Mapping[str, object]
) -> bool:
    """Does the answer say that it is of what was asked for?"""
    if not key.scope_id or _SCOPES.get(_plain(metadata.get("scope")) or key.scope) is not key.scope:
        return False  # its id is of something else, such as the user
    names = {Scope.EXPERIMENT: "experimentId", Scope.ROOM: "roomId", Scope.PARTICIPANT: "participantId"}
    echoes = [metadata.get("scopeId"), query.get("scopeId")]
    if (name := names.get(key.scope)) is not None:
        echoes += [metadata.get(name), query.get(name)]
    if key.data_type.name == "deployments":  # they are a user's, narrowed to an experiment
        echoes = [query.get("experimentId")]
    told = [echo for echo in echoes if id_text(echo) is not None]
    other = next((echo for echo in told if _differs(echo, key.scope_id)), None)
    if other is not None and not _is_named(page, key):
        raise _not_the_answer(str(key.scope), other)
    return bool(told)


def _is_named(page: Page, key: ListKey) -> bool:
    """Does any row name the scope that was asked for?"""
    if key.scope is Scope.EXPERIMENT:
        return key.scope_id in page.experiments
    return key.scope is Scope.ROOM and key.scope_id in page.rooms


def _require_rows_of_key(page: Page, key: ListKey, *, is_confirmed: bool) -> None:
    """Rows that all name another room, person or experiment are another list's, unless told otherwise.

    What an answer says of itself counts more.
    A room's list may have rows of its break-out rooms as well; they are filed by what they say.
    """
    if is_confirmed or not key.experiment or key.data_type.name == "deployments":
        return
    if key.scope is Scope.DEPLOYMENT:
        _require_named("deployment", key.scope_id, _texts(page, ("deploymentId",)))
    if key.scope is Scope.PARTICIPANT:
        _require_named("participant", key.scope_id, _texts(page, key.data_type.person_fields))
    if key.room is not None and key.scope is Scope.ROOM:
        _require_named("room", key.room, page.rooms)
    _require_named("experiment", key.experiment, page.experiments)


def _doubted(page: Page, key: ListKey) -> Page:
    """Rows of other experiments are left out; a list that has some is not taken for this one's whole list.

    A server may list all deployments of a user, whatever experiment is asked for.
    """
    others = set(page.experiments) - {None, key.experiment}
    if not others or not key.experiment or key.data_type.name == "deployments":
        return page
    shown = printable(min(filter(None, others)))[:80]
    warning = f"rows of another experiment came, {shown!r}; they were left out"
    return replace(page, warnings=(*page.warnings, warning))


def _texts(page: Page, fields: tuple[str, ...]) -> Sequence[str | None]:
    """The first of `fields` that each row has."""
    return read_keys_row_by_row(page.rows, DataType("", "", fields)).ids


def _require_named(what: str, asked: str, named: Sequence[str | None]) -> None:
    others = set(named) - {None}
    if others and asked not in others:
        raise _not_the_answer(what, min(filter(None, others)))


def _require_range(query: Mapping[str, object], asked: Mapping[str, str], answered_at: object) -> None:
    """A wider range than was asked for has all that was asked for, a narrower one has not.

    Where none was asked for, a server may show its own: from long ago until now.
    """
    # Servers round what they echo; a whole second is well within what is asked for beyond a window.
    latest = epoch_of(asked.get("startTime")) or _BEFORE_ANY_DATA
    start = epoch_of(query.get("startTime"))
    if start is not None and start > latest + 1.0:
        raise _not_the_answer("startTime", query.get("startTime"))
    earliest = epoch_of(asked.get("endTime")) or epoch_of(answered_at) or inf
    end = epoch_of(query.get("endTime"))
    if end is not None and end < earliest - 1.0:
        raise _not_the_answer("endTime", query.get("endTime"))


def _require_same(what: str, echoed: object, asked: str | None) -> None:
    if asked is not None and _differs(echoed, asked):
        raise _not_the_answer(what, echoed)


def _differs(echoed: object, asked: str) -> bool:
    """Is something else echoed? Numbers may be texts."""
    text = id_text(echoed)
    return text is not None and text != asked


def _first(query: Mapping[str, object], paging: Mapping[str, object], name: str) -> object:
    return query[name] if id_text(query.get(name)) is not None else paging.get(name)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _not_the_answer(what: str, other: object) -> CorruptError:
    shown = printable(str(other))[:80]
    return CorruptError(f"the answer is another request's: its {what} is {shown!r}")
