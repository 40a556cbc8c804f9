"""Which experiments a command is about, and what to narrow them to."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from cyclopts import Parameter

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.words import redacted
from hsmirror.clock import iso_utc
from hsmirror.errors import UsageError
from hsmirror.settings import ExperimentSettings
from hsmirror.settings.quantities import parse_duration

EVERY = "*"


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Narrowing:
    """Options that narrow each experiment; what is not given stays as configured."""

    room: Annotated[tuple[str, ...], Parameter(help="Only this room. Repeatable.")] = ()
    participant: Annotated[tuple[str, ...], Parameter(help="Only this participant. Repeatable.")] = ()
    type: Annotated[
        tuple[str, ...], Parameter(help="Only this data type, such as ratings/sparse. Repeatable.")
    ] = ()
    since: Annotated[
        str | None, Parameter(help="Only rows from this time on: 2026-11-22, 2026-11-22T02:00Z, or 3d (ago).")
    ] = None
    until: Annotated[
        str | None, Parameter(help="Only rows before this time, in the same forms; UTC if it does not say.")
    ] = None
    no_files: Annotated[
        bool, Parameter(help="Leave recording files out; their rows are held all the same.")
    ] = False

    def changes(self, now: float) -> dict[str, object]:
        """The fields of `ExperimentSettings` that were given. Raises UsageError."""
        start = None if self.since is None else _moment("--since", self.since, now)
        end = None if self.until is None else _moment("--until", self.until, now)
        if start and end and start >= end:
            raise UsageError(f"--until {self.until} is not after --since {self.since}: nothing lies between")
        given = {
            "rooms": self.room,
            "participants": self.participant,
            "data_types": tuple(_known_type(name) for name in self.type),
            "start_time": start,
            "end_time": end,
        }
        changes: dict[str, object] = {name: value for name, value in given.items() if value}
        return changes | ({"files": False} if self.no_files else {})


def select(
    configured: Sequence[ExperimentSettings], ids: Sequence[str], narrowing: Narrowing, *, now: float
) -> tuple[ExperimentSettings, ...]:
    """The experiments that a command is about: those of `ids`, or all that are configured.

    An id that is configured keeps its settings; one that is not has those of a configured "*", or the defaults.
    Raises UsageError where there is none at all, or where an option makes no sense.
    """
    chosen = _chosen(configured, ids)
    if not chosen:
        raise UsageError(
            "there is no experiment to fetch: give ids (hsmirror sync exp_research_001, or '*' for every one "
            "that the key may read), or list them under [[experiments]] in hsmirror.toml (hsmirror init "
            "writes one)"
        )
    changes = narrowing.changes(now)
    return tuple(msgspec.structs.replace(experiment, **changes) for experiment in chosen)


def _chosen(configured: Sequence[ExperimentSettings], ids: Sequence[str]) -> list[ExperimentSettings]:
    if not ids:
        return list(configured)
    if not all(ids):
        raise UsageError("an experiment's id is empty: is a shell variable not set?")
    if any(redacted(id_) != id_ for id_ in ids):
        raise UsageError("an API key is no experiment's id: set HYPERSTUDY_API_KEY to it instead")
    by_id = {experiment.id: experiment for experiment in configured}
    every = by_id.get(EVERY, ExperimentSettings(id=EVERY))
    # With "*", those that have settings of their own keep them.
    wanted = dict.fromkeys((*by_id, *ids) if EVERY in ids else ids)
    return [by_id.get(id_) or msgspec.structs.replace(every, id=id_) for id_ in wanted]


def _known_type(name: str) -> str:
    if name in DATA_TYPES:
        return name
    close = difflib.get_close_matches(name.casefold(), DATA_TYPES, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(DATA_TYPES)}"
    raise UsageError(f"--type {name}: there is no such data type; {hint}")


def _moment(option: str, text: str, now: float) -> str:
    """ISO 8601 in UTC."""
    try:
        return iso_utc(now - parse_duration(text))
    except (ValueError, OverflowError, OSError):
        pass  # not a duration, so a time
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text}: give a date or time in ISO 8601 (2026-11-22, 2026-11-22T02:00Z), or how long "
            "ago (3d, 12h)"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")
