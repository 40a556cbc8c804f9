"""Files among ours that no receipt knows and that readers would take for ours.

A file-sync program leaves `part-00000 (conflicted copy).ndjson.gz`, a file manager `room_id=r1 (1)`, and a glob
reads their rows beside those that are held.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hsmirror.archive.layout import SUFFIXES, Layout
from hsmirror.archive.reader import Archive

_SHARD_ENDS = tuple(SUFFIXES.values())
_OWN_SHARD = re.compile(
    r"experiment_id=[^/ ]+/data_type=[^/ ]+/room_id=[^/ ]+/part-[0-9]{5,9}\.ndjson(?:\.gz|\.zst)?"
)


@dataclass(frozen=True, slots=True)
class Strays:
    """Of files that no receipt knows: those that readers would take for ours, and the others."""

    strays: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()


def strays_among(layout: Layout, unexpected: Collection[str]) -> Strays:
    """Tell them apart, by what the archive holds now: a run may have committed some of them meanwhile."""
    candidates = {path for path in unexpected if _is_read_by_globs(layout.root, path)}
    is_run_under_way = bool(candidates) and layout.has_staged()
    receipts = Archive.open(layout.root) if candidates else None
    intended = receipts.intended() if receipts else {}
    strays: list[str] = []
    harmless: list[str] = []
    for path in unexpected:
        if path not in candidates or (is_run_under_way and _OWN_SHARD.fullmatch(path)):
            harmless.append(path)
        elif receipts is not None and path not in intended and not receipts.holds(path):
            strays.append(path)
    return Strays(tuple(strays), tuple(harmless))


def _is_read_by_globs(root: Path, path: str) -> bool:
    """Would a reader take it for a shard, a partition or a segment of ours? Globs follow links to folders."""
    folder, _, name = path.rpartition("/")
    if folder == "receipts":
        return name.lower().endswith(".jsonl")
    return name.lower().endswith(_SHARD_ENDS) or ("=" in name and (root / path).is_dir())


def is_copy(archive: Archive, path: str) -> bool:
    """Can a stray shard be put aside? Not where a run may have left it, and nothing else has its rows."""
    if path.startswith("receipts/"):
        return False
    folder = path.rpartition("/")[0]
    beside = archive.files_below(path.partition("/")[0])
    return not _OWN_SHARD.fullmatch(path) or any(each.path.rpartition("/")[0] == folder for each in beside)
