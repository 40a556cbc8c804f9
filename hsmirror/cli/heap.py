"""How the C library keeps a run's memory."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h

_KEPT_BYTES = 8 << 20
"""At the end of the heap, free: a few pages of a list."""

_OWN_MAPPING_BYTES = 4 << 20
"""What is larger goes back to the system when it is freed, wherever it lay."""


def settle_heap() -> None:
    """Have all threads use one heap, and keep what pages leave for the next ones. Before there are threads.

    glibc gives each thread a heap of its own, which keeps what that thread has freed: some MiB of a run's
    peak, and more the more lists are read at once. Threads here write and hash, and hardly ever allocate side
    by side. And it returns the memory of each page to the system, only to have it back, cleared, for the next
    one: a tenth of a run's time. Other C libraries are left alone, and so is what `MALLOC_…` variables of the
    environment set.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, parameter, value in (
            ("MALLOC_ARENA_MAX", _M_ARENA_MAX, 1),
            ("MALLOC_TRIM_THRESHOLD_", _M_TRIM_THRESHOLD, _KEPT_BYTES),
            ("MALLOC_MMAP_THRESHOLD_", _M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES),
        ):
            if name not in os.environ:
                mallopt(parameter, value)
