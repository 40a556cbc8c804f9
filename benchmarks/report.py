"""What a run found, with what it was found on, and its files."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from benchmarks.rounds import JobResult


@dataclass(frozen=True, slots=True)
class Report:
    """Results, and what they were found with. `began_at` is a date, `load` the machine's before it.

    `is_short`: on tiny data, so that the figures mean nothing.
    """

    began_at: str
    command: str
    machine: str
    server: str
    load: float
    rounds: int
    is_short: bool
    versions: dict[str, str]
    results: tuple[JobResult, ...]


def machine() -> str:
    """This machine in a few words, its name left out."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
