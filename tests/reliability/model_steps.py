"""What both models do to a mirror and see of it: kills at steps of the disk, and archives read by hand."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from reliability.growing_lab import Shelf

_STEPS = ("replace", "link", "write", "fsync", "unlink", "mkdir")


class Killed(BaseException):
    """Stands in for the end of the process: nothing that handles errors may catch it."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """The process ends at its n-th change of the disk, a write after half of it, and changes nothing after."""
    left = step

    def watched(name: str, true: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and name == "write":
                true(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            if left <= 0:
                raise Killed(name)
            return true(*arguments, **options)

        return call

    with ExitStack() as patches:
        for name in _STEPS:
            patches.enter_context(mock.patch.object(os, name, watched(name, getattr(os, name))))
        yield


def damage(path: Path, how: str) -> None:
    """Cut the file in half, flip a bit in its middle, or let it be gone; other names of it stay as they are."""
    content = path.read_bytes()
    path.unlink()
    middle = len(content) // 2
    if how == "cut":
        path.write_bytes(content[:middle])
    elif how == "flipped":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :])


def rows_of_folder(folder: Path) -> set[bytes]:
    """The rows of all shards in a folder, but for shards that are damaged."""
    rows: set[bytes] = set()
    for path in folder.glob("*.ndjson.gz*"):
        with suppress(OSError, EOFError, zlib.error):  # damaged: `verify` tells
            rows.update(gzip.decompress(path.read_bytes()).splitlines())
    return rows


def folder_of(experiment: str, shelf: Shelf) -> str:
    """Where a shelf's shards lie, below an archive and below each of its older generations."""
    kind, room = shelf
    return f"experiment_id={experiment}/data_type={kind.replace('/', '_')}/room_id={room}"


def shelf_of(shard: Path) -> Shelf:
    """The data type and the room that the path of a shard tells."""
    data_type, room = shard.parent.parent.name, shard.parent.name
    return data_type.removeprefix("data_type=").replace("_", "/"), room.removeprefix("room_id=")


def receipts_of(archive: Path, kind: str, *, may_be_cut: bool) -> list[dict[str, Any]]:
    """The receipts of this kind that count. A line that a kill cut short is the last one of its segment."""
    found: dict[str, dict[str, Any]] = {}
    for segment in sorted((archive / "receipts").glob("*.jsonl")):
        *lines, last = segment.read_bytes().split(b"\n")
        assert may_be_cut or not last, f"{segment.name} ends in the middle of a line, and no run was killed"
        for receipt in map(orjson.loads, lines):
            if receipt["kind"] == kind:
                found[receipt["path"]] = receipt
    return list(found.values())


def files_with(root: Path, word: bytes) -> list[str]:
    """Files below with the word in any byte of theirs, of what they hold compressed too; or in their name."""
    found: list[str] = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        content = path.read_bytes()
        name = path.relative_to(root).as_posix()
        if any(word in each for each in (content, _opened(content), name.encode())):
            found.append(name)
    return found


def _opened(content: bytes) -> bytes:
    """As much of the members of a gzip file as can be had; nothing of another file."""
    opened = b""
    with suppress(zlib.error):
        while content:
            member = zlib.decompressobj(wbits=31)
            opened += member.decompress(content)
            content = member.unused_data
    return opened


def failures_of(
    machine: type[RuleBasedStateMachine], *, examples: int, steps: int, long: bool, workdir: Path
) -> tuple[str, ...]:
    """What did not hold in so many random orders of a machine's rules, with its steps; one of each kind.

    Long: other orders each time, and what fails is made as short as it can be.
    """
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not long,
        database=None,
        phases=[Phase.generate, Phase.shrink] if long else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with mock.patch.object(tempfile, "tempdir", str(workdir)):
        try:
            run_state_machine_as_test(machine, settings=chosen)
        except ExceptionGroup as several:
            return tuple(map(_text_of, several.exceptions))
        except Exception as error:  # noqa: BLE001  # whatever breaks is a finding
            return (_text_of(error),)
    return ()


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error} {'; '.join(getattr(error, '__notes__', ()))}"
