"""The reports that runs have left in `.hsmirror/runs/`, the newest first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hsmirror.archive.layout import Layout


class _Ending(msgspec.Struct):
    """How a run ended; the rest of its report is passed over."""

    ended_at: str
    exit_status: int = 0
    kind: str = "sync"


def last_run(layout: Layout) -> dict[str, Any] | None:
    """The whole report of the last sync that ended; None where there is none, or it cannot be read.

    A repair tells nothing of how fresh the archive is.
    """
    for path in _newest_first(layout):
        try:
            report = msgspec.json.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(report, dict):
            return None
        if report.get("kind", "sync") == "sync":
            return report
    return None


def last_success_at(layout: Layout) -> str | None:
    """When the last run that was complete ended, in ISO 8601; None where none is known."""
    for path in _newest_first(layout):
        try:
            ending = msgspec.json.decode(path.read_bytes(), type=_Ending)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if ending.exit_status == 0 and ending.kind == "sync":
            return ending.ended_at
    return None


def _newest_first(layout: Layout) -> Iterator[Path]:
    """Their names begin with the time of the run."""
    try:
        names = [path for path in layout.runs.iterdir() if path.suffix == ".json"]
    except OSError:
        return
    yield from sorted(names, reverse=True)
