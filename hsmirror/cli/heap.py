"""Where the C library keeps what has been freed."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Have all threads use one heap. To be called before there are any.

    glibc gives each thread a heap of its own, which keeps what that thread has freed: some MiB of a run's
    peak, and more the more lists are read at once. Threads here write and hash, and hardly ever allocate side
    by side. Other C libraries are left alone, and so is whoever has set `MALLOC_ARENA_MAX`.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
