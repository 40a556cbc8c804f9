"""The `hsmirror` command as a process of its own, with all that is the user's put aside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle import EXPERIMENT

import hsmirror
from hsmirror.lab.server import Lab

_USERS_OWN = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME")
_SOURCE = str(Path(hsmirror.__file__).parents[1])


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended."""

    status: int
    out: str
    err: str


def _start(
    folder: Path,
    *arguments: str,
    lab: Lab[Any] | None = None,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("HSMIRROR_", "HYPERSTUDY_"))
    }
    env |= {name: str(folder / name.lower()) for name in _USERS_OWN} | {"PYTHONPATH": _SOURCE}
    if lab is not None:
        env |= {"HYPERSTUDY_BASE_URL": lab.base_url, "HYPERSTUDY_API_KEY": lab.key}
    return subprocess.Popen(
        [sys.executable, "-m", "hsmirror", *arguments],
        cwd=folder,
        env=env | dict(environ or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        **options,
    )


@contextmanager
def running(folder: Path, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """`hsmirror …` in `folder`, until the block is left: then it is killed, if it has not ended.

    `lab` is a lab whose address and key it is given; `environ` is added to its environment.
    """
    with _start(folder, *arguments, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], timeout_seconds: float = 60.0) -> Ended:
    """What it has said, once it has ended; raises where it does not end in time."""
    out, err = process.communicate(timeout=timeout_seconds)
    return Ended(process.returncode, out, err)


def run(folder: Path, *arguments: str, **options: Any) -> Ended:
    """The same, waited for."""
    with running(folder, *arguments, **options) as process:
        return ended(process)


def sync_arguments(*more: str) -> tuple[str, ...]:
    """A run over the lab's first experiment into `folder/archive`."""
    return ("sync", EXPERIMENT, "--archive", "archive", *more)
