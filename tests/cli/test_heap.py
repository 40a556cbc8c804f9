"""All threads use one heap, where the C library is one that would give each its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

_HEAPS = """
import ctypes, sys, threading
from hsmirror.cli.heap import settle_heap

if sys.argv[2] == "shared":
    settle_heap()
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
all_have_some = threading.Barrier(4)

def allocate():
    libc.malloc(1000)
    all_have_some.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def heaps(path: Path, how: str, **environment: str) -> int:
    """That a process has whose threads have all allocated something."""
    clean = {name: text for name, text in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", _HEAPS, str(path), how]
    subprocess.run(command, env=clean | environment, check=True)
    return path.read_text().count("<heap ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the C library of GNU")
def test_threads_share_a_heap_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    assert heaps(tmp_path / "each", "each its own") > 1
    assert heaps(tmp_path / "shared", "shared") == 1
    assert heaps(tmp_path / "told", "shared", MALLOC_ARENA_MAX="8") > 1
