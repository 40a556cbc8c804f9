"""What a command of hsmirror costs, and what one has cost by the time of its first request."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import measured

API_KEY = "hst_test_" + "0" * 64
_TREE = Path(__file__).parents[2]
_LONGEST_SECONDS = 3600.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """`wall_seconds` from the start of the process, imports included; CPU is user and system together."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Client:
    """Runs hsmirror as its users do, with state of its own in `folder`."""

    folder: Path
    base_url: str = ""

    def cost(self, *arguments: str) -> Cost:
        """Of a whole command.

        Raises:
            RuntimeError: it did not end with 0.
        """
        usage = measured(
            self._command(arguments), self._environment(), self.folder, longest_seconds=_LONGEST_SECONDS
        )
        if usage.exit_status:
            log = (self.folder / "log").read_text(errors="replace")
            raise RuntimeError(f"hsmirror {' '.join(arguments)} ended with {usage.exit_status}: {log[-500:]}")
        return Cost(usage.wall_seconds, usage.cpu_seconds, usage.peak_bytes)

    def cost_of_start(self, *arguments: str) -> Cost:
        """Of a command until its first request is there, which gets no answer.

        Raises:
            TimeoutError: none came.
        """
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(_LONGEST_SECONDS)
            here = f"http://127.0.0.1:{server.getsockname()[1]}/api/v3"
            began_at = time.perf_counter()
            with subprocess.Popen(
                self._command(arguments),
                cwd=self.folder,
                env=self._environment() | {"HYPERSTUDY_BASE_URL": here},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                try:
                    request, _ = server.accept()
                    with request:
                        request.recv(1)
                        return _cost_so_far(process.pid, time.perf_counter() - began_at)
                finally:
                    process.kill()

    @staticmethod
    def _command(arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "hsmirror", *arguments]

    def _environment(self) -> dict[str, str]:
        ours = ("HSMIRROR_", "HYPERSTUDY_", "PYTHON", "XDG_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        folders = {f"XDG_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("STATE", "CONFIG", "CACHE")}
        limits = dict.fromkeys(
            ("REQUESTS_PER_HOUR", "REQUESTS_PER_MINUTE_PER_ENDPOINT"), "100000000"
        )  # a server of our own has none
        return (
            clean
            | folders
            | {f"HSMIRROR_LIMITS__{name}": value for name, value in limits.items()}
            | {"HYPERSTUDY_API_KEY": API_KEY, "HYPERSTUDY_BASE_URL": self.base_url}
            # Finished rooms have settled when they have been read once.
            | {"HSMIRROR_ARCHIVE__SETTLE": "0s", "PYTHONPATH": str(_TREE)}
        )


def least(measure: Callable[[], Cost], rounds: int) -> Cost:
    """The least of each over some rounds: what else goes on on a machine only ever adds."""
    costs = [measure() for _ in range(rounds)]
    return Cost(
        min(cost.wall_seconds for cost in costs),
        min(cost.cpu_seconds for cost in costs),
        min(cost.peak_bytes for cost in costs),
    )


def _cost_so_far(pid: int, wall_seconds: float) -> Cost:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(wall_seconds, (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND, int(peak_kib) << 10)
