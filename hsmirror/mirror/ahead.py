"""Something done once, shortly before an end that is guessed anew as things go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class OnceAhead:
    """Calls `act` once, when the time that `due_in` has last set is up; never after the block is left."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._is_done = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_done = True
        self._cancel()

    def due_in(self, seconds: float) -> None:
        """It is to be done in so many seconds, whatever was said before; at once if they are none."""
        self._cancel()
        if self._is_done:
            return
        if seconds > 0:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._do)
        else:
            self._do()

    def _do(self) -> None:
        self._is_done = True
        self._act()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
