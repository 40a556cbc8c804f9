"""Whether processes end."""

from __future__ import annotations

import time
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Zombies, which nobody has reaped yet, do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_end(pid: int) -> bool:
    """Whether a process ends soon."""
    gives_up_at = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < gives_up_at:
        time.sleep(0.01)
    return not is_alive(pid)
