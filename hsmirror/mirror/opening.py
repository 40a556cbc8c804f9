"""The archive, made or opened for a run."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

from hsmirror.api.addresses import is_loopback_host
from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FORMAT, Marker, read_marker, write_marker
from hsmirror.archive.segments import Receipts, segments
from hsmirror.clock import Clock, iso_utc
from hsmirror.errors import UsageError
from hsmirror.mirror.commit import recover

_RUN_TIME = "%Y%m%dT%H%M%SZ"


def require_archive_or_nothing(layout: Layout) -> None:
    """Before anything is written: the folder is an archive, or empty, or not there yet.

    Raises:
        UsageError: it holds something else, or is no folder.
    """
    with durable.disk_errors(f"look into {layout.root}"):
        if layout.root.exists() and not layout.root.is_dir():
            raise UsageError(f"{layout.root} is a file; an archive is a folder")
        if not layout.root.exists() or layout.marker.exists():
            return
        names = set(layout.root.iterdir())
    if names - {layout.state, durable.staged_beside(layout.marker)}:
        raise UsageError(
            f"{layout.root} is not empty and not an archive (it has no archive.json); "
            "choose an empty or a new folder"
        )


def open_archive(
    layout: Layout,
    upstream: str,
    modes: durable.Modes,
    clock: Clock,
    on_note: Callable[[str], None] | None = None,
) -> tuple[str, Receipts]:
    """Make or check the archive, and finish what a run that died left; gives this run's id, and what is held.

    `on_note` hears what of it could not be finished, for the run's report.

    Raises:
        UsageError: the archive is of another server.
        NotAnArchiveError, StorageError: as their texts say.
    """
    if layout.marker.exists():
        held = read_marker(layout).upstream
        if not _is_same_upstream(held, upstream):
            raise UsageError(
                f"{layout.root} is an archive of {held}, and api.base_url is {upstream}: "
                "one archive holds one server's data; choose another folder"
            )
    else:
        write_marker(layout, Marker(FORMAT, upstream, iso_utc(clock.epoch())), modes)
    run_id = _next_run_id(layout, clock)
    receipts = Receipts(layout, modes, run_id)
    recovery = recover(layout, receipts, modes, run_id, now=clock.epoch())
    # Runs that are killed never come to the merging at their end, and each leaves a segment.
    receipts.merge_many()
    if on_note is not None:
        for note in recovery.notes:
            on_note(note)
    return run_id, receipts


def _next_run_id(layout: Layout, clock: Clock) -> str:
    """The time, and something random. Segments count in the order of their names: a run comes after all that
    are there, even if the clock was set back.
    """
    now = clock.epoch()
    if older := segments(layout):
        with suppress(ValueError):
            newest = datetime.strptime(older[-1].name[:16], _RUN_TIME).replace(tzinfo=UTC)
            now = max(now, newest.timestamp() + 1)
    try:
        began_at = datetime.fromtimestamp(now, UTC).strftime(_RUN_TIME)
    except (ValueError, OverflowError):
        raise UsageError(f"{older[-1]} is of a time that cannot be; remove it, if it is not yours") from None
    return began_at + f"-{secrets.token_hex(2)}"


def _is_same_upstream(held: str, configured: str) -> bool:
    """Labs and development servers on loopback change their ports."""
    hosts = [urlsplit(url).hostname or "" for url in (held, configured)]
    return held == configured or all(map(is_loopback_host, hosts))
