"""How long the versions that were replaced are kept in `.hsmirror/superseded/`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.errors import StorageError

_RUN_ID = re.compile(r"([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{4}")


def drop_superseded(layout: Layout, older_than_seconds: float, now: float) -> int:
    """Remove what runs put aside more than `older_than_seconds` before `now` (epoch seconds); gives the bytes.

    A run's age is the time in its id. Only folders that are named as a run is are touched, and no link is
    followed. What cannot be removed is the next run's to try. For whoever holds the archive's lock alone.
    """
    removed_bytes = 0
    for folder, began_at in _generations(layout):
        if now - began_at > older_than_seconds:
            held_bytes = _size_bytes(folder)
            try:
                durable.clear_folder(layout.root, folder)
            except StorageError:  # a link leads there
                continue
            removed_bytes += held_bytes - _size_bytes(folder)
    return removed_bytes


def _generations(layout: Layout) -> Iterator[tuple[Path, float]]:
    """The folder of each run, and when that run began, the oldest first."""
    try:
        folders = sorted(layout.superseded.iterdir())
    except OSError:
        return
    for folder in folders:
        match = _RUN_ID.fullmatch(folder.name)
        if match is None or not _is_folder(folder):
            continue
        try:
            began = datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            continue
        yield folder, began.timestamp()


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _size_bytes(folder: Path) -> int:
    """What its removal gives back: files that have no other name."""
    size_bytes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = Path(place, name).lstat()
            except OSError:
                continue
            size_bytes += found.st_size if found.st_nlink == 1 else 0
    return size_bytes
