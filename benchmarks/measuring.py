"""One command run and measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")
_BLOCK = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took. `wall_seconds`: from its start until it was reaped, imports included.

    CPU is that of the command and of the processes it waited for; `peak_bytes` of the largest one of them,
    and the launcher's own 9 MiB or so at the least.
    """

    wall_seconds: float
    user_seconds: float
    system_seconds: float
    peak_bytes: int
    exit_status: int

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.system_seconds


def measured(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, longest_seconds: float
) -> Usage:
    """Run it in `folder`, its output in `folder/log`; after `longest_seconds` it is killed (status 124)."""
    result, log = folder / "usage", folder / "log"
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), str(longest_seconds), *command]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            launcher,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        ) as process,
    ):
        try:
            process.wait()
        finally:
            process.terminate()
    if process.returncode:
        raise RuntimeError(f"the launcher failed: {log.read_text(errors='replace')[-500:]}")
    wall, user, system, peak, status = result.read_text().split()
    return Usage(float(wall), float(user), float(system), int(peak), int(status))


def touch_memory(folder: Path, size_bytes: int) -> None:
    """Write that much and delete it: on a virtual machine, memory touched for the first time costs extra."""
    path = folder / "touched"
    with path.open("wb", buffering=0) as file:
        for _ in range(size_bytes >> 20):
            file.write(_BLOCK)
    path.unlink()
