"""The archive, made or opened for a run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

from hsmirror.api.addresses import is_loopback_host
from hsmirror.archive import durable
from hsmirror.archive.head import broken_segments, have_checks, is_lost, read_head
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FORMAT, Marker, read_marker, write_marker
from hsmirror.archive.segments import Receipts, segments
from hsmirror.archive.sums import bring_up_to_date
from hsmirror.clock import Clock, iso_utc
from hsmirror.errors import UsageError
from hsmirror.mirror.commit import recover
from hsmirror.mirror.taken_up import taken_up

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
            "choose an empty or a new folder, or have `hsmirror verify` tell how to mend one that has lost it"
        )


def open_archive(
    layout: Layout,
    upstream: str,
    modes: durable.Modes,
    clock: Clock,
    on_note: Callable[[str], None] | None = None,
) -> tuple[str, Receipts]:
    """Make or check the archive, and finish what a run that died left; gives this run's id, and what is held.

    Receipts that are lost or have changed are made up for, as far as `SHA256SUMS` still names the files.
    `on_note` hears of that, and of what could not be finished, for the run's report.

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
    with ThreadPoolExecutor(1) as beside:
        # Hashing takes a third of the time that reading them does, and leaves the rest of the machine alone.
        looking = beside.submit(lambda: list(_damage(layout)))
        receipts = Receipts(layout, modes, run_id)
    damage = looking.result()
    notes = _make_up_for(damage, layout, receipts)
    recovery = recover(layout, receipts, modes, run_id, now=clock.epoch())
    if damage or not have_checks(segments(layout)):
        receipts.rewrite(lambda receipt: receipt)
    else:
        # Runs that are killed never come to the merging at their end, and each leaves a segment.
        receipts.merge_many()
    bring_up_to_date(layout, receipts, modes, is_beginning=True)
    if on_note is not None:
        for note in (*notes, *recovery.notes):
            on_note(note)
    return run_id, receipts


def _make_up_for(damage: list[str], layout: Layout, receipts: Receipts) -> list[str]:
    """Take up the files whose receipts are lost; gives what to tell.

    Where there is no head, as in archives of older versions, nothing but `SHA256SUMS` tells of such files.
    """
    if not damage and layout.head.exists():
        return []
    found = taken_up(layout, receipts)
    receipts.append(found)
    if not damage and not found:
        return []
    return [
        *damage,
        f"{len(found)} files whose receipts were lost, or had changed, are taken up again by SHA256SUMS; "
        "everything else that they spoke of is read again. Was somebody removed with `forget`? Do that again",
    ]


def _damage(layout: Layout) -> Iterator[str]:
    """What is no longer as the last run left it, of that which vouches for the rest."""
    head = read_head(layout)
    if head is not None:
        for path, why in broken_segments(layout, head):
            yield f"{path}: {why}"
    elif is_lost(layout):
        yield f"{layout.head} is missing"


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
