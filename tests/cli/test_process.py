"""The process is the command: it ends with its status, and wastes no time on garbage on the way in or out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hsmirror import __version__
from hsmirror.errors import Exit

SOURCE = Path(__file__).parents[2]

_WATCHED = """
import gc, sys
from hsmirror.cli import process
first = gc.get_threshold()[0]
sys.argv = ["hsmirror", "--version"]
status = process.run()
print(status, gc.get_threshold()[0] > first, gc.isenabled(), gc.get_freeze_count() > 1000)
"""

_INTERRUPTED = """
import sys
from hsmirror.cli import process

class Interrupted:
    def find_spec(self, name, *_):
        if name == "hsmirror.cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
sys.exit(process.run())
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=SOURCE, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--version"], Exit.COMPLETE), (["no-such-command"], Exit.USAGE)]
)
def test_the_process_ends_with_the_status_of_the_command(arguments: list[str], status: Exit) -> None:
    assert python("-m", "hsmirror", *arguments).returncode == status


def test_garbage_is_looked_for_less_often_and_not_once_more_in_the_end() -> None:
    assert python("-c", _WATCHED).stdout.splitlines() == [f"hsmirror {__version__}", "0 True True True"]


def test_interrupted_before_it_has_begun_it_says_so_in_a_line() -> None:
    ended = python("-c", _INTERRUPTED)
    assert (ended.returncode, ended.stderr) == (Exit.INTERRUPTED, "hsmirror: interrupted\n")
