"""`receipts/HEAD`: the hashes of what vouches for everything else: `archive.json`, `SHA256SUMS`, each segment.

Receipts vouch for files, and each line of theirs for itself; that none of them is missing, only this tells. It
is written whenever a run begins or ends and finds it behind, so that what it does not name is the segment of a
run that is under way or was cut off. No clock decides: names and hashes do. `sha256sum -c` reads it, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import has_check
from hsmirror.archive.segments import is_segment, segments

_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
_MERGED = "-merged"


@dataclass(frozen=True, slots=True)
class Head:
    """What the head names: hashes by path, from the archive's root on."""

    hashes: dict[str, str]
    is_whole: bool = True
    """False: a line of it is none that was written there."""

    def names(self, layout: Layout) -> set[str]:
        """Of the segments."""
        return set(self.hashes) - {_path(layout, layout.marker), _path(layout, layout.sums)}

    def vouches_for(self, layout: Layout, path: Path) -> bool:
        """Is the file there, with the hash that the head has?

        Raises:
            StorageError: it cannot be read.
        """
        return self.hashes.get(_path(layout, path)) == sha256_of(path)

    def is_current(self, layout: Layout, held: Collection[Path]) -> bool:
        """Does it name these segments and no others, and the marker and the sums as they are?"""
        return (
            self.is_whole
            and self.names(layout) == {_path(layout, each) for each in held}
            and self.vouches_for(layout, layout.marker)
            and self.vouches_for(layout, layout.sums)
        )


def read_head(layout: Layout) -> Head | None:
    """What the archive's head names; None where there is none, as in archives of older versions.

    Raises:
        StorageError: it cannot be read.
    """
    with durable.disk_errors(f"read {layout.head}"):
        try:
            content = layout.head.read_bytes()
        except FileNotFoundError:
            return None
    *lines, rest = content.decode("utf-8", "replace").split("\n")
    own = {_path(layout, layout.marker), _path(layout, layout.sums)}
    found = [match for line in lines if (match := _LINE.fullmatch(line)) and _may_name(match[2], own)]
    hashes = {match[2]: match[1] for match in found}
    return Head(hashes, is_whole=not rest and len(found) == len(lines) and own <= hashes.keys())


def _may_name(path: str, own: Collection[str]) -> bool:
    """A line that was planted or damaged leads nowhere else."""
    folder, _, name = path.rpartition("/")
    return path in own or (folder == "receipts" and is_segment(name))


def write_head(layout: Layout, held: Sequence[Path], modes: durable.Modes, *, own: Path | None = None) -> None:
    """Have the head name these segments, and the run's own. One that it names already keeps its hash: no run
    changes another's."""
    older = read_head(layout) or Head({})
    hashes = {_path(layout, each): sha256_of(each) for each in (layout.marker, layout.sums)}
    hashes |= {path: older.hashes.get(path) or sha256_of(layout.root / path) for path in _paths(layout, held)}
    hashes |= {} if own is None else {_path(layout, own): sha256_of(own)}
    content = "".join(f"{sha256}  {path}\n" for path, sha256 in hashes.items())
    durable.write_whole(layout.root, layout.head, content.encode(), modes)


def broken_segments(layout: Layout, head: Head) -> Iterator[tuple[str, str]]:
    """Segments that are no longer what the head says, by path, and why.

    One that a newer one has taken the place of by merging is not missed.

    Raises:
        StorageError: one cannot be read.
    """
    held = segments(layout)
    merged = [each for each in _paths(layout, held) if _MERGED in each and each not in head.hashes]
    newest = max(map(_run_of, merged), default="")
    for path in sorted(head.names(layout)):
        sha256 = sha256_of(layout.root / path)
        if sha256 is None and _run_of(path) > newest:
            yield path, "it is missing"
        elif sha256 not in {None, head.hashes[path]}:
            yield path, "its bytes have changed, or lines of it are missing"


def not_named(layout: Layout, head: Head) -> list[str]:
    """Segments that the head does not name, by path: a run is under way, or was cut off."""
    return [path for path in _paths(layout, segments(layout)) if path not in head.hashes]


def is_lost(layout: Layout) -> bool:
    """Was there a head that is not there now? Lines that have a check were written with one, and what
    `SHA256SUMS` names was written with receipts.

    Raises:
        StorageError: something cannot be read.
    """
    if held := segments(layout):
        return have_checks(held) and not layout.head.exists()
    with durable.disk_errors(f"look at {layout.sums}"):
        return not layout.head.exists() and layout.sums.exists() and layout.sums.stat().st_size > 0


def have_checks(held: Collection[Path]) -> bool:
    """Does the first line of each of these segments have a check? Older versions wrote none."""
    for segment in held:
        with durable.disk_errors(f"read {segment}"), segment.open("rb") as file:
            line = file.readline()
        if line.endswith(b"\n") and not has_check(line[:-1]):
            return False
    return True


def sha256_of(path: Path) -> str | None:
    """Of a file, in constant memory; None where there is none.

    Raises:
        StorageError: it cannot be read.
    """
    with durable.disk_errors(f"read {path}"):
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None


def _paths(layout: Layout, held: Collection[Path]) -> list[str]:
    return [_path(layout, each) for each in held]


def _path(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()


def _run_of(path: str) -> str:
    """The id of the run that a segment is named after."""
    return path.rpartition("/")[2].removesuffix(".jsonl").partition(_MERGED)[0]
