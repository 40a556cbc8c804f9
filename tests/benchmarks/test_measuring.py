"""One command, run and measured."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from processes_ended import await_end

from benchmarks.measuring import Usage, measured

HERE = {"PATH": os.environ["PATH"]}


def run(code: str, folder: Path, longest_seconds: float = 60.0) -> Usage:
    return measured([sys.executable, "-c", code], HERE, folder, longest_seconds=longest_seconds)


def test_its_exit_status_and_what_it_said_are_kept(tmp_path: Path) -> None:
    assert run("print('said'); raise SystemExit(3)", tmp_path).exit_status == 3
    assert (tmp_path / "log").read_text() == "said\n"


def test_the_cpu_of_its_children_is_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    usage = run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])", tmp_path)
    assert usage.cpu_seconds >= 0.3
    assert usage.wall_seconds >= usage.cpu_seconds / (os.cpu_count() or 1)


def test_the_memory_of_whoever_measures_is_not_counted(tmp_path: Path) -> None:
    mine = b"x" * (200 << 20)
    assert run("pass", tmp_path).peak_bytes < len(mine) / 2
    assert run("x = b'x' * (150 << 20)", tmp_path).peak_bytes >= 150 << 20


def test_what_takes_too_long_is_killed(tmp_path: Path) -> None:
    usage = run("import time; time.sleep(600)", tmp_path, longest_seconds=0.2)
    assert usage.exit_status == 124
    assert usage.wall_seconds < 60


def test_what_it_leaves_running_is_killed(tmp_path: Path) -> None:
    left = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    assert run(left, tmp_path).exit_status == 0
    assert await_end(int((tmp_path / "log").read_text()))
