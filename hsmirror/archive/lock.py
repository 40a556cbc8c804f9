"""One run an archive: a lock that ends with its process, so that a dead run is no hindrance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.errors import ArchiveBusyError


@contextmanager
def exclusive(layout: Layout, modes: durable.Modes) -> Iterator[None]:
    """Hold the archive for one run.

    Raises:
        ArchiveBusyError: another run holds it.
        StorageError: the folder cannot be made or written to.
    """
    durable.make_folder(layout.root, layout.state, modes)
    lock = FileLock(layout.lock, timeout=0, mode=modes.file)
    with durable.disk_errors(f"lock {layout.root}"):
        try:
            lock.acquire()
        except Timeout:
            raise ArchiveBusyError(
                f"another run holds {layout.root}; wait for it to end, or look for it with `ps`"
            ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # the system takes it back with the end of the process at the latest
            lock.release()
