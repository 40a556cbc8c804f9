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
from hsmirror.archive.receipts import ShardReceipt

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
    if not (candidates := {path for path in unexpected if _is_read_by_globs(layout.root, path)}):
        return Strays(harmless=tuple(unexpected))
    is_run_under_way = layout.has_staged()
    archive = Archive.open(layout.root)
    copies = copies_among(archive, candidates)
    intended = archive.intended()
    strays: list[str] = []
    harmless: list[str] = []
    for path in unexpected:
        if path not in candidates or (is_run_under_way and path not in copies):
            harmless.append(path)
        elif path not in intended and not archive.holds(path):
            strays.append(path)
    return Strays(tuple(strays), tuple(harmless))


def copies_among(archive: Archive, strays: Collection[str]) -> set[str]:
    """Stray files that no run can have left; what one has left may be all that there is of its rows.

    A run puts a shard beside others only after it has said so in an intent.
    """
    experiments = {path.partition("/")[0] for path in strays}
    shards = (each for folder in experiments for each in archive.files_below(folder))
    held = {each.path.rpartition("/")[0] for each in shards if isinstance(each, ShardReceipt)}
    return {path for path in strays if not _OWN_SHARD.fullmatch(path) or path.rpartition("/")[0] in held}


def _is_read_by_globs(root: Path, path: str) -> bool:
    """Would a reader take it for a shard, a partition or a segment of ours? Globs follow links to folders, and
    pass over what is hidden beside the experiments: a trash, older versions.
    """
    folder, _, name = path.rpartition("/")
    if folder == "receipts":
        return name.lower().endswith(".jsonl")
    is_link = "=" in name and (root / path).is_dir()
    return not path.startswith(".") and (is_link or name.lower().endswith(_SHARD_ENDS))
