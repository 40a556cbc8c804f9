"""All threads use one heap, which keeps what pages leave, and no more."""

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

_PAGES = """
import resource, sys
from hsmirror.cli.heap import settle_heap

if sys.argv[1] == "settled":
    settle_heap()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def pages():
    return [bytearray(b"x") * (2 << 20) for _ in range(3)]

pages()
before = faults()
for _ in range(20):
    pages()
print(faults() - before)
"""

_LARGE = """
import sys
from hsmirror.cli.heap import settle_heap

if sys.argv[1] == "settled":
    settle_heap()

def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) << 12

def large():
    return bytearray(b"x") * (16 << 20)

large()
page = large()
above = [bytearray(b"x") * 100_000 for _ in range(20)]
before = resident_bytes()
del page
print(before - resident_bytes())
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


def said(script: str, how: str) -> int:
    """The number that a script prints, in a process that was told nothing about its heap."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", script, how]
    return int(subprocess.run(command, env=clean, check=True, capture_output=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the C library of GNU")
def test_what_pages_leave_is_kept_for_the_next_ones() -> None:
    assert said(_PAGES, "as it is") > 20 * 500
    assert said(_PAGES, "settled") < 20 * 50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the C library of GNU")
def test_what_is_large_goes_back_wherever_it_lay() -> None:
    assert said(_LARGE, "as it is") < 1 << 20
    assert said(_LARGE, "settled") >= 15 << 20
