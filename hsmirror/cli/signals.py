"""Ctrl-C and SIGTERM: work is cancelled, saves its state, and the command ends with 130 or 143."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from hsmirror.errors import Exit

T = TypeVar("T")

LONGEST_GOODBYE_SECONDS = 9.0
"""How long a cancelled run may take to save its state; whatever comes then, the archive is as after a crash."""

_STATUSES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class Interruption(BaseException):
    """The user or the system wants the command to end. No error: nothing that handles errors may catch it."""

    def __init__(self, exit_status: Exit) -> None:
        super().__init__(exit_status.name.lower())
        self.exit_status = exit_status


@contextmanager
def interruptions() -> Iterator[None]:
    """Within, either signal raises `Interruption`, even where a container's first process would ignore it."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interruption(_STATUSES[signal.Signals(number)])

    with _handling(interrupt):
        yield


def run(
    work: Callable[[], Awaitable[T]],
    *,
    longest_goodbye_seconds: float = LONGEST_GOODBYE_SECONDS,
    end_process: Callable[[int], object] = os._exit,
    on_signal: Callable[[Exit], object] | None = None,
) -> T:
    """Runs `work` to its end on an event loop of its own.

    The first signal cancels it; once it is out, `Interruption` is raised. A second signal, or a work that is
    not out `longest_goodbye_seconds` later, ends the process then and there. A failure to save state is raised
    as it is. `on_signal` hears of the first one before the cancellation. To be called from the main thread, or
    no signals are seen.
    """
    import asyncio

    stopping = _Stopping(longest_goodbye_seconds, end_process)
    try:
        return asyncio.run(_until_signal(work, stopping, on_signal or (lambda _: None)))
    finally:
        stopping.is_over()


class _Stopping:
    """What the signals seen so far led to."""

    def __init__(self, longest_goodbye_seconds: float, end_process: Callable[[int], object]) -> None:
        self.status: Exit | None = None
        self._longest_goodbye_seconds = longest_goodbye_seconds
        self._end_process = end_process
        self._deadline: threading.Timer | None = None

    def begin(self, status: Exit, cancel: Callable[[], object]) -> None:
        if self.status is not None:
            self._end_process(status)
            return
        self.status = status
        # A thread, because what hangs may be the event loop, or a write to a file server that is gone.
        self._deadline = threading.Timer(self._longest_goodbye_seconds, self._end_process, (int(status),))
        self._deadline.daemon = True
        self._deadline.start()
        cancel()

    def is_over(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()


async def _until_signal(
    work: Callable[[], Awaitable[T]], stopping: _Stopping, on_signal: Callable[[Exit], object]
) -> T:
    import asyncio

    import anyio

    loop = asyncio.get_running_loop()

    def stop(number: int, _frame: FrameType | None) -> None:
        status = _STATUSES[signal.Signals(number)]
        if stopping.status is None:
            on_signal(status)
        stopping.begin(status, lambda: loop.call_soon_threadsafe(scope.cancel))

    results: list[T] = []
    with anyio.CancelScope() as scope, _handling(stop):
        results.append(await work())
    if stopping.status is not None:
        raise Interruption(stopping.status)
    return results[0]


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread handle signals
        return
    before = {number: signal.signal(number, handler) for number in _STATUSES}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
