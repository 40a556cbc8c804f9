"""The budget beyond one process: what runs with the same key on this machine have sent, in the last hour.

A small file on a local disk, appended to. It is named after a hash of the key and the server; the key is not in
it. Where it cannot be written, a run knows of its own requests only, and of others' by the server's 429s.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hsmirror.clock import Clock
from hsmirror.model import Secret
from hsmirror.pace.budget import HOUR_SECONDS, Budget

_LARGEST_BYTES = 1 << 20
_STALE_SECONDS = 24 * HOUR_SECONDS
_LONGEST_LOCK_SECONDS = 0.5


class UnsharedBudget:
    """Nobody else uses the key."""

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        yield

    def catch_up(self, budget: Budget) -> None:
        """Nothing to catch up with."""

    def sent(self, endpoint: str) -> None:
        """Nobody to tell."""


_UNTIL_COUNTED_SECONDS = 5.0
"""The server counts a request some time after it was noted here: until then it must not expire for others."""


class BudgetFile:
    """Requests of all runs with one key, a line each: time, run, endpoint."""

    def __init__(self, folder: Path, base_url: str, key: Secret, clock: Clock) -> None:
        digest = hashlib.blake2b(f"{base_url}\n{key.reveal()}".encode(), digest_size=12).hexdigest()
        self._path = folder / f"budget-{digest}.log"
        self._clock = clock
        self._run = secrets.token_hex(4)
        self._read_up_to = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(folder)
        self._lock = FileLock(f"{self._path}.lock", mode=0o600)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with self.exclusive():
            self._shorten()

    def __repr__(self) -> str:
        return f"<BudgetFile {self._path.name}>"

    def close(self) -> None:
        os.close(self._file)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Between catching up and sending no other run may come in; held for microseconds.

        A run that was stopped while it held it does not stop the others: they go on without.
        """
        with suppress(Timeout, OSError):
            self._lock.acquire(timeout=_LONGEST_LOCK_SECONDS)
        try:
            yield
        finally:
            with suppress(OSError):
                self._lock.release()

    def catch_up(self, budget: Budget) -> None:
        """Count what other runs have sent since the last call."""
        try:
            size = os.fstat(self._file).st_size
            if size < self._read_up_to:
                self._read_up_to = 0  # it was shortened: what is counted twice only makes us careful
            if size == self._read_up_to:
                return
            content = os.pread(self._file, size - self._read_up_to, self._read_up_to)
        except OSError:
            return  # a folder on the network that is away for a while: our own count goes on
        self._read_up_to = size
        epoch, monotonic = self._clock.epoch(), self._clock.monotonic()
        for line in content.decode("ascii", "replace").splitlines():
            time_text, _, rest = line.partition(" ")
            run, _, endpoint = rest.partition(" ")
            with suppress(ValueError):
                # A clock that was set back makes ages negative: such a request counts as just sent.
                age = max(0.0, epoch - float(time_text)) - _UNTIL_COUNTED_SECONDS
                if run != self._run and age < HOUR_SECONDS:
                    budget.spent_elsewhere(endpoint, monotonic - age, told_late_seconds=_UNTIL_COUNTED_SECONDS)

    def sent(self, endpoint: str) -> None:
        """Let the others know of a request."""
        with suppress(OSError):  # a full disk: the others will notice by the server's 429s
            os.write(self._file, f"{self._clock.epoch():.3f} {self._run} {endpoint}\n".encode())

    def _shorten(self) -> None:
        size = os.fstat(self._file).st_size
        if size <= _LARGEST_BYTES:
            return
        now = self._clock.epoch()
        lines = os.pread(self._file, size, 0).decode("ascii", "replace").splitlines(keepends=True)
        recent = [line for line in lines if _time_of(line) > now - HOUR_SECONDS]
        os.ftruncate(self._file, 0)
        os.write(self._file, "".join(recent).encode())


def _time_of(line: str) -> float:
    try:
        return float(line.partition(" ")[0])
    except ValueError:
        return 0.0


def _remove_stale(folder: Path) -> None:
    """Files of servers and keys that were not used for long: their hour is over."""
    for path in folder.glob("budget-*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                path.unlink()
