"""Runs one command and writes what it took: `python -I -S launcher.py RESULT SECONDS COMMAND…`.

A process of its own, and a small one, because the kernel counts the memory of whoever starts a process as that
process's peak. It imports next to nothing for that reason; its 9 MiB or so are the least peak it can see.
"""

import os
import select
import signal
import sys
import time


def main(result: str, longest_seconds: float, command: list[str]) -> None:
    """Run it in a process group of its own; what is left of the group afterwards is killed."""
    # Whoever ends this process ends the command.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started_at = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, setpgroup=0)
    status, usage = -1, None
    try:
        ended = select.select([os.pidfd_open(pid)], [], [], longest_seconds)[0]
        if not ended:
            os.killpg(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        wall_seconds = time.perf_counter() - started_at
    finally:
        try:  # noqa: SIM105  # contextlib is not imported: it would count
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # the usual case
            pass
    exit_status = os.waitstatus_to_exitcode(status) if ended else 124
    figures = (wall_seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024, exit_status)
    with open(result, "w") as file:  # noqa: PTH123  # nor is pathlib
        file.write(" ".join(map(str, figures)))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
