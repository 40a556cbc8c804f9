"""A disk that fails: the system's own calls, refused at their door, for which there is no other seam."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def path_of(target: Any) -> str:
    """What a descriptor or path is of."""
    return str(Path(f"/proc/self/fd/{target}").readlink()) if isinstance(target, int) else os.fspath(target)


def refuse(
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    *,
    below: Path,
    where: Callable[[str], bool] = lambda path: True,
    times: int = 1_000_000,
) -> list[str]:
    """Has `os.call` fail with `code` for paths below a folder, the first `times` times; gives those refused."""
    true_call = getattr(os, call)
    refused: list[str] = []

    def failing(target: Any, *arguments: Any, **named: Any) -> Any:
        path = path_of(target)
        if path.startswith(str(below)) and where(path) and len(refused) < times:
            refused.append(path)
            raise OSError(code, os.strerror(code), path)
        return true_call(target, *arguments, **named)

    monkeypatch.setattr(os, call, failing)
    return refused


def lose_written_bytes(monkeypatch: pytest.MonkeyPatch, *, where: Callable[[str], bool]) -> list[str]:
    """A write below such a path claims to have written all, and leaves its last byte out; gives the paths."""
    true_write = os.write
    shortened: list[str] = []

    def losing(descriptor: int, content: Any) -> int:
        path = path_of(descriptor)
        if not where(path) or len(content) < 2:
            return true_write(descriptor, content)
        shortened.append(path)
        true_write(descriptor, memoryview(content)[:-1])
        return len(content)

    monkeypatch.setattr(os, "write", losing)
    return shortened


def write_in_small_bites(monkeypatch: pytest.MonkeyPatch, *, below: Path, bite_bytes: int) -> list[str]:
    """A write takes no more than `bite_bytes` at once, and says so; gives the paths."""
    true_write = os.write
    bitten: list[str] = []

    def biting(descriptor: int, content: Any) -> int:
        path = path_of(descriptor)
        if path.startswith(str(below)) and len(content) > bite_bytes:
            bitten.append(path)
            content = memoryview(content)[:bite_bytes]
        return true_write(descriptor, content)

    monkeypatch.setattr(os, "write", biting)
    return bitten
