"""What was there throughout, and what at any time, while data moved: against that an archive can be held."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.rows import DATA_TYPES

Rows: TypeAlias = "Counter[tuple[str | None, bytes]]"
"""Rows as often as they occur, each with its room."""

Files: TypeAlias = "Counter[tuple[str, str, str]]"
"""Recording files: room, recording id, sha256."""

_RECORDED = (*sorted(DATA_TYPES), "deployments")


class Chronicle:
    """Follows a source from now on. Makes every row anew after each change: for small sources."""

    def __init__(self, source: MadeUpSource) -> None:
        self._source = source
        self._throughout: dict[tuple[str, str], Rows] = {}
        self._ever: dict[tuple[str, str], Rows] = {}
        self._files_throughout: dict[str, Files] = {}
        self._files_ever: dict[str, Files] = {}
        self._note()
        source.on_change.append(self._note)

    def begin_again(self) -> None:
        """What is there now is what is there throughout, as of now; what was there ever stays so."""
        self._throughout.clear()
        self._files_throughout.clear()
        self._note()

    def rows_throughout(self, experiment_id: str, data_type: str) -> Rows:
        """The rows that were there at every moment, as often as they were at the least."""
        return self._throughout[experiment_id, data_type]

    def rows_ever(self, experiment_id: str, data_type: str) -> Rows:
        """The rows that were there at any moment, as often as they were at the most."""
        return self._ever[experiment_id, data_type]

    def files_throughout(self, experiment_id: str) -> Files:
        """The recording files that were there at every moment."""
        return self._files_throughout[experiment_id]

    def files_ever(self, experiment_id: str) -> Files:
        """The recording files that were there at any moment."""
        return self._files_ever[experiment_id]

    def _note(self) -> None:
        for experiment_id in self._source.experiment_ids():
            for data_type in _RECORDED:
                rows = Counter(self._source.ledger_rows(experiment_id, data_type))
                key = experiment_id, data_type
                self._throughout[key] = self._throughout.get(key, rows) & rows
                self._ever[key] = self._ever.get(key, rows) | rows
            ledger = self._source.ledger_files(experiment_id)
            files = Counter((file.room_id, file.recording_id, file.sha256) for file in ledger)
            self._files_throughout[experiment_id] = self._files_throughout.get(experiment_id, files) & files
            self._files_ever[experiment_id] = self._files_ever.get(experiment_id, files) | files
