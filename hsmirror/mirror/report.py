"""What a run tells: while it goes (`RunStatistics`) and when it has ended (`RunReport`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from hsmirror.errors import Exit


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A glance at a run under way; what the progress display reads a few times a second."""

    elapsed_seconds: float
    experiments: int
    experiments_done: int
    lists: int
    """Lists known to be read so far; grows while rooms are found."""
    lists_done: int
    rows: int
    received_bytes: int
    requests: int
    throttled: int
    requests_left_this_hour: int
    requests_per_hour: int
    waiting_seconds: float | None
    """Until the limits allow the next request; None where nothing waits for them."""
    files: int
    files_done: int
    file_bytes: int
    """Of all files to be fetched, as far as their sizes are known."""
    file_bytes_done: int

    def seconds_left(self) -> float | None:
        """A guess from the share of lists and bytes done so far; None while there is nothing to guess from."""
        done = self.lists_done + (self.file_bytes_done / (8 << 20))
        whole = self.lists + (self.file_bytes / (8 << 20))
        if done <= 0 or whole <= 0 or self.elapsed_seconds < 1:
            return None
        return max(self.waiting_seconds or 0.0, self.elapsed_seconds * (whole - done) / done)


class TypeReport(msgspec.Struct, frozen=True):
    """One data type of one experiment: what is held after the run, and whether that is proven to be all."""

    data_type: str
    rows: int = 0
    rooms: int = 0
    is_complete: bool = True
    changed_shards: int = 0
    why: str = ""
    """Where it is not complete: what is missing, and what to do."""
    lacks_scope: bool = False


class ExperimentReport(msgspec.Struct, frozen=True):
    """One experiment after a run."""

    id: str
    name: str = ""
    rooms: int = 0
    types: tuple[TypeReport, ...] = ()
    files: int = 0
    """Recording files held."""
    files_fetched: int = 0
    files_pending: int = 0
    files_failed: int = 0
    problem: str = ""
    """Why the experiment as a whole could not be archived, if so."""

    @property
    def is_complete(self) -> bool:
        return not self.problem and not self.files_failed and all(kind.is_complete for kind in self.types)

    @property
    def rows(self) -> int:
        return sum(kind.rows for kind in self.types)


class Problem(msgspec.Struct, frozen=True):
    """Something that is missing: where, what happened, and what to do."""

    what: str
    experiment: str = ""
    data_type: str = ""
    room: str = ""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run; also written to `.hsmirror/runs/`, and printed by `--json`."""

    run: str
    version: str
    archive: str
    upstream: str
    started_at: str
    ended_at: str
    kind: str = "sync"
    """`repair`: only what was damaged was asked for; it says nothing of how fresh the archive is."""
    exit_status: int = Exit.COMPLETE
    experiments: tuple[ExperimentReport, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """What is odd and no failure: endpoints that this server lacks, files still being recorded."""
    requests: int = 0
    throttled: int = 0
    retried: int = 0
    received_rows: int = 0
    received_bytes: int = 0
    downloaded_bytes: int = 0
    changed_files: int = 0
    seconds: float = 0.0
    resume_at: str = ""
    """Where the limits ended the run: when it makes sense to run again."""

    @property
    def is_complete(self) -> bool:
        return self.exit_status == Exit.COMPLETE

    @property
    def archive_path(self) -> Path:
        return Path(self.archive)
