"""Logs for machines: one JSON object a line."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TextIO

from hsmirror.api.words import redacted
from hsmirror.clock import Clock


class Level(IntEnum):
    """How much a line matters; the numbers are those of `logging`."""

    DEBUG = logging.DEBUG
    INFO = logging.INFO
    WARNING = logging.WARNING
    ERROR = logging.ERROR


class JsonLog:
    """Writes `{"time", "level", "event", "message", …}`, one line an event, from any thread.

    Everything beyond ASCII and every control character is written as a JSON escape, so that no line can steer
    a terminal, and every text arrives as it was. Texts are `redacted` first, however deep they stand.
    """

    def __init__(self, stream: TextIO, clock: Clock, *, least: Level = Level.INFO) -> None:
        self._stream = stream
        self._clock = clock
        self._least = least
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<JsonLog from {self._least.name.lower()} on>"

    def write(self, level: Level, event: str, message: str, **fields: Any) -> None:
        """One line; fields that are None or an empty text are left out. Raises OSError."""
        if level < self._least:
            return
        now = datetime.fromtimestamp(self._clock.epoch(), UTC)
        head = {
            "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level.name.lower(),
            "event": event,
            "message": message,
        }
        told = {name: value for name, value in fields.items() if value is not None and value != ""}
        line = json.dumps(_redacted(head | told)).replace("\x7f", "\\u007f")
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redacted(value)
        case Mapping():
            return {_redacted(str(key)): _redacted(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_redacted(entry) for entry in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redacted(str(value))
