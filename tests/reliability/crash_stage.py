"""What the measurements of crashes share: situations to crash in, and what must hold after each crash.

The reader here knows the archive's layout from its documentation alone: nothing of the code that writes
archives is used to judge them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oracle import EXPERIMENT, Rows, held_files, held_rows, ledger_files, ledger_rows
from sync_runs import run_sync

from hsmirror.lab.data import LabShape, MadeUpSource
from hsmirror.lab.server import Lab, LabOptions, running_lab

TYPES = ("events", "recordings")
SHARD_SIZE = "3KiB"
"""So small that a room's events take several parts."""

_SHAPE = LabShape(rooms=1, participants=1, events_per_room=8, recordings_per_room=1)
_ROOM = "room_abc123"
_MANY_SEGMENTS = 52
"""More than the archive leaves unmerged."""
_OWN_NAMES = {".hsmirror", "SHA256SUMS", "archive.json", "receipts", f"experiment_id={EXPERIMENT}"}

Files = Counter[tuple[str | None, str, str]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an archive holds once all is well: everything that there ever was upstream."""

    rows: dict[str, Rows]
    files: Files

    def __or__(self, other: Expected) -> Expected:
        rows = {name: self.rows[name] | other.rows[name] for name in self.rows}
        return Expected(rows, self.files | other.files)

    def differences(self, archive: Path) -> list[str]:
        """What an archive lacks, or has too much of; also where it cannot be read at all."""
        try:
            return self._differences(archive)
        except (OSError, EOFError, AssertionError, zlib.error) as error:
            return [f"cannot be read: {type(error).__name__}: {error}"]

    def _differences(self, archive: Path) -> list[str]:
        found = [
            f"{name}: {(rows - held).total()} rows missing, {(held - rows).total()} unexpected"
            for name, rows in self.rows.items()
            if (held := held_rows(archive, EXPERIMENT, name)) != rows
        ]
        if (files := held_files(archive, EXPERIMENT)) != self.files:
            found.append(f"files: {self.files - files} missing, {files - self.files} unexpected")
        return found


@dataclass(frozen=True, slots=True)
class Situation:
    """An archive as a sync finds it (None: none yet), and what it must hold after that sync."""

    name: str
    archive: Path | None
    expected: Expected
    held: frozenset[str] = frozenset()
    """The hashes of all files that were receipted before: none of them may be lost."""

    def set_up(self, folder: Path) -> Path:
        """A folder with a copy of the archive in it; gives the archive's path."""
        folder.mkdir(parents=True)
        archive = folder / "archive"
        if self.archive is not None:
            shutil.copytree(self.archive, archive)
        return archive


@dataclass(frozen=True, slots=True)
class Stage:
    """A lab whose data have changed since the archives of the situations were made."""

    lab: Lab[MadeUpSource]
    situations: tuple[Situation, ...]

    async def sync(self, folder: Path, **overrides: object) -> str:
        """A plain sync of `folder / "archive"`, in this process; gives what is wrong with how it ended."""
        settings = {"archive.shard_size": SHARD_SIZE} | overrides
        try:
            report = await run_sync(self.lab, folder, overrides=settings, data_types=TYPES)
        except Exception as error:  # noqa: BLE001  # whatever it is: the run should have succeeded
            return f"sync raised {type(error).__name__}: {error}"
        problems = [problem.what for problem in report.problems]
        return "" if report.exit_status == 0 else f"sync ended with {report.exit_status}: {problems}"

    async def failures(self, situation: Situation, folder: Path) -> list[str]:
        """What does not hold of a crashed archive: before the next sync, and after it."""
        archive = folder / "archive"
        found = [f"after the crash: {each}" for each in breaches(archive, situation.held)]
        if ended := await self.sync(folder):
            return [*found, ended]
        found += [f"after recovery: {each}" for each in breaches(archive, situation.held, is_at_rest=True)]
        return found + [f"after recovery: {each}" for each in situation.expected.differences(archive)]


@contextmanager
def scratch(workdir: Path) -> Iterator[Path]:
    """A folder to work in: in memory, where the system has a place for that. Thousands of syncs to a disk
    would take long, and what the disk keeps is not what is tried here.
    """
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="reliability-", dir=memory if memory.is_dir() else workdir) as folder:
        yield Path(folder)


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """`first`: no archive yet; `second`: an archive of several generations, whose upstream has changed in
    every way since; `merge`: an archive that is up to date, in so many segments that they are merged.
    """
    # Clients that are killed in the middle of an answer are not worth a traceback each.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    files_dir, base = folder / "lab", folder / "base"
    for each in (files_dir, base):
        each.mkdir(parents=True)
    async with running_lab(LabOptions(shape=_SHAPE, limits=None), files_dir=files_dir) as lab:
        source, archive = lab.source, base / "archive"
        making = Stage(lab, ())
        expected = _ledger(source)
        await _prepared(making, base, compression="none")
        source.add_rows(EXPERIMENT, _ROOM, "events", 5)
        expected |= _ledger(source)
        await _prepared(making, base, compression="gzip")
        older = _age_recording(archive)
        source.add_rows(EXPERIMENT, _ROOM, "events", 9)
        source.delete_rows(EXPERIMENT, _ROOM, "events", 2)
        source.add_rows(EXPERIMENT, _ROOM, "recordings", 1)
        expected |= _ledger(source)
        second = Situation("second", archive, expected, frozenset(_hashes(archive)))
        assert older in second.held

        merged = folder / "merge"
        whole = second.set_up(merged)
        await _prepared(making, merged)
        _split_segments(whole)
        merge = Situation("merge", whole, expected, frozenset(_hashes(whole)))
        yield Stage(lab, (Situation("first", None, _ledger(source)), second, merge))


async def _prepared(making: Stage, folder: Path, **archive: str) -> None:
    ended = await making.sync(folder, **{f"archive.{name}": value for name, value in archive.items()})
    assert not ended, ended


def _ledger(source: MadeUpSource) -> Expected:
    rows = {name: ledger_rows(source, EXPERIMENT, name) for name in TYPES}
    return Expected(rows, ledger_files(source, EXPERIMENT))


def _age_recording(archive: Path) -> str:
    """Let the archive hold an older version of its recording, of another size; gives that one's hash."""
    content = b"an older version of the recording"
    digest = hashlib.sha256(content).hexdigest()
    (path,) = archive.glob("experiment_id=*/files/*/*")
    path.write_bytes(content)
    for segment in _segments(archive):
        lines = [json.loads(line) for line in segment.read_bytes().splitlines()]
        for receipt in lines:
            for each in (receipt, *receipt.get("receipts", ())):
                if each["kind"] == "file":
                    each |= {"size_bytes": len(content), "sha256": digest}
        segment.write_text("".join(f"{json.dumps(receipt)}\n" for receipt in lines))
    _name_in_head(archive)
    return digest


def _split_segments(archive: Path) -> None:
    """As if as many runs had written the receipts, in their order."""
    lines = [line for segment in _segments(archive) for line in segment.read_bytes().splitlines(keepends=True)]
    for segment in _segments(archive):
        segment.unlink()
    size = -(-len(lines) // _MANY_SEGMENTS)
    for number in range(_MANY_SEGMENTS):
        name = f"20200101T{number:06d}Z-0000.jsonl"
        (archive / "receipts" / name).write_bytes(b"".join(lines[number * size : (number + 1) * size]))
    _name_in_head(archive)


def _name_in_head(archive: Path) -> None:
    """As if the segments had been written so."""
    named = [archive / "archive.json", archive / "SHA256SUMS", *_segments(archive)]
    lines = [f"{_sha256(path)}  {path.relative_to(archive).as_posix()}\n" for path in named]
    (archive / "receipts" / "HEAD").write_text("".join(lines))


# --- the independent reader ------------------------------------------------------------------------------
def breaches(archive: Path, held_before: Collection[str], *, is_at_rest: bool = False) -> list[str]:
    """Where I1 (what has a receipt is there, with its hash) or I2 (what was held is not lost) is broken.

    `is_at_rest`: no run has died here, so that no intent is open and nothing is left over.
    """
    allowed = _allowed(archive, with_intents=not is_at_rest)
    found = [
        f"I1: {path} is {actual or 'missing'}"
        for path, hashes in allowed.items()
        if (actual := _sha256(archive / path)) not in hashes and None not in hashes
    ]
    if lost := set(held_before) - set(_hashes_on_disk(archive)):
        found.append(f"I2: {len(lost)} files that were held are lost")
    return found + (_leftovers(archive, allowed) if is_at_rest else [])


def _allowed(archive: Path, *, with_intents: bool) -> dict[str, set[str | None]]:
    """By path, the hashes that may stand there; None: no file need be there."""
    last: dict[str, str | None] = {}
    intended: dict[str, str | None] = {}
    for segment in _segments(archive):
        for receipt in _receipts(segment):
            if receipt["kind"] == "intent":
                intended |= {each["path"]: each.get("sha256") for each in receipt["receipts"]}
            elif receipt["kind"] in {"shard", "file", "document"}:
                last[receipt["path"]] = receipt.get("sha256")
                intended.pop(receipt["path"], None)
    allowed = {path: {sha256} for path, sha256 in last.items()}
    for path, sha256 in intended.items() if with_intents else ():
        if path in allowed:
            allowed[path].add(sha256)
    return allowed


def _receipts(segment: Path) -> Iterator[dict[str, Any]]:
    """The lines that can be read: a run may have died in the middle of one."""
    for line in segment.read_bytes().split(b"\n"):
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _segments(archive: Path) -> list[Path]:
    return sorted((archive / "receipts").glob("*.jsonl"))


def _hashes(archive: Path) -> Iterator[str]:
    """Of all files that have a receipt."""
    return (each for hashes in _allowed(archive, with_intents=False).values() for each in hashes if each)


def _hashes_on_disk(archive: Path) -> Iterator[str]:
    """Of all files in the tree and of those that were superseded; what is staged is not held."""
    staging = archive / ".hsmirror" / "staging"
    for path in archive.rglob("*"):
        if path.is_file() and staging not in path.parents:
            yield hashlib.sha256(path.read_bytes()).hexdigest()


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _leftovers(archive: Path, allowed: Collection[str]) -> list[str]:
    """What is there without a reason."""
    tree = [path for path in archive.glob("experiment_id=*/**/*") if path.is_file()]
    staged = [path for path in (archive / ".hsmirror" / "staging").rglob("*") if path.is_file()]
    beside = list(archive.rglob("*.staged"))
    strangers = [path for path in archive.iterdir() if path.name not in _OWN_NAMES]
    strangers += [path for path in tree if path.relative_to(archive).as_posix() not in allowed]
    return [f"left over: {path.relative_to(archive)}" for path in dict.fromkeys([*strangers, *staged, *beside])]
