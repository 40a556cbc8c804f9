"""What both models do to a mirror and see of it: kills at steps of the disk, and archives read by hand."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

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

    with mock.patch.multiple(os, **{name: watched(name, getattr(os, name)) for name in _STEPS}):
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
