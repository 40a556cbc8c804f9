"""What was made last, kept for the next time it is wanted, up to a size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Things by their keys, the least recently used dropped first beyond `max_bytes`.

    The newest is kept even if it alone is larger. Any thread may ask; two that ask for one thing at once
    may both make it.
    """

    def __init__(self, max_bytes: int, weigh: Callable[[T], int]) -> None:
        self._max_bytes = max_bytes
        self._weigh = weigh
        self._bytes = 0
        self._items: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._clearings = 0
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is kept under `key`; made now, and kept, if there is nothing."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key][0]
            clearings = self._clearings
        made = make()
        weight_bytes = self._weigh(made)
        with self._lock:
            # What was begun before a clearing may be out of date by now.
            if clearings == self._clearings and key not in self._items:
                self._items[key] = (made, weight_bytes)
                self._bytes += weight_bytes
                self._drop_beyond_limit()
        return made

    def clear(self) -> None:
        """Drops everything."""
        with self._lock:
            self._clearings += 1
            self._items.clear()
            self._bytes = 0

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def _drop_beyond_limit(self) -> None:
        while self._bytes > self._max_bytes and len(self._items) > 1:
            _, (_, weight_bytes) = self._items.popitem(last=False)
            self._bytes -= weight_bytes
