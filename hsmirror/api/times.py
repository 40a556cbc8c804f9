"""Points in time as rows and answers spell them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hsmirror.model import Window

MARGIN_SECONDS = 60
"""Beyond a window on both sides: how servers read a bound is not known, nor to what they round."""

_FROM_SECONDS = 1e8
"""Before March 1973: no date of a row, but an offset or a duration."""
_FROM_MILLISECONDS = 1e11
_FROM_MICROSECONDS = 1e14
_TO = 1e17


def epoch_of(value: object) -> float | None:
    """Epoch seconds of an ISO time (without a zone: UTC) or a number of s, ms or µs; None for anything else."""
    if isinstance(value, Mapping):  # as Firestore has it
        return epoch_of(value.get("_seconds", value.get("seconds")))
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _of_number(float(value)) if abs(value) < _TO else None
    return _of_text(value) if isinstance(value, str) else None


def _of_text(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return _of_number(number)


def _of_number(number: float) -> float | None:
    """What a number of this size counts: seconds since 1973, or smaller units."""
    if not _FROM_SECONDS <= number < _TO:
        return None
    if number < _FROM_MILLISECONDS:
        return number
    return number / (1e3 if number < _FROM_MICROSECONDS else 1e6)


def wider_range(window: Window) -> dict[str, str]:
    """The request's time range for a window, wider on both sides; what is beyond it is left out here."""
    bounds: dict[str, str] = {}
    if window.start is not None:
        bounds["startTime"] = _moved(window.start, -MARGIN_SECONDS)
    if window.end is not None:
        bounds["endTime"] = _moved(window.end, MARGIN_SECONDS)
    return bounds


def _moved(text: str, seconds: int) -> str:
    """A time moved by so much, in whole seconds; one for which no calendar has room stays as it is."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) + timedelta(seconds=seconds)
        return moment.replace(microsecond=0).astimezone(UTC).isoformat().replace("+00:00", "Z")
    return text
